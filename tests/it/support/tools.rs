//! The tools that some tests call. `.ci/run` installs them; without them the other tests still run.

/// Ends the test if a tool is missing: it fails in CI and is skipped elsewhere.
macro_rules! needs {
    ($tool:literal) => {
        if crate::support::tools::is_missing($tool) {
            return;
        }
    };
}

pub fn is_missing(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(tool).exists());
    is_passed_over(tool, is_there)
}

/// Whether a test that calls this tool is passed over. In CI a missing tool fails it.
pub fn is_passed_over(tool: &str, is_there: bool) -> bool {
    if is_there {
        return false;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{tool} is missing: .ci/run installs it"
    );
    eprintln!("skipped: {tool} is missing, and .ci/run installs it");
    true
}
