//! What an investigation knows besides its alert: the incident so far, the health of all services, other
//! alerts, earlier investigations and the log around it. Pure: what was read is cut to its budget, masked and
//! rendered here, the same for the same input. [`crate::audit::tail`] reads the log, [`earlier`] the outcome
//! rows, [`runbook`] what the operator wrote.

pub mod earlier;
pub mod lines;
pub mod runbook;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub use tests::{Folder, example};

use jiff::Timestamp;

use crate::audit::row::SEAM;
use crate::audit::tail::{Kind, Tail};
use crate::audit::wake::Wake;
use crate::incident::{Dispatch, HeldCounts, Incident};
use crate::mask::Masker;
use crate::outcome::COMPLETED_SEAM;
use crate::snapshot::Snapshot;
use crate::text::{cut, on_one_line};
use crate::time::{date, span};
use earlier::Earlier;

/// All of the context fits into this many bytes.
pub const MOST_BYTES: usize = 8 * 1024;
/// What each part may take; the log around the alert gets the rest.
const MOST_INCIDENT: usize = 1_500;
const MOST_SERVICES: usize = 700;
const MOST_OTHERS: usize = 2_000;
const MOST_EARLIER: usize = 1_700;
const MOST_LINE: usize = 1_200;
/// The most bytes of a text within a line.
const MOST_TEXT: usize = 300;

/// What the engine is sent from other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing but the alert and its incident.
    Off,
    /// Everything but the details of other seams' rows.
    Kinds,
    /// The details of each kind's last rows too.
    Rows,
}

/// A wake that is asked about, with what is known about its pair. A digest has several.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub wake: &'a Wake,
    pub dispatch: &'a Dispatch,
    /// Its pair's incident, which includes this wake; `None` if it was forgotten.
    pub incident: Option<&'a Incident>,
    pub last_diagnosis: Option<String>,
    /// Investigations before this incident, the oldest first.
    pub earlier: Vec<Earlier>,
}

impl Subject<'_> {
    fn wakes(&self) -> u64 {
        self.incident.map_or(1, |incident| incident.wakes)
    }
}

/// What is gathered for one question.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    pub mode: Mode,
    /// When the question is asked.
    pub now: Timestamp,
    pub subjects: Vec<Subject<'a>>,
    /// Set only if it is fresh.
    pub snapshot: Option<&'a Snapshot>,
    /// Incidents of other pairs with a wake in the time before the alert.
    pub others: Vec<&'a Incident>,
    pub tail: Option<&'a Tail>,
    pub masker: Masker<'a>,
}

impl Context<'_> {
    /// Returns what the prompt says besides the alert, in at most [`MOST_BYTES`].
    pub fn render(&self) -> String {
        let mut text = self.incidents();
        if self.mode != Mode::Off {
            text += &self.services();
            text += &self.other_alerts();
            text += &self.earlier();
            text += &self.log_around(MOST_BYTES - text.len());
        }
        text
    }

    /// Returns the pair's name if there are several alerts.
    fn named(&self, subject: &Subject) -> String {
        match self.subjects.len() {
            1 => String::new(),
            _ => format!("{} {}: ", subject.wake.probe, subject.wake.category),
        }
    }

    fn incidents(&self) -> String {
        let is_single = self.subjects.len() == 1;
        let is_told = |one: &&Subject| is_single || one.wakes() > 1;
        let lines = self.subjects.iter().filter(is_told).map(|subject| {
            let Dispatch { number, since, .. } = subject.dispatch;
            let mut line = self.named(subject);
            line += &match subject.wakes() {
                0 | 1 => "this is its first alert.".to_owned(),
                count => format!(
                    "{count} alerts since {}, this one included.",
                    self.time(*since)
                ),
            };
            let incident = subject.incident;
            let held = incident.map_or(HeldCounts::default(), |one| one.held_back.counts);
            for (what, count) in [
                ("messages sent before", number - 1),
                ("repeats held back", held.repeat),
                ("silenced", held.silenced),
                ("acknowledged", held.acknowledged),
            ] {
                if count > 0 {
                    line += &format!(" {what}: {count}.");
                }
            }
            let titles = incident.iter().flat_map(|one| &one.titles);
            for title in titles.filter(|title| **title != subject.wake.title) {
                line += &format!(" Earlier title: {}.", cut(title, MOST_TEXT / 2));
            }
            if let Some(diagnosis) = &subject.last_diagnosis {
                line += &format!(" The last diagnosis, a guess: {}", quoted(diagnosis));
            }
            self.line(&line)
        });
        let title = "The incident so far";
        section(title, lines.collect(), MOST_INCIDENT, "others")
    }

    fn services(&self) -> String {
        let Some(snapshot) = self.snapshot else {
            return String::new();
        };
        let age = span(self.now.duration_since(snapshot.computed_at));
        let services = snapshot.services();
        let services = services.map(|(name, health)| format!("{name} {health}"));
        let services = services.collect::<Vec<_>>().join(", ");
        let line = self.line(&cut(&services, MOST_SERVICES - 100));
        let title = format!("Service health as seen {age} ago");
        section(&title, vec![line], MOST_SERVICES, "services")
    }

    fn other_alerts(&self) -> String {
        let mut others = self.others.clone();
        others.sort_by_key(|other| (other.last_raised, &other.pair));
        let lines = others.iter().map(|other| {
            let recovered = other.recovered.map(|at| other.healthy_at.unwrap_or(at));
            let recovered = recovered.map(|at| self.time(at));
            let recovered = recovered.map(|at| format!("recovered {at}"));
            self.line(&format!(
                "{} {} ({}), {}, {}: {} / {}",
                other.pair.probe,
                other.pair.category,
                other.worst.name(),
                self.times(other.wakes, other.first_wake, other.last_raised),
                recovered.as_deref().unwrap_or("no recovery seen"),
                cut(&other.title, MOST_TEXT),
                cut(&other.detail, MOST_TEXT),
            ))
        });
        let title = "Other alerts, the latest last";
        section(title, lines.collect(), MOST_OTHERS, "older alerts")
    }

    fn earlier(&self) -> String {
        let all = self.subjects.iter().flat_map(|subject| {
            let earlier = subject.earlier.iter();
            earlier.map(|earlier| (earlier.raised, self.named(subject), earlier))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by(|(one, name, _), (other, other_name, _)| (one, name).cmp(&(other, other_name)));
        let lines = all.iter().map(|(at, name, earlier)| {
            let title = earlier.title.as_ref().map(|title| format!("{title} "));
            let diagnosis = earlier.diagnosis.as_deref().map(quoted);
            self.line(&format!(
                "{name}{}{}: {}{}",
                self.time(*at),
                earlier.over(*at),
                title.unwrap_or_default(),
                diagnosis.as_deref().unwrap_or("(no diagnosis)"),
            ))
        });
        let title =
            "Earlier incidents of this pair, the latest last, each with the guess made then";
        section(title, lines.collect(), MOST_EARLIER, "older ones")
    }

    fn log_around(&self, most: usize) -> String {
        let Some(tail) = self.tail else {
            return String::new();
        };
        let sessions = self.subjects.iter().map(|one| one.wake.caller_session_id());
        let sessions: Vec<_> = sessions.collect();
        let is_own = |kind: &&Kind| sessions.contains(&kind.session);
        // Leaves out what other parts of the context say.
        let is_new = |kind: &&Kind| match (kind.seam.as_str(), is_own(kind)) {
            (SEAM, true) => kind.count > 1,
            (SEAM, false) | (COMPLETED_SEAM, true) => false,
            _ => true,
        };
        let kinds = tail.kinds.iter().filter(is_new);
        let (own, others): (Vec<_>, Vec<_>) = kinds.partition(is_own);
        let commonest_first = |rows| {
            let kinds = own.iter().chain(&others).rev();
            let lines: Vec<_> = kinds.map(|kind| self.kind(kind, rows)).collect();
            (lines.iter().map(String::len).sum::<usize>(), lines)
        };
        let from = tail.cut_at.unwrap_or(*tail.window.start());
        let mut title = format!(
            "The log from {} to {}, kinds of rows, the rarest first",
            self.time(from),
            self.time(*tail.window.end())
        );
        if tail.cut_at.is_some() {
            title += " (cut: what is older was not read)";
        }
        if tail.left_out > 0 {
            title += &format!(" (cut: {} rows too many or too long)", tail.left_out);
        }
        let most = most.saturating_sub(title.len() + 2);
        let (size, mut lines) = commonest_first(usize::MAX);
        if size > most {
            (_, lines) = commonest_first(1);
        }
        let mut lines = fitting(lines, most, "commoner kinds");
        lines.reverse();
        titled(&title, &lines)
    }

    /// Returns a kind's line and, below it, this many of its newest rows.
    fn kind(&self, kind: &Kind, rows: usize) -> String {
        let session = format!("in {}", kind.session);
        let mut names = vec![kind.seam.as_str(), &kind.fields, &session];
        names.retain(|name| !matches!(*name, "" | "in "));
        let times = self.times(kind.count, kind.first, kind.last);
        let mut text = self.line(&format!("{}: {times}", names.join(" ")));
        if self.mode == Mode::Rows || kind.seam == SEAM {
            // The alert itself is shown in full.
            let alerts = self.subjects.iter().map(|one| one.wake.raised_at());
            let alerts: Vec<_> = alerts.collect();
            let mut shown: Vec<_> = kind.rows.iter().collect();
            shown.retain(|(at, _)| kind.seam != SEAM || !alerts.contains(&Some(*at)));
            for (at, details) in &shown[shown.len().saturating_sub(rows)..] {
                text += &format!("  {} {}\n", self.time(*at), on_one_line(details));
            }
        }
        text
    }

    /// Returns the text, masked, on a line of its own.
    fn line(&self, text: &str) -> String {
        let text = on_one_line(&self.masker.text(text.to_owned()));
        format!("- {}\n", cut(text.trim_end(), MOST_LINE))
    }

    /// Returns a time, with its date unless that is today.
    fn time(&self, time: Timestamp) -> String {
        let format = match date(time) == date(self.now) {
            true => "%H:%M:%S",
            false => "%Y-%m-%d %H:%M:%S",
        };
        time.strftime(format).to_string()
    }

    fn times(&self, count: u64, first: Timestamp, last: Timestamp) -> String {
        match count {
            1 => format!("once, {}", self.time(first)),
            _ => format!("{count} times, {} to {}", self.time(first), self.time(last)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text.trim(), MOST_TEXT + MOST_TEXT / 2))
}

fn section(title: &str, lines: Vec<String>, most: usize, what: &str) -> String {
    titled(title, &fitting(lines, most - title.len() - 2, what))
}

fn titled(title: &str, lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => format!("{title}:\n{}", lines.concat()),
    }
}

/// Returns the last lines that fit together, below a note on how many were dropped.
fn fitting(mut lines: Vec<String>, most: usize, what: &str) -> Vec<String> {
    const NOTE: usize = 60;
    if lines.iter().map(String::len).sum::<usize>() <= most {
        return lines;
    }
    let mut left = most.saturating_sub(NOTE);
    let fit = lines.iter().rev().map_while(|line| {
        left = left.checked_sub(line.len())?;
        Some(line)
    });
    let dropped = lines.len() - fit.count();
    lines.drain(..dropped);
    lines.insert(0, format!("- [cut: {dropped} {what}]\n"));
    lines
}
