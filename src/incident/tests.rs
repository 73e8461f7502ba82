//! What is decided about the wakes of one pair, as stories: a line has the time in minutes, what happens, and
//! what comes of it.
//!
//! What happens: a wake of a severity (`critical`; `critical@3` was raised at minute 3, `critical@-` does not
//! say when), `due` (what was held back is decided on again where it is due), `healthy` and `healthy@3` (a
//! recovery), `silence N` and `ack N` (for so many minutes), `prune`, `sent` (a message takes what was held back).
//! What comes of it: `alert 2` and what else the dispatch says, or why it is held back; for `due` also the
//! severity. `is` looks at the incident: `open`, `over`, `forgotten`, or `repeats 2`.

#![allow(clippy::expect_used)]

use super::*;

fn rules() -> Rules {
    Rules {
        window: SignedDuration::from_mins(10),
        bypass_critical: false,
        bypass_escalation: false,
        consecutive_required: 1,
        backoff_factor: 1.0,
        max_window: SignedDuration::from_hours(24),
    }
}

fn minute(text: &str) -> Timestamp {
    let minutes: f64 = text.parse().expect("minutes");
    let begin: Timestamp = "2026-05-24T00:00:00Z".parse().expect("a time");
    begin + SignedDuration::from_secs_f64(minutes * 60.0)
}

fn minutes_since_begin(time: Timestamp) -> f64 {
    time.duration_since(minute("0")).as_secs_f64() / 60.0
}

fn wake(what: &str, now: &str) -> Wake {
    let (severity, raised) = what.split_once('@').unwrap_or((what, now));
    Wake {
        severity: severity.to_owned(),
        emitted_at: (raised != "-").then(|| minute(raised).to_string()),
        ..Wake::sample()
    }
}

struct Story {
    rules: Rules,
    incidents: Incidents,
    silences: Vec<Silence>,
}

impl Story {
    fn incident(&mut self) -> &mut Incident {
        let pair = Pair::of(&Wake::sample());
        self.incidents.get_mut(&pair).expect("an incident")
    }

    /// Does what a line says, and returns what comes of it.
    fn go_on(&mut self, time: &str, what: &[&str]) -> String {
        let (now, rules) = (minute(time), self.rules.clone());
        let (what, length) = (what[0], what.get(1));
        let until = length.map(|length| now + (minute(length).duration_since(minute("0"))));
        match (what.split('@').next().unwrap_or(what), until) {
            ("due", _) => {
                let due = self.incidents.decide_due(&rules, &self.silences, now);
                let Some((held, decision)) = due.first() else {
                    return "nothing".to_owned();
                };
                format!("{} {}", held.wake.severity, said(decision))
            }
            ("healthy", _) => {
                let healthy = what.split_once('@').map_or(time, |(_, at)| at);
                self.incident().recover(Some(minute(healthy)), now);
                String::new()
            }
            ("silence", Some(until)) => {
                self.silences.push(Silence {
                    scope: Scope::Probe("fly".to_owned()),
                    since: now,
                    until,
                    reason: None,
                    acknowledges: None,
                });
                String::new()
            }
            ("ack", Some(until)) => {
                let first_wake = self.incident().first_wake;
                self.silences.push(Silence {
                    scope: Scope::Probe("fly".to_owned()),
                    since: now,
                    until,
                    reason: None,
                    acknowledges: Some(Acknowledged {
                        log: String::new(),
                        first_wake,
                        by_reaction: false,
                    }),
                });
                String::new()
            }
            ("sent", _) => {
                self.incident().take_held_back();
                String::new()
            }
            ("prune", _) => {
                self.incidents.prune(&rules, now);
                String::new()
            }
            _ => {
                let wake = wake(what, time);
                let decided = self.incidents.decide(&wake, &rules, &self.silences, now);
                said(&decided)
            }
        }
    }

    /// Whether the incident is as a line says.
    fn is(&mut self, time: &str, expected: &[&str]) -> bool {
        let (now, rules) = (minute(time), self.rules.clone());
        if expected == ["forgotten"] {
            return self.incidents.len() == 0;
        }
        let incident = self.incident();
        let counts = incident.held_back.counts;
        match expected {
            ["open"] => incident.is_open(&rules, now),
            ["over"] => !incident.is_open(&rules, now),
            ["kept"] => true,
            ["repeats", number] => counts.repeat.to_string() == *number,
            ["silenced", number] => counts.silenced.to_string() == *number,
            ["acknowledged", number] => counts.acknowledged.to_string() == *number,
            ["buffered", number] => counts.buffered.to_string() == *number,
            ["wakes", number] => incident.wakes.to_string() == *number,
            _ => panic!("{expected:?}"),
        }
    }
}

fn said(decision: &Decision) -> String {
    match decision {
        Decision::Dispatch(Dispatch {
            number, counted, ..
        }) => {
            let counted = counted.map(|one| format!(" seen {}", one.count));
            format!("alert {number}{}", counted.unwrap_or_default())
        }
        Decision::HeldBack(reason) => format!("{reason:?}").to_lowercase(),
    }
}

#[track_caller]
fn tell(name: &str, rules: Rules, story: &str) {
    let mut told = Story {
        rules,
        incidents: Incidents::default(),
        silences: Vec::new(),
    };
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (what, expected) = line.split_once(':').unwrap_or((line, ""));
        let words: Vec<_> = what.split_whitespace().collect();
        let expected = expected.trim();
        match words[1] {
            "is" => assert!(told.is(words[0], &words[2..]), "{name}: {line}"),
            _ => assert_eq!(
                told.go_on(words[0], &words[1..]),
                expected,
                "{name}: {line}"
            ),
        }
    }
}

#[test]
fn a_window_holds_back_the_repeats_of_its_pair() {
    tell(
        "a flat window",
        rules(),
        "0     warning : alert 1
         0.01  warning : repeat
         9.99  warning : repeat
         9.99  is repeats 2
         10    warning : alert 2
         19    info    : repeat
         20    warning : alert 3",
    );
    tell(
        "the clock is the run's",
        rules(),
        "0     warning@-600 : alert 1
         1     warning@1    : repeat
         2     warning@-    : repeat
         10    warning@3    : alert 2",
    );
    let off = Rules {
        window: SignedDuration::ZERO,
        ..rules()
    };
    tell(
        "no window",
        off,
        "0   warning  : alert 1
         0   warning  : alert 2
         1   critical : alert 3",
    );
    tell(
        "a clock set back ends the window",
        rules(),
        "0    warning : alert 1
         -60  warning : alert 2
         -59  warning : repeat",
    );
}

#[test]
fn an_escalation_is_dispatched_when_its_window_ends() {
    tell(
        "without another row",
        rules(),
        "0    warning  : alert 1
         3    critical : repeat
         9.9  due      : nothing
         10   due      : critical alert 2
         10   is repeats 0
         11   due      : nothing",
    );
    tell(
        "the newest of the worst, and not what is no worse",
        rules(),
        "0    info       : alert 1
         1    info       : repeat
         2    warning    : repeat
         3    critical@2.5 : repeat
         4    critical@3 : repeat
         5    page       : repeat
         10   due        : critical alert 2
         10   is repeats 4
         20   due        : nothing",
    );
    tell(
        "unknown severities are warnings",
        rules(),
        "0    page    : alert 1
         1    warning : repeat
         10   due     : nothing",
    );
    tell(
        "also days later, in its incident",
        rules(),
        "0      warning  : alert 1
         3      critical : repeat
         5000   prune
         5000   due      : critical alert 2
         5001   critical : repeat",
    );
    tell(
        "it ends with a recovery",
        rules(),
        "0    warning  : alert 1
         3    critical : repeat
         4    healthy
         10   due      : nothing",
    );
    tell(
        "a clock set back makes it due",
        rules(),
        "0    warning  : alert 1
         3    critical : repeat
         -60  due      : critical alert 2",
    );
}

#[test]
fn some_wakes_may_pass_the_window() {
    let critical = Rules {
        bypass_critical: true,
        ..rules()
    };
    tell(
        "critical ones",
        critical,
        "0 critical : alert 1
         1 CRITICAL : alert 2
         2 warning  : repeat
         3 critical : alert 3",
    );
    let escalation = Rules {
        bypass_escalation: true,
        ..rules()
    };
    tell(
        "those that are worse",
        escalation.clone(),
        "0  info     : alert 1
         1  page     : alert 2
         2  warning  : repeat
         3  critical : alert 3
         4  critical : repeat
         13 due      : nothing
         13 is repeats 2",
    );
    let both = Rules {
        consecutive_required: 3,
        ..escalation
    };
    tell(
        "without being counted",
        both,
        "0  warning  : buffered
         1  warning  : buffered
         2  warning  : alert 1 seen 3
         3  critical : alert 2 seen 1",
    );
}

#[test]
fn a_pair_can_be_required_to_raise_several_wakes() {
    let three = Rules {
        consecutive_required: 3,
        ..rules()
    };
    tell(
        "within one window of the first",
        three.clone(),
        "0    warning : buffered
         9    warning : buffered
         9    is buffered 2
         9.9  warning : alert 1 seen 3
         9.9  is buffered 0
         10   warning : repeat
         20   warning : buffered",
    );
    tell(
        "the count begins anew after it",
        three.clone(),
        "0    warning : buffered
         9    warning : buffered
         10   warning : buffered
         11   warning : buffered
         12   warning : alert 1 seen 3",
    );
    tell(
        "but what was held back is dispatched when it is due",
        three.clone(),
        "0    warning  : buffered
         1    warning  : buffered
         2    warning  : alert 1 seen 3
         3    critical : repeat
         12   due      : critical alert 2
         13   silence 20
         14   warning  : silenced
         33   due      : warning alert 3",
    );
    tell(
        "a clock set back counts none of the future",
        three.clone(),
        "0    warning : buffered
         1    warning : buffered
         -60  warning : buffered
         -59  warning : buffered
         -58  warning : alert 1 seen 3",
    );
    let without_window = Rules {
        window: SignedDuration::ZERO,
        ..three.clone()
    };
    tell(
        "within 600 s where there is no window",
        without_window,
        "0    warning : buffered
         9    warning : buffered
         10   warning : buffered
         11   warning : buffered
         12   warning : alert 1 seen 3
         12   warning : buffered",
    );
    let bypass = Rules {
        bypass_critical: true,
        ..three
    };
    tell(
        "those that bypass dispatch at once",
        bypass,
        "0    warning  : buffered
         1    critical : alert 1 seen 2",
    );
}

#[test]
fn windows_grow_while_dispatches_follow_each_other() {
    let growing = Rules {
        backoff_factor: 3.0,
        max_window: SignedDuration::from_mins(60),
        ..rules()
    };
    tell(
        "up to the longest",
        growing.clone(),
        "0    warning : alert 1
         15   warning : alert 2
         44.9 warning : repeat
         45   warning : alert 3
         104  warning : repeat
         105  warning : alert 4
         164  warning : repeat
         165  warning : alert 5",
    );
    tell(
        "and are set back after two of them without a dispatch",
        growing.clone(),
        "0    warning : alert 1
         15   warning : alert 2
         74   is over
         75   warning : alert 1
         84   warning : repeat
         85   warning : alert 2",
    );
    tell(
        "they outlive the incident and its recovery",
        growing.clone(),
        "0    warning : alert 1
         15   warning : alert 2
         16   healthy
         17   warning : repeat
         45   due     : nothing
         46   warning : alert 1",
    );
    tell(
        "a clock set back ends them",
        growing,
        "0    warning : alert 1
         15   warning : alert 2
         -600 warning : alert 3
         -599 warning : repeat
         -590 warning : alert 4",
    );
}

#[test]
fn a_row_that_comes_again_changes_nothing() {
    tell(
        "one of the last 8 of its pair",
        rules(),
        "0   warning   : alert 1
         1   warning   : repeat
         11  warning@0 : resent
         11  warning@1 : resent
         11  is repeats 1
         11  is wakes 2
         12  warning   : alert 2
         13  critical  : repeat
         14  critical@13 : resent
         22  due       : critical alert 3",
    );
    tell(
        "the ninth is forgotten",
        rules(),
        "0   warning   : alert 1
         1   warning   : repeat
         2   warning   : repeat
         3   warning   : repeat
         4   warning   : repeat
         5   warning   : repeat
         6   warning   : repeat
         7   warning   : repeat
         8   warning   : repeat
         11  warning@1 : resent
         11  warning@0 : alert 2",
    );
    tell(
        "for 24 hours after the incident",
        rules(),
        "0     warning   : alert 1
         1400  warning@0 : resent
         1470  warning@0 : alert 1",
    );
    tell(
        "and what was raised before the pair was seen healthy",
        rules(),
        "0   warning   : alert 1
         5   healthy@5
         6   warning@4 : resent
         7   warning@6 : alert 1",
    );
    tell(
        "rows without a time of their own are never the same",
        rules(),
        "0   warning@- : alert 1
         10  warning@- : alert 2",
    );
    let off = Rules {
        window: SignedDuration::ZERO,
        ..rules()
    };
    tell(
        "nor are any without a window",
        off,
        "0   warning@0 : alert 1
         1   warning@0 : alert 2
         5   healthy@5
         6   warning@4 : alert 1",
    );
    let other = |change: fn(&mut Wake)| {
        let mut wake = wake("warning", "0");
        change(&mut wake);
        let mut incidents = Incidents::default();
        incidents.decide(&self::wake("warning", "0"), &rules(), &[], minute("0"));
        said(&incidents.decide(&wake, &rules(), &[], minute("1")))
    };
    assert_eq!(other(|_| ()), "resent");
    assert_eq!(other(|wake| wake.title.push('!')), "repeat");
    assert_eq!(other(|wake| wake.detail.push('!')), "repeat");
    assert_eq!(other(|wake| wake.category.push('!')), "alert 1");
    assert_eq!(other(|wake| wake.probe.push('!')), "alert 1");
}

#[test]
fn an_incident_is_over_after_two_windows_without_a_wake() {
    tell(
        "at least 20 minutes",
        Rules {
            window: SignedDuration::from_mins(1),
            ..rules()
        },
        "0    warning : alert 1
         19.9 is open
         20   is over
         21   warning : alert 1",
    );
    tell(
        "two windows",
        Rules {
            window: SignedDuration::from_mins(30),
            ..rules()
        },
        "0    warning : alert 1
         10   warning : repeat
         69   is open
         70   is over
         71   warning : alert 1
         71   is repeats 0",
    );
    tell(
        "alerts are counted within it",
        rules(),
        "0    warning : alert 1
         15   warning : alert 2
         30   warning : alert 3
         60   warning : alert 1",
    );
    tell(
        "never before its own window has ended",
        Rules {
            backoff_factor: 100.0,
            ..rules()
        },
        "0    warning : alert 1
         11   warning : alert 2
         900  is open
         1010 is open
         1011 is over",
    );
    tell(
        "a last wake in the future is now",
        rules(),
        "0    warning : alert 1
         -600 is open",
    );
    tell(
        "it is kept for 24 hours more",
        rules(),
        "0     warning : alert 1
         1459  prune
         1459  is kept
         1460  prune
         1460  is forgotten",
    );
    tell(
        "also after a recovery",
        rules(),
        "0     warning : alert 1
         30    healthy
         1469  prune
         1469  is kept
         1470  prune
         1470  is forgotten",
    );
    tell(
        "as long as anything is held back",
        rules(),
        "0     warning  : alert 1
         1     critical : repeat
         5000  prune
         5000  is kept",
    );
}

#[test]
fn a_recovery_ends_incident_and_window() {
    tell(
        "a relapse is dispatched at once",
        rules(),
        "0   warning : alert 1
         1   warning : repeat
         5   is repeats 1
         5   healthy
         5   is over
         6   warning : alert 1
         6   is repeats 0
         7   warning : repeat",
    );
    tell(
        "also after two dispatches, as long as windows do not grow",
        rules(),
        "0   warning : alert 1
         11  warning : alert 2
         12  healthy
         13  warning : alert 1",
    );
    tell(
        "a recovery in the future hides nothing",
        rules(),
        "0   warning : alert 1
         5   healthy@500
         6   warning : alert 1",
    );
}

#[test]
fn what_was_held_back_is_counted_until_a_message_says_it() {
    tell(
        "a wake that is dispatched later is not in it",
        rules(),
        "0   warning  : alert 1
         1   warning  : repeat
         2   critical : repeat
         3   is repeats 2
         10  due      : critical alert 2
         10  is repeats 1
         11  sent
         11  is repeats 0
         12  critical : repeat
         12  is repeats 1",
    );
    tell(
        "nor does it take away another one where a message has counted it",
        rules(),
        "0   warning  : alert 1
         1   critical : repeat
         2   sent
         3   warning  : repeat
         10  due      : critical alert 2
         10  is repeats 1",
    );
    let mut incident = Incident::default();
    for (at, raised) in [("0", "0"), ("1", "-60"), ("2", "1"), ("3", "-30")] {
        let wake = wake(&format!("warning@{raised}"), at);
        incident.decide(&wake, &rules(), &[], minute(at));
    }
    assert_eq!(
        incident.held_back.newest.map(minutes_since_begin),
        Some(1.0)
    );
    assert_eq!(incident.unrecorded.repeat, 3);
}

#[test]
fn a_silence_that_was_ended_early_is_mentioned_with_its_real_end() {
    let silence = |until| Silence {
        scope: Scope::All,
        since: minute("0"),
        until: minute(until),
        reason: None,
        acknowledges: None,
    };
    let mut incident = Incident::default();
    let first = wake("warning", "1");
    incident.decide(&first, &rules(), &[silence("60")], minute("1"));
    let due = incident.decide_due(&rules(), &[silence("5")], minute("6"));
    assert!(matches!(due, Some((_, Decision::Dispatch(_)))));
    let until = incident.held_back.silence.map(|note| note.until);
    assert_eq!(until, Some(minute("5")));
}

#[test]
fn a_silenced_wake_is_dispatched_when_the_silence_ends() {
    tell(
        "where its incident is open",
        rules(),
        "0    silence 60
         45   warning : silenced
         55   warning : silenced
         55   is silenced 2
         59   due     : nothing
         60   due     : warning alert 1
         60   is silenced 1
         61   due     : nothing",
    );
    tell(
        "or where no message was ever sent about it",
        rules(),
        "0    silence 60
         10   warning : silenced
         60   due     : warning alert 1",
    );
    tell(
        "not where one was, and it is over",
        rules(),
        "0    warning : alert 1
         1    silence 60
         10   warning : silenced
         61   due     : nothing",
    );
    tell(
        "it was open when the silence ended, and no run took place for hours after that",
        rules(),
        "0    warning : alert 1
         1    silence 30
         15   warning : silenced
         200  due     : warning alert 2",
    );
    tell(
        "not after a recovery",
        rules(),
        "0    silence 60
         50   warning : silenced
         55   healthy
         60   due     : nothing",
    );
    tell(
        "not inside a window",
        rules(),
        "0    warning : alert 1
         1    silence 5
         2    warning : silenced
         6    due     : warning repeat
         10   due     : nothing
         10   is repeats 1",
    );
    tell(
        "not while another silence holds it",
        rules(),
        "0    silence 60
         30   silence 60
         50   warning : silenced
         60   due     : nothing
         90   due     : warning alert 1",
    );
    tell(
        "a silence that reaches further than any can is over",
        rules(),
        "0      silence 60
         -50000 warning : alert 1",
    );
}

#[test]
fn an_acknowledgement_holds_back_what_is_no_worse() {
    tell(
        "until it ends",
        rules(),
        "0    warning : alert 1
         1    ack 29
         12   warning : acknowledged
         25   warning : acknowledged
         25   is acknowledged 2
         29   due     : nothing
         30   due     : warning alert 2",
    );
    tell(
        "or until a worse one",
        rules(),
        "0    warning  : alert 1
         1    ack 240
         12   warning  : acknowledged
         13   critical : alert 2
         14   warning  : repeat
         24   warning  : alert 3",
    );
    tell(
        "it ends with its incident",
        rules(),
        "0    warning  : alert 1
         1    ack 240
         30   warning  : alert 1",
    );
}
