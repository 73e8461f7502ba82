//! `silence` and `ack`: the operator's word that alerts are expected, or known. Neither takes the lock: a run
//! in progress finds the file at its next look.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};
use log::warn;
use serde::Serialize;

use super::print_as;
use crate::cli::{AckArgs, Global, SilenceArgs};
use crate::config::Config;
use crate::context::earlier::Past;
use crate::exit::{Ended, Exit, Problem};
use crate::files::become_owner;
use crate::incident::{Acknowledged, Incident, LONGEST, Pair, Scope, Silence};
use crate::mask::Masker;
use crate::outcome;
use crate::report::{count, tell};
use crate::state::{LogState, Store, silences};
use crate::text::{close_names, first_few, on_one_line};
use crate::time::{self, DURATIONS, clock, span};

/// The most bytes of outcome rows that known pairs are looked for in.
const MOST_OUTCOMES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Serialize)]
struct List {
    version: u32,
    silences: Vec<Listed>,
}

/// A silence or an acknowledgement in a list.
#[derive(Debug, Serialize)]
pub struct Listed {
    pair: String,
    since: Timestamp,
    until: Timestamp,
    reason: Option<String>,
    acknowledgement: bool,
    /// How many wakes it has held back.
    wakes: u64,
}

pub fn silence(flags: &Global, args: &SilenceArgs) -> Ended {
    let config = Config::load(flags)?;
    act_as_owner(&config)?;
    let mut store = Store::at(&config.paths.state_dir);
    store.check()?;
    let state = store.load();
    let kept = state
        .as_ref()
        .ok()
        .and_then(|state| state.log(&config.paths.audit_log));
    let Some(name) = &args.pair else {
        return list(&store, kept, args);
    };
    let now = Timestamp::now();
    let known = known(&config, &store, kept);
    let scope = Scope::parse(name, known.iter());
    if scope.is_empty() {
        let problem = Problem::usage(format!("'{}' names no pair", on_one_line(name)));
        return Err(problem.with_next_step("give a probe, probe:category, or all"));
    }
    if args.end {
        return end(&store, &scope, name, now);
    }
    let until = until(args.for_.as_deref(), SignedDuration::from_hours(1), now)?;
    Store::create(&config.paths.state_dir)?;
    let silence = Silence {
        scope,
        since: now,
        until,
        reason: args.reason.as_deref().and_then(reason),
        acknowledges: None,
    };
    silences::put(&store, &silence)?;
    warn_of_unknown(&silence.scope, &known);
    let shown = on_one_line(&silence.scope.to_string());
    tell(&format!("{shown} is silenced until {}.", clock(until, now)));
    Ok(Exit::Done)
}

pub fn ack(flags: &Global, args: &AckArgs) -> Ended {
    let config = Config::load(flags)?;
    act_as_owner(&config)?;
    let mut store = Store::at(&config.paths.state_dir);
    let state = store.load()?;
    let kept = state.log(&config.paths.audit_log);
    let now = Timestamp::now();
    let known = known(&config, &store, kept);
    let scope = Scope::parse(&args.pair, known.iter());
    let until = until(args.for_.as_deref(), SignedDuration::from_hours(4), now)?;
    let incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
    let is_open = |one: &&Incident| one.is_open(&config.debounce, now) && scope.covers(&one.pair);
    let open: Vec<_> = incidents.filter(is_open).collect();
    if open.is_empty() {
        let error = anyhow!("no open incident of {}", on_one_line(&args.pair));
        return Err(Problem::new(Exit::Failed, error)
            .with_next_step("probe-wake status lists what is open"));
    }
    for incident in open {
        let silence = Silence {
            scope: Scope::Pair(incident.pair.clone()),
            since: now,
            until,
            reason: None,
            acknowledges: Some(Acknowledged {
                log: state.log_key(&config.paths.audit_log),
                first_wake: incident.first_wake,
                by_reaction: false,
            }),
        };
        silences::put(&store, &silence)?;
        let shown = on_one_line(&silence.scope.to_string());
        tell(&format!(
            "{shown} is acknowledged until {}.",
            clock(until, now)
        ));
    }
    Ok(Exit::Done)
}

/// Returns a reason as messages and lists show it: one line of at most 200 characters.
fn reason(text: &str) -> Option<String> {
    let text: String = on_one_line(text.trim()).chars().take(200).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// A silence that root makes must be readable by the runs.
fn act_as_owner(config: &Config) -> anyhow::Result<()> {
    let dir = &config.paths.state_dir;
    become_owner(dir).with_context(|| format!("cannot act as the owner of {}", dir.display()))
}

/// Returns the pairs of the state, and those of earlier outcome rows.
fn known(config: &Config, store: &Store, kept: Option<&LogState>) -> Vec<Pair> {
    let files = [outcome::TURNED_FILE, outcome::FILE].map(|file| store.path(file));
    let files = files.iter().map(PathBuf::as_path);
    let secrets = config.secrets();
    let past = Past::read(files, MOST_OUTCOMES, Masker { secrets });
    let earlier = past.pairs_since(Timestamp::MIN);
    let earlier = earlier.map(|(probe, category)| Pair {
        probe: probe.to_owned(),
        category: category.to_owned(),
    });
    let incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
    incidents
        .map(|one| one.pair.clone())
        .chain(earlier)
        .collect()
}

fn until(
    text: Option<&str>,
    default: SignedDuration,
    now: Timestamp,
) -> Result<Timestamp, Problem> {
    let length = match text {
        None => default,
        Some(text) => time::duration(text)
            .filter(|length| !length.is_zero())
            .ok_or_else(|| {
                Problem::usage(format!("--for {text}: not a duration such as {DURATIONS}"))
            })?,
    };
    if length > LONGEST {
        return Err(Problem::usage("--for: at most 30 days"));
    }
    now.checked_add(length)
        .map_err(|error| Problem::usage(format!("--for: {error}")))
}

/// Ends the silence of that name. What a name with colons means may have changed since it was made.
fn end(store: &Store, scope: &Scope, name: &str, now: Timestamp) -> Ended {
    let shown = on_one_line(name);
    let is_it = |one: &Silence| one.scope == *scope || one.scope.to_string() == name;
    let silences = silences::list(store)
        .into_iter()
        .filter(|one| one.acknowledges.is_none() && !one.is_over(now) && is_it(one));
    let Some(mut silence) = silences.max_by_key(|one| one.scope == *scope) else {
        let error = anyhow!("{shown} is not silenced");
        return Err(
            Problem::new(Exit::Failed, error).with_next_step("probe-wake silence lists what is")
        );
    };
    silence.until = now;
    silences::put(store, &silence)?;
    tell(&format!("The silence of {shown} is over."));
    Ok(Exit::Done)
}

/// Whether a silence still holds anything back: an acknowledgement ends with its incident.
fn is_in_force(silence: &Silence, kept: Option<&LogState>, now: Timestamp) -> bool {
    let is_held = || {
        let mut incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
        incidents.any(|one| silence.holds(one, now))
    };
    !silence.is_over(now) && (silence.acknowledges.is_none() || is_held())
}

/// A silence of a pair that was never seen may be misspelt.
fn warn_of_unknown(scope: &Scope, known: &[Pair]) {
    if *scope == Scope::All || known.iter().any(|pair| scope.covers(pair)) {
        return;
    }
    let typed = scope.to_string();
    let names = known
        .iter()
        .flat_map(|pair| [pair.probe.clone(), Scope::Pair(pair.clone()).to_string()]);
    let names: BTreeSet<_> = names.collect();
    let close = close_names(&typed, names.into_iter());
    let close: Vec<_> = close.iter().map(|name| on_one_line(name)).collect();
    let close = match close.as_slice() {
        [] => String::new(),
        close => format!("; close to it: {}", first_few(close, 5)),
    };
    warn!("{} has not been seen yet{close}", on_one_line(&typed));
}

/// Returns the silences that still hold anything back, the one that ends first in front.
pub fn in_force(store: &Store, kept: Option<&LogState>, now: Timestamp) -> Vec<Silence> {
    let silences = silences::list(store).into_iter();
    let mut silences: Vec<_> = silences.filter(|one| is_in_force(one, kept, now)).collect();
    silences.sort_by_key(|one| one.until);
    silences
}

fn list(store: &Store, kept: Option<&LogState>, args: &SilenceArgs) -> Ended {
    let now = Timestamp::now();
    let silences = in_force(store, kept, now).into_iter();
    let list = List {
        version: 1,
        silences: silences.map(|one| Listed::new(one, kept)).collect(),
    };
    let mut lines: Vec<_> = list.silences.iter().map(|one| one.line(now)).collect();
    if lines.is_empty() {
        lines.push("Nothing is silenced.".to_owned());
    }
    print_as(args.format.format, &list, &lines).context("cannot print the list")?;
    Ok(Exit::Done)
}

impl Listed {
    pub fn new(silence: Silence, kept: Option<&LogState>) -> Self {
        Self {
            wakes: kept.map_or(0, |kept| kept.held_back_by(&silence)),
            pair: silence.scope.to_string(),
            since: silence.since,
            until: silence.until,
            reason: silence.reason,
            acknowledgement: silence.acknowledges.is_some(),
        }
    }

    /// Returns it as a line for a person.
    pub fn line(&self, now: Timestamp) -> String {
        let what = match self.acknowledgement {
            true => "acknowledged",
            false => "silenced",
        };
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})"));
        let wakes = count(self.wakes, "wake", "wakes");
        let wakes = (self.wakes > 0).then(|| format!(", {wakes} held back"));
        let line = format!(
            "{}: {what} since {} until {} ({} left){}{}",
            self.pair,
            clock(self.since, now),
            clock(self.until, now),
            span(self.until.duration_since(now)),
            reason.unwrap_or_default(),
            wakes.unwrap_or_default(),
        );
        on_one_line(&line)
    }
}
