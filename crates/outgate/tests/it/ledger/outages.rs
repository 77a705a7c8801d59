//! A PostgreSQL that is stopped, killed, or not there yet: keys go on, changes are refused, and no byte is lost or doubled.

use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;

use super::shared::gateway_on;
use super::{Key, used};
use crate::OUTGATE;

#[tokio::test]
async fn a_gateway_outlives_its_ledger() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let mut gateway = gateway_on(&url);
    let origin = Origin::start();
    let key = Key::create(&gateway, &[]);
    let mut made = 0;
    for (round, end) in [PostgresServer::stop, PostgresServer::kill, PostgresServer::kill].into_iter().enumerate() {
        for _ in 0..10 {
            assert_eq!(key.tries(&gateway, &origin).await, "ok");
        }
        if round == 2 {
            // What is counted from here on can only be in the journal.
            until("all of it to be delivered", || (requests(&server, &url) == made + 10).then_some(())).await;
        }
        // Else at once, so that a delivery may be under way.
        end(&mut server);
        for _ in 0..10 {
            assert_eq!(key.tries(&gateway, &origin).await, "ok", "round {round}: keys in use go on being served");
        }
        made += 20;
        let refused = refused_change(&gateway, &format!("during{round}"));
        assert!(refused.contains("can't be written now"), "round {round}: {refused}");
        assert!(!refused.contains("secret"), "{refused}");
        if round == 2 {
            // Killed itself while it owes something.
            until("all of it in the journal", || (journalled(&gateway) == 10).then_some(())).await;
            gateway.daemon().kill();
            server.start_again();
            gateway = Quickstart::new(OUTGATE).env("OUTGATE_STORE_POSTGRES", &url).start_in(gateway.folder());
        } else {
            server.start_again();
        }
        until(&format!("all {made} of round {round} to be delivered"), || (requests(&server, &url) == made).then_some(())).await;
        until("changes to work again", || {
            let plan = format!("after{round}");
            let args = ["plans", "create", &plan];
            command(&gateway, &args).status.success().then_some(())
        })
        .await;
    }
    assert_eq!(used(&gateway, "key", &key.id, "requests"), made, "each once");
    let log = gateway.daemon().stderr();
    assert!(!log.contains("a-secret-password"), "{log}");
}

#[tokio::test]
async fn a_ledger_that_answers_nothing_slows_nobody_down() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let gateway = gateway_on(&url);
    let origin = Origin::start();
    let key = Key::create(&gateway, &[]);
    assert_eq!(key.tries(&gateway, &origin).await, "ok");
    server.freeze();
    for _ in 0..20 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok");
    }
    until("the journal", || (journalled(&gateway) >= 20).then_some(())).await;
    let refused = refused_change(&gateway, "during");
    assert!(refused.contains("can't be written now"), "{refused}");
    server.thaw();
    until("it to be delivered", || (requests(&server, &url) == 21).then_some(())).await;
    until("the journal's end", || (!gateway.data().join("usage.journal").exists()).then_some(())).await;
    assert_eq!(requests(&server, &url), 21, "each once");
}

#[tokio::test]
async fn a_ledger_on_a_full_disk_gets_its_usage_once_there_is_room() {
    let mut server = PostgresServer::start_on_small_disk();
    let url = server.database();
    let mut gateway = gateway_on(&url);
    let origin = Origin::start();
    let key = Key::create(&gateway, &[]);
    // The table has no page yet: its first row needs room.
    assert_eq!(server.sql(&url, "SELECT pg_relation_size('usage')"), "0");
    server.fill_disk();
    for _ in 0..20 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok");
    }
    until("the journal", || (journalled(&gateway) == 20).then_some(())).await;
    let refused = gateway.daemon().stderr();
    assert!(refused.contains("No space left on device (53100)"), "{refused}");
    assert_eq!(key.tries(&gateway, &origin).await, "ok", "what can be journalled is served");
    server.empty_disk();
    until("it to be delivered", || (requests(&server, &url) == 21).then_some(())).await;
    until("the journal's end", || (!gateway.data().join("usage.journal").exists()).then_some(())).await;
    assert_eq!(used(&gateway, "key", &key.id, "requests"), 21, "each once");
}

#[tokio::test]
async fn a_start_waits_for_the_ledger_and_says_so() {
    let mut server = PostgresServer::start();
    let url = server.database();
    server.stop();
    let folder = tempfile::tempdir().expect("a folder");
    let start = |patience: &str, url: &str| {
        let fixed = ["quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--json", "--data"];
        let mut arguments: Vec<_> = fixed.iter().map(std::ffi::OsString::from).collect();
        arguments.push(folder.path().as_os_str().to_owned());
        Daemon::start(OUTGATE, &arguments, &[("OUTGATE_STORE_POSTGRES", url), ("OUTGATE_STORE_PATIENCE", patience)])
    };
    let mut impatient = start("0s", &url);
    assert_eq!(impatient.wait().code(), Some(1));
    until("its last words", || impatient.stderr().contains("the ledger can't be used").then_some(())).await;
    let mut patient = start("10m", &url);
    patient.line("that it waits", |line| line.contains("waiting for the ledger").then_some(()));
    server.start_again();
    patient.line("the ready line", |line| line.contains("proxy_url").then_some(()));
    patient.kill();
    // What no waiting helps against is told at once.
    let nowhere = url.replace("/test", "/nosuch");
    let mut wrong = start("10m", &nowhere);
    assert_eq!(wrong.wait().code(), Some(1));
    until("why", || wrong.stderr().contains("does not exist").then_some(())).await;
    for daemon in [&impatient, &patient, &wrong] {
        assert!(!daemon.stderr().contains("a-secret-password"), "{}", daemon.stderr());
    }
}

pub(super) fn requests(server: &PostgresServer, url: &str) -> u64 {
    server.sql(url, "SELECT coalesce(sum(requests), 0) FROM usage").parse().expect("a number")
}

/// What a change is answered with.
pub(super) fn refused_change(gateway: &GatewayProcess, plan: &str) -> String {
    let output = command(gateway, &["plans", "create", plan]);
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn command(gateway: &GatewayProcess, arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(OUTGATE);
    command.args(arguments).arg("--data").arg(gateway.data()).output().expect("it runs")
}

/// Requests that the journal holds. Rows are [key, pool, hour, period, up, down, requests, tunnels].
pub(super) fn journalled(gateway: &GatewayProcess) -> u64 {
    let text = std::fs::read_to_string(gateway.data().join("usage.journal")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let rows = lines.flat_map(|line| {
        let rows = line["rows"].as_array().or_else(|| line["batch"]["rows"].as_array());
        rows.cloned().unwrap_or_default()
    });
    rows.map(|row| row[6].as_u64().unwrap_or(0)).sum()
}
