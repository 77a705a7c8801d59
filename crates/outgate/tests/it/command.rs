//! The command line as a user meets it: what it prints, where, and with which exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};

use outgate_testkit::daemon::{Daemon, Signal};
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::{wait_for, within};
use outgate_testkit::wire::{Expect, Wire};
use serde_json::Value;
use tempfile::TempDir;

use crate::OUTGATE;

/// A command that ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Runs a command to its end, in a folder where no gateway ran.
fn outgate(arguments: &[&str]) -> Ran {
    let folder = TempDir::new().expect("a temporary folder");
    outgate_in(folder.path(), arguments)
}

fn outgate_in(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(OUTGATE);
    for variable in ["OUTGATE_ADMIN_TOKEN", "OUTGATE_EXIT_TOKEN", "NO_COLOR"] {
        command.env_remove(variable);
    }
    Ran::of(&command.args(arguments).current_dir(folder).output().expect("the binary runs"))
}

/// Starts a command that is meant to fail at once. One that stays is ended by the guard.
fn fails(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let mut daemon = Daemon::start(OUTGATE, &arguments, environment);
    let code = daemon.wait().code();
    // Its pipes are read by other threads, which may be a moment behind.
    let stderr = wait_for("why it failed", || Some(daemon.stderr()).filter(|text| !text.is_empty()));
    Ran { code, stdout: daemon.stdout(), stderr }
}

const QUICKSTART: [&str; 6] = ["quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--json"];

#[test]
fn help_teaches() {
    let main = outgate(&["--help"]);
    assert_eq!(main.code, Some(0));
    for command in ["quickstart", "gateway", "exit", "explain", "doctor", "check", "plans", "keys", "exits", "usage"] {
        assert!(main.stdout.contains(&format!("\n  {command} ")), "{command} is not in\n{}", main.stdout);
    }
    assert!(main.stdout.contains("outgate quickstart"), "it says where to begin:\n{}", main.stdout);

    let commands: &[&[&str]] = &[
        &["quickstart"],
        &["gateway"],
        &["exit"],
        &["explain"],
        &["doctor"],
        &["check"],
        &["plans"],
        &["plans", "list"],
        &["plans", "create"],
        &["plans", "set"],
        &["plans", "remove"],
        &["keys"],
        &["keys", "list"],
        &["keys", "show"],
        &["keys", "create"],
        &["keys", "rotate"],
        &["keys", "suspend"],
        &["keys", "resume"],
        &["keys", "revoke"],
        &["keys", "block"],
        &["keys", "unblock"],
        &["exits"],
        &["exits", "list"],
        &["exits", "enroll"],
        &["exits", "revoke"],
        &["exits", "drain"],
        &["usage"],
    ];
    for command in commands {
        let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = outgate(&arguments);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{command:?}");
        let first = help.stdout.lines().next().unwrap_or_default();
        assert!(
            first.contains(' ') && !first.starts_with("Usage: outgate"),
            "{command:?} begins with what it does, not {first:?}"
        );
        assert!(help.stdout.contains("Usage: outgate "), "{command:?}");
        // Every option says what it is for: no line with a flag and nothing behind it.
        let lines: Vec<&str> = help.stdout.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("--")) {
            let own = line.trim().split("  ").filter(|part| !part.is_empty()).count() > 1;
            let below = lines.get(at + 1).is_some_and(|next| next.starts_with("          "));
            assert!(own || below, "{command:?}: {line:?} explains nothing");
        }
    }
    for group in ["plans", "keys", "exits", "usage"] {
        assert!(outgate(&[group, "--help"]).stdout.contains("Examples:"), "{group}");
    }
    assert!(outgate(&["--version"]).stdout.starts_with("outgate "));
}

#[test]
fn wrong_usage_is_told_with_a_hint_and_code_2() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["quikstart"], "quickstart"),
        (&["keys", "creat"], "create"),
        (&["quickstart", "--lisen", "127.0.0.1:0"], "--listen"),
        (&["quickstart", "--listen", "here"], "here"),
        (&["quickstart", "--dialect", "klingon"], "outgate"),
        (&["plans", "create", "p", "--bytes", "many"], "many"),
        (&["keys", "create", "--allow-ip", "nowhere"], "192.0.2."),
        (&["usage", "--by", "mood"], "pool"),
        (&["exit", "--gateway", "http://h", "--token", "t"], "ws"),
        (&["keys", "list", "--console", "http://127.0.0.1:1"], "OUTGATE_ADMIN_TOKEN"),
    ];
    for (arguments, hint) in cases {
        let ran = outgate(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}\n{}", ran.stderr);
        assert!(ran.stderr.contains(hint), "{arguments:?} doesn't hint at {hint:?}:\n{}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn explain_knows_statuses_slugs_and_what_was_meant() {
    let page = outgate(&["explain", "454"]);
    assert_eq!(page.code, Some(0));
    for slug in ["country_invalid", "city_invalid", "modifier_unknown"] {
        assert!(page.stdout.contains(slug), "{slug}\n{}", page.stdout);
    }
    assert!(page.stdout.contains("Cause") && page.stdout.contains("Fix"));

    let row = outgate(&["explain", "dns_failed", "--json"]).json();
    assert_eq!((&row["slug"], &row["status"], &row["rfc9209"]), (&"dns_failed".into(), &502.into(), &"dns_error".into()));
    assert_eq!((&row["retry"], &row["layer"]), (&"backoff".into(), &"target".into()));
    let rows = outgate(&["explain", "454", "--json"]).json();
    assert!(rows.as_array().is_some_and(|rows| rows.len() >= 3), "a status is a list: {rows}");
    let all = outgate(&["explain", "--json"]).json();
    assert!(all.as_array().is_some_and(|rows| rows.len() >= 60), "the whole catalogue");

    let other = outgate(&["explain", "452", "--dialect", "proxies.fo"]);
    assert!(other.code == Some(0) && other.stdout.contains("bandwidth_exhausted"), "{}", other.stderr);

    let unknown = outgate(&["explain", "nosuch"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    assert!(unknown.stderr.contains("outgate explain"), "{}", unknown.stderr);
    let near = outgate(&["explain", "port_deneid"]);
    assert!(near.code == Some(2) && near.stderr.contains("did you mean port_denied?"), "{}", near.stderr);
    let status = outgate(&["explain", "299"]);
    assert!(status.code == Some(2) && status.stderr.contains("299"), "{}", status.stderr);
}

#[test]
fn check_lists_every_problem_with_its_line() {
    let folder = TempDir::new().expect("a temporary folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("the folder is ours");
    write("good.toml", "name = \"gw-1\"\n\n[[listen]]\naddress = \"127.0.0.1:0\"\n\n[console]\naddress = \"127.0.0.1:0\"\n");
    let good = outgate_in(folder.path(), &["check", "good.toml"]);
    assert_eq!((good.code, good.stdout.as_str(), good.stderr.as_str()), (Some(0), "good.toml: fine\n", ""));

    write(
        "bad.toml",
        "name = \"gw 1\"\n[[listen]]\naddres = \"127.0.0.1:0\"\n[limits]\nconnections = 0\n[timeouts]\nhead = \"soon\"\n[policy]\nports = [443, 99999]\n",
    );
    let bad = outgate_in(folder.path(), &["check", "bad.toml"]);
    assert_eq!((bad.code, bad.stdout.as_str()), (Some(2), ""));
    for (line, setting) in [(1, "name"), (3, "addres"), (5, "limits.connections"), (7, "timeouts.head"), (9, "policy.ports")] {
        let place = format!("bad.toml:{line}: ");
        let told = bad.stderr.lines().any(|text| text.starts_with(&place) && text.contains(setting));
        assert!(told, "{place}{setting} is not in\n{}", bad.stderr);
    }
    assert!(bad.stderr.contains("address"), "a misspelled key gets a suggestion:\n{}", bad.stderr);

    write("broken.toml", "name = \n[[listen\n");
    let broken = outgate_in(folder.path(), &["check", "broken.toml"]);
    assert!(broken.code == Some(2) && broken.stderr.contains("broken.toml:1"), "{}", broken.stderr);
    let missing = outgate_in(folder.path(), &["check", "nosuch.toml"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("nosuch.toml"), "{}", missing.stderr);
    let started = outgate_in(folder.path(), &["gateway", "--config", "bad.toml"]);
    assert_eq!((started.code, started.stderr), (Some(2), bad.stderr), "the gateway says the same");
}

#[test]
fn without_a_gateway_the_commands_say_what_to_do() {
    for arguments in [["plans", "list"], ["keys", "list"], ["exits", "list"], ["keys", "create"]] {
        let ran = outgate(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        for hint in ["no gateway is running", "outgate quickstart", "--data", "--console"] {
            assert!(ran.stderr.contains(hint), "{arguments:?} doesn't mention {hint:?}:\n{}", ran.stderr);
        }
    }
    let dead = RefusingPort::reserve();
    let url = format!("http://{}", dead.address());
    let mut command = Command::new(OUTGATE);
    let ran =
        Ran::of(&command.args(["keys", "list", "--console", &url]).env("OUTGATE_ADMIN_TOKEN", "t").output().expect("it runs"));
    assert!(ran.code == Some(1) && ran.stderr.contains(&dead.address().to_string()), "{}", ran.stderr);
}

#[test]
fn quickstart_prints_one_line_and_ends_when_asked() {
    let mut gateway = Quickstart::new(OUTGATE).start();
    for field in ["proxy_url", "console_url", "admin_token", "key_id", "secret", "exit_gateway_url", "exit_token"] {
        assert!(!gateway.told(field).is_empty(), "{field}");
    }
    gateway.daemon().signal(Signal::TERM);
    assert_eq!(gateway.daemon().wait().code(), Some(0), "{}", gateway.daemon().stderr());
    assert_eq!(gateway.daemon().stdout().lines().count(), 1, "{}", gateway.daemon().stdout());
    assert_eq!(gateway.daemon().stderr(), "");
    assert!(!gateway.data().join("console.json").exists(), "it takes back the way to a console that is gone");
    let ran = outgate(&["keys", "list", "--data", gateway.data().to_str().expect("UTF-8")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("no gateway is running"), "{}", ran.stderr);
}

#[test]
fn output_is_plain_when_piped_and_only_its_owner_reads_secrets() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Quickstart::new(OUTGATE).start();
    for arguments in [&["plans", "list"][..], &["keys", "list"], &["exits", "list"], &["usage"], &["keys", "create"]] {
        let text = gateway.admin(arguments);
        assert!(!text.contains('\u{1b}'), "{arguments:?}: {text:?}");
    }
    assert!(!outgate(&["explain"]).stdout.contains('\u{1b}'));
    assert!(!outgate(&["--help"]).stdout.contains('\u{1b}'));
    for listing in
        [&["plans", "list", "--json"][..], &["keys", "list", "--json"], &["exits", "list", "--json"], &["usage", "--json"]]
    {
        let list: Value = serde_json::from_str(&gateway.admin(listing)).unwrap_or_else(|error| panic!("{listing:?}: {error}"));
        assert!(list.is_array(), "{listing:?}");
        assert!(!list.to_string().contains(gateway.told("secret")), "{listing:?} shows a secret");
    }
    // Whatever the folder's own mode is. The records may be read by a group that ships them.
    let files = [
        ("console.json", 0o077),
        ("quickstart.json", 0o077),
        ("outgate.db", 0o077),
        ("echo-key.pem", 0o077),
        ("records/access.jsonl", 0o027),
    ];
    for (file, nobody) in files {
        let metadata = std::fs::metadata(gateway.data().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & nobody, 0, "{file} is open to others: {mode:o}");
    }
    let folder = TempDir::new().expect("a temporary folder");
    let mut arguments: Vec<OsString> = QUICKSTART.iter().map(OsString::from).collect();
    arguments.extend([OsString::from("--data"), folder.path().join("new").into_os_string()]);
    let mut fresh = Daemon::start(OUTGATE, &arguments, &[]);
    fresh.line("the ready line", |line| line.starts_with('{').then_some(()));
    let mode = std::fs::metadata(folder.path().join("new")).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o077, 0, "a folder that it makes is its own: {mode:o}");
}

#[test]
fn the_console_can_be_named_instead_of_found() {
    let gateway = Quickstart::new(OUTGATE).start();
    let run = |token: &str| {
        let mut command = Command::new(OUTGATE);
        command.args(["keys", "list", "--json", "--console", gateway.told("console_url")]).env("OUTGATE_ADMIN_TOKEN", token);
        Ran::of(&command.output().expect("it runs"))
    };
    assert_eq!(run(gateway.told("admin_token")).json()[0]["id"], gateway.told("key_id"));
    let refused = run("not-the-token");
    assert!(refused.code == Some(1) && refused.stderr.contains("refused the admin token"), "{}", refused.stderr);
}

#[test]
fn a_port_in_use_is_told_and_nothing_stays() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for flag in ["--listen", "--console"] {
        let folder = TempDir::new().expect("a temporary folder");
        let data = folder.path().to_str().expect("UTF-8");
        let arguments: Vec<&str> = match flag {
            "--listen" => vec!["quickstart", "--listen", &address, "--console", "127.0.0.1:0", "--data", data],
            _ => vec!["quickstart", "--listen", "127.0.0.1:0", "--console", &address, "--data", data],
        };
        let ran = fails(&arguments, &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{flag}: {}", ran.stderr);
        assert!(ran.stderr.contains(&address) && ran.stderr.contains("listen"), "{flag}: {}", ran.stderr);
        assert!(!folder.path().join("console.json").exists(), "{flag}: a console that never was");
    }
}

#[test]
fn a_data_folder_that_can_not_be_used_is_told() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("the folder is ours");
    for data in [file.clone(), file.join("below")] {
        let data = data.to_str().expect("UTF-8");
        let arguments: Vec<&str> = QUICKSTART.iter().copied().chain(["--data", data]).collect();
        let ran = fails(&arguments, &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{data}: {}", ran.stderr);
        assert!(ran.stderr.contains(data) && !ran.stderr.contains("panicked"), "{data}: {}", ran.stderr);
    }
}

#[test]
fn one_data_folder_serves_one_gateway_at_a_time() {
    let mut first = Quickstart::new(OUTGATE).start();
    let data = first.data().to_str().expect("UTF-8").to_owned();
    let arguments: Vec<&str> = QUICKSTART.iter().copied().chain(["--data", &data]).collect();
    let second = fails(&arguments, &[]);
    assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""), "{}", second.stderr);
    let pid = first.daemon().pid().to_string();
    assert!(
        second.stderr.contains(&data) && second.stderr.contains(&pid),
        "it names the folder and who holds it: {}",
        second.stderr
    );
    let keys: Value = serde_json::from_str(&first.admin(&["keys", "list", "--json"])).expect("the first one is unharmed");
    assert_eq!(keys[0]["id"], first.told("key_id"));
}

#[tokio::test]
async fn a_killed_run_leaves_nothing_in_the_way() {
    let mut before = Quickstart::new(OUTGATE).start();
    for _ in 0..3 {
        before.daemon().kill();
        assert!(before.data().join("console.json").exists(), "stale, as a killed run leaves it");
        let after = Quickstart::new(OUTGATE).start_in(before.folder());
        for field in ["key_id", "secret", "exit_token"] {
            assert_eq!(after.told(field), before.told(field), "{field} stays");
        }
        for modifiers in ["", "-pool-residential"] {
            let user = after.user(modifiers);
            let (mut wire, credentials) = (Wire::connect(after.proxy()).await.expect("it listens"), after.credentials(&user));
            let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{}\r\n", credentials.header_line());
            wire.send(request.as_bytes()).await.expect("open");
            let reply = within("an answer", wire.reply(Expect::Body)).await.expect("an answer");
            assert_eq!(reply.status, 200, "{modifiers:?}: {}", reply.text());
        }
        assert_eq!(
            serde_json::from_str::<Value>(&after.admin(&["keys", "list", "--json"])).expect("JSON").as_array().map(Vec::len),
            Some(1)
        );
        before = after;
    }
}
