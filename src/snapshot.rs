//! Kora's `daemon_snapshot.json`: which services its daemon calls healthy, and when it looked. It is replaced
//! every 5 minutes; one older than 600 s is not used.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::files::open_shared;
use crate::json;
use crate::text::{first_few, on_one_line};
use crate::time::{span, utc};

const STALE_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// A real snapshot has a few thousand bytes.
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
    /// Reads the snapshot. The error names the file and says why it is of no use at `now`.
    pub fn read(path: &Path, now: Timestamp) -> Result<Self, String> {
        let read = || {
            let mut bytes = Vec::new();
            let file = open_shared(path, File::options().read(true))?;
            file.take(MOST_BYTES).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let parsed = match read() {
            Ok(bytes) => Self::parse(&bytes, now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("is missing".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        parsed.map_err(|trouble| format!("{} {trouble}", path.display()))
    }

    fn parse(bytes: &[u8], now: Timestamp) -> Result<Self, String> {
        let mut value = json::parse(bytes).unwrap_or_default();
        let Some(computed_at) = value["computed_at"].as_str().and_then(utc) else {
            return Err("is no snapshot".to_owned());
        };
        let age = now.duration_since(computed_at);
        // A time in the future comes from another clock.
        match age.abs() <= STALE_AFTER {
            true => Ok(Self {
                computed_at,
                service_health: value["service_health"].take(),
            }),
            false if age.is_negative() => Err(format!("is from {} in the future", span(age.abs()))),
            false => Err(format!("is {} old", span(age))),
        }
    }

    /// Returns why the recovery of one of these probes cannot be seen.
    pub fn trouble<'a>(
        path: &Path,
        probes: impl Iterator<Item = &'a str>,
        now: Timestamp,
    ) -> Option<String> {
        let read = Self::read(path, now);
        read.map_or_else(Some, |snapshot| snapshot.unknown(path, probes))
    }

    /// Names the probes that the snapshot says nothing about.
    pub fn unknown<'a>(
        &self,
        path: &Path,
        probes: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let unknown = probes.filter(|probe| self.health(probe) == Health::Unknown);
        let unknown = Vec::from_iter(unknown.map(on_one_line).collect::<BTreeSet<_>>());
        let path = path.display();
        (!unknown.is_empty()).then(|| format!("{path} does not know {}", first_few(&unknown, 5)))
    }

    #[cfg(test)]
    pub fn of(computed_at: Timestamp, service_health: Value) -> Self {
        Self {
            computed_at,
            service_health,
        }
    }

    /// Returns every service with its health as the daemon wrote it, in order of name.
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
        assert!(
            of("2026-05-24T14:35:00").is_ok(),
            "without a zone it is UTC"
        );
        assert_eq!(
            of("2026-05-24T16:35:00+02:00").unwrap().computed_at,
            fresh.computed_at
        );
        assert_eq!(of("2026-05-24T14:34:59Z").unwrap_err(), "is 10 min 1 s old");
        assert_eq!(
            of("2026-05-24T15:00:00Z").unwrap_err(),
            "is from 15 min in the future"
        );
        for text in ["{}", "", "[]", r#"{"computed_at":1}"#] {
            assert_eq!(read(text).unwrap_err(), "is no snapshot", "{text}");
        }
    }
}
