//! `raise`: appends wakes and recoveries to the audit log, for those who have no Kora. Either all rows
//! of a call go into the log, in one write, or none do.

use std::fs::{File, read_link};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, fchown};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use log::{info, warn};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::audit::row::SEAM;
use crate::cli::{Global, RaiseArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::files::open_shared;
use crate::json;
use crate::text::rfc3339;

const RECOVERY_SEAM: &str = "probe.recovered";

/// No run reads a longer line.
const LONGEST_ROW: usize = 4 * 1024 * 1024;

/// As JSON a detail takes at most six times its length, so that its row can be read.
const LONGEST_DETAIL: usize = 512 * 1024;

const MOST_STDIN: usize = 16 * 1024 * 1024;

/// How long to wait until another writer has finished the log's last line.
const PATIENCE: Duration = Duration::from_secs(1);

/// A row, with the only keys that Kora's own reader allows.
#[derive(Serialize)]
struct Row {
    emitted_at: String,
    seam: &'static str,
    details: Map<String, Value>,
    caller_session_id: Option<String>,
    source: Option<String>,
}

pub fn raise(flags: &Global, args: &RaiseArgs) -> Ended {
    let log = Paths::audit_log(flags)?;
    let rows = match args.rows {
        Some(_) => rows_of_stdin(),
        None => row_of_flags(args).map(|row| vec![row]),
    };
    let rows = rows.map_err(|error| Problem::usage(format!("{error:#}; nothing was raised")))?;
    if !rows.is_empty() {
        append(&log, rows.concat())
            .with_context(|| format!("cannot append to {}", log.display()))?;
    }
    info!("{} rows were appended to {}", rows.len(), log.display());
    Ok(Exit::Done)
}

fn row_of_flags(args: &RaiseArgs) -> Result<String> {
    let mut details = Map::new();
    let detail = match args.detail.as_deref() {
        Some("-") => Some(detail_of_stdin()?),
        typed => typed.map(str::to_owned),
    };
    for (name, value) in [
        ("probe", &args.probe),
        ("severity", &args.severity),
        ("category", &args.category),
        ("title", &args.title),
        ("detail", &detail),
    ] {
        details.extend(value.clone().map(|value| (name.to_owned(), value.into())));
    }
    let facts: Result<Map<_, _>> = args.set.iter().map(|text| fact(text)).collect();
    details.insert("snapshot_details".to_owned(), facts?.into());
    details.insert("recovered".to_owned(), args.recovered.into());
    row(details)
}

/// Parses `KEY=VALUE`.
fn fact(text: &str) -> Result<(String, Value)> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.with_context(|| format!("--set {text}: it must be KEY=VALUE"))?;
    let parsed = serde_json::from_str(value);
    Ok((key.to_owned(), parsed.unwrap_or_else(|_| value.into())))
}

fn detail_of_stdin() -> Result<String> {
    let mut bytes = read_stdin(LONGEST_DETAIL)?;
    if bytes.len() > LONGEST_DETAIL {
        bytes.truncate(LONGEST_DETAIL);
        warn!("the detail is cut after {LONGEST_DETAIL} bytes");
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn rows_of_stdin() -> Result<Vec<String>> {
    let bytes = read_stdin(MOST_STDIN)?;
    ensure!(
        bytes.len() <= MOST_STDIN,
        "stdin holds more than {MOST_STDIN} bytes"
    );
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| {
            let row = match json::parse(line) {
                Some(Value::Object(details)) => row(details),
                _ => Err(anyhow!("it is not a JSON object")),
            };
            row.with_context(|| format!("line {} of stdin", index + 1))
        })
        .collect()
}

/// Reads stdin to its end, or one byte more than `most`.
fn read_stdin(most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stdin = io::stdin().lock().take(most as u64 + 1);
    stdin.read_to_end(&mut bytes).context("cannot read stdin")?;
    Ok(bytes)
}

/// Makes the log's line from the details of a wake, or of a recovery where `recovered` is true.
fn row(mut details: Map<String, Value>) -> Result<String> {
    let probe = name(&details, "probe")?.context("the probe is missing or empty")?;
    let category = name(&details, "category")?;
    let is_recovery = details.remove("recovered") == Some(true.into());
    let (seam, category) = match is_recovery {
        true => {
            details = Map::from_iter([("ends".to_owned(), SEAM.into())]);
            (RECOVERY_SEAM, category)
        }
        false => (SEAM, category.or(Some("service_unhealthy".to_owned()))),
    };
    let has_title = details.get("title").is_some_and(|title| !title.is_null());
    ensure!(is_recovery || has_title, "the title is missing");
    details.insert("probe".to_owned(), probe.into());
    details.extend(category.map(|category| ("category".to_owned(), category.into())));
    let row = serde_json::to_string(&Row {
        emitted_at: rfc3339(Timestamp::now()),
        seam,
        details,
        caller_session_id: None,
        source: None,
    })?;
    ensure!(
        row.len() <= LONGEST_ROW,
        "the row is longer than {LONGEST_ROW} bytes"
    );
    Ok(row + "\n")
}

/// Returns a member as a name that is safe in session ids and file names; `None` where it is missing
/// or empty.
fn name(details: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    let text = match details.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(true))) => value.to_string(),
        Some(value) => bail!("the {key} is not a text: {value}"),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let name = text.replace(|c| !is_plain(c), "_");
    Ok(Some(name).filter(|name| !name.is_empty()))
}

fn append(log: &Path, mut bytes: String) -> io::Result<()> {
    let mut file = open_or_make(log)?;
    let begun = Instant::now();
    while !ends_a_line(&file)? {
        if begun.elapsed() >= PATIENCE {
            bytes.insert(0, '\n');
            break;
        }
        sleep(PATIENCE / 50);
    }
    file.write_all(bytes.as_bytes())
}

fn ends_a_line(file: &File) -> io::Result<bool> {
    let mut last = *b"\n";
    let length = file.metadata()?.len();
    // Where the file is truncated meanwhile, nothing is read.
    let _ = file.read_at(&mut last, length.saturating_sub(1))?;
    Ok(last == *b"\n")
}

/// Opens the log, and makes it where it is missing, with its folder. Root may raise what another user's
/// runs read: what is made belongs to the owner and the group of the folder above it.
fn open_or_make(log: &Path) -> io::Result<File> {
    let open = || open_shared(log, File::options().read(true).append(true));
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    // Where the log is a link to a missing file, that file is made.
    let target = read_link(log).map(|target| log.with_file_name("").join(target));
    let log = target.as_deref().unwrap_or(log);
    let existing = log.ancestors().find(|path| path.is_dir()).unwrap_or(log);
    let names = log.strip_prefix(existing).unwrap_or(log).components();
    let mut names: Vec<_> = names.map(|name| name.as_os_str()).collect();
    let file_name = names.pop().unwrap_or_default();
    // By descriptors, so that nobody can put a link in the place of what was made.
    let mut folder = File::open(existing)?;
    for name in names {
        let made = mkdirat(&folder, name, Mode::from(0o750));
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&folder, name, flags, Mode::empty())?;
        folder = match made {
            Err(Errno::EXIST) => opened.into(),
            made => made.and(Ok(give_away(opened, &folder)?))?,
        };
    }
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match openat(&folder, file_name, flags, Mode::from(0o640)) {
        // Another writer was faster.
        Err(Errno::EXIST) => open(),
        made => give_away(made?, &folder),
    }
}

/// Gives what was made to the owner and the group of its folder, as far as this user may.
fn give_away(made: OwnedFd, folder: &File) -> io::Result<File> {
    let above = folder.metadata()?;
    let (owner, group) = (Some(above.uid()), Some(above.gid()));
    let _ = fchown(&made, owner, group).or_else(|_| fchown(&made, None, group));
    Ok(made.into())
}
