//! The incidents of one audit log, as the state keeps them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{Decision, Held, Incident, Pair, Rules, Silence};
use crate::audit::wake::Wake;

/// Beyond this many, the incident longest without a wake is forgotten.
const MOST: usize = 10_000;

/// One incident per pair, kept in the state as a list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Vec<Incident>")]
pub struct Incidents(BTreeMap<Pair, Incident>);

impl From<Vec<Incident>> for Incidents {
    fn from(incidents: Vec<Incident>) -> Self {
        let incidents = incidents.into_iter().map(|one| (one.pair.clone(), one));
        Self(incidents.collect())
    }
}

impl Serialize for Incidents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values())
    }
}

impl Incidents {
    /// Decides on a new wake of any pair.
    pub fn decide(
        &mut self,
        wake: &Wake,
        rules: &Rules,
        silences: &[Silence],
        now: Timestamp,
    ) -> Decision {
        let incident = self.0.entry(Pair::of(wake)).or_default();
        if incident.is_forgotten(rules, now) {
            *incident = Incident::default();
        }
        incident.decide(wake, rules, silences, now)
    }

    /// Decides again on the held-back wakes that are due, in the order in which they were read.
    pub fn decide_due(
        &mut self,
        rules: &Rules,
        silences: &[Silence],
        now: Timestamp,
    ) -> Vec<(Held, Decision)> {
        let decide = |one: &mut Incident| one.decide_due(rules, silences, now);
        let mut due: Vec<_> = self.0.values_mut().filter_map(decide).collect();
        due.sort_by_key(|(held, _)| held.read_at);
        due
    }

    /// Forgets incidents that no decision and no message needs again. Returns how many were forgotten only
    /// because there are too many.
    pub fn prune(&mut self, rules: &Rules, now: Timestamp) -> usize {
        self.0.retain(|_, one| !one.is_forgotten(rules, now));
        let more = self.0.len().saturating_sub(MOST);
        if more > 0 {
            let pairs = self.iter().map(|one| (one.last_wake, one.pair.clone()));
            let mut pairs: Vec<_> = pairs.collect();
            pairs.sort();
            for (_, pair) in &pairs[..more] {
                self.0.remove(pair);
            }
        }
        more
    }

    pub fn get(&self, pair: &Pair) -> Option<&Incident> {
        self.0.get(pair)
    }

    pub fn get_mut(&mut self, pair: &Pair) -> Option<&mut Incident> {
        self.0.get_mut(pair)
    }

    /// Returns the incidents in the order of their pairs.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.0.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Incident> {
        self.0.values_mut()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
