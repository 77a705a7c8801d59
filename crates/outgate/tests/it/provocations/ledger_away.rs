//! A ledger that takes nothing: usage goes to the journal; when that can't be written either, nothing new is begun.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use outgate_faults::Slug;
use outgate_testkit::daemon::Signal;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::patience::until;

use super::outputs::{doors, get, provoked, quickstart};
use super::trial::{Trial, Way};

/// Another process that holds the write lock of a SQLite file; it lets go when dropped.
struct Lock(Child);

impl Lock {
    fn take(database: &Path) -> Self {
        let program = "import sqlite3, sys\n\
                       c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
                       c.execute('BEGIN IMMEDIATE')\n\
                       print('held', flush=True)\n\
                       sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("a line");
        assert_eq!(said.trim(), "held");
        Self(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends with its input");
    }
}

fn database(gateway: &GatewayProcess) -> PathBuf {
    gateway.folder().path().join("outgate.db")
}

fn journal(gateway: &GatewayProcess) -> PathBuf {
    gateway.folder().path().join("usage.journal")
}

/// Asks the echo target, which counts; the answer's status.
async fn used_something(gateway: &GatewayProcess) -> u16 {
    get(gateway, "", "echo.outgate:80", "/").await.1.status
}

/// What the console says of the gateway's state.
fn health(gateway: &GatewayProcess) -> String {
    let told = gateway.api("GET", "/v1/health", &serde_json::Value::Null);
    assert_eq!(told["signals"][0]["state"], told["status"], "nothing else is wrong: {told}");
    told["status"].as_str().expect("a word").to_owned()
}

/// How many requests the ledger has.
fn requests(gateway: &GatewayProcess) -> u64 {
    let told = gateway.admin(&["usage", "--json", "--by", "pool"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&told).expect("JSON");
    rows.iter().map(|row| row["requests"].as_u64().expect("a number")).sum()
}

scenes![usage_can_be_kept_nowhere];

async fn usage_can_be_kept_nowhere(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let lock = Lock::take(&database(&gateway));
    // Neither file nor folder can take the place of a folder that is not empty.
    std::fs::create_dir_all(journal(&gateway).join("in the way")).expect("a folder");
    assert_eq!(used_something(&gateway).await, 200, "the ledger was well until now");
    let expected = |_: &str| provoked(Slug::LedgerUnavailable, "read", "this proxy cannot account for new requests now");
    let user = gateway.user("");
    trial.ask_until(&gateway, gateway.credentials(&user), "echo.outgate:80", Slug::LedgerUnavailable, expected).await;
    std::fs::remove_dir_all(journal(&gateway)).expect("removed");
    until("the journal will do", || journal(&gateway).is_file().then_some(())).await;
    while used_something(&gateway).await != 200 {}
    assert_eq!(health(&gateway), "degraded");
    drop(lock);
    until("the ledger has it all", || (!journal(&gateway).exists()).then_some(())).await;
    until("all to be well", || (health(&gateway) == "ok").then_some(())).await;
}

#[tokio::test]
async fn a_gateway_killed_while_its_ledger_is_away_has_lost_nothing() {
    let mut gateway = quickstart(&[]).start();
    let before = requests(&gateway);
    let lock = Lock::take(&database(&gateway));
    for _ in 0..20 {
        assert_eq!(used_something(&gateway).await, 200, "keys in use go on being served");
    }
    let has_them_all = || {
        let lines = std::fs::read_to_string(journal(&gateway)).ok()?;
        // Rows are [key, pool, hour, period, up, down, requests, tunnels].
        let rows = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let count = |row: &serde_json::Value| row[6].as_u64().unwrap_or(0);
        let sum = |line: serde_json::Value| -> u64 {
            let rows = line["rows"].as_array().or_else(|| line["batch"]["rows"].as_array()).cloned();
            rows.iter().flatten().map(count).sum()
        };
        (rows.map(sum).sum::<u64>() == 20).then_some(())
    };
    until("all of it in the journal", has_them_all).await;
    gateway.daemon().signal(Signal::KILL);
    gateway.daemon().wait();
    drop(lock);
    let gateway = quickstart(&[]).start_in(gateway.folder());
    until("the journal is delivered", || (!journal(&gateway).exists()).then_some(())).await;
    assert_eq!(requests(&gateway) - before, 20);
}
