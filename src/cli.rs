//! What can be typed: clap types and their help, no logic. `config` gives them meaning.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use serde::Serialize;

const AFTER_HELP: &str = "\
Settings are environment variables (KORA_...), or KEY=value lines in ~/.config/probe-wake/env; \
probe-wake(5) lists them all.

Exit status: 0 done; 1 could not be done; 2 wrong usage or configuration; 3 done, but a message \
is still queued or was given up, or rows may have been missed; 75 another run holds the lock.";

/// Turns the wake rows of an audit log into Slack messages with a diagnosis.
///
/// Service probes append a row to a JSONL audit log when a service turns bad. Each run, started by
/// systemd or cron, reads the rows that are new, holds back repeats, asks a reasoning engine what
/// is wrong, and sends the operator a Slack direct message with the diagnosis. Then it remembers
/// where it stopped.
#[derive(Debug, Parser)]
#[command(name = "probe-wake", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

// Listed after a command's own flags in its help.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The audit log [KORA_AUDIT_LOG_PATH; ~/.kora/kora_audit_log.jsonl]
    #[arg(long, value_name = "FILE", global = true, display_order = 101)]
    pub audit_log: Option<PathBuf>,
    /// The state folder [KORA_PROBE_WAKE_STATE_DIR; ~/.local/state/probe-wake]
    #[arg(long, value_name = "DIR", global = true, display_order = 102)]
    pub state_dir: Option<PathBuf>,
    /// A file of KEY=value settings [KORA_PROBE_WAKE_ENV_FILE; ~/.config/probe-wake/env]
    #[arg(long, value_name = "FILE", global = true, display_order = 103)]
    pub env_file: Option<PathBuf>,
    /// Say more: -v what is done, -vv each step
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 104)]
    pub verbose: u8,
    /// The home folder of another user than this process's, for whom the settings are read. Empty if
    /// it is unknown.
    #[arg(skip)]
    pub home: Option<PathBuf>,
}

// Deferred: building the flags of all commands would take a tenth of an idle run.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// One run: read what is new, investigate, notify the operator
    ///
    /// The first run only notes where the log ends. A run that finds nothing new and has nothing to send takes
    /// a millisecond. Only one runs at a time: another one ends with 75.
    Run(RunArgs),
    /// Show what would have happened: a whole log, to stdout; no Slack, no state
    ///
    /// Repeats are held back by the rows' own times. Each message is printed with its time; then follow the
    /// totals and, if that would have saved messages, another setting. No engine is asked unless
    /// --ask-engine is given.
    Replay(ReplayArgs),
    /// Show or reset the state, which is what is remembered between runs
    ///
    /// It holds how far the log was read, what is open, and what is still to be asked and sent.
    #[command(subcommand)]
    State(StateCommand),
    /// Show what is open now, when the last run was, what waits, and what was given up
    ///
    /// The most severe incidents come first. With --check it is for a monitoring system: it says what is
    /// wrong with the runs, the log, Slack or the engine, and not which services are down.
    Status(StatusArgs),
    /// Silence alerts for planned work, or list the silences
    ///
    /// Wakes that a silence matches are counted and held back: nothing is asked or sent. Alerts that were
    /// dispatched earlier go on, and recoveries are sent. If something is still bad when the silence ends, you
    /// are told then. A PAIR has one silence: a new one replaces it. Without PAIR, the silences are listed.
    Silence(SilenceArgs),
    /// Acknowledge an open incident: no more alerts about it for now
    ///
    /// An acknowledgement ends with its incident, when a wake is more severe than the last alert, when its
    /// time is over, or by 'probe-wake silence PAIR --end'; if something is still bad then, you are told.
    /// Recoveries are sent all the same. With KORA_PROBE_ACK_REACTION a reaction to the alert in Slack does
    /// the same, and taking it back ends it.
    Ack(AckArgs),
    /// List the messages that were given up, send them after all, or remove them
    ///
    /// A message is given up if Slack refuses it again and again, or if it has waited for longer than
    /// KORA_PROBE_OUTBOX_TTL_SECONDS. Each is kept in a file of its own in undelivered/.
    Undelivered(UndeliveredArgs),
    /// Raise an alert: append a wake to the audit log
    ///
    /// This is for whoever has no Kora to write the rows. The next run sends the alert. The log and its folder
    /// are created if they are missing; root and cron may have another home folder, so name the log with
    /// --audit-log there. In probe and category, characters other than ASCII letters, digits, underscore,
    /// hyphen and dot become an underscore. probe-wake(7) has recipes for systemd, Monit, cron, Alertmanager
    /// and Gatus.
    Raise(RaiseArgs),
    /// List what was wrong and what was said about it, newest last
    ///
    /// A block for each incident, then the totals. With --format html it is a page for a browser, with a time
    /// line.
    History(HistoryArgs),
    /// Check the set-up; every problem comes with a next step
    ///
    /// It looks at the log, the state folder, the settings, the schedule, the engine and Slack. It asks the
    /// engine nothing and sends no message unless it is told to. It ends with 1 if a check failed.
    Check(CheckArgs),
    /// Print or install what starts the runs
    ///
    /// Either systemd units or a block for a crontab. The runs are those of the user who calls it (under sudo
    /// of the calling user), with the state folder of a run by hand.
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Print shell completions
    ///
    /// To install them: probe-wake completions bash > ~/.local/share/bash-completion/completions/probe-wake
    ///
    /// probe-wake completions zsh > ~/.zfunc/_probe-wake, with 'fpath+=~/.zfunc' above 'compinit' in ~/.zshrc
    ///
    /// probe-wake completions fish > ~/.config/fish/completions/probe-wake.fish
    ///
    /// probe-wake completions elvish >> ~/.config/elvish/rc.elv
    ///
    /// probe-wake completions powershell >> $PROFILE
    Completions {
        /// The shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// For monitoring: print only what is wrong, a line each; exit 3 if anything is
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Args, Debug)]
pub struct SilenceArgs {
    /// What to silence: a probe, probe:category, or all
    #[arg(value_name = "PAIR", value_hint = ValueHint::Other)]
    pub pair: Option<String>,
    /// How long it lasts: 30m, 2h, 7d; at most 30 days [1h]
    #[arg(long = "for", value_name = "LENGTH", value_hint = ValueHint::Other, requires = "pair")]
    #[arg(default_value = "1h", hide_default_value = true)]
    pub for_: String,
    /// Why, for the messages and lists that mention it
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other, requires = "pair")]
    pub reason: Option<String>,
    /// End the silence of PAIR now
    #[arg(long, requires = "pair", conflicts_with_all = ["for_", "reason"])]
    pub end: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Args, Debug)]
pub struct AckArgs {
    /// Whose open incidents: a probe, probe:category, or all
    #[arg(value_name = "PAIR", value_hint = ValueHint::Other)]
    pub pair: String,
    /// How long it lasts at most: 30m, 2h; at most 30 days [4h]
    #[arg(long = "for", value_name = "LENGTH", value_hint = ValueHint::Other)]
    #[arg(default_value = "4h", hide_default_value = true)]
    pub for_: String,
}

#[derive(Args, Debug)]
pub struct UndeliveredArgs {
    /// Put them back into the outbox, for the next run
    #[arg(long, conflicts_with = "format")]
    pub retry: bool,
    /// Remove them for good
    #[arg(long, conflicts_with_all = ["retry", "format"])]
    pub clear: bool,
    /// With --clear: do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Args, Debug)]
#[command(allow_hyphen_values = true, override_usage = RAISE_USAGE)]
pub struct RaiseArgs {
    #[command(flatten)]
    pub row: RowArgs,
    /// A fact for the diagnosis; the value is taken as JSON if it is JSON. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = text(), value_hint = ValueHint::Other, conflicts_with = "rows")]
    pub set: Vec<String>,
    /// Read JSON objects from stdin, one a line: each the details of a wake (probe, severity, title, ...),
    /// or a probe, perhaps a category, and "recovered":true
    #[arg(long, value_name = "-", value_parser = ["-"], hide_possible_values = true)]
    #[arg(conflicts_with = "RowArgs")]
    pub rows: Option<String>,
}

// The details of one row, under the names that they have there. A doc comment would be the verb's help.
#[derive(Args, Debug, Serialize)]
pub struct RowArgs {
    /// The service in trouble, such as nginx
    #[arg(long, value_name = "NAME", value_parser = text(), value_hint = ValueHint::Other, required_unless_present = "rows")]
    pub probe: Option<String>,
    /// How bad it is: critical, warning or info
    #[arg(long, value_name = "SEVERITY", value_parser = text(), value_hint = ValueHint::Other, required_unless_present_any = NO_WAKE)]
    pub severity: Option<String>,
    /// What is wrong, in one line
    #[arg(long, value_name = "TEXT", value_parser = text(), value_hint = ValueHint::Other, required_unless_present_any = NO_WAKE)]
    pub title: Option<String>,
    /// The kind of trouble: repeats of one probe and category are held back [service_unhealthy]
    #[arg(long, value_name = "NAME", value_parser = text(), value_hint = ValueHint::Other)]
    pub category: Option<String>,
    /// More about it; - reads it from stdin
    #[arg(long, value_name = "TEXT", value_parser = text(), value_hint = ValueHint::Other)]
    pub detail: Option<String>,
    /// The service is healthy again: end the incident of --category, or without it all of the probe's
    #[arg(long)]
    pub recovered: bool,
}

const RAISE_USAGE: &str = "\
probe-wake raise --probe NAME --severity SEVERITY --title TEXT [OPTIONS]
       probe-wake raise --probe NAME --recovered [OPTIONS]
       probe-wake raise --rows - [OPTIONS]";

/// Flags with which `raise` needs neither a severity nor a title.
const NO_WAKE: [&str; 2] = ["rows", "recovered"];

/// Takes an argument that is not UTF-8, too: an alert must not be lost for a stray byte.
fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// Only what happened since: 30m, 2h, 7d, 1w, today, yesterday, 2026-05-24 or '2026-05-24 14:00' (UTC)
    #[arg(long, value_name = "WHEN", value_hint = ValueHint::Other)]
    pub since: Option<String>,
    /// Only this probe
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    pub probe: Option<String>,
    /// Only failures: no diagnosis, a message that was not delivered, a tool that failed
    #[arg(long)]
    pub failed: bool,
    /// Only the newest N; the totals count all
    #[arg(long, value_name = "N", value_parser = at_least_one, value_hint = ValueHint::Other)]
    pub limit: Option<usize>,
    /// All rows of one session, such as probe:fly:service_unhealthy, in time order and in full
    #[arg(long, value_name = "ID", value_hint = ValueHint::Other)]
    pub session: Option<String>,
    #[command(flatten)]
    pub format: RecordFormatArg,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be 1 or more".to_owned()),
    }
}

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Also ask the engine one real question about a made-up wake
    #[arg(long)]
    pub ask_engine: bool,
    /// Also send the operator a test message
    #[arg(long)]
    pub send_test_dm: bool,
    /// Also run the fallback command with a test text
    #[arg(long)]
    pub test_fallback: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Print systemd units: a service, a timer, and a path unit that starts a run at each write to the log
    ///
    /// An alert leaves within a second of its row. The timer delivers, retries, and covers what the path unit
    /// cannot see; its cadence is KORA_PROBE_WAKE_POLL_SEC.
    Systemd(SystemdArgs),
    /// Print a crontab block, or install it
    ///
    /// The block stands between two marks; everything else in the crontab is left as it is.
    Cron {
        /// Put the block into your crontab, or replace it there
        #[arg(long, conflicts_with = "remove")]
        install: bool,
        /// Take the block out of your crontab
        #[arg(long)]
        remove: bool,
    },
}

#[derive(Args, Debug)]
pub struct SystemdArgs {
    /// Units of your own service manager (systemctl --user), without root
    #[arg(long)]
    pub user: bool,
    /// Leave the path unit out: runs are started by the timer alone
    #[arg(long)]
    pub no_path: bool,
    /// Write the units to DIR, make the state folder, and print the commands that start the units
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub write: Option<PathBuf>,
    /// Remove the units from DIR, and print the commands that stop them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["write", "no_path"])]
    pub remove: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// Print what the next run would do; ask, send and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where messages go; what is printed to stdout is never sent to Slack
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = To::Slack)]
    pub to: To,
    #[command(flatten)]
    pub format: FormatArg,
    /// Wait up to SECS for another run to end, then exit 75
    #[arg(long, value_name = "SECS", default_value_t = 0, value_hint = ValueHint::Other)]
    pub wait: u64,
    /// Before taking the lock, wait until SECS have passed since the last run began
    #[arg(long, value_name = "SECS", default_value_t = 0, value_hint = ValueHint::Other)]
    pub pace: u64,
    /// After SECS read no row and begin no question; 0: no limit
    /// [KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS; 300]
    #[arg(long, value_name = "SECS", value_hint = ValueHint::Other)]
    pub max_runtime: Option<u32>,
}

#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The audit log, plain or gzip
    #[arg(value_name = "LOG")]
    pub log: PathBuf,
    /// Only what was raised since: 30m, 2h, 7d, 1w, today, yesterday, 2026-05-24 or '2026-05-24 14:00' (UTC)
    #[arg(long, value_name = "WHEN", value_hint = ValueHint::Other)]
    pub since: Option<String>,
    /// Only this probe
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    pub probe: Option<String>,
    /// Ask the configured engine about each alert; it may cost money
    #[arg(long)]
    pub ask_engine: bool,
    #[command(flatten)]
    pub format: RecordFormatArg,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Show the state
    ///
    /// For a person, or as it is kept, with --format json.
    Show(FormatArg),
    /// Forget it: the next run is a first run; or reset only a part
    ///
    /// It asks before wakes, messages or investigations are lost. What was queued goes to undelivered/, and
    /// the old state stays beside the new one as state.json.old.
    Reset(ResetArgs),
}

#[derive(Args, Debug)]
pub struct ResetArgs {
    /// Reset only the position: read the log from its start, or only what comes after its end
    #[arg(long, value_enum, value_name = "WHERE")]
    pub position: Option<ResetPosition>,
    /// Reset only the incidents and windows
    #[arg(long)]
    pub debounce: bool,
    /// Reset only queued messages and investigations; what was not sent goes to undelivered/
    #[arg(long)]
    pub outbox: bool,
    /// Do not ask before unread wakes are skipped, or messages and investigations given up
    #[arg(long)]
    pub yes: bool,
}

#[derive(Args, Clone, Copy, Debug)]
pub struct FormatArg {
    /// For a person, or one JSON object on stdout
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Args, Clone, Copy, Debug)]
pub struct RecordFormatArg {
    /// For a person, one JSON object, or a page for a browser, on stdout
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = RecordFormat::Text)]
    pub format: RecordFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    Slack,
    Stdout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecordFormat {
    Text,
    Json,
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResetPosition {
    Start,
    End,
}

/// Returns what to type in place of a command that other programs have.
pub fn tip(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    Some(match typed.as_str() {
        "mute" | "snooze" | "pause" => "alerts are held back by 'probe-wake silence'",
        "unmute" | "unsilence" | "unack" | "resume" => {
            "a silence or an acknowledgement is ended by 'probe-wake silence PAIR --end'"
        }
        "acknowledge" => "an open incident is acknowledged by 'probe-wake ack'",
        "resolve" | "recover" | "close" => {
            "an incident is ended by 'probe-wake raise --probe NAME --recovered'"
        }
        "tail" | "watch" | "start" | "daemon" | "setup" | "install" => {
            "there is no daemon: 'probe-wake schedule' shows what starts 'probe-wake run'"
        }
        "test" | "doctor" | "verify" | "config" => "the set-up is checked by 'probe-wake check'",
        "send" | "alert" | "trigger" | "notify" => {
            "an alert is raised by 'probe-wake raise'; a test message is sent by 'probe-wake check --send-test-dm'"
        }
        "list" | "ls" | "show" | "open" | "alerts" => {
            "what is open is listed by 'probe-wake status', what was by 'probe-wake history'"
        }
        "log" | "logs" | "report" => "what was sent is listed by 'probe-wake history'",
        _ => return None,
    })
}
