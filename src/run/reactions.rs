//! Acknowledgement from the phone, by the operator's own reaction to a message of an open incident. Each
//! message is checked in a step of its own; the results are applied once all are in.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use log::info;

use super::Run;
use super::effects::Route;
use crate::incident::{Acknowledged, Pair, Scope, Silence};
use crate::logger::{REACTIONS, warn_lasting};
use crate::slack::Thread;
use crate::state::silences;
use crate::time::within;

/// At most this many messages are checked, the newest ones.
const MOST: usize = 5;
/// They are checked at most this often.
const PERIOD: SignedDuration = SignedDuration::from_mins(1);
/// How long a reaction acknowledges.
const LENGTH: SignedDuration = SignedDuration::from_hours(4);

/// The messages of open incidents, and what is known about their reactions.
#[derive(Debug, Default)]
pub struct Reactions {
    pub left: Vec<Thread>,
    /// Whether a message has the reaction, by its `ts`.
    answers: HashMap<String, bool>,
}

impl Run<'_> {
    /// Finds the messages to check, unless that was done in the last minute. Returns whether there are any.
    pub fn prepare_reactions(&mut self, last: Option<Timestamp>) -> bool {
        let now = self.now();
        let is_soon = last.is_some_and(|last| within(now, last, PERIOD));
        if self.config.ack_reaction.is_none() || self.route != Route::Slack || is_soon {
            return false;
        }
        let rules = &self.config.debounce;
        let open = self.incidents().filter(|one| one.is_open(rules, now));
        // Those whose reactions count: the first that was delivered, and the newest.
        let messages = open.flat_map(|one| [&one.first_message, &one.newest_message]);
        let threads = messages.filter_map(|one| one.as_ref()?.thread.clone());
        let mut threads: Vec<Thread> = threads.collect();
        threads.sort_by_key(|thread| Reverse(posted_at(&thread.ts)));
        threads.dedup();
        threads.truncate(MOST);
        threads.reverse();
        self.progress.reactions.left = threads;
        !self.progress.reactions.left.is_empty()
    }

    /// Asks Slack for the reactions to one message.
    pub(super) fn ask_for_reactions(&mut self) {
        self.progress.is_fresh = false;
        let reactions = &mut self.progress.reactions;
        let Some((thread, name)) = reactions.left.pop().zip(self.config.ack_reaction.as_ref())
        else {
            return;
        };
        match self.effects.has_reaction(&thread, name) {
            Ok(has_reaction) => {
                reactions.answers.insert(thread.ts, has_reaction);
                if reactions.left.is_empty() {
                    self.apply_reactions();
                }
            }
            Err(cause) => {
                reactions.left.clear();
                let next_step = match cause.as_str() {
                    "missing_scope" => "; add the scope reactions:read to the Slack app",
                    _ => "",
                };
                let warning = format!("cannot read reactions: {cause}{next_step}");
                warn_lasting(REACTIONS, &cause, &warning);
            }
        }
    }

    /// Acknowledges incidents with a new reaction, and ends acknowledgements whose reaction was removed.
    fn apply_reactions(&mut self) {
        let now = self.now();
        let silences = silences::list(&self.store);
        let rules = &self.config.debounce;
        let open = self.incidents().filter(|one| one.is_open(rules, now));
        for incident in open.cloned().collect::<Vec<_>>() {
            let holds = |one: &&Silence| one.acknowledges.is_some() && one.holds(&incident, now);
            let ack = silences.iter().filter(holds).max_by_key(|one| one.until);
            let is_by_reaction = |one: &Acknowledged| one.by_reaction;
            let silence = match (self.note_reactions(&incident.pair), ack) {
                (Some(true), None) => Silence {
                    scope: Scope::Pair(incident.pair.clone()),
                    since: now,
                    until: now.checked_add(LENGTH).unwrap_or(Timestamp::MAX),
                    reason: None,
                    acknowledges: Some(Acknowledged {
                        log: self.log.clone(),
                        first_wake: incident.first_wake,
                        by_reaction: true,
                    }),
                },
                (Some(false), Some(ack))
                    if ack.acknowledges.as_ref().is_some_and(is_by_reaction) =>
                {
                    Silence {
                        until: now,
                        ..ack.clone()
                    }
                }
                _ => continue,
            };
            let change = match silence.until > now {
                true => "acknowledged by a reaction",
                false => "no longer acknowledged: the reaction was taken back",
            };
            info!("{}: {change}", silence.scope);
            self.effects.put_silence(&silence);
        }
    }

    /// Notes which of an incident's messages have the reaction. Returns `true` if one was added since the
    /// last check, or else `false` if one was removed. A reaction that was seen before does not acknowledge
    /// again: its acknowledgement may have ended since.
    fn note_reactions(&mut self, pair: &Pair) -> Option<bool> {
        let log = self.state.logs.get_mut(&self.log)?;
        let incident = log.incidents.get_mut(pair)?;
        let mut change = None;
        let messages = [&mut incident.first_message, &mut incident.newest_message];
        for message in messages.into_iter().flatten() {
            let ts = message.thread.as_ref().map(|thread| &thread.ts);
            let answer = ts.and_then(|ts| self.progress.reactions.answers.get(ts));
            if let Some(&has_reaction) = answer.filter(|it| **it != message.has_reaction) {
                message.has_reaction = has_reaction;
                change = change.max(Some(has_reaction));
            }
        }
        if change.is_some() {
            self.note_change();
        }
        change
    }
}

/// Returns when Slack took a message, from its `ts`: seconds and a six-digit number.
fn posted_at(ts: &str) -> (u64, u64) {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, ""));
    (seconds.parse().unwrap_or(0), rest.parse().unwrap_or(0))
}
