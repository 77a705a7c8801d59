//! Several gateways on one PostgreSQL: what one changes is in force at the other, and what both count is one sum.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire};

use super::{Firehose, Key, json, used};
use crate::OUTGATE;

/// A gateway on the ledger at `url`, in a data folder of its own.
pub(super) fn gateway_on(url: &str) -> GatewayProcess {
    Quickstart::new(OUTGATE).env("OUTGATE_STORE_POSTGRES", url).start()
}

#[tokio::test]
async fn what_one_gateway_changes_is_in_force_at_the_other_within_a_second() {
    let server = PostgresServer::start();
    let url = server.database();
    let (one, other) = (gateway_on(&url), gateway_on(&url));
    let (origin, hose) = (Origin::start(), Firehose::start().await);
    for _ in 0..3 {
        // Made at one, good at the other; the plan of a key is followed, too.
        let key = Key::create(&one, &[]);
        follows("the new key", async || (key.tries(&other, &origin).await == "ok").then_some(())).await;
        let (mut wire, reply) = key.connect(&other, "", hose.address).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let _done = one.admin(&["keys", "suspend", &key.id]);
        let acted = Instant::now();
        assert_eq!(wire.drain(|_| {}).await.expect("an end"), Ending::Reset);
        assert!(acted.elapsed() < Duration::from_secs(1), "cut after {:?}", acted.elapsed());
        assert_eq!(key.tries(&other, &origin).await, "key_suspended");
        // Lifted at the other, which knows of it: rotated there as well, and nothing of either is lost.
        let _done = other.admin(&["keys", "resume", &key.id]);
        let rotated = Key::told(&json(&other, &["keys", "rotate", &key.id, "--json"]));
        follows("the new secret", async || (rotated.tries(&one, &origin).await == "ok").then_some(())).await;
        assert_eq!(key.tries(&one, &origin).await, "credentials_wrong");
    }
    let _done = one.admin(&["plans", "create", "tiny", "--threads", "1"]);
    let _done = other.admin(&["plans", "set", "tiny", "--bytes", "1KB"]);
    assert_eq!(json(&one, &["plans", "list", "--json"]).as_array().map(Vec::len), Some(2), "a question waits for nothing");
    follows("the limit", async || json(&one, &["plans", "list", "--json"]).to_string().contains("1000").then_some(())).await;
    let _done = other.admin(&["plans", "remove", "tiny"]);
    follows("its end", async || (json(&one, &["plans", "list", "--json"]).as_array().map(Vec::len) == Some(1)).then_some(()))
        .await;
    // An exit of one is an exit of the other: its token opens both doors.
    let enrolled = json(&one, &["exits", "enroll", "--name", "phone", "--pool", "mobile", "--json"]);
    let token = enrolled["token"].as_str().expect("a token").to_owned();
    follows("the exit", async || other.admin(&["exits", "list", "--json"]).contains("phone").then_some(())).await;
    let _exit = other.exit_enrolled(&token, &["--allow-target", "127.0.0.0/8"]);
    let key = Key::first(&other);
    let through = async || {
        let user = format!("{}-pool-mobile", key.id);
        let credentials = Credentials { user: &user, password: &key.secret }.header_line();
        let mut wire = Wire::connect(other.proxy()).await.expect("it listens");
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{credentials}\r\n", origin.url("/ok"), origin.address());
        wire.send(request.as_bytes()).await.expect("open");
        (wire.reply(Expect::Body).await.expect("an answer").status == 200).then_some(())
    };
    follows("traffic through the exit", through).await;
}

#[tokio::test]
async fn usage_of_both_adds_up_and_each_delivers_its_own_batches() {
    let server = PostgresServer::start();
    let url = server.database();
    let (one, other) = (gateway_on(&url), gateway_on(&url));
    let origin = Origin::start();
    let key = Key::create(&one, &[]);
    follows("the key", async || (key.tries(&other, &origin).await == "ok").then_some(())).await;
    let before = server.sql(&url, "SELECT sum(requests) FROM usage").parse::<u64>().unwrap_or(0);
    for _ in 0..20 {
        assert_eq!(key.tries(&one, &origin).await, "ok");
        assert_eq!(key.tries(&other, &origin).await, "ok");
    }
    // Each asks its own settler first, and both tell what the ledger has.
    until("both to have delivered", || (used(&one, "key", &key.id, "requests") >= before.max(1) + 40).then_some(())).await;
    for gateway in [&one, &other] {
        assert_eq!(used(gateway, "key", &key.id, "requests"), used(&one, "key", &key.id, "requests"));
    }
    assert_eq!(server.sql(&url, "SELECT count(*) FROM deliveries WHERE sequence > 0"), "2");
    let wrong = "SELECT count(*) FROM periods WHERE bytes <> (SELECT sum(up + down) FROM usage WHERE usage.key = periods.key)";
    assert_eq!(server.sql(&url, wrong), "0", "the periods' sums are those of the hours");
}

#[tokio::test]
async fn two_gateways_of_one_name_are_kept_apart() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let named = |patience| {
        let quickstart = Quickstart::new(OUTGATE).env("OUTGATE_STORE_POSTGRES", &url);
        quickstart.env("OUTGATE_NAME", "twin").env("OUTGATE_STORE_PATIENCE", patience)
    };
    let mut first = named("30s").start();
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--json", "--data"];
    let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    arguments.push(folder.path().into());
    let environment = [("OUTGATE_STORE_POSTGRES", url.as_str()), ("OUTGATE_NAME", "twin"), ("OUTGATE_STORE_PATIENCE", "0s")];
    for _ in 0..2 {
        let mut second = Daemon::start(OUTGATE, &arguments, &environment);
        assert_eq!(second.wait().code(), Some(1));
        until("why", || second.stderr().contains("another gateway uses this ledger under the name twin").then_some(())).await;
        // The name outlives the server's restart: the first one takes it again, and delivers.
        server.stop();
        server.start_again();
        let origin = Origin::start();
        let key = Key::first(&first);
        let before = used(&first, "key", &key.id, "requests");
        assert_eq!(key.tries(&first, &origin).await, "ok");
        until("the delivery", || (used(&first, "key", &key.id, "requests") == before + 1).then_some(())).await;
    }
    // Killed, it leaves the name to the next one at once.
    first.daemon().kill();
    drop(named("30s").start_in(first.folder()));
}

/// Waits for something that another gateway has to hear of first.
pub(super) async fn follows<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < outgate_testkit::patience::HANG, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
}
