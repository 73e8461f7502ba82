//! `silence` and `ack`: the operator's word that alerts are expected, or known. Neither takes the lock: a run
//! in progress finds the file at its next look.

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};
use log::warn;
use serde::Serialize;

use super::print_as;
use crate::cli::{AckArgs, Global, SilenceArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::incident::{Acknowledged, Incident, LONGEST, Pair, Scope, Silence};
use crate::report::{count, tell};
use crate::state::{LogState, Store, silences};
use crate::text::{first_few, on_one_line};
use crate::time::{self, DURATIONS, clock, span};

/// How alike a name must be to be mentioned, from 0 to 1.
const CLOSE: f64 = 0.7;

#[derive(Debug, Serialize)]
struct List {
    version: u32,
    silences: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
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
    let known: Vec<Pair> = known(kept).cloned().collect();
    let scope = Scope::parse(name, known.iter());
    if args.end {
        return end(&store, &scope, now);
    }
    let until = until(args.for_.as_deref(), SignedDuration::from_hours(1), now)?;
    Store::create(&config.paths.state_dir)?;
    let silence = Silence {
        scope,
        since: now,
        until,
        reason: args.reason.clone(),
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
    let mut store = Store::at(&config.paths.state_dir);
    let state = store.load()?;
    let kept = state.log(&config.paths.audit_log);
    let now = Timestamp::now();
    let known: Vec<Pair> = known(kept).cloned().collect();
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

fn known(kept: Option<&LogState>) -> impl Iterator<Item = &Pair> {
    kept.into_iter()
        .flat_map(|kept| kept.incidents.iter().map(|one| &one.pair))
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

fn end(store: &Store, scope: &Scope, now: Timestamp) -> Ended {
    let is_it =
        |one: &Silence| one.scope == *scope && one.acknowledges.is_none() && !one.is_over(now);
    let shown = on_one_line(&scope.to_string());
    let Some(mut silence) = silences::list(store).into_iter().find(is_it) else {
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

/// A silence of a pair that was never seen may be misspelt.
fn warn_of_unknown(scope: &Scope, known: &[Pair]) {
    if *scope == Scope::All || known.iter().any(|pair| scope.covers(pair)) {
        return;
    }
    let typed = scope.to_string();
    let names = known
        .iter()
        .flat_map(|pair| [pair.probe.clone(), Scope::Pair(pair.clone()).to_string()]);
    let mut close: Vec<_> = names
        .filter(|name| strsim::jaro_winkler(name, &typed) >= CLOSE)
        .map(|name| on_one_line(&name))
        .collect();
    close.sort();
    close.dedup();
    let close = match close.as_slice() {
        [] => String::new(),
        close => format!("; close to it: {}", first_few(close, 5)),
    };
    warn!("{} has not been seen yet{close}", on_one_line(&typed));
}

fn list(store: &Store, kept: Option<&LogState>, args: &SilenceArgs) -> Ended {
    let now = Timestamp::now();
    let wakes = |silence: &Silence| {
        let count = kept.and_then(|kept| kept.silenced.get(&silence.scope.to_string()));
        count.copied().unwrap_or(0)
    };
    let silences = silences::list(store)
        .into_iter()
        .filter(|one| !one.is_over(now));
    let mut silences: Vec<_> = silences
        .map(|one| Listed {
            wakes: wakes(&one),
            pair: one.scope.to_string(),
            since: one.since,
            until: one.until,
            reason: one.reason,
            acknowledgement: one.acknowledges.is_some(),
        })
        .collect();
    silences.sort_by_key(|one| one.until);
    let list = List {
        version: 1,
        silences,
    };
    let mut lines: Vec<_> = list.silences.iter().map(|one| line(one, now)).collect();
    if lines.is_empty() {
        lines.push("Nothing is silenced.".to_owned());
    }
    print_as(args.format.format, &list, &lines).context("cannot print the list")?;
    Ok(Exit::Done)
}

fn line(one: &Listed, now: Timestamp) -> String {
    let what = if one.acknowledgement {
        "acknowledged"
    } else {
        "silenced"
    };
    let reason = one
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let wakes = match one.wakes {
        0 => String::new(),
        wakes => format!(", {} held back", count(wakes, "wake", "wakes")),
    };
    let left = span(one.until.duration_since(now));
    let line = format!(
        "{}: {what} since {} until {} ({left} left){reason}{wakes}",
        one.pair,
        clock(one.since, now),
        clock(one.until, now),
    );
    on_one_line(&line)
}
