//! Checks whether a timer of the user's service manager runs while the user is logged out.

use std::path::Path;

use crate::commands::finding::{Finding, ok, warning};
use crate::commands::schedule::user_folder;
use crate::commands::user::User;

/// In this folder logind has a file for each user whose service manager is never stopped.
const LINGERING: &str = "/var/lib/systemd/linger";

/// `None` if the user has no such timer.
pub(super) fn own_timer() -> Option<Finding> {
    let user = User::current();
    let timer = user_folder(&user)?.join("probe-wake.timer");
    timer
        .exists()
        .then(|| judge(&user.name, Path::new(LINGERING)))
}

fn judge(user: &str, lingering: &Path) -> Finding {
    if lingering.join(user).exists() {
        return ok(format!("a timer of {user}, which runs without a login"));
    }
    warning(
        format!("the timer of {user} runs only while {user} is logged in"),
        format!("loginctl enable-linger {user}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::finding::Level;

    #[test]
    fn a_timer_without_lingering_is_a_warning() {
        // Any folder with a known file serves the test.
        assert_eq!(judge("passwd", Path::new("/etc")).level, Level::Ok);
        let found = judge("nobody-of-this-name", Path::new("/etc"));
        assert_eq!(found.level, Level::Warning);
        let step = "loginctl enable-linger nobody-of-this-name";
        assert_eq!(found.next_step.as_deref(), Some(step));
    }
}
