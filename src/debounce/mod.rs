//! The debounce policy: wake + stamp + now → dispatch or hold back. Pure: no clock, no file. One
//! stamp is kept for each (probe, category); `Stamps` is the part of the state that holds them.

mod stamp;
mod stamps;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audit::wake::Wake;
pub use stamp::Stamp;
pub use stamps::{Pair, Stamps};

/// The window of a pair that is only counted (consecutive-required) while debounce is turned off.
const COUNTING_WINDOW: SignedDuration = SignedDuration::from_secs(600);

/// What holds a wake back; from the `KORA_PROBE_DEBOUNCE_*` variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Zero turns the debounce off.
    pub window: SignedDuration,
    pub bypass_critical: bool,
    /// A wake of a higher severity than the pair's last dispatched one passes the window.
    pub bypass_escalation: bool,
    /// A pair dispatches at its n-th wake within one window of the first; 1 is at once.
    pub consecutive_required: u32,
    /// Each dispatch soon after another multiplies the window by this; 1.0 leaves it flat.
    pub backoff_factor: f64,
    pub max_window: SignedDuration,
}

impl Policy {
    /// The window after `backoff` dispatches in quick succession.
    fn window_after(&self, backoff: u32) -> SignedDuration {
        if backoff == 0 || self.backoff_factor <= 1.0 {
            return self.window;
        }
        let base = self.window.as_secs_f64();
        let most = self.max_window.as_secs_f64().max(base);
        let grown = base * self.backoff_factor.powi(backoff.min(1_000) as i32);
        SignedDuration::from_secs_f64(grown.min(most))
    }

    fn counting_window(&self) -> SignedDuration {
        if self.window.is_zero() {
            COUNTING_WINDOW
        } else {
            self.window
        }
    }
}

/// How bad a wake says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn of(wake: &Wake) -> Self {
        Self::named(&wake.severity)
    }

    /// What is neither `info` nor `critical` counts as `warning`.
    pub fn named(name: &str) -> Self {
        match name {
            "info" => Self::Info,
            "critical" => Self::Critical,
            _ => Self::Warning,
        }
    }
}

/// So many wakes since the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    pub count: u64,
    pub since: Timestamp,
}

/// What the dispatch of a wake says of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Repeats inside the window that no DM has told of yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<HeldBack>,
    /// The wakes that consecutive-required counted, this one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<HeldBack>,
}

/// What is done with a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Investigate and tell.
    Dispatch(Before),
    /// Inside the pair's window.
    Debounced,
    /// Not yet the n-th wake that consecutive-required asks for.
    Buffered,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy() -> Policy {
        Policy {
            window: SignedDuration::from_secs(600),
            bypass_critical: false,
            bypass_escalation: false,
            consecutive_required: 1,
            backoff_factor: 1.0,
            max_window: SignedDuration::from_secs(86_400),
        }
    }

    fn wake(probe: &str, severity: &str) -> Wake {
        Wake {
            probe: probe.into(),
            severity: severity.into(),
            ..Wake::sample()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn dispatched(decision: Decision) -> bool {
        matches!(decision, Decision::Dispatch(_))
    }

    /// Decides on fly's wakes at these seconds and tells which were dispatched.
    fn dispatches(policy: &Policy, severity: &str, seconds: &[i64]) -> Vec<i64> {
        let mut stamps = Stamps::default();
        let mut decide = |second| stamps.decide(&wake("fly", severity), policy, at(second));
        seconds
            .iter()
            .copied()
            .filter(|second| dispatched(decide(*second)))
            .collect()
    }

    #[test]
    fn a_repeat_inside_the_window_is_held_back_and_one_at_its_end_is_not() {
        assert_eq!(
            dispatches(&policy(), "warning", &[0, 1, 599, 600, 601]),
            [0, 600]
        );
    }

    #[test]
    fn a_held_back_wake_does_not_stretch_the_window() {
        assert_eq!(dispatches(&policy(), "warning", &[0, 500, 700]), [0, 700]);
    }

    #[test]
    fn zero_turns_the_debounce_off() {
        let off = Policy {
            window: SignedDuration::ZERO,
            ..policy()
        };
        assert_eq!(dispatches(&off, "warning", &[0, 0, 1]), [0, 0, 1]);
    }

    #[test]
    fn pairs_do_not_hold_each_other_back() {
        let mut stamps = Stamps::default();
        assert!(dispatched(stamps.decide(
            &wake("fly", "warning"),
            &policy(),
            at(0)
        )));
        assert!(dispatched(stamps.decide(
            &wake("vercel", "warning"),
            &policy(),
            at(0)
        )));
    }

    #[test]
    fn critical_is_debounced_unless_it_bypasses_and_only_exactly_critical_does() {
        let bypass = Policy {
            bypass_critical: true,
            ..policy()
        };
        assert_eq!(dispatches(&policy(), "critical", &[0, 1]), [0]);
        assert_eq!(dispatches(&bypass, "critical", &[0, 1]), [0, 1]);
        assert_eq!(dispatches(&bypass, "Critical", &[0, 1]), [0]);
    }

    #[test]
    fn a_stamp_in_the_future_never_holds_back() {
        assert_eq!(dispatches(&policy(), "warning", &[1_000, 0, 1]), [1_000, 0]);
    }

    #[test]
    fn consecutive_required_dispatches_at_the_nth_wake_within_one_window() {
        let third = Policy {
            consecutive_required: 3,
            ..policy()
        };
        assert_eq!(dispatches(&third, "warning", &[0, 10, 20]), [20]);
        assert_eq!(
            dispatches(&third, "warning", &[0, 10, 700, 710, 720]),
            [720]
        );
    }

    #[test]
    fn a_bypassing_critical_wake_is_not_counted_first() {
        let third = Policy {
            consecutive_required: 3,
            bypass_critical: true,
            ..policy()
        };
        assert_eq!(dispatches(&third, "critical", &[0]), [0]);
    }

    #[test]
    fn consecutive_required_still_dispatches_with_the_debounce_off() {
        let off = Policy {
            window: SignedDuration::ZERO,
            consecutive_required: 2,
            ..policy()
        };
        assert_eq!(dispatches(&off, "warning", &[0, 5, 10, 15]), [5, 15]);
    }

    #[test]
    fn backoff_grows_the_window_up_to_its_limit_and_a_quiet_stretch_sets_it_back() {
        let doubling = Policy {
            backoff_factor: 2.0,
            max_window: SignedDuration::from_secs(2_000),
            ..policy()
        };
        // Windows: 600, then 1200, then 2000 (not 2400), then after a quiet stretch 600 again.
        let seconds = [
            0, 599, 600, 1_799, 1_800, 3_799, 3_800, 10_000, 10_599, 10_600,
        ];
        assert_eq!(
            dispatches(&doubling, "warning", &seconds),
            [0, 600, 1_800, 3_800, 10_000, 10_600]
        );
    }

    #[test]
    fn what_was_held_back_is_told_once() {
        let mut stamps = Stamps::default();
        let mut decide = |second| stamps.decide(&wake("fly", "warning"), &policy(), at(second));
        let first = Decision::Dispatch(Before::default());
        assert_eq!(decide(0), first);
        assert_eq!(decide(10), Decision::Debounced);
        assert_eq!(decide(20), Decision::Debounced);
        let told = HeldBack {
            count: 2,
            since: at(10),
        };
        let second = Before {
            repeats: Some(told),
            raised: None,
        };
        assert_eq!(decide(600), Decision::Dispatch(second));
        assert_eq!(decide(1_200), first);
    }

    #[test]
    fn wakes_that_were_only_counted_are_no_repeats() {
        let third = Policy {
            consecutive_required: 3,
            ..policy()
        };
        let mut stamps = Stamps::default();
        let mut decide = |second| stamps.decide(&wake("fly", "warning"), &third, at(second));
        assert_eq!([decide(0), decide(10)], [Decision::Buffered; 2]);
        let before = Before {
            repeats: None,
            raised: Some(HeldBack {
                count: 3,
                since: at(0),
            }),
        };
        assert_eq!(decide(20), Decision::Dispatch(before));
    }

    #[test]
    fn a_worse_wake_passes_the_window_and_the_count_where_escalation_bypasses() {
        let bypass = Policy {
            bypass_escalation: true,
            ..policy()
        };
        let passed = |policy: &Policy, severities: &[&str]| {
            let mut stamps = Stamps::default();
            let decide = |(second, severity): (usize, &&str)| {
                dispatched(stamps.decide(&wake("fly", severity), policy, at(second as i64)))
            };
            severities
                .iter()
                .enumerate()
                .map(decide)
                .collect::<Vec<_>>()
        };
        let worse = ["info", "odd", "warning", "critical", "critical", "info"];
        assert_eq!(
            passed(&bypass, &worse),
            [true, true, false, true, false, false]
        );
        assert_eq!(
            passed(&policy(), &worse),
            [true, false, false, false, false, false]
        );
        let third = Policy {
            consecutive_required: 3,
            ..bypass
        };
        let counted = ["warning", "warning", "warning", "critical", "critical"];
        assert_eq!(passed(&third, &counted), [false, false, true, true, false]);
    }

    #[test]
    fn a_stamp_is_kept_for_two_windows_and_while_repeats_are_untold() {
        let mut stamps = Stamps::default();
        stamps.decide(&wake("fly", "warning"), &policy(), at(0));
        stamps.decide(&wake("vercel", "warning"), &policy(), at(0));
        stamps.decide(&wake("vercel", "warning"), &policy(), at(1));
        stamps.prune(&policy(), at(1_199));
        assert_eq!(stamps.len(), 2);
        stamps.prune(&policy(), at(1_200));
        let left: Vec<_> = stamps.iter().map(|(pair, _)| pair.probe.as_str()).collect();
        assert_eq!(left, ["vercel"]);
    }

    #[test]
    fn a_severity_is_known_by_its_exact_name() {
        for (name, severity) in [
            ("info", Severity::Info),
            ("warning", Severity::Warning),
            ("critical", Severity::Critical),
            ("Info", Severity::Warning),
            ("CRITICAL", Severity::Warning),
            ("", Severity::Warning),
        ] {
            assert_eq!(Severity::named(name), severity, "{name}");
        }
    }
}
