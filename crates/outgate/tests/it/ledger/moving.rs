//! `outgate store`: a ledger with real traffic in it moves from SQLite to PostgreSQL and nothing is lost; what is unsound is found.

use std::path::Path;
use std::process::{Command, Output};

use outgate_testkit::daemon::Signal;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;

use super::{Key, used};
use crate::OUTGATE;

fn store(arguments: &[&str], url: &str) -> Output {
    Command::new(OUTGATE).arg("store").args(arguments).env("OUTGATE_STORE_POSTGRES", url).output().expect("it runs")
}

fn done(arguments: &[&str], url: &str) -> String {
    let output = store(arguments, url);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(arguments: &[&str], url: &str) -> String {
    let output = store(arguments, url);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(!said.contains("a-secret-password"), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[tokio::test]
async fn a_ledger_moves_to_postgresql_and_loses_nothing() {
    let server = PostgresServer::start();
    let (url, folder) = (server.database(), tempfile::tempdir().expect("a folder"));
    let [first, second, cut] = ["first.jsonl", "second.jsonl", "cut.jsonl"].map(|name| folder.path().join(name));
    let (first, second) = (text(&first), text(&second));

    let mut gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let key = Key::create(&gateway, &["--allow-ip", "127.0.0.0/8", "--expires", "2099-01-01"]);
    let _done = gateway.admin(&[
        "plans",
        "create",
        "full",
        "--bytes",
        "1GB",
        "--period",
        "30d",
        "--rate",
        "5",
        "--port",
        "80",
        "--country",
        "de",
    ]);
    let _done = gateway.admin(&["keys", "block", &Key::create(&gateway, &[]).id, "--why", "a \"reason\"\\ with ü\u{1f980}"]);
    let _done = gateway.admin(&["keys", "rotate", &Key::create(&gateway, &[]).id, "--grace", "1h"]);
    let _done =
        gateway.admin(&["exits", "enroll", "--name", "phone 7", "--country", "us", "--state", "ca", "--city", "losangeles"]);
    for _ in 0..5 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok");
    }
    until("its usage", || (used(&gateway, "key", &key.id, "requests") == 5).then_some(())).await;
    let bytes = used(&gateway, "key", &key.id, "bytes");
    let audited = gateway.admin(&["usage", "--json"]);
    let data = gateway.folder();
    let data = text(data.path());
    let said = fails(&["export", first, "--data", data], &url);
    assert!(said.contains("in use by another gateway") && !Path::new(first).exists(), "{said}");
    gateway.daemon().signal(Signal::TERM);
    assert!(gateway.daemon().wait().success());

    assert!(done(&["check", "--data", data], &url).contains("fine"));
    let said = done(&["export", first, "--data", data], &url);
    let whole = std::fs::read_to_string(first).expect("the file");
    assert!(said.contains(&format!("{} entries", whole.lines().count() - 2)), "{said}");
    assert!(!whole.contains(&key.secret), "secrets are in it as hashes only");
    assert!(fails(&["export", first, "--data", data], &url).contains("exists"), "an export is not overwritten");

    assert!(done(&["migrate", "--postgres"], &url).contains("made, with schema version"));
    assert!(done(&["migrate", "--postgres"], &url).contains("as it should be"));
    // A file that was cut anywhere is taken nowhere.
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for kept in [1, lines.len() / 2, lines.len() - 1] {
        std::fs::write(&cut, lines[..kept].concat()).expect("written");
        assert!(fails(&["import", text(&cut), "--postgres"], &url).contains("ends here"), "{kept} lines");
    }
    let without_one = [&lines[..2], &lines[3..]].concat().concat();
    for (damaged, why) in [
        (without_one.as_str(), "were written"),
        (&whole.replace("\"version\":1", "\"version\":2"), "version 2"),
        (&whole.replace("\"plan\":\"quickstart\"", "\"plan\":\"nosuch\""), "foreign key"),
        (&whole.replace("\"active\"", "\"sleepy\""), "out of its range"),
        ("{\"hello\":1}\n", "line 1"),
        ("", "line 1"),
    ] {
        std::fs::write(&cut, damaged).expect("written");
        let said = fails(&["import", text(&cut), "--postgres"], &url);
        assert!(said.contains(why), "{said}");
    }

    assert!(done(&["import", first, "--postgres"], &url).contains("checked"));
    assert!(fails(&["import", first, "--postgres"], &url).contains("not empty"));
    let _said = done(&["export", second, "--postgres"], &url);
    assert!(std::fs::read(second).ok() == std::fs::read(first).ok(), "the same file, byte for byte");

    // And back again, into another SQLite.
    let back = folder.path().join("data");
    let _said = done(&["import", second, "--data", text(&back)], &url);
    std::fs::remove_file(second).expect("there");
    let _said = done(&["export", second, "--data", text(&back)], &url);
    assert!(std::fs::read(second).ok() == std::fs::read(first).ok());

    // The gateway goes on from there: its key, its usage, its next batch.
    let gateway = Quickstart::new(OUTGATE).env("OUTGATE_STORE_POSTGRES", &url).start_in(gateway.folder());
    assert_eq!(key.shown(&gateway)["period"]["bytes"], bytes, "the limit goes on from there");
    assert_eq!(gateway.admin(&["usage", "--json"]), audited);
    assert_eq!(key.tries(&gateway, &origin).await, "ok");
    until("its usage", || (used(&gateway, "key", &key.id, "requests") == 6).then_some(())).await;
}

#[tokio::test]
async fn what_is_unsound_is_found() {
    let server = PostgresServer::start();
    let url = server.database();
    let _said = done(&["migrate", "--postgres"], &url);
    assert!(done(&["check", "--postgres"], &url).contains("fine"));
    let _nothing = server.sql(&url, "INSERT INTO usage VALUES ('aaaa', 10, 'direct', 5, 5, 1, 1)");
    assert!(fails(&["check", "--postgres"], &url).contains("1 keys have usage and no sum"));
    let _nothing = server.sql(&url, "INSERT INTO periods VALUES ('aaaa', 10, 10, 11)");
    assert!(fails(&["check", "--postgres"], &url).contains("not the sum of its hours"));
    let _nothing = server.sql(&url, "UPDATE periods SET bytes = 10; ALTER TABLE keys DROP CONSTRAINT keys_plan_fkey");
    let key = "INSERT INTO keys VALUES ('bbbb', 'gone', sha256('x'), NULL, NULL, 'active', NULL, '', 'secret', NULL, 0, 0)";
    let _nothing = server.sql(&url, key);
    assert!(fails(&["check", "--postgres"], &url).contains("1 keys are on plans that don't exist"));
    let _nothing = server.sql(&url, "DELETE FROM keys; INSERT INTO schema_version VALUES (4711)");
    let said = fails(&["check", "--postgres"], &url);
    assert!(said.contains("later version of Outgate (schema 4711"), "{said}");
    assert!(fails(&["check", "--data", "/nonexistent"], &url).contains("there is no ledger"));
}
