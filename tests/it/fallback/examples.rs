//! The fallback commands of probe-wake(7), with servers on loopback.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::{pass, set_command, without_slack};
use crate::commands::recipes::recipe;
use crate::support::{Reply, Server, World, wake};

/// Raises an alert that the recipe gets, with these replacements.
fn page(recipe: &str, replaced: &[(&str, &str)]) -> (World, String) {
    let world = without_slack("");
    let mut script = recipe.to_owned();
    for (from, to) in replaced {
        assert!(script.contains(from), "no {from} in {script}");
        script = script.replace(from, to);
    }
    set_command(&world, &script);
    let row = wake("fly").set("title", "Größe\r\nX-Forged: 1");
    world.raise([row]).exits(3).hides("fallback");
    assert!(world.outbox()[0]["hand_over"]["done"].is_string());
    (world, script)
}

#[test]
fn ntfy_gets_the_text_with_title_and_priority() {
    needs!("curl");
    let ntfy = Server::start("ntfy", |_, _| Reply::text(200, "{}"));
    let header = format!(
        "{}/ntfy-header-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    fs::write(&header, "Authorization: Bearer tk_mine\n").unwrap();
    let url = format!("http://{}", ntfy.address());
    let replaced = [
        ("https://ntfy.sh", url.as_str()),
        ("/home/me/.config/ntfy-header", &header),
    ];
    let (world, script) = page(&recipe("page-by-ntfy"), &replaced);
    let request = &ntfy.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/my-topic")
    );
    assert_eq!(request.header("authorization"), Some("Bearer tk_mine"));
    assert_eq!(request.header("priority"), Some("5"));
    assert_eq!(request.header("x-forged"), None);
    let title = request.header("title").unwrap();
    assert!(
        title.starts_with("fly: Gr") && title.ends_with("X-Forged: 1"),
        "{title}"
    );
    let body = String::from_utf8(request.body.clone()).unwrap();
    assert!(body.starts_with("🚨 Probe alert · fly\n"), "{body}");
    // ntfy is down.
    ntfy.script([Reply::text(503, "")]);
    set_command(&world, &script);
    world
        .raise([wake("sentry")])
        .exits(3)
        .warns("fallback command failed");
    pass(&world, 61);
    world.run().exits(3);
    assert_eq!(ntfy.requests().len(), 3);
    let _ = fs::remove_file(header);
}

/// A mail server for one message; returns what it got.
pub fn smtp(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut got = String::new();
    let mut is_data = false;
    stream.write_all(b"220 here\r\n").unwrap();
    while let Some(Ok(line)) = lines.next() {
        got += &format!("{line}\n");
        let answer = match (is_data, line.split([' ', ':']).next().unwrap_or_default()) {
            (true, ".") => "250 taken",
            (true, _) => continue,
            (false, "EHLO") => "250 8BITMIME",
            (false, "DATA") => "354 go on",
            (false, "QUIT") => "221 bye",
            _ => "250 ok",
        };
        is_data = line == "DATA";
        stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .unwrap();
        if line == "QUIT" {
            break;
        }
    }
    got
}

#[test]
fn a_mail_server_gets_the_text() {
    needs!("curl");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || smtp(&listener));
    page(&recipe("page-by-mail"), &[("smtp://localhost", &url)]);
    let got = served.join().unwrap();
    for line in [
        "MAIL FROM:<me@example.org>",
        "RCPT TO:<me@example.org>",
        "Subject: fly (critical)",
    ] {
        assert!(got.contains(&format!("\n{line}")), "{line}: {got}");
    }
    assert!(got.contains("\n\n🚨 Probe alert · fly\n"), "{got}");
}

#[test]
fn sendmail_gets_the_text() {
    let mail = recipe("page-by-mail");
    let (head, _) = mail.split_once("} | curl").unwrap();
    let script = format!("{head}{}", recipe("page-by-sendmail"));
    let sendmail = format!(
        "{}/sendmail-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    fs::write(
        &sendmail,
        "#!/bin/sh\n[ \"$*\" = '-i -t' ] && cat > \"$HOME/mail\"\n",
    )
    .unwrap();
    fs::set_permissions(&sendmail, Permissions::from_mode(0o700)).unwrap();
    let (world, _) = page(&script, &[("/usr/sbin/sendmail", &sendmail)]);
    let mail = fs::read_to_string(world.path("home/mail")).unwrap();
    let begin = "From: me@example.org\nTo: me@example.org\nSubject: fly (critical)\n";
    assert!(
        mail.starts_with(begin) && mail.contains("\n\n🚨 Probe alert · fly\n"),
        "{mail}"
    );
    let _ = fs::remove_file(sendmail);
}
