//! A folder for each test, in which the binary runs with nothing in its environment but what the test set.
//! After every run, its output and all files in the folder are searched for the tokens.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio, id};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use memchr::memmem;
use serde_json::Value;

use super::outcome::{Outcome, Running, column};
use super::row::Row;

pub const SLACK_TOKEN: &str = "xoxb-a-slack-token-nobody-may-see";
pub const ENGINE_TOKEN: &str = "an-engine-token-nobody-may-see";
pub const BINARY: &str = env!("CARGO_BIN_EXE_probe-wake");

/// Folders in which a test itself puts secrets.
const GIVEN: [&str; 2] = ["given", ".config"];

static SANDBOXES: AtomicUsize = AtomicUsize::new(0);

/// Every file and folder, with content and modification time.
pub type Snapshot = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

pub struct Sandbox {
    root: PathBuf,
    env: RefCell<BTreeMap<String, OsString>>,
}

impl Sandbox {
    /// Returns a sandbox with a home folder and the paths of log and state folder, neither of which exists; no
    /// engine and no Slack.
    pub fn new() -> Self {
        let sandbox = Self::bare();
        sandbox.set("KORA_AUDIT_LOG_PATH", sandbox.log());
        sandbox.set("KORA_PROBE_WAKE_STATE_DIR", sandbox.state_dir());
        sandbox
    }

    /// Returns a sandbox with a home folder and nothing else.
    pub fn bare() -> Self {
        let number = SANDBOXES.fetch_add(1, Ordering::Relaxed);
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", id()));
        fs::create_dir_all(root.join("home")).expect("a sandbox");
        fs::create_dir(root.join("given")).expect("a sandbox");
        let sandbox = Self {
            root,
            env: RefCell::default(),
        };
        sandbox.set("PATH", std::env::var_os("PATH").expect("a PATH"));
        sandbox.set("HOME", sandbox.path("home"));
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn log(&self) -> PathBuf {
        self.path("kora_audit_log.jsonl")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// A file of the state folder; empty where it is not there.
    pub fn state_file(&self, name: &str) -> String {
        fs::read_to_string(self.state_dir().join(name)).unwrap_or_default()
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.state_file("state.json")).expect("the state")
    }

    /// The messages that are queued.
    pub fn outbox(&self) -> Vec<Value> {
        self.state()["outbox"].as_array().expect("a list").clone()
    }

    /// The messages that were given up, in that order.
    pub fn undelivered(&self) -> Vec<Value> {
        let folder = fs::read_dir(self.state_dir().join("undelivered"));
        let paths = folder
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.path());
        // A killed process may leave a file that has not got its name yet.
        let named = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let read = |path: PathBuf| fs::read(path).expect("an undelivered message");
        let parsed = named.map(|path| serde_json::from_slice(&read(path)).expect("JSON"));
        let mut messages: Vec<Value> = parsed.collect();
        messages.sort_by_key(|one| one["given_up_at"].as_str().map(str::to_owned));
        messages
    }

    /// Why each of them was given up.
    pub fn given_up(&self) -> Vec<Value> {
        column(self.undelivered(), "/reason")
    }

    /// Reads the rows of a JSONL file in the state folder.
    pub fn state_rows(&self, name: &str) -> Vec<Value> {
        let row = |line: &str| serde_json::from_str(line).expect("a JSON row");
        self.state_file(name).lines().map(row).collect()
    }

    pub fn set(&self, variable: &str, value: impl Into<OsString>) {
        self.env.borrow_mut().insert(variable.into(), value.into());
    }

    /// Sets this proxy in every variable that names one.
    pub fn set_proxies(&self, proxy: &str) {
        for variable in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
            self.set(variable, proxy);
            self.set(&variable.to_ascii_lowercase(), proxy);
        }
    }

    pub fn unset(&self, variable: &str) {
        self.env.borrow_mut().remove(variable);
    }

    /// Returns what is set so far, as the lines of an env file.
    pub fn settings(&self) -> String {
        let env = self.env.borrow();
        let ours = env.iter().filter(|(name, _)| name.starts_with("KORA_"));
        ours.map(|(name, value)| format!("{name}={}\n", value.display()))
            .collect()
    }

    /// Writes a file for the binary to read; only its owner may read or write it.
    pub fn give(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        path
    }

    pub fn append(&self, rows: impl IntoIterator<Item = Row>) {
        let text: String = rows.into_iter().map(|row| row.line() + "\n").collect();
        self.append_raw(text);
    }

    /// Appends these bytes in one write, line end or not.
    pub fn append_raw(&self, bytes: impl AsRef<[u8]>) {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the log");
        log.write_all(bytes.as_ref()).expect("a write to the log");
    }

    pub fn log_length(&self) -> u64 {
        fs::metadata(self.log()).expect("the log").len()
    }

    /// Starts the binary with these arguments, split at spaces.
    pub fn start(&self, line: &str) -> Running {
        self.spawn(Command::new(BINARY).args(line.split_whitespace()))
    }

    /// Runs the binary through another program, such as strace: `wrapper` is followed by the binary and its
    /// arguments.
    #[track_caller]
    pub fn through(&self, wrapper: &[&str], line: &str) -> Outcome {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(BINARY);
        self.spawn(command.args(line.split_whitespace())).finish()
    }

    /// Runs the binary under strace with these flags. Returns the outcome and strace's output.
    #[track_caller]
    pub fn traced(&self, flags: &[&str], line: &str) -> (Outcome, String) {
        let strace = [&["strace", "-f", "-o", "trace"], flags, &["--"]].concat();
        let outcome = self.through(&strace, line);
        let trace = fs::read_to_string(self.path("trace")).expect("strace's output");
        (outcome, trace)
    }

    /// Starts another program as the binary would be started.
    pub fn spawn(&self, command: &mut Command) -> Running {
        command
            .env_clear()
            .envs(&*self.env.borrow())
            .current_dir(&self.root);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::new(command.spawn().expect("the binary"), self.root.clone())
    }

    #[track_caller]
    pub fn command(&self, line: &str) -> Outcome {
        self.start(line).finish()
    }

    #[track_caller]
    pub fn run(&self) -> Outcome {
        self.command("run")
    }

    /// Appends these rows, and runs once.
    #[track_caller]
    pub fn raise(&self, rows: impl IntoIterator<Item = Row>) -> Outcome {
        self.append(rows);
        self.run()
    }

    /// Runs once with this exit code. Returns the report.
    #[track_caller]
    pub fn report(&self, code: i32) -> Value {
        self.command("run --format json").exits(code).json()
    }

    /// Runs once with file permissions in force, even if the tests run as root.
    #[track_caller]
    pub fn run_without_privileges(&self) -> Outcome {
        self.without_privileges("run")
    }

    /// The same for another command.
    #[track_caller]
    pub fn without_privileges(&self, line: &str) -> Outcome {
        if !rustix::process::geteuid().is_root() {
            return self.command(line);
        }
        let dropped = "--bounding-set=-dac_override,-dac_read_search";
        self.through(&["setpriv", dropped, "--inh-caps=-all"], line)
    }

    /// Returns all files of the sandbox but those with these names.
    pub fn snapshot(&self, without: &[&str]) -> Snapshot {
        let mut seen = Snapshot::new();
        walk(&self.root, &mut |path| {
            if !without.iter().any(|name| path.ends_with(name)) {
                let changed = fs::symlink_metadata(path)
                    .expect("metadata")
                    .modified()
                    .expect("a time");
                seen.insert(path.into(), (fs::read(path).unwrap_or_default(), changed));
            }
        });
        seen
    }

    /// Makes the state folder and its files an hour old, so that even a write in the same instant is seen.
    pub fn age_state(&self) {
        let before = SystemTime::now() - Duration::from_secs(3_600);
        walk(&self.state_dir(), &mut |path| {
            if let Ok(file) = File::open(path) {
                file.set_modified(before).expect("a time");
            }
        });
    }

    /// Pretends that the last run was so many minutes ago.
    pub fn age_lock(&self, minutes: i64) {
        let path = self.state_dir().join("state.lock");
        let mut note: Value = serde_json::from_str(&self.state_file("state.lock")).expect("a note");
        let then = Timestamp::now() - SignedDuration::from_mins(minutes);
        for time in ["began", "ended"] {
            note[time] = then.to_string().into();
        }
        fs::write(path, format!("{note}\n")).expect("the lock");
    }

    /// Changes what the lock says about the runs.
    pub fn edit_lock(&self, edit: impl FnOnce(&mut Value)) {
        let mut note: Value = serde_json::from_str(&self.state_file("state.lock")).expect("a note");
        edit(&mut note);
        let path = self.state_dir().join("state.lock");
        fs::write(path, note.to_string() + "\n").expect("the lock");
    }

    /// Lets so much time pass: for the state, the silences and the outcome rows, while the runs go on.
    pub fn pass(&self, length: SignedDuration) {
        self.shift_state_by(-length);
        let silences = fs::read_dir(self.state_dir().join("silences"));
        let is_whole = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
        let files = silences.into_iter().flatten().flatten();
        for path in files.map(|file| file.path()).filter(is_whole) {
            let mut silence: Value =
                serde_json::from_slice(&fs::read(&path).expect("a silence")).expect("JSON");
            shift(&mut silence, -length);
            fs::write(path, silence.to_string()).expect("a silence");
        }
        let mut rows = self.state_rows("outcomes.jsonl");
        rows.iter_mut().for_each(|row| shift(row, -length));
        let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
        if !rows.is_empty() {
            self.give("state/outcomes.jsonl", &rows);
        }
        self.edit_lock(|note| {
            for what in ["reactions_at", "printed"] {
                note.get_mut(what)
                    .into_iter()
                    .for_each(|it| shift(it, -length));
            }
        });
    }

    /// Moves every time in the state by this many hours, as if the clock had been set.
    pub fn shift_state(&self, hours: i64) {
        self.shift_state_by(SignedDuration::from_hours(hours));
    }

    pub fn shift_state_by(&self, length: SignedDuration) {
        let mut state = self.state();
        shift(&mut state, length);
        self.give("state/state.json", &state.to_string());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Copies the binary in another process: a child that this one starts meanwhile would inherit the open copy,
/// which could then not be started (`ETXTBSY`).
pub fn copy_binary(to: &Path) {
    let copied = Command::new("cp").arg(BINARY).arg(to).status();
    assert!(copied.expect("cp").success());
}

fn shift(value: &mut Value, by: SignedDuration) {
    match value {
        Value::String(text) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = (time + by).to_string();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| shift(value, by)),
        Value::Object(fields) => fields.values_mut().for_each(|value| shift(value, by)),
        _ => {}
    }
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    visit(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().expect("a file type") {
            kind if kind.is_dir() => walk(&entry.path(), visit),
            kind if kind.is_file() => visit(&entry.path()),
            _ => {}
        }
    }
}

/// The tokens appear nowhere but in their own header.
#[track_caller]
pub fn assert_no_secrets(root: &Path, output: &Output) {
    let clean = |what: &str, bytes: &[u8]| {
        for token in [SLACK_TOKEN, ENGINE_TOKEN] {
            assert!(
                memmem::find(bytes, token.as_bytes()).is_none(),
                "a token in {what}"
            );
        }
    };
    clean("stdout", &output.stdout);
    clean("stderr", &output.stderr);
    walk(root, &mut |path| {
        let given = path
            .components()
            .any(|part| GIVEN.iter().any(|name| part.as_os_str() == *name));
        if !given && path.is_file() {
            clean(
                &path.display().to_string(),
                &fs::read(path).unwrap_or_default(),
            );
        }
    });
}
