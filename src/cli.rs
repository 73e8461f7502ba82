//! What can be typed: clap types and their help, no logic. `config` gives them meaning.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

const AFTER_HELP: &str = "\
Settings are environment variables (KORA_...), or KEY=value lines in ~/.config/probe-wake/env;
probe-wake(5) lists them all.

Exit status: 0 done; 1 could not be done; 2 wrong usage or configuration; 3 done, but a DM is
still queued or was given up, or rows may have been missed; 75 another run holds the lock.";

/// Turns the wake rows of an audit log into Slack messages with a diagnosis.
///
/// Service probes write a row to an append-only JSONL audit log when a service turns bad. Each run,
/// started by cron or a systemd timer, reads the rows that are new, holds back repeats, asks a
/// reasoning engine what is wrong, sends the operator a Slack direct message, and remembers where
/// it stopped.
#[derive(Debug, Parser)]
#[command(name = "probe-wake", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

// Behind a verb's own flags in its help.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The audit log [KORA_AUDIT_LOG_PATH; ~/.kora/kora_audit_log.jsonl]
    #[arg(long, value_name = "FILE", global = true, display_order = 101)]
    pub audit_log: Option<PathBuf>,
    /// The folder of the state [KORA_PROBE_WAKE_STATE_DIR; ~/.local/state/probe-wake]
    #[arg(long, value_name = "DIR", global = true, display_order = 102)]
    pub state_dir: Option<PathBuf>,
    /// A file of KEY=value settings [KORA_PROBE_WAKE_ENV_FILE; ~/.config/probe-wake/env]
    #[arg(long, value_name = "FILE", global = true, display_order = 103)]
    pub env_file: Option<PathBuf>,
    /// Say more: -v what is done, -vv each step
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 104)]
    pub verbose: u8,
    /// The home folder of another user than this process's, for whom the settings are read. Empty where
    /// it is unknown.
    #[arg(skip)]
    pub home: Option<PathBuf>,
}

// A verb's own flags are built once it is chosen: that is a tenth of an idle run.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// One run: read what is new, investigate, tell the operator
    Run(RunArgs),
    /// Rehearse a whole log to stdout: no Slack, no state
    Replay(ReplayArgs),
    /// Show or reset what is remembered between runs
    #[command(subcommand)]
    State(StateCommand),
    /// Tell when it last ran, how far behind it is, what is quiet, owed, queued or undelivered
    Status(StatusArgs),
    /// List the DMs that were given up, send them after all, or remove them
    Undelivered(UndeliveredArgs),
    /// Append a wake to the audit log, where no Kora writes it
    Raise(RaiseArgs),
    /// List dispatched investigations, newest last
    History(HistoryArgs),
    /// Examine the set-up, with a next step for each finding
    Check(CheckArgs),
    /// Print or install what starts the runs of this binary
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Print shell completions
    Completions(CompletionsArgs),
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// For monitoring: print only what is wrong, a line each, and exit with 3 where anything is
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Args, Debug)]
pub struct UndeliveredArgs {
    /// Put them back into the outbox: the next run sends them
    #[arg(long, conflicts_with = "format")]
    pub retry: bool,
    /// Remove them for good
    #[arg(long, conflicts_with_all = ["retry", "format"])]
    pub clear: bool,
    /// With --clear, do not ask
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
    /// A fact for the diagnosis; the value is taken as JSON where it is JSON. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = text(), conflicts_with = "rows")]
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
    #[arg(long, value_name = "NAME", value_parser = text(), required_unless_present = "rows")]
    pub probe: Option<String>,
    /// How bad it is: critical, warning or info
    #[arg(long, value_name = "SEVERITY", value_parser = text(), required_unless_present_any = NO_WAKE)]
    pub severity: Option<String>,
    /// What is wrong, in one line
    #[arg(long, value_name = "TEXT", value_parser = text(), required_unless_present_any = NO_WAKE)]
    pub title: Option<String>,
    /// The kind of trouble: repeats of one probe and category are held back [service_unhealthy]
    #[arg(long, value_name = "NAME", value_parser = text())]
    pub category: Option<String>,
    /// More about it; - reads it from stdin
    #[arg(long, value_name = "TEXT", value_parser = text())]
    pub detail: Option<String>,
    /// The service is well again: ends what was raised in this category, or in all of the probe's
    #[arg(long)]
    pub recovered: bool,
}

const RAISE_USAGE: &str = "\
probe-wake raise --probe <NAME> --severity <SEVERITY> --title <TEXT> [OPTIONS]
       probe-wake raise --probe <NAME> --recovered [OPTIONS]
       probe-wake raise --rows - [OPTIONS]";

/// Flags with which `raise` needs neither a severity nor a title.
const NO_WAKE: [&str; 2] = ["rows", "recovered"];

/// Takes an argument that is not UTF-8, too: an alert must not be lost for a stray byte.
fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// Only what was dispatched since: 30m, 24h, 7d, or a time such as 2026-05-24T14:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only this probe's
    #[arg(long, value_name = "NAME")]
    pub probe: Option<String>,
    /// First those that failed: no diagnosis, or a DM that was not delivered; then those with a tool that did
    #[arg(long)]
    pub failed: bool,
    /// List only the newest N; the totals count all
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
    /// All that happened in one session, such as probe:fly:service_unhealthy, in the order of time and in full
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    #[command(flatten)]
    pub format: RecordFormatArg,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a number from 1 on".to_owned()),
    }
}

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Also ask the engine one real question, about a made-up alert
    #[arg(long)]
    pub ask_engine: bool,
    /// Also send the operator a test message
    #[arg(long)]
    pub send_test_dm: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Print systemd units: a service, a timer, and a path unit that starts a run at each write to the log
    Systemd(SystemdArgs),
    /// Print a crontab block, or put it into the crontab
    Cron(CronArgs),
}

#[derive(Args, Debug)]
pub struct SystemdArgs {
    /// For your own service manager (systemctl --user), which needs no root
    #[arg(long)]
    pub user: bool,
    /// Leave the path unit out: runs are started by the timer alone
    #[arg(long)]
    pub no_path: bool,
    /// Write the units to DIR, make the state folder, and print the commands that start the units
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// Remove the units from DIR, and print the commands that stop them
    #[arg(long, value_name = "DIR", conflicts_with_all = ["write", "no_path"])]
    pub remove: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct CronArgs {
    /// Put the block into your crontab, in place of an earlier one
    #[arg(long, conflicts_with = "remove")]
    pub install: bool,
    /// Take the block out of your crontab
    #[arg(long)]
    pub remove: bool,
}

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell to complete in
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// Tell what the next run would do; ask, send and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the DMs go; what stdout prints counts as told: Slack never gets it
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = To::Slack)]
    pub to: To,
    #[command(flatten)]
    pub format: FormatArg,
    /// Wait so long for another run to end before giving up with exit 75
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    pub wait: u64,
    /// Before taking the lock, wait until SECS have passed since the last run began
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    pub pace: u64,
    /// Ask and read no more after so many seconds; 0 is no limit [KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS; 300]
    #[arg(long, value_name = "SECS")]
    pub max_runtime: Option<u32>,
}

#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The audit log to rehearse, plain or gzip
    #[arg(value_name = "LOG")]
    pub log: PathBuf,
    /// Ask no engine, even where one is configured
    #[arg(long)]
    pub no_engine: bool,
    #[command(flatten)]
    pub format: RecordFormatArg,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Show positions, stamps, owed investigations and the outbox
    Show(FormatArg),
    /// Forget everything (the next run is a first run), or only a part
    Reset(ResetArgs),
}

#[derive(Args, Debug)]
pub struct ResetArgs {
    /// Reset only the position of the audit log: read it from its start, or from its end on
    #[arg(long, value_enum, value_name = "WHERE")]
    pub position: Option<ResetPosition>,
    /// Reset only the debounce stamps of the audit log
    #[arg(long)]
    pub debounce: bool,
    /// Reset only the outbox and the owed investigations: what was not told goes to undelivered.jsonl
    #[arg(long)]
    pub outbox: bool,
    /// Do not ask before unread wakes are passed over, or DMs and investigations given up
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
