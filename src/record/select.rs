//! Selects what is shown of a record, and adds up its totals.

use jiff::Timestamp;
use serde::Serialize;

use super::group::fold;
use super::{HeldCounts, Incident, Investigation, Record, Silence};
use crate::audit::wake::caller_session_id;
use crate::incident::Pair;

#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    pub since: Option<Timestamp>,
    pub probe: Option<&'a str>,
    pub session: Option<&'a str>,
    /// Only what failed: no diagnosis, a message that was not delivered, a tool.
    pub failed: bool,
    /// How many to show at most, the newest ones.
    pub limit: Option<usize>,
}

/// What a filter lets through, the newest last.
#[derive(Debug)]
pub struct Selection<'a> {
    pub record: &'a Record,
    pub investigations: Vec<&'a Investigation>,
    /// Regardless of the limit.
    pub incidents: Vec<&'a Incident>,
    /// The incidents, with successive ones of one pair and title folded into one.
    pub groups: Vec<Incident>,
    pub silences: Vec<&'a Silence>,
    /// Regardless of the limit, and including those that did not fail.
    pub totals: Totals,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    pub wakes: u64,
    pub dispatched: u64,
    pub held_back: u64,
    #[serde(skip)]
    pub by_reason: HeldCounts,
    /// Investigations without a diagnosis, or with a message that was not delivered.
    pub failed: u64,
    pub tokens: u64,
    /// In US dollars; `null` if the engine named none.
    pub cost: Option<f64>,
}

impl Record {
    pub fn select(&self, filter: &Filter<'_>) -> Selection<'_> {
        let picks = |pair: &Pair, last: Timestamp| {
            filter.probe.is_none_or(|probe| probe == pair.probe)
                && filter.since.is_none_or(|since| last >= since)
        };
        let is_own = |pair: &Pair| {
            let session = || caller_session_id(&pair.probe, &pair.category);
            filter.session.is_none_or(|asked| asked == session())
        };
        let in_session = |one: &Investigation| filter.session.is_none_or(|asked| one.is_in(asked));
        let has_failed = |one: &Investigation| one.failed || one.failed_tools().next().is_some();
        let picked = |one: &&Investigation| picks(&one.pair, one.at) && in_session(one);
        let mut investigations: Vec<_> = self.investigations.iter().filter(picked).collect();
        let mut totals = Totals::default();
        for one in &investigations {
            totals.dispatched += u64::from(!one.late_diagnosis);
            totals.by_reason.merge(one.held_back);
            totals.failed += u64::from(one.failed);
            let tokens = one.input_tokens.into_iter().chain(one.output_tokens);
            totals.tokens = tokens.fold(totals.tokens, u64::saturating_add);
            if let Some(cost) = one.total_cost_usd {
                *totals.cost.get_or_insert(0.0) += cost;
            }
        }
        for one in &self.parts {
            if picks(&one.pair, one.end()) && is_own(&one.pair) {
                totals.dispatched += one.dispatched;
                totals.by_reason.merge(one.held_back);
            }
        }
        totals.held_back = totals.by_reason.total();
        totals.wakes = totals.dispatched.saturating_add(totals.held_back);
        let is_shown = |one: &&Incident| {
            let mut parts = self.investigations_of(one);
            picks(&one.pair, one.end())
                && (is_own(&one.pair) || parts.clone().any(in_session))
                && (!filter.failed || parts.any(has_failed))
        };
        let incidents: Vec<_> = self.incidents.iter().filter(is_shown).collect();
        let mut groups = fold(&incidents);
        investigations.retain(|one| !filter.failed || has_failed(one));
        let most = filter.limit.unwrap_or(usize::MAX);
        investigations.drain(..investigations.len().saturating_sub(most));
        groups.drain(..groups.len().saturating_sub(most));
        let silences = self.silences.iter().filter(|one| {
            filter.probe.is_none_or(|probe| one.concerns(probe))
                && filter.since.is_none_or(|since| one.until >= since)
        });
        Selection {
            record: self,
            silences: silences.collect(),
            investigations,
            incidents,
            groups,
            totals,
        }
    }
}

impl Totals {
    /// Returns the cost as `$0.0214` or `$12.35`.
    pub fn cost(&self) -> String {
        match self.cost {
            Some(cost) if cost < 1.0 => format!("${cost:.4}"),
            Some(cost) => format!("${cost:.2}"),
            None => "cost unknown".to_owned(),
        }
    }
}
