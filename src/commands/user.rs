//! Users of this machine, from `/etc/passwd`. A schedule needs the user that runs are started as; with
//! sudo, that is the user who called it.

use std::path::PathBuf;

use rustix::process::geteuid;

/// A line of `/etc/passwd`.
#[derive(Debug, PartialEq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl User {
    /// The name of the user that runs this, or the number where there is no name.
    pub fn current_name() -> String {
        let uid = geteuid().as_raw();
        Self::of(uid).map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// The user who called sudo; `None` without sudo.
    pub fn behind_sudo() -> Option<Self> {
        let uid = std::env::var("SUDO_UID").ok()?.parse().ok()?;
        (geteuid().is_root() && uid != 0)
            .then(|| Self::of(uid))
            .flatten()
    }

    fn of(uid: u32) -> Option<Self> {
        let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
        let mut users = passwd.lines().filter_map(Self::parse);
        users.find(|user| user.uid == uid)
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: home.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_is_a_user_or_nothing() {
        let joshua = User {
            name: "joshua".into(),
            uid: 1000,
            gid: 100,
            home: "/home/joshua".into(),
        };
        let line = "joshua:x:1000:100:Joshua,,,:/home/joshua:/bin/bash";
        assert_eq!(User::parse(line), Some(joshua));
        assert_eq!(User::parse("+@admins::::::"), None);
        assert_eq!(User::parse("# a comment"), None);
    }
}
