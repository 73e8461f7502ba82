//! A machine with a systemd of its own: a Debian in a folder, booted by systemd-nspawn. It shares the loopback and the
//! kernel with this one, and nothing else. `.ci/run` makes the folder's original once; each machine has a copy.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long it may take to boot, and each command that is run in it.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    nspawn: RefCell<Child>,
    root: PathBuf,
}

impl Machine {
    /// Boots a machine on which `me` is a user and `/usr/local/bin/probe-wake` is this binary. `None` where there is
    /// no original: then the test fails in CI, and is passed over elsewhere.
    pub fn boot(name: &str, binary: &str) -> Option<Self> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let original = target.join("boot/tree");
        if !original.join("usr/lib/systemd/systemd").exists() {
            let missing = format!("{} is missing: .ci/run makes it", original.display());
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            eprintln!("passed over: {missing}");
            return None;
        }
        let root = target.join(format!("boot/{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let script =
            "cp -a --reflink=auto \"$1\" \"$2\" && cp \"$3\" \"$2/usr/local/bin/probe-wake\" &&
            chroot \"$2\" useradd --create-home --uid 4242 me";
        let mut prepare = Command::new("sh");
        prepare
            .args(["-euc", script, "sh"])
            .arg(&original)
            .arg(&root)
            .arg(binary);
        assert!(prepare.status().expect("sh").success());
        let machine = Self {
            nspawn: RefCell::new(Self::start(&root)),
            root,
        };
        machine.wait_until_booted();
        Some(machine)
    }

    fn start(root: &Path) -> Child {
        let mut nspawn = Command::new("setpriv");
        // Told of the end of this thread, it ends the machine.
        nspawn.args(["--pdeathsig", "TERM", "systemd-nspawn", "--quiet", "--boot"]);
        nspawn
            .args(["--register=no", "--keep-unit", "--directory"])
            .arg(root);
        nspawn
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        nspawn.process_group(0).spawn().expect("systemd-nspawn")
    }

    /// The number of the machine's first process, while there is one.
    fn init(&self) -> Option<String> {
        let nspawn = self.nspawn.borrow().id();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }

    fn wait_until_booted(&self) {
        let begun = Instant::now();
        loop {
            let state = self.output(&["systemctl", "is-system-running"]);
            let state = state.map(|state| String::from_utf8_lossy(&state.stdout).into_owned());
            match state.as_deref().map(str::trim) {
                Some("running" | "degraded") => return,
                state if begun.elapsed() > PATIENCE => panic!("it does not boot: {state:?}"),
                _ => sleep(Duration::from_millis(50)),
            }
        }
    }

    fn output(&self, command: &[&str]) -> Option<Output> {
        let init = self.init()?;
        let mut enter = Command::new("nsenter");
        enter.args([
            "--target", &init, "--mount", "--uts", "--ipc", "--pid", "--cgroup",
        ]);
        enter.args(["--", "timeout", "60"]).args(command);
        enter
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        enter
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .env("SYSTEMD_PAGER", "");
        Some(enter.output().expect("nsenter"))
    }

    /// Runs a shell's lines as root, which must succeed; what they printed.
    #[track_caller]
    pub fn sh(&self, lines: &str) -> String {
        let output = self
            .output(&["sh", "-euc", &format!("cd /; {lines}")])
            .expect("a running machine");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lines}:\n{printed}{said}");
        printed
    }

    /// The same as `me`, as after a login.
    #[track_caller]
    pub fn sh_as_me(&self, lines: &str) -> String {
        self.write("/run/lines", lines);
        let login = "cd && export XDG_RUNTIME_DIR=/run/user/4242 && . /run/lines";
        self.sh(&format!(
            "chmod 644 /run/lines; exec setpriv --reuid me --regid me --init-groups \
            env HOME=/home/me sh -euc '{login}'"
        ))
    }

    /// Where a file of the machine is on this one.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file through the machine, since `/run` is not in its folder.
    pub fn write(&self, path: &str, text: &str) {
        let init = self.init().expect("a running machine");
        let mut file = fs::File::create(format!("/proc/{init}/root{path}")).expect("a file");
        file.write_all(text.as_bytes()).expect("a written file");
    }

    /// Restarts the machine; `down` is done while nothing of it runs.
    pub fn reboot(&self, down: impl FnOnce()) {
        self.sh("systemctl --no-block reboot");
        self.nspawn.borrow_mut().wait().expect("its end");
        down();
        *self.nspawn.borrow_mut() = Self::start(&self.root);
        self.wait_until_booted();
    }

    /// How much processor time the machine's services took so far: those that have ended, and systemd itself.
    pub fn processor_time(&self) -> Duration {
        let init = self.init().expect("a running machine");
        let stat = fs::read_to_string(format!("/proc/{init}/stat")).expect("its figures");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        // utime, stime, cutime and cstime of proc_pid_stat(5), in hundredths of a second.
        let fields = fields.split_whitespace().skip(11).take(4);
        let ticks: u64 = fields
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(init) = self.init() {
            let _ = Command::new("kill").args(["-9", &init]).status();
        }
        let nspawn = self.nspawn.get_mut();
        let _ = nspawn.kill();
        let _ = nspawn.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}
