//! `silence` and `ack`: the operator's word that alerts are expected, or known. Neither takes the lock: a run
//! in progress finds the file at its next look.

use std::collections::BTreeSet;

use anyhow::Context;
use jiff::Timestamp;
use log::warn;
use serde::Serialize;

use super::{past, print_as};
use crate::cli::{AckArgs, Global, SilenceArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::files::become_owner;
use crate::incident::{Acknowledged, Incident, LONGEST, Pair, Scope, Silence};
use crate::report::{count, tell};
use crate::state::{LogState, Store, silences};
use crate::text::{close_names, on_one_line, quote};
use crate::time::{self, DURATIONS, clock, span};

/// The most bytes of outcome rows that are searched for known pairs.
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
    let mut store = act_as_owner(&config)?;
    store.check()?;
    let state = store.load().ok();
    let kept = state.as_ref();
    let kept = kept.and_then(|state| state.log(&config.paths.audit_log));
    let Some(name) = &args.pair else {
        return list(&store, kept, args);
    };
    let now = Timestamp::now();
    let known = known(&config, kept);
    let scope = Scope::parse(name, known.iter());
    if scope.is_empty() {
        let problem = Problem::usage(format!("'{name}' names no pair"));
        return Err(problem.with_next_step("give a probe, probe:category, or all"));
    }
    if args.end {
        return end(&store, &scope, name, now);
    }
    let until = until(&args.for_, now)?;
    Store::create(&store.dir)?;
    warn_of_unknown(&scope, &known);
    let reason = args.reason.as_deref().map(quote);
    let silence = Silence {
        scope,
        since: now,
        until,
        reason: reason.filter(|text| !text.is_empty()),
        acknowledges: None,
    };
    put(&store, &silence, "silenced")
}

pub fn ack(flags: &Global, args: &AckArgs) -> Ended {
    let config = Config::load(flags)?;
    let mut store = act_as_owner(&config)?;
    let state = store.load()?;
    let log = &config.paths.audit_log;
    let kept = state.log(log);
    let now = Timestamp::now();
    let scope = Scope::parse(&args.pair, known(&config, kept).iter());
    let until = until(&args.for_, now)?;
    let incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
    let is_open = |one: &&Incident| one.is_open(&config.debounce, now) && scope.covers(&one.pair);
    let open: Vec<_> = incidents.filter(is_open).collect();
    if open.is_empty() {
        let what = format!("no open incident of {}", args.pair);
        return Err(Problem::failed(
            what,
            "probe-wake status lists what is open",
        ));
    }
    for incident in open {
        let silence = Silence {
            scope: Scope::Pair(incident.pair.clone()),
            since: now,
            until,
            reason: None,
            acknowledges: Some(Acknowledged {
                log: state.log_key(log),
                first_wake: incident.first_wake,
                by_reaction: false,
            }),
        };
        put(&store, &silence, "acknowledged")?;
    }
    Ok(Exit::Done)
}

/// Becomes the owner of the state folder: a silence that root makes must be readable by the runs.
fn act_as_owner(config: &Config) -> anyhow::Result<Store> {
    let dir = &config.paths.state_dir;
    become_owner(dir).with_context(|| format!("cannot act as the owner of {}", dir.display()))?;
    Ok(Store::at(dir))
}

/// Returns the pairs of the state, and those of earlier outcome rows.
fn known(config: &Config, kept: Option<&LogState>) -> Vec<Pair> {
    let incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
    let mut pairs: Vec<_> = incidents.map(|one| one.pair.clone()).collect();
    let past = past(config, MOST_OUTCOMES);
    pairs.extend(past.pairs_since(Timestamp::MIN).cloned());
    pairs
}

/// Warns of a silence of a pair that was never seen: it may be misspelt.
fn warn_of_unknown(scope: &Scope, known: &[Pair]) {
    if *scope == Scope::All || known.iter().any(|pair| scope.covers(pair)) {
        return;
    }
    let typed = scope.to_string();
    let names = |pair: &Pair| [pair.probe.clone(), Scope::Pair(pair.clone()).to_string()];
    let names: BTreeSet<_> = known.iter().flat_map(names).collect();
    let close = close_names(&typed, names.into_iter()).join(", ");
    match close.is_empty() {
        true => warn!("{typed} has not been seen yet"),
        false => warn!("{typed} has not been seen yet; close to it: {close}"),
    }
}

/// Returns when a silence that begins now ends.
fn until(length: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    match time::duration(length).filter(|parsed| !parsed.is_zero()) {
        Some(parsed) if parsed <= LONGEST => Ok(now.checked_add(parsed).unwrap_or(Timestamp::MAX)),
        Some(_) => Err(Problem::usage("--for: at most 30 days")),
        None => {
            let what = format!("--for {length}: not a duration such as {DURATIONS}");
            Err(Problem::usage(what))
        }
    }
}

fn put(store: &Store, silence: &Silence, what: &str) -> Ended {
    silences::put(store, silence)?;
    let until = clock(silence.until, silence.since);
    let line = format!("{} is {what} until {until}.", silence.scope);
    tell(&on_one_line(&line));
    Ok(Exit::Done)
}

/// Ends the silence of that name, or else the acknowledgements that it covers. The meaning of a name with
/// colons may have changed since the silence was made.
fn end(store: &Store, scope: &Scope, name: &str, now: Timestamp) -> Ended {
    let is_it = |one: &Silence| match (&one.acknowledges, &one.scope) {
        (Some(_), Scope::Pair(pair)) => scope.covers(pair),
        _ => one.scope == *scope || one.scope.to_string() == name,
    };
    let mut ended = silences::list(store);
    ended.retain(|one| !one.is_over(now) && is_it(one));
    ended.sort_by_key(|one| (one.acknowledges.is_some(), one.scope != *scope));
    if ended.first().is_some_and(|one| one.acknowledges.is_none()) {
        ended.truncate(1);
    }
    if ended.is_empty() {
        let what = format!("{name} is not silenced or acknowledged");
        return Err(Problem::failed(what, "probe-wake silence lists what is"));
    }
    for mut silence in ended {
        silence.until = now;
        silences::put(store, &silence)?;
        let what = match silence.acknowledges {
            Some(_) => "acknowledgement",
            None => "silence",
        };
        let line = format!("The {what} of {} is over.", silence.scope);
        tell(&on_one_line(&line));
    }
    Ok(Exit::Done)
}

/// Returns the silences that still hold anything back, the one that ends first at the front.
pub fn in_force(store: &Store, kept: Option<&LogState>, now: Timestamp) -> Vec<Silence> {
    let holds_any = |silence: &Silence| {
        let mut incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
        incidents.any(|one| silence.holds(one, now))
    };
    let mut silences = silences::list(store);
    // An acknowledgement ends with its incident.
    silences.retain(|one| !one.is_over(now) && (one.acknowledges.is_none() || holds_any(one)));
    silences.sort_by_cached_key(|one| (one.until, one.scope.to_string()));
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
    print_as(args.format, "the list", &list, &lines)
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

    /// Returns a line for a person.
    pub fn line(&self, now: Timestamp) -> String {
        let what = match self.acknowledgement {
            true => "acknowledged",
            false => "silenced",
        };
        let (pair, since, until) = (&self.pair, clock(self.since, now), clock(self.until, now));
        let left = span(self.until.duration_since(now));
        let mut line = format!("{pair}: {what} since {since} until {until} ({left} left)");
        if let Some(reason) = &self.reason {
            line += &format!(" ({reason})");
        }
        if self.wakes > 0 {
            line += &format!(", {} held back", count(self.wakes, "wake", "wakes"));
        }
        on_one_line(&line)
    }
}
