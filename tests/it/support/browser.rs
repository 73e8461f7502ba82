//! A real browser, headless and offline.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::sandbox::Sandbox;

/// Returns the page's elements as the browser sees them, after its scripts, if any, have run.
#[track_caller]
pub fn dom(sandbox: &Sandbox, page: &Path) -> String {
    let profile = sandbox.path("given/browser");
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--allow-file-access-from-files",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .env("HOME", sandbox.path("home"))
        .stdin(Stdio::null())
        .output()
        .expect("chromium");
    let dom = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        dom.contains("</html>"),
        "chromium: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    dom
}

/// Returns by how many pixels each page is too wide for a screen of each of these widths.
#[track_caller]
pub fn overflows(sandbox: &Sandbox, pages: &[PathBuf], widths: &[u32]) -> Vec<i64> {
    let frames = pages.iter().flat_map(|page| {
        let page = page.display();
        let frame = move |width| {
            format!("<iframe src='file://{page}' style='width:{width}px;height:900px;border:0'></iframe>")
        };
        widths.iter().map(frame)
    });
    let measure = "<script>onload = () => {
        const roots = [...document.querySelectorAll('iframe')].map(frame => frame.contentDocument.documentElement);
        document.title = 'over ' + roots.map(root => root.scrollWidth - root.clientWidth).join(' ') + ' px';
    }</script>";
    let path = sandbox.give("given/frames.html", &(frames.collect::<String>() + measure));
    let dom = dom(sandbox, &path);
    let widths = dom.split("<title>over ").nth(1);
    let widths = widths.and_then(|rest| rest.split(" px").next());
    let numbers = widths.expect("the widths").split(' ');
    numbers
        .map(|number| number.parse().expect("a number"))
        .collect()
}
