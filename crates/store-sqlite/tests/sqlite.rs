//! The embedded ledger from outside: the contract, and what happens when a process ends badly.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use outgate_store::{
    ANYHOW, Archive, Audit, AuditQuery, Change, Counters, Delivery, Exit, Hour, KeyId, Plan, PlanName, PoolName, SecretHash,
    Store, StoreError, UsageBatch, UsageDelta, conformance,
};
use outgate_store_sqlite::{OpenError, Sqlite};

fn ledger(folder: &Path) -> PathBuf {
    folder.join("data").join("outgate.db")
}

fn open(folder: &Path) -> Sqlite {
    match Sqlite::open(&ledger(folder)) {
        Ok(store) => store,
        Err(error) => panic!("{error}"),
    }
}

fn batch(sequence: u64) -> UsageBatch {
    let row = UsageDelta {
        key: KeyId::parse("aaaa").expect("an id"),
        pool: PoolName::parse("direct").expect("a name"),
        hour: Hour(0),
        period_start: Timestamp::UNIX_EPOCH,
        counters: Counters { up: 400, down: 600, requests: 1, tunnels: 1 },
    };
    UsageBatch { gateway: "gw".into(), sequence, rows: vec![row] }
}

fn put_plan(name: &str) -> (Change, Audit) {
    let entry = Audit {
        id: format!("put-{name}"),
        at: Timestamp::UNIX_EPOCH,
        who: "admin".into(),
        what: "plan.create".into(),
        subject: name.into(),
        detail: String::new(),
    };
    (Change::PutPlan(Plan::unlimited(PlanName::parse(name).expect("a name"))), entry)
}

#[tokio::test]
async fn conforms() {
    let folders = Mutex::new(Vec::new());
    conformance::run(|| async {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        folders.lock().expect("not poisoned").push(folder);
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
    assert!(!folders.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn conforms_as_an_archive() {
    let folders = Mutex::new(Vec::new());
    conformance::run_archive(|| async {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        folders.lock().expect("not poisoned").push(folder);
        Arc::new(store) as Arc<dyn Archive>
    })
    .await;
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let (change, entry) = put_plan("basic");
    assert_eq!(store.change(change, ANYHOW, entry).await, Ok(()));
    assert_eq!(store.add_usage(batch(1)).await, Ok(Delivery::Added));
    let before = store.load(Timestamp::UNIX_EPOCH).await;
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.load(Timestamp::UNIX_EPOCH).await, before);
    assert_eq!(store.last_sequence("gw").await, Ok(1));
    assert_eq!(store.add_usage(batch(1)).await, Ok(Delivery::Repeated), "the number outlives the process");
    assert_eq!(store.add_usage(batch(2)).await, Ok(Delivery::Added));
    assert_eq!(store.audit(AuditQuery { subject: None, before: None, limit: 10 }).await.map(|rows| rows.len()), Ok(1));
}

#[tokio::test]
async fn a_second_gateway_is_told_who_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let error = Sqlite::open(&ledger(folder.path())).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains(&format!("in use by another gateway (process {})", std::process::id())), "{error}");
    drop(store);
    // The lock file is still there and locks nobody out.
    assert!(folder.path().join("data").join("outgate.db.lock").exists());
    drop(open(folder.path()));
}

#[tokio::test]
async fn only_the_owner_can_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    assert_eq!(store.add_usage(batch(1)).await, Ok(Delivery::Added));
    let mut seen = 0;
    for file in std::fs::read_dir(folder.path().join("data")).expect("the folder") {
        let file = file.expect("an entry");
        let mode = file.metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.file_name());
        seen += 1;
    }
    assert!(seen >= 3, "the database, its log, the lock");
}

#[tokio::test]
async fn what_is_not_ours_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("outgate.db");
    std::fs::write(&path, "this is a text file and certainly no database at all").expect("written");
    let error = Sqlite::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("can't be used as a ledger"), "{error}");

    drop(open(folder.path()));
    let raw = rusqlite::Connection::open(ledger(folder.path())).expect("opened");
    raw.execute_batch("PRAGMA user_version = 4711").expect("set");
    drop(raw);
    assert!(matches!(Sqlite::open(&ledger(folder.path())), Err(OpenError::Newer { found: 4711, .. })));
}

#[tokio::test]
async fn a_lock_held_elsewhere_refuses_and_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let shell = rusqlite::Connection::open(ledger(folder.path())).expect("opened");
    shell.execute_batch("BEGIN IMMEDIATE").expect("locked");
    assert_eq!(store.add_usage(batch(1)).await, Err(StoreError::Refused("another process holds the ledger's lock".into())));
    assert_eq!(store.load(Timestamp::UNIX_EPOCH).await.map(|_| ()), Ok(()), "reading goes on");
    shell.execute_batch("ROLLBACK").expect("unlocked");
    assert_eq!(store.add_usage(batch(1)).await, Ok(Delivery::Added));
}

#[tokio::test]
async fn a_ledger_of_version_1_is_brought_up_to_date_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = ledger(folder.path());
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let old = rusqlite::Connection::open(&path).expect("opened");
    old.execute_batch(include_str!("version1.sql")).expect("filled");
    drop(old);

    let now = Timestamp::UNIX_EPOCH;
    let store = open(folder.path());
    let kept = store.load(now).await.expect("a snapshot");
    assert_eq!((kept.plans.len(), kept.keys.len(), kept.exits.len()), (1, 2, 2));
    let phone = kept.exits.iter().find(|exit| exit.name.as_deref() == Some("phone 7")).expect("the enrolled phone");
    assert_eq!((phone.labels.city.as_deref(), phone.labels.asn), (Some("berlin"), Some(3320)));
    // What it could not know yet is what nobody said.
    assert_eq!((phone.weight, phone.max_tunnels), (Exit::WEIGHT, None));
    assert_eq!(phone.token, SecretHash::of(b"jqi3brd2yiccfyos6rbx6hhjv354zsbe"), "it still dials in with its token");

    let (_, entry) = put_plan("new");
    let heavier = Exit { weight: 7, max_tunnels: Some(9), ..phone.clone() };
    assert_eq!(store.change(Change::PutExit(heavier.clone()), ANYHOW, entry).await, Ok(()));
    drop(store);
    let kept = open(folder.path()).load(now).await.expect("a snapshot");
    assert!(kept.exits.contains(&heavier), "{:?}", kept.exits);
}

const CHILD: &str = "OUTGATE_TEST_KILLED_CHILD";

/// Not a test by itself: the process that `a_killed_process_loses_nothing_it_was_told` kills.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let store = open(Path::new(&folder));
    let first = store.last_sequence("gw").await.expect("a number") + 1;
    for sequence in first.. {
        assert_eq!(store.add_usage(batch(sequence)).await, Ok(Delivery::Added));
        let mut out = std::io::stdout();
        writeln!(out, "added {sequence}").and_then(|()| out.flush()).expect("the parent listens");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_was_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut told = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().expect("this test's binary"))
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        while seen < 7 * round {
            let line = lines.next().expect("more lines").expect("text");
            if let Some((_, number)) = line.split_once("added ") {
                told = number.parse().expect("a number");
                seen += 1;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");

        let store = open(folder.path());
        let last = store.last_sequence("gw").await.expect("a number");
        // One batch may have been committed without its answer having been read.
        assert!(last >= told, "told {told}, kept {last}");
        let key = KeyId::parse("aaaa").expect("an id");
        assert_eq!(store.used_since(&key, Timestamp::UNIX_EPOCH).await, Ok(last * 1_000), "each batch once");
    }
}
