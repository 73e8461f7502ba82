//! Acknowledgement from the phone: the operator's own reaction on a message of an open incident. Each message is
//! asked for in a step of its own; what follows is done when all have answered.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::Run;
use super::effects::{Effects, Route};
use crate::incident::{Acknowledged, Incident, Scope, Silence};
use crate::logger::{REACTIONS, warn_lasting};
use crate::slack::Thread;

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
        threads.sort_by(|one, other| other.ts.cmp(&one.ts));
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

    /// Acknowledges incidents that have a reaction, and ends acknowledgements whose reaction was taken away.
    fn apply_reactions(&mut self) {
        let now = self.effects.now();
        let silences = self.effects.silences();
        for incident in self.open_incidents(now) {
            let is_asked = |thread: &&Thread| self.reactions.asked.contains(&thread.ts);
            let has_reaction = |thread: &Thread| self.reactions.reacted.contains(&thread.ts);
            let acks = silences.iter().filter(|one| one.acknowledges.is_some());
            let ack = acks
                .filter(|one| one.holds(&incident, now))
                .max_by_key(|one| one.until);
            if messages(&incident).any(has_reaction) {
                // One that a more severe wake has ended is not given again by the same reaction.
                if ack.is_none() && incident.ack_over.is_none() {
                    self.effects.put_silence(&Silence {
                        scope: Scope::Pair(incident.pair.clone()),
                        since: now,
                        until: now.checked_add(LENGTH).unwrap_or(Timestamp::MAX),
                        reason: None,
                        acknowledges: Some(Acknowledged {
                            first_wake: incident.first_wake,
                            by_reaction: true,
                        }),
                    });
                }
            } else if let Some(ack) = ack
                && ack.acknowledges.as_ref().is_some_and(|ack| ack.by_reaction)
                && messages(&incident).all(|thread| is_asked(&thread))
            {
                self.effects.put_silence(&Silence {
                    until: now,
                    ..ack.clone()
                });
            }
        }
        // What was acknowledged may be due now.
        self.progress.is_fresh = false;
    }
}

/// The messages whose reactions count: the first that was delivered, and the newest.
fn messages(incident: &Incident) -> impl Iterator<Item = &Thread> {
    let messages = [&incident.first_message, &incident.newest_message];
    messages
        .into_iter()
        .flatten()
        .filter_map(|message| message.thread.as_ref())
}
