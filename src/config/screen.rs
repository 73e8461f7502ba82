//! What the terminal can show, according to the environment.

use crate::terminal::Screen;

/// Reads `TERM` and the locale, for which the first variable that is set counts (locale(7)). If none is set,
/// escapes are still used: today's terminals take them.
pub fn screen() -> Screen {
    of(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

fn of(get: impl Fn(&str) -> Option<String>) -> Screen {
    let set = |name: &&str| get(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    let is_utf8 = locale.map(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    });
    let is_dumb = get("TERM").is_some_and(|term| term == "dumb");
    Screen {
        escapes: !is_dumb && is_utf8 != Some(false),
        unicode: !is_dumb && is_utf8 == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_unicode_go_by_terminal_and_locale() {
        let cases = [
            ("", true, false),
            ("LANG=de_DE.UTF-8", true, true),
            ("LC_CTYPE=C.utf8", true, true),
            ("TERM=dumb LANG=C.UTF-8", false, false),
            ("TERM=xterm LANG=C", false, false),
            ("LC_ALL=C LANG=C.UTF-8", false, false),
            ("LC_ALL= LANG=C.UTF-8", true, true),
            ("LC_ALL=C.UTF-8 LANG=POSIX", true, true),
            ("LC_CTYPE=en_US.ISO-8859-1", false, false),
        ];
        for (set, escapes, unicode) in cases {
            let get = |name: &str| {
                let mut pairs = set.split(' ').filter_map(|pair| pair.split_once('='));
                let found = pairs.find(|(set, _)| *set == name);
                found.map(|(_, value)| value.to_owned())
            };
            assert_eq!(of(get), Screen { escapes, unicode }, "{set:?}");
        }
    }
}
