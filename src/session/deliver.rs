//! From the outbox to the operator. Before a request leaves, a commit says so; what becomes of it is
//! committed behind it. So a run may die anywhere: a DM that is known not to have left is sent as it
//! is, and one that may have left is sent once more with a line that says it may be a repeat.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use log::{info, warn};

use super::Session;
use crate::effects::{Effects, Route};
use crate::message::{self, MAY_BE_REPEAT, with_notes};
use crate::outcome;
use crate::report::count;
use crate::slack::{self, PART_LIMIT, Posted, Thread};
use crate::state::Durability;
use crate::state::outbox::{Begun, Delivery, Dm, Follows, Paused};
use crate::state::undelivered::Undelivered;

/// The pause before the one more try of a request that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a request is made in a row while Slack says that it is too many.
const MOST_RATE_LIMITED: u32 = 5;
/// With so many failures a DM holds up no other one.
const FAILURES_IN_DOUBT: u32 = 3;
/// The pauses of a DM whose answer stays unknown double from the first to the longest.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(30);
const MOST_PAUSES: u32 = 6;

/// How often a request was made in a row.
#[derive(Default)]
struct Tries {
    /// Slack said that it was too many.
    limited: u32,
    /// It did not arrive, or its answer stayed unknown.
    failed: u32,
}

/// What the next request holds.
struct Part {
    text: String,
    /// How much of the message that is, in bytes.
    length: usize,
    /// The message behind it.
    rest: String,
}

impl<E: Effects> Session<'_, E> {
    /// Gives up what is too old, and sends the rest.
    pub fn deliver_queue(&mut self) -> Result<()> {
        let route = self.effects.route();
        if route.is_printed() || route == Route::Nowhere {
            return Ok(());
        }
        self.give_up_the_dead()?;
        self.send_outbox()
    }

    /// Sends what can be sent, the oldest first. However much that is, a wake that is read meanwhile
    /// is told when it is due.
    pub(super) fn send_outbox(&mut self) -> Result<()> {
        while let Some(index) = self.next_to_send() {
            self.deliver(index)?;
            self.look_again()?;
            self.tell_due()?;
        }
        Ok(())
    }

    /// Sends what this run made.
    pub(super) fn send_made(&mut self) -> Result<()> {
        while let Some(index) = self.next_to_send().filter(|index| self.is_made(*index)) {
            self.deliver(index)?;
            self.look_again()?;
        }
        Ok(())
    }

    /// Sends one of the parts that gave way to all else. Gives whether there was one.
    pub(super) fn send_one_late_part(&mut self) -> Result<bool> {
        if !self.is_sending() {
            return Ok(false);
        }
        let now = self.effects.now(None);
        let mut left = (0..self.state.outbox.len()).filter(|index| self.can_go(*index, now));
        match left.find(|index| self.state.outbox[*index].gives_way()) {
            Some(index) => self.deliver(index).map(|_| true),
            None => Ok(false),
        }
    }

    /// Tries one of the DMs that failed again and again, where no other one went through that would
    /// tell whose fault it is. Gives whether there was one.
    pub(super) fn send_one_in_doubt(&mut self) -> Result<bool> {
        self.outgoing.tries_all = true;
        match self.next_to_send() {
            Some(index) => self.deliver(index).map(|_| true),
            None => self.send_one_late_part(),
        }
    }

    /// Which DM goes next: the one that the last commit announced. Where one failed again and again, the
    /// one with the fewest failures, to see whose fault it is. Then alerts that this run made, since they
    /// wait for no backlog and no recovery; past the run's time the first part of each before the rest of
    /// any. Then the oldest.
    pub(super) fn next_to_send(&mut self) -> Option<usize> {
        if !self.is_sending() {
            return None;
        }
        let now = self.effects.now(None);
        let is_over = self.is_past_its_time();
        let outbox = &self.state.outbox;
        let in_doubt = outbox.iter().any(|dm| dm.failures >= FAILURES_IN_DOUBT);
        let is_short = |index: &usize| !outbox[*index].gives_way();
        let can_go = (0..outbox.len()).filter(|index| self.can_go(*index, now));
        can_go.filter(is_short).min_by_key(|index| {
            let dm = &outbox[*index];
            let is_announced = self.outgoing.announced.as_ref() == Some(&dm.id);
            let is_alert = self.is_made(*index) && !dm.is_recovery;
            let failures = if in_doubt { dm.failures } else { 0 };
            let is_rest = is_over && dm.begun.is_some();
            (!is_announced, failures, !is_alert, is_rest)
        })
    }

    fn is_sending(&self) -> bool {
        self.effects.route() == Route::Slack && !self.outgoing.stopped
    }

    fn is_made(&self, index: usize) -> bool {
        let dm = &self.state.outbox[index];
        self.outgoing.made.contains_key(&dm.id)
    }

    fn can_go(&self, index: usize, now: Timestamp) -> bool {
        let dm = &self.state.outbox[index];
        let is_paused = |paused: &Paused| {
            let left = paused.until.duration_since(now);
            // Further ahead than any pause is a clock that was set back.
            left > SignedDuration::ZERO && left <= LONGEST_PAUSE
        };
        let is_in_doubt = dm.failures >= FAILURES_IN_DOUBT;
        let is_its_turn = !is_in_doubt || self.outgoing.proven || self.outgoing.tries_all;
        is_its_turn
            && !dm.is_waiting()
            && dm.given_up.is_none()
            && !self.outgoing.tried.contains(&dm.id)
            && !dm.paused.as_ref().is_some_and(is_paused)
            && (self.is_made(index) || !self.is_past_its_time())
    }

    /// Gives up what is too old, and what could not be written to `undelivered.jsonl` before.
    fn give_up_the_dead(&mut self) -> Result<()> {
        let now = self.effects.now(None);
        let config = self.config;
        let reason = |dm: &Dm| {
            let is_expired = config.is_expired(dm.queued_at, now);
            let expired = is_expired.then(|| "expired".to_owned());
            Some((dm.id.clone(), dm.given_up.clone().or(expired)?))
        };
        let dead: Vec<_> = self.state.outbox.iter().filter_map(reason).collect();
        if dead.is_empty() {
            return Ok(());
        }
        for (id, reason) in dead {
            let Some(index) = self.state.outbox.iter().position(|dm| dm.id == id) else {
                continue;
            };
            if self.move_to_undelivered(index, &reason) && reason == "expired" {
                self.report.outbox.expired += 1;
            }
        }
        self.commit(Durability::Full)
    }

    /// Warns of DMs that stay queued although nothing was told of them in this run.
    pub(super) fn warn_of_pending(&self) {
        let outbox = &self.state.outbox;
        let pending = outbox.len() - self.outgoing.reported;
        let (why, number) = match self.effects.route() {
            Route::SlackWithout(variable) => (format!("{variable} is not set"), pending),
            route if route.is_printed() => ("they are for Slack".to_owned(), pending),
            Route::Slack if !self.outgoing.stopped => {
                let is_untold = |dm: &&Dm| {
                    let is_told = self.outgoing.tried.contains(&dm.id) || dm.given_up.is_some();
                    !is_told && !dm.is_waiting()
                };
                let mut untold = outbox.iter().filter(is_untold);
                let Some(first) = untold.next() else {
                    return;
                };
                let cause = first.cause.as_deref().unwrap_or("the run's time was over");
                (cause.to_owned(), 1 + untold.count())
            }
            _ => return,
        };
        if number > 0 {
            let dms = count(number as u64, "DM stays", "DMs stay");
            warn!("{dms} queued: {why}");
        }
    }

    fn give_up(&mut self, index: usize, reason: &str) -> Result<()> {
        self.move_to_undelivered(index, reason);
        self.commit(Durability::Full)
    }

    /// Moves a DM to `undelivered.jsonl`, and only then out of the outbox; the caller commits. Where
    /// that file cannot be written, it stays for the next run to move, is sent no more, and the
    /// others go on. Gives whether it was moved.
    fn move_to_undelivered(&mut self, index: usize, reason: &str) -> bool {
        let dm = &mut self.state.outbox[index];
        dm.given_up = None;
        let row = Undelivered::new(dm, reason, self.effects.now(None));
        if let Err(error) = self.effects.give_up(&row) {
            dm.cause = Some(format!("{reason}, and undelivered.jsonl cannot be written"));
            dm.given_up = Some(reason.to_owned());
            let lost = dm.clone();
            self.stand_alone(&lost);
            self.warn_once(format!("DMs that were given up stay queued: {error:#}"));
            return false;
        }
        warn!(
            "the DM about {} went to undelivered.jsonl: {reason}",
            dm.probe
        );
        self.given_up(index);
        true
    }

    fn given_up(&mut self, index: usize) {
        if let Some(dm) = self.state.outbox.remove(index) {
            self.stand_alone(&dm);
        }
        self.report.tally.undelivered += 1;
        self.state.counters.undelivered += 1;
    }

    /// Takes out what lies in `undelivered.jsonl` under one of these ids: a run or a reset was
    /// killed between the two files.
    pub fn drop_given_up(&mut self, ids: &HashSet<String>) -> Result<()> {
        let owed = self.state.queue.len();
        self.state.queue.retain(|one| !ids.contains(&one.id));
        let dropped = owed - self.state.queue.len();
        self.report.tally.undelivered += dropped as u64;
        let is_given_up = |dm: &Dm| ids.contains(&dm.id);
        while let Some(index) = self.state.outbox.iter().position(is_given_up) {
            self.given_up(index);
        }
        if self.report.tally.undelivered == 0 {
            return Ok(());
        }
        let number = self.report.tally.undelivered;
        let dms = count(number, "DM lies", "DMs lie");
        warn!("{dms} in undelivered.jsonl since an earlier run or reset was killed");
        self.commit(Durability::Full)
    }

    /// What follows a DM that was given up has to stand alone, also where a part of it was delivered.
    fn stand_alone(&mut self, lost: &Dm) {
        let follows = match (&lost.begun, &lost.follows) {
            (None, _) => Follows::Dm(lost.id.clone()),
            (Some(begun), None) => match &begun.thread {
                Some(thread) => Follows::Thread(thread.clone()),
                None => return,
            },
            // A part of it was delivered into the thread of another one.
            (Some(_), Some(_)) => return,
        };
        for dm in &mut self.state.outbox {
            if dm.id != lost.id && dm.follows.as_ref() == Some(&follows) {
                message::take_over(dm, lost);
            }
        }
        self.resolve(&follows, &Follows::Undelivered);
    }

    /// Sends a DM, part by part.
    pub(super) fn deliver(&mut self, index: usize) -> Result<()> {
        let id = self.state.outbox[index].id.clone();
        let announced = self.outgoing.announced.take_if(|one| *one == id);
        let mut announced = announced.is_some();
        // How much of the message may have arrived already, in bytes.
        let mut doubt = if announced {
            0
        } else {
            reach(&self.state.outbox[index])
        };
        let mut tries = Tries::default();
        loop {
            let part = self.next_part(index, doubt > 0);
            if !std::mem::replace(&mut announced, true) {
                self.state.outbox[index].delivery = Delivery::BeingSent;
                self.commit(Durability::Full)?;
            }
            let thread = self.thread_of(index);
            let posted = self.effects.post(&part.text, thread.as_ref());
            if matches!(posted, Posted::Unknown { .. }) {
                doubt = doubt.max(part.length);
            }
            match posted {
                Posted::Delivered(own) => {
                    if !self.go_on(index, part, thread.or(own), &mut doubt)? {
                        return Ok(());
                    }
                    (tries, announced) = (Tries::default(), false);
                }
                posted => {
                    if !self.tries_again(index, &posted, &mut tries, thread.is_some()) {
                        return self.not_delivered(index, &posted, doubt > 0);
                    }
                }
            }
        }
    }

    /// Slack took a part. Gives whether the next one follows now.
    fn go_on(
        &mut self,
        index: usize,
        part: Part,
        thread: Option<Thread>,
        doubt: &mut usize,
    ) -> Result<bool> {
        self.part_delivered(index, thread);
        if part.rest.is_empty() && self.state.outbox[index].further.is_empty() {
            return self.delivered(index).map(|()| false);
        }
        self.state.outbox[index].go_on_with(part.rest);
        *doubt = doubt.saturating_sub(part.length);
        self.state.outbox[index].settle(*doubt > 0);
        self.look_again()?;
        match self.breaks_off(index) {
            Some(cause) => self.stays(index, cause).map(|()| false),
            None => Ok(true),
        }
    }

    /// Makes ready for one more try of a part, and gives whether there is one.
    fn tries_again(
        &mut self,
        index: usize,
        posted: &Posted,
        tries: &mut Tries,
        in_thread: bool,
    ) -> bool {
        match posted {
            Posted::RateLimited { retry_after, .. } => {
                tries.limited += 1;
                let is_in_time = self.time_left().is_none_or(|left| *retry_after < left);
                let goes_on = tries.limited < MOST_RATE_LIMITED && is_in_time;
                if goes_on {
                    self.effects.pause(*retry_after);
                }
                goes_on
            }
            Posted::NotSent { .. } | Posted::Unknown { .. } => {
                tries.failed += 1;
                let goes_on = tries.failed < 2;
                if goes_on {
                    self.effects.pause(RETRY_PAUSE);
                }
                goes_on
            }
            Posted::ThreadGone { .. } if in_thread => {
                self.state.outbox[index].leave_thread();
                *tries = Tries::default();
                true
            }
            _ => false,
        }
    }

    /// Where the next part goes. A thread with another operator is none.
    fn thread_of(&self, index: usize) -> Option<Thread> {
        let thread = self.state.outbox[index].thread()?;
        let operator = &self.config.slack.operator;
        let is_with = |to: &String| operator.as_ref() == Some(to);
        thread
            .operator
            .as_ref()
            .is_none_or(is_with)
            .then(|| thread.clone())
    }

    /// Slack took a part; `thread` is where the next one goes. With the first one, what follows this
    /// DM can go.
    fn part_delivered(&mut self, index: usize, mut thread: Option<Thread>) {
        if let Some(thread) = &mut thread {
            thread.operator.clone_from(&self.config.slack.operator);
        }
        let dm = &mut self.state.outbox[index];
        let is_first = dm.begun.is_none();
        let begun = dm.begun.get_or_insert(Begun {
            parts: 0,
            thread: None,
        });
        begun.parts += 1;
        begun.thread = thread.clone();
        if is_first {
            let follows = Follows::Dm(dm.id.clone());
            self.resolve(&follows, &thread.map_or(Follows::TopLevel, Follows::Thread));
        }
    }

    /// Tells all that follow a DM where it went.
    fn resolve(&mut self, from: &Follows, to: &Follows) {
        let dms = self.state.outbox.iter_mut().map(|dm| &mut dm.follows);
        let owed = self.state.queue.iter_mut().map(|one| &mut one.told);
        let logs = self.state.logs.values_mut();
        let episodes = logs.flat_map(|log| log.episodes.iter_mut().map(|one| &mut one.told));
        for follows in dms.chain(owed).chain(episodes) {
            if follows.as_ref() == Some(from) {
                *follows = Some(to.clone());
            }
        }
    }

    /// Why a message of many parts goes on later. Past the run's time the first parts of what it made
    /// still go out, behind the beginnings of all that it made.
    fn breaks_off(&mut self, index: usize) -> Option<String> {
        let is_over = self.is_past_its_time();
        let gives_way = self.state.outbox[index].gives_way();
        if is_over && (gives_way || !self.is_made(index)) {
            let dm = &self.state.outbox[index];
            self.outgoing.tried.insert(dm.id.clone());
            let cause = "the run's time was over between its parts";
            warn!("the DM about {} stays queued: {cause}", dm.probe);
            return Some(cause.to_owned());
        }
        let goes_behind = gives_way || is_over && self.next_to_send() != Some(index);
        goes_behind.then(|| "its further parts go out behind all else".to_owned())
    }

    fn delivered(&mut self, index: usize) -> Result<()> {
        self.state.counters.delivered += 1;
        self.outgoing.proven = true;
        let dm = self.state.outbox.remove(index);
        self.commit(Durability::Full)?;
        let Some(dm) = dm else {
            return Ok(());
        };
        info!("the DM about {} was delivered", dm.probe);
        let was_made = self.outgoing.made.contains_key(&dm.id);
        match self.outgoing.made.get_mut(&dm.id) {
            Some(is_delivered) => *is_delivered = true,
            None => self.report.outbox.delivered += 1,
        }
        if !was_made || self.outgoing.failed_rows.remove(&dm.id) {
            let now = self.effects.now(None);
            self.effects.record(&outcome::delivered(&dm, now));
        }
        Ok(())
    }

    /// A DM that was tried and could not be delivered. Where others go through, the fault is its
    /// own, and it holds nobody up.
    fn not_delivered(&mut self, index: usize, posted: &Posted, doubtful: bool) -> Result<()> {
        let now = self.effects.now(None);
        let proven = self.outgoing.proven;
        let cause = posted.cause();
        let dm = &mut self.state.outbox[index];
        dm.settle(doubtful);
        if matches!(posted, Posted::MessageFault { .. }) {
            return self.give_up(index, cause);
        }
        let is_again = dm.failures > 0 && proven || dm.paused.is_some();
        self.outgoing.tried.insert(dm.id.clone());
        match posted {
            Posted::NotSent { .. } | Posted::RateLimited { .. } => self.outgoing.stopped = true,
            Posted::Unknown { .. } if is_again => {
                dm.failures += 1;
                let count = dm.paused.as_ref().map_or(0, |paused| paused.count);
                if count >= MOST_PAUSES {
                    return self.give_up(index, cause);
                }
                let pause = (FIRST_PAUSE * (1 << count)).min(LONGEST_PAUSE);
                dm.paused = Some(Paused {
                    until: now.checked_add(pause).unwrap_or(Timestamp::MAX),
                    count: count + 1,
                });
            }
            Posted::Refused { .. } | Posted::ThreadGone { .. } if is_again && proven => {
                return self.give_up(index, cause);
            }
            _ => {
                dm.failures += 1;
                self.outgoing.stopped = true;
            }
        }
        self.state.counters.failed += 1;
        let probe = &self.state.outbox[index].probe;
        warn!("the DM about {probe} stays queued: {cause}");
        self.stays(index, cause.to_owned())
    }

    fn stays(&mut self, index: usize, cause: String) -> Result<()> {
        self.state.outbox[index].cause = Some(cause);
        self.commit(Durability::Full)
    }

    fn next_part(&mut self, index: usize, doubtful: bool) -> Part {
        let now = self.effects.now(None);
        let dm = &self.state.outbox[index];
        match self.effects.route() {
            Route::Slack => part(dm, doubtful, now),
            _ => Part {
                text: everything(dm, now),
                length: 0,
                rest: String::new(),
            },
        }
    }
}

/// The text with its notes; one that was begun has its notes in the text.
fn whole(dm: &Dm, now: Timestamp) -> Cow<'_, str> {
    let late = message::late_note(dm, now);
    let notes: Vec<String> = dm.notes.iter().cloned().chain(late).collect();
    if dm.begun.is_some() || notes.is_empty() {
        return Cow::Borrowed(&dm.text);
    }
    Cow::Owned(with_notes(&dm.text, &notes))
}

/// All parts in one, for what takes a text of any length.
fn everything(dm: &Dm, now: Timestamp) -> String {
    let whole = whole(dm, now);
    match dm.further.as_str() {
        "" => whole.into_owned(),
        further => format!("{whole}\n\n{further}"),
    }
}

/// How much of a message a request that was never answered may have delivered, in bytes. A line
/// about lateness behind it counts for nothing: it is not the same twice.
fn reach(dm: &Dm) -> usize {
    if !dm.may_be_repeat() {
        return 0;
    }
    let message = with_notes(&dm.text, &dm.notes);
    let (_, rest) = slack::next_message(&message, PART_LIMIT);
    message.len() - rest.len()
}

/// Cuts off as much as one Slack message takes. A doubt is told in the very parts that it is about,
/// and its line makes these longer, so that there can be more of them than before.
fn part(dm: &Dm, doubtful: bool, now: Timestamp) -> Part {
    let whole = whole(dm, now);
    let limit = match doubtful {
        true => PART_LIMIT - MAY_BE_REPEAT.len() - 2,
        false => PART_LIMIT,
    };
    let (part, rest) = slack::next_message(&whole, limit);
    // Behind other notes it is one more line of theirs.
    let ends_in_notes = rest.is_empty() && whole.len() > dm.text.len();
    let note = match (doubtful, ends_in_notes) {
        (false, _) => String::new(),
        (true, true) => format!("\n{MAY_BE_REPEAT}"),
        (true, false) => format!("\n\n{MAY_BE_REPEAT}"),
    };
    Part {
        text: format!("{part}{note}"),
        length: whole.len() - rest.len(),
        rest: rest.to_owned(),
    }
}

impl Dm {
    /// Slack took a part: what follows is its rest, and then what begins a new part.
    fn go_on_with(&mut self, rest: String) {
        self.text = match rest.is_empty() {
            true => std::mem::take(&mut self.further),
            false => rest,
        };
        self.notes.clear();
    }
}
