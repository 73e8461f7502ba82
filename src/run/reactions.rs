//! Acknowledgement from the phone: the operator's own reaction on a message of an open incident. Each message is
//! asked for in a step of its own; what follows is done when all have answered.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::Run;
use super::effects::{Effects, Route};
use crate::incident::{Acknowledged, Incident, Pair, Scope, Silence};
use crate::logger::{REACTIONS, warn_lasting};
use crate::slack::Thread;
use crate::state::Durability;

/// So many messages are asked for, the newest.
const MOST: usize = 5;
/// How often at most.
const PERIOD: SignedDuration = SignedDuration::from_mins(1);
/// How long a reaction acknowledges.
const LENGTH: SignedDuration = SignedDuration::from_hours(4);

/// The messages of open incidents, and what is known about their reactions.
#[derive(Debug, Default)]
pub(super) struct Reactions {
    left: Vec<Thread>,
    asked: Vec<String>,
    reacted: HashSet<String>,
}

impl<E: Effects> Run<'_, E> {
    /// Finds the messages to ask for, unless that was done within a minute. Returns whether there are any.
    pub fn prepare_reactions(&mut self, last: Option<Timestamp>) -> bool {
        let now = self.effects.now();
        let since = last.map(|last| now.duration_since(last));
        let is_soon = since.is_some_and(|since| !since.is_negative() && since < PERIOD);
        if self.config.ack_reaction.is_none() || self.rules.route != Route::Slack || is_soon {
            return false;
        }
        let open = self.open_incidents(now);
        let threads = open.iter().flat_map(messages);
        let mut threads: Vec<Thread> = threads.cloned().collect();
        threads.sort_by_key(|thread| std::cmp::Reverse(posted_at(&thread.ts)));
        threads.dedup();
        threads.truncate(MOST);
        threads.reverse();
        self.progress.has_reactions = !threads.is_empty();
        self.reactions.left = threads;
        self.progress.has_reactions
    }

    fn open_incidents(&self, now: Timestamp) -> Vec<Incident> {
        let log = self.state.logs.get(&self.log);
        let incidents = log.into_iter().flat_map(|log| log.incidents.iter());
        let rules = &self.config.debounce;
        incidents
            .filter(|one| one.is_open(rules, now))
            .cloned()
            .collect()
    }

    /// Asks for the reactions to one message.
    pub(super) fn ask_for_reactions(&mut self) {
        let (Some(thread), Some(name)) = (self.reactions.left.pop(), &self.config.ack_reaction)
        else {
            self.progress.has_reactions = false;
            return;
        };
        self.progress.is_fresh = false;
        match self.effects.has_reaction(&thread, name) {
            Ok(true) => drop(self.reactions.reacted.insert(thread.ts.clone())),
            Ok(false) => {}
            Err(cause) => {
                self.reactions.left.clear();
                self.progress.has_reactions = false;
                let next_step = match cause.as_str() {
                    "missing_scope" => "; add the scope reactions:read to the Slack app",
                    _ => "",
                };
                let warning = format!("cannot read reactions: {cause}{next_step}");
                return warn_lasting(REACTIONS, &cause, &warning);
            }
        }
        self.reactions.asked.push(thread.ts);
        if self.reactions.left.is_empty() {
            self.progress.has_reactions = false;
            self.apply_reactions();
        }
    }

    /// Acknowledges incidents with a new reaction, and ends acknowledgements whose reaction was taken away.
    fn apply_reactions(&mut self) {
        let now = self.effects.now();
        let silences = self.effects.silences();
        for incident in self.open_incidents(now) {
            let holds = |one: &&Silence| one.acknowledges.is_some() && one.holds(&incident, now);
            let ack = silences.iter().filter(holds).max_by_key(|one| one.until);
            let is_by_reaction = |one: &&Silence| {
                let ack = one.acknowledges.as_ref();
                ack.is_some_and(|ack| ack.by_reaction)
            };
            match self.note_reactions(&incident.pair) {
                Change::Given if ack.is_none() => self.effects.put_silence(&Silence {
                    scope: Scope::Pair(incident.pair.clone()),
                    since: now,
                    until: now.checked_add(LENGTH).unwrap_or(Timestamp::MAX),
                    reason: None,
                    acknowledges: Some(Acknowledged {
                        log: self.log.clone(),
                        first_wake: incident.first_wake,
                        by_reaction: true,
                    }),
                }),
                Change::TakenAway => {
                    if let Some(ack) = ack.filter(is_by_reaction) {
                        self.effects.put_silence(&Silence {
                            until: now,
                            ..ack.clone()
                        });
                    }
                }
                _ => {}
            }
        }
        // What was acknowledged may be due now.
        self.progress.is_fresh = false;
    }

    /// Notes which of an incident's messages have the reaction, and returns what has changed. A reaction that
    /// was seen before acknowledges no more: its acknowledgement may have ended since.
    fn note_reactions(&mut self, pair: &Pair) -> Change {
        let mut change = Change::None;
        let log = self.state.logs.get_mut(&self.log);
        let Some(incident) = log.and_then(|log| log.incidents.get_mut(pair)) else {
            return change;
        };
        for message in [&mut incident.first_message, &mut incident.newest_message] {
            let Some(message) = message else {
                continue;
            };
            let Some(thread) = &message.thread else {
                continue;
            };
            let has_reaction = self.reactions.reacted.contains(&thread.ts);
            if !self.reactions.asked.contains(&thread.ts) || has_reaction == message.has_reaction {
                continue;
            }
            message.has_reaction = has_reaction;
            change = match has_reaction || change == Change::Given {
                true => Change::Given,
                false => Change::TakenAway,
            };
        }
        if change != Change::None {
            self.note_unsaved(Durability::Full);
        }
        change
    }
}

/// What an operator did to the messages of an incident since they were last asked for.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    Given,
    TakenAway,
}

/// The messages whose reactions count: the first that was delivered, and the newest.
fn messages(incident: &Incident) -> impl Iterator<Item = &Thread> {
    let messages = [&incident.first_message, &incident.newest_message];
    messages
        .into_iter()
        .flatten()
        .filter_map(|message| message.thread.as_ref())
}

/// When Slack took a message, from its `ts`: seconds and a number of six digits.
fn posted_at(ts: &str) -> (u64, u64) {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, ""));
    (seconds.parse().unwrap_or(0), rest.parse().unwrap_or(0))
}
