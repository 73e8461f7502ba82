//! `raise`: appends wakes and recoveries to the audit log, for those who have no Kora. Either all rows
//! of a call go into the log, in one write, or none do.

use std::fs::{File, read_link};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use log::{info, warn};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::audit::row::{RECOVERED_SEAM, SEAM};
use crate::cli::{Global, RaiseArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::files::{is_at_line_start, open_shared};
use crate::json;
use crate::report::count;
use crate::terminal::write_line;
use crate::text::{quote, rfc3339};

/// No run reads a longer line.
const LONGEST_ROW: usize = 4 * 1024 * 1024;

/// How much of a detail on stdin is taken. JSON may make it six times as long, and its row can still be read.
const LONGEST_DETAIL: usize = 512 * 1024;

const LONGEST_STDIN: u64 = 16 * 1024 * 1024;

/// How long to wait for another writer to finish the log's last line.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn raise(flags: &Global, args: &RaiseArgs) -> Ended {
    let log = Paths::audit_log(flags)?;
    let rows = match args.rows {
        Some(_) => rows_of_stdin(),
        None => row_of_flags(args).map(|row| vec![row]),
    };
    let rows = rows.map_err(|error| Problem::usage(format!("{error:#}; nothing was raised")))?;
    let failed = || format!("cannot append to {}", log.display());
    append(&log, rows.concat()).with_context(failed)?;
    let rows = count(rows.len() as u64, "row was", "rows were");
    let done = format!("{rows} appended to {}", log.display());
    match io::stderr().is_terminal() {
        true => write_line(&format!("probe-wake: {done}")),
        false => info!("{done}"),
    }
    Ok(Exit::Done)
}

fn row_of_flags(args: &RaiseArgs) -> Result<String> {
    let mut details: Map<_, _> = serde_json::from_value(serde_json::to_value(&args.row)?)?;
    details.retain(|_, value| !value.is_null());
    if args.row.detail.as_deref() == Some("-") {
        let bytes = read_stdin()?;
        let text = String::from_utf8_lossy(end_of(&bytes));
        details["detail"] = text.trim_end_matches(['\r', '\n']).into();
    }
    let facts: Result<Map<_, _>> = args.set.iter().map(|text| fact(text)).collect();
    details.insert("snapshot_details".to_owned(), facts?.into());
    row(details)
}

/// Returns only the newest lines if a detail is too long.
fn end_of(bytes: &[u8]) -> &[u8] {
    let Some(cut) = bytes.len().checked_sub(LONGEST_DETAIL + 1) else {
        return bytes;
    };
    warn!("only the last 512 KiB of the detail are taken");
    let line = memchr::memchr(b'\n', &bytes[cut..]);
    &bytes[cut + 1 + line.unwrap_or(0)..]
}

/// Parses `KEY=VALUE`.
fn fact(text: &str) -> Result<(String, Value)> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.with_context(|| format!("--set {text}: it must be KEY=VALUE"))?;
    let parsed = serde_json::from_str(value);
    Ok((key.to_owned(), parsed.unwrap_or_else(|_| value.into())))
}

fn rows_of_stdin() -> Result<Vec<String>> {
    let bytes = read_stdin()?;
    let is_whole = (bytes.len() as u64) < LONGEST_STDIN;
    ensure!(is_whole, "stdin holds over 16 MiB");
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let rows = lines.map(|(index, line)| {
        let row = match json::parse(line) {
            Some(Value::Object(details)) => row(details),
            _ => Err(anyhow!("it is not a JSON object")),
        };
        row.with_context(|| format!("line {} of stdin", index + 1))
    });
    rows.collect()
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let stdin = io::stdin().lock();
    let read = stdin.take(LONGEST_STDIN).read_to_end(&mut bytes);
    read.context("cannot read stdin")?;
    Ok(bytes)
}

/// Makes the log's line from the details of a wake, or of a recovery if `recovered` is true. Kora's own
/// reader allows no other keys beside `details`.
fn row(mut details: Map<String, Value>) -> Result<String> {
    let probe = name(&details, "probe")?.context("the probe is missing or empty")?;
    let mut category = name(&details, "category")?;
    let has_title = details.get("title").is_some_and(|title| !title.is_null());
    let is_recovery = match details.remove("recovered") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(recovered)) => recovered,
        Some(value) => bail!("recovered is neither true nor false: {value}"),
    };
    let seam = if is_recovery {
        details = Map::from_iter([("ends".to_owned(), SEAM.into())]);
        RECOVERED_SEAM
    } else {
        ensure!(has_title, "the title is missing");
        if let Some(Value::String(severity)) = details.get("severity")
            && !["critical", "warning", "info"].contains(&severity.as_str())
        {
            let severity = quote(severity);
            warn!("severity {severity:?} counts as a warning; give critical, warning or info");
        }
        category.get_or_insert("service_unhealthy".to_owned());
        SEAM
    };
    let names = [("probe", Some(probe)), ("category", category)].into_iter();
    details.extend(names.filter_map(|(key, name)| Some((key.into(), name?.into()))));
    let (now, details) = (rfc3339(Timestamp::now()), Value::Object(details));
    let row = format!(
        r#"{{"emitted_at":"{now}","seam":"{seam}","details":{details},"caller_session_id":null,"source":null}}"#
    );
    ensure!(row.len() <= LONGEST_ROW, "the row is over 4 MiB");
    Ok(row + "\n")
}

/// Returns a member as a name that is safe in session ids and file names; `None` if it is missing or empty.
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
    if bytes.is_empty() {
        return Ok(());
    }
    let mut file = open_or_make(log)?;
    let begun = Instant::now();
    while !is_at_line_start(&file)? && !bytes.starts_with('\n') {
        match begun.elapsed() < PATIENCE {
            true => sleep(PATIENCE / 50),
            false => bytes.insert(0, '\n'),
        }
    }
    file.write_all(bytes.as_bytes())
}

/// Opens the log, and creates it and its folder if they are missing. Root may raise what another user's runs
/// read: what is created belongs to the owner and the group of the folder above it.
fn open_or_make(log: &Path) -> io::Result<File> {
    let open = || open_shared(log, File::options().read(true).append(true));
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    // If the log is a link to a missing file, that file is created.
    let target = read_link(log).map(|target| log.with_file_name("").join(target));
    let log = target.as_deref().unwrap_or(log);
    let (Some(above), Some(name)) = (log.parent(), log.file_name()) else {
        return open();
    };
    let above = open_or_make_folder(above)?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match openat(&above, name, flags, Mode::from(0o640)) {
        // Another writer was faster.
        Err(Errno::EXIST) => open(),
        made => Ok(give_away(made?.into(), &above)),
    }
}

/// Does the same as [`open_or_make`] for a folder. It goes by descriptors, so that nobody can put a link in
/// the place of what was created.
fn open_or_make_folder(path: &Path) -> io::Result<File> {
    let (false, Some(above), Some(name)) = (path.is_dir(), path.parent(), path.file_name()) else {
        return File::open(path);
    };
    let above = open_or_make_folder(above)?;
    let made = mkdirat(&above, name, Mode::from(0o750));
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match (made, openat(&above, name, flags, Mode::empty())) {
        (Ok(()), opened) => Ok(give_away(opened?.into(), &above)),
        (Err(Errno::EXIST), opened) => Ok(opened?.into()),
        (Err(error), _) => Err(error.into()),
    }
}

/// Gives what was created to the owner and the group of its folder, as far as this user may.
fn give_away(made: File, folder: &File) -> File {
    if let Ok(above) = folder.metadata() {
        let (owner, group) = (Some(above.uid()), Some(above.gid()));
        let _ = fchown(&made, owner, group).or_else(|_| fchown(&made, None, group));
    }
    made
}
