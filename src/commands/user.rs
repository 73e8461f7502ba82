//! Users of this machine, from `/etc/passwd`. The runs of a schedule are those of the user who calls;
//! with sudo, that is not the user of this process.

use std::path::PathBuf;
use std::{fs, io, thread};

use anyhow::{Context, Result};
use rustix::process::{getegid, geteuid};

use crate::files::become_user;

#[derive(Debug, Default, PartialEq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The id if `/etc/passwd` has no line for it, as with LDAP.
    pub name: String,
    /// Empty if it is unknown.
    pub home: PathBuf,
    /// Whether this process runs as root for this user.
    pub used_sudo: bool,
}

impl User {
    /// Returns the user of this process.
    pub fn current() -> Self {
        Self::of(geteuid().as_raw(), getegid().as_raw())
    }

    /// Returns the user who called: with sudo, the one who typed it.
    pub fn calling() -> Self {
        let id = |variable| std::env::var(variable).ok()?.parse().ok();
        match id("SUDO_UID").filter(|uid| geteuid().is_root() && *uid != 0) {
            None => Self::current(),
            Some(uid) => Self {
                used_sudo: true,
                ..Self::of(uid, id("SUDO_GID").unwrap_or(uid))
            },
        }
    }

    /// Does the work with the rights of this user: root drops its own in another thread.
    pub fn act<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        if !self.used_sudo {
            return Ok(work());
        }
        let as_user = || become_user(self.uid, self.gid).map(|()| work());
        let done = thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, as_user)?;
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        });
        done.with_context(|| format!("cannot act as {}", self.name))
    }

    fn of(uid: u32, gid: u32) -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut users = passwd.lines().filter_map(Self::parse);
        let name = uid.to_string();
        let nameless = Self {
            uid,
            gid,
            name,
            ..Self::default()
        };
        users.find(|user| user.uid == uid).unwrap_or(nameless)
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        Some(Self {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            name: name.to_owned(),
            home: home.into(),
            used_sudo: false,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_is_a_user_or_nothing() {
        let joshua = User {
            uid: 1000,
            gid: 100,
            name: "joshua".into(),
            home: "/home/joshua".into(),
            used_sudo: false,
        };
        let line = "joshua:x:1000:100:Joshua,,,:/home/joshua:/bin/bash";
        assert_eq!(User::parse(line), Some(joshua));
        assert_eq!(User::parse("+@admins::::::"), None);
        assert_eq!(User::parse("# a comment"), None);
    }

    #[test]
    fn work_is_done_with_the_users_rights_and_no_other_thread_loses_its_own() {
        if !geteuid().is_root() {
            return;
        }
        let user = User {
            used_sudo: true,
            ..User::of(4_242, 4_343)
        };
        let ids = || (geteuid().as_raw(), getegid().as_raw());
        assert_eq!(user.act(ids).unwrap(), (4_242, 4_343));
        assert_eq!(ids(), (0, 0));
        assert_eq!((user.name.as_str(), user.home), ("4242", PathBuf::new()));
    }
}
