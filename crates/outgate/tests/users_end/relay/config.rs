//! The command line and relay.toml: what is wrong is told all at once, and never with a secret.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::OUTGATE;

fn outgate(arguments: &[&str]) -> Output {
    Command::new(OUTGATE).args(arguments).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `outgate check` of a file with this text.
fn check(text: &str) -> Output {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("relay.toml");
    std::fs::write(&file, text).expect("the folder is ours");
    outgate(&["check", file.to_str().expect("UTF-8")])
}

#[test]
fn a_file_with_everything_is_fine() {
    let output = check(
        r#"
        name = "relay-office"
        clients = ["127.0.0.0/8", "192.168.0.0/16"]
        [[listen]]
        address = "127.0.0.1:3128"
        [[upstream]]
        url = "http://user:p%40ss@gw.example:8080"
        name = "first"
        account = "main"
        tier = 0
        weight = 3
        exits = "sessions"
        provider = "brightdata"
        session = "user-session-{}"
        [[upstream]]
        url = "socks5h://other.example"
        tier = 1
        exits = "one"
        [bypass]
        rules = ["localhost", ".corp", "10.0.0.0/8", "git.example:22"]
        [retry]
        attempts = 5
        transient = 3
        fix = 1
        deadline = "90s"
        attempt_timeout = "30s"
        backoff_first = "1s"
        backoff_longest = "60s"
        remember = "60s"
        breaker_share = "30%"
        breaker_samples = 10
        breaker_window = "5m"
        breaker_cooldown = "30s"
        [timeouts]
        setup = "20s"
        response = "60s"
        idle = "10m"
        head = "60s"
        drain = "30s"
        [limits]
        connections = 4096
        body = "256KB"
        [records]
        folder = "records"
        keep = "30d"
        "#,
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn all_problems_come_in_one_run_with_lines_and_no_secret() {
    let text = "clinets = [\"127.0.0.0/8\"]\n[[upstream]]\nurl = \"http://user:hun#ter2@gw.example:8080\"\nweight = -1\n\
                [[upstream]]\nurl = \"ftp://user:hunter2@gw.example\"\nprovider = \"brightdat\"\n[bypass]\nrules = [\"http://x\"]\n\
                [retry]\nattempts = 0\n";
    let output = check(text);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let expected = [
        (1, "did you mean \"clients\""),
        (3, "write it as %23"),
        (4, "weight"),
        (6, "\"ftp\" is not a proxy's scheme"),
        (7, "did you mean \"brightdata\""),
        (9, "is no rule"),
        (11, "attempts"),
    ];
    for (line, what) in expected {
        assert!(
            told.lines().any(|told| told.contains(&format!("relay.toml:{line}: ")) && told.contains(what)),
            "{line} {what} in\n{told}"
        );
    }
    assert!(!told.contains("hunter2") && !told.contains("ter2"), "{told}");
}

#[test]
fn a_command_line_says_what_it_lacks() {
    let cases: [(&[&str], &str); 5] = [
        (&["relay", "--listen", "127.0.0.1:0"], "a relay needs upstreams"),
        (&["relay", "--upstream", "http://u:secret@gw.example:1"], "a place to listen"),
        (&["relay", "--listen", "127.0.0.1:0", "--upstream", "http://u:sec/ret@gw.example:1"], "write it as %2F"),
        (&["relay", "--listen", "127.0.0.1:0", "--upstream", "http://gw.example:1", "--no-proxy", "a b"], "is no rule"),
        (&["relay", "--listen", "127.0.0.1:3999", "--upstream", "http://127.0.0.1:3999"], "is the relay itself"),
    ];
    for (arguments, why) in cases {
        let output = outgate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = stderr(&output);
        assert!(told.contains(why) && !told.contains("secret") && !told.contains("sec/ret"), "{why} in\n{told}");
    }
}
