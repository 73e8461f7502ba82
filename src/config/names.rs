//! The names of all settings: which are known, which hold a token, and which one was probably
//! meant.

use super::variables::{ENGINE_TOKEN, HTTPS_PROXY, NO_PROXY, SLACK_BOT_TOKEN, VARIABLES};
use crate::engine::APIS;

/// How alike two names must be for one to be a misspelling of the other; 1 is the same name.
const ALIKE: f64 = 0.7;

/// Returns the names of the variables that hold a token. Each `X` can also be set as `X_FILE`.
pub fn secrets() -> impl Iterator<Item = &'static str> {
    let of_apis = APIS.into_iter().filter_map(|api| api.token_variable);
    of_apis.chain([ENGINE_TOKEN.name, SLACK_BOT_TOKEN.name])
}

/// Returns whether this program reads a variable of this name.
pub fn is_known(name: &str) -> bool {
    // These are also read in lower case.
    let either_case = [HTTPS_PROXY, NO_PROXY].map(|known| known.name);
    names().any(|known| known == name)
        || either_case
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns every name, in capitals only.
pub fn names() -> impl Iterator<Item = String> {
    let files = secrets().map(|secret| format!("{secret}_FILE"));
    let names = VARIABLES.iter().map(|variable| variable.name.to_owned());
    names.chain(files)
}

/// Returns the known name that was probably meant by this one. A name that `is_set` was not.
pub fn meant_by(name: &str, is_set: impl Fn(&str) -> bool) -> Option<String> {
    let written = name.to_ascii_uppercase();
    let likeness = |known: &str| {
        // TIMEOUT is closer to TOKEN than to TIMEOUT_SECONDS by letters alone.
        let lacks_its_end = f64::from(u8::from(known.starts_with(&written))) / 4.0;
        strsim::normalized_damerau_levenshtein(&written, known) + lacks_its_end
    };
    let likely = names().map(|known| (likeness(&known), known));
    let (likeness, known) = likely.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness >= ALIKE && !is_set(&known)).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_name_is_recognised() {
        for (written, meant) in [
            ("KORA_SLACK_TOKEN", "KORA_SLACK_BOT_TOKEN"),
            ("SLACK_BOT_TOKEN", "KORA_SLACK_BOT_TOKEN"),
            ("KORA_SLACK_BOT_TOKEN_FLE", "KORA_SLACK_BOT_TOKEN_FILE"),
            ("KORA_SLACK_USER_ID", "KORA_SLACK_JOSHUA_USER_ID"),
            (
                "KORA_PROBE_ENGINE_TIMEOUT",
                "KORA_PROBE_ENGINE_TIMEOUT_SECONDS",
            ),
            ("KORA_AUDIT_LOG", "KORA_AUDIT_LOG_PATH"),
            ("kora_audit_log_path", "KORA_AUDIT_LOG_PATH"),
            ("KORA_DEBOUNCE_SECONDS", "KORA_PROBE_DEBOUNCE_SECONDS"),
        ] {
            assert_eq!(meant_by(written, |_| false).as_deref(), Some(meant));
        }
    }

    #[test]
    fn the_settings_of_other_programs_are_left_alone() {
        for name in [
            "PATH",
            "LANG",
            "DATABASE_URL",
            "KORA_GATEWAY_PORT",
            "KORA_SLACK_DM_LOG_PATH",
        ] {
            assert_eq!(meant_by(name, |_| false), None, "{name}");
        }
        let is_set = |name: &str| name == "KORA_SLACK_BOT_TOKEN";
        assert_eq!(meant_by("KORA_SLACK_APP_TOKEN", is_set), None);
    }

    #[test]
    fn every_variable_with_a_token_is_documented() {
        for name in secrets() {
            assert!(
                VARIABLES.iter().any(|variable| variable.name == name),
                "{name}"
            );
        }
    }
}
