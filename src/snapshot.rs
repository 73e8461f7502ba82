//! Kora's `daemon_snapshot.json`: which services its daemon calls healthy, and when it looked. It is
//! replaced every 5 minutes; one that is older than 600 s says nothing.

use std::io::Read;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::files::open_without_waiting;
use crate::json;

const STALE_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// A real one has a few thousand.
const MOST_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// `degraded` or `unhealthy`.
    Bad,
    Unknown,
}

#[derive(Debug)]
pub struct Snapshot {
    pub computed_at: Timestamp,
    service_health: Value,
}

impl Snapshot {
    /// `None` where there is no snapshot, or none that is of use at `now`.
    pub fn read(path: &Path, now: Timestamp) -> Option<Self> {
        let file = open_without_waiting(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes, now)
    }

    fn parse(bytes: &[u8], now: Timestamp) -> Option<Self> {
        let mut value = json::parse(bytes)?;
        let computed_at: Timestamp = value["computed_at"].as_str()?.parse().ok()?;
        // One from the future is by another clock.
        let is_fresh = now.duration_since(computed_at).abs() <= STALE_AFTER;
        is_fresh.then(|| Self {
            computed_at,
            service_health: value["service_health"].take(),
        })
    }

    #[cfg(test)]
    pub fn of(computed_at: Timestamp, service_health: Value) -> Self {
        Self {
            computed_at,
            service_health,
        }
    }

    /// Returns every service with its health as the daemon wrote it, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&str, &str)> {
        let services = self.service_health.as_object().into_iter().flatten();
        services.filter_map(|(name, health)| Some((name.as_str(), health.as_str()?)))
    }

    pub fn health(&self, probe: &str) -> Health {
        match self.service_health[probe].as_str() {
            Some("healthy") => Health::Healthy,
            Some("degraded" | "unhealthy") => Health::Bad,
            _ => Health::Unknown,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_snapshot_counts() {
        let now: Timestamp = "2026-05-24T14:45:00Z".parse().unwrap();
        let read = |text: &str| Snapshot::parse(text.as_bytes(), now);
        let of = |at: &str| {
            read(&format!(
                r#"{{"computed_at":"{at}","service_health":{{"fly":"healthy","vercel":"degraded"}}}}"#
            ))
        };
        let fresh = of("2026-05-24T14:35:00Z").unwrap();
        assert_eq!(fresh.health("fly"), Health::Healthy);
        assert_eq!(fresh.health("vercel"), Health::Bad);
        assert_eq!(fresh.health("sentry"), Health::Unknown);
        let services: Vec<_> = fresh.services().collect();
        assert_eq!(services, [("fly", "healthy"), ("vercel", "degraded")]);
        assert!(of("2026-05-24T14:34:59Z").is_none());
        assert!(of("2026-05-24T15:00:00Z").is_none());
        assert!(read("{}").is_none() && read("").is_none());
    }
}
