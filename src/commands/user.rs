//! Users of this machine, from `/etc/passwd`. The runs of a schedule are those of the user who calls;
//! with sudo, that is not the user of this process.

use std::io;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::cli::Home;

/// A user, with the name and the home folder that `/etc/passwd` has, if any.
#[derive(Debug, PartialEq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    name: Option<String>,
    home: Option<PathBuf>,
    /// Whether this process runs as another user, who is root.
    used_sudo: bool,
}

impl User {
    /// Returns the user of this process.
    pub fn current() -> Self {
        Self::of(geteuid().as_raw(), getegid().as_raw())
    }

    /// Returns the user who called: with sudo, the one who typed it.
    pub fn calling() -> Self {
        let id = |variable| std::env::var(variable).ok()?.parse().ok();
        match (id("SUDO_UID"), id("SUDO_GID")) {
            (Some(uid), gid) if geteuid().is_root() && uid != 0 => Self {
                used_sudo: true,
                ..Self::of(uid, gid.unwrap_or(uid))
            },
            _ => Self::current(),
        }
    }

    /// Returns the name, or the id where there is none.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }

    pub fn used_sudo(&self) -> bool {
        self.used_sudo
    }

    /// Returns where this user's files are looked for.
    pub fn home(&self) -> Home {
        match self.used_sudo {
            true => Home::Of(self.home.clone()),
            false => Home::OfThisProcess,
        }
    }

    /// Does the work with the rights of this user, which root gives up in a thread of its own.
    pub fn act<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        if !self.used_sudo {
            return Ok(work());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let as_user = || -> io::Result<T> {
            set_thread_groups(&[gid])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            Ok(work())
        };
        let done = thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, as_user)?;
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        });
        done.with_context(|| format!("cannot act as {}", self.name()))
    }

    fn of(uid: u32, gid: u32) -> Self {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut users = passwd.lines().filter_map(Self::parse);
        let known = users.find(|user| user.uid == uid);
        known.unwrap_or(Self {
            uid,
            gid,
            name: None,
            home: None,
            used_sudo: false,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        Some(Self {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            name: Some(name.to_owned()),
            home: Some(home.into()),
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
            name: Some("joshua".into()),
            home: Some("/home/joshua".into()),
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
        assert_eq!(user.name(), "4242");
    }
}
