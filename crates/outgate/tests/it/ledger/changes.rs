//! Changes in mid-period and with live tunnels: what holds at once, what stays counted, and who is said to have done it.

use std::time::{Duration, Instant};

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::payload;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Wire};
use serde_json::{Value, json};

use super::{Firehose, Key, json, request_id};
use crate::OUTGATE;

/// Has a key use so many bytes.
async fn use_up(gateway: &GatewayProcess, key: &Key, bytes: usize) {
    let script = Script::start(vec![Step::Write(payload::slice(0, bytes)), Step::Close]);
    let (mut wire, reply) = key.connect(gateway, "", script.address()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(wire.exactly(bytes).await.expect("all of it").len(), bytes);
    let _end = wire.ending().await;
}

fn used(gateway: &GatewayProcess, key: &Key) -> u64 {
    key.shown(gateway)["period"]["bytes"].as_u64().expect("a number")
}

#[tokio::test]
async fn an_upgrade_in_mid_period_keeps_what_was_used() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    for (name, bytes) in [("small", "100kB"), ("large", "1MB")] {
        let _made = gateway.admin(&["plans", "create", name, "--bytes", bytes, "--threads", "1"]);
    }
    let key = Key::create(&gateway, &["--plan", "small"]);
    use_up(&gateway, &key, 100_000).await;
    assert_eq!(key.tries(&gateway, &origin).await, "bandwidth_exhausted");

    let changed = json(&gateway, &["keys", "set", &key.id, "--plan", "large", "--json"]);
    assert_eq!((&changed["plan"], &changed["period"]["bytes"]), (&json!("large"), &json!(100_000)));
    assert_eq!(changed["period"]["limit"], 1_000_000);
    assert_eq!(key.tries(&gateway, &origin).await, "ok", "the new limit holds at once");

    // Downwards too, and for a tunnel that is open.
    let hose = Firehose::start().await;
    let _unlimited = gateway.admin(&["plans", "set", "large", "--bytes", "none"]);
    let (mut wire, reply) = key.connect(&gateway, "", hose.address).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!wire.some().await.expect("it flows").is_empty());
    let _back = gateway.admin(&["keys", "set", &key.id, "--plan", "small"]);
    let acted = Instant::now();
    assert_eq!(wire.drain(|_| {}).await.expect("an end"), Ending::Reset);
    assert!(acted.elapsed() < Duration::from_secs(1), "cut after {:?}", acted.elapsed());
    let record = gateway.record(&request_id(&reply)).await;
    assert_eq!((&record["outcome"], &record["ended_by"]), (&json!("bandwidth_exhausted"), &json!("cut")));
}

#[tokio::test]
async fn another_kind_of_period_keeps_what_was_used_since_it_began() {
    const BYTES: u64 = 123_456;
    let mut gateway = Quickstart::new(OUTGATE).start();
    let _made = gateway.admin(&["plans", "create", "monthly", "--bytes", "10MB"]);
    let _made = gateway.admin(&["plans", "create", "weekly", "--bytes", "10MB", "--period", "7d"]);
    let key = Key::create(&gateway, &["--plan", "monthly"]);
    use_up(&gateway, &key, BYTES as usize).await;
    until("the count", || (used(&gateway, &key) == BYTES).then_some(())).await;
    // The key is as old as its first period of days: whatever it used, it used in there.
    for change in [
        ["plans", "set", "monthly", "--period", "30d"],
        ["plans", "set", "monthly", "--period", "1d"],
        ["plans", "set", "monthly", "--period", "month"],
        ["keys", "set", &key.id, "--plan", "weekly"],
        ["keys", "set", &key.id, "--plan", "monthly"],
    ] {
        let _changed = gateway.admin(&change);
        assert_eq!(used(&gateway, &key), BYTES, "right after {change:?}");
        use_up(&gateway, &key, 0).await;
        assert_eq!(used(&gateway, &key), BYTES, "in use after {change:?}");
    }
    gateway.daemon().kill();
    let gateway = Quickstart::new(OUTGATE).start_in(gateway.folder());
    assert_eq!(used(&gateway, &key), BYTES, "as after a start");
}

#[tokio::test]
async fn open_tunnels_end_with_their_key() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (hose, idle) = (Firehose::start().await, Script::start(vec![Step::Stall]));
    let (brief, lasting) = (Key::create(&gateway, &["--expires", "2s"]), Key::create(&gateway, &["--expires", "1h"]));
    let (mut untouched, _) = lasting.connect(&gateway, "", hose.address).await;
    let mut open = Vec::new();
    for (modifiers, target) in [("", hose.address), ("-pool-residential", idle.address())] {
        let (wire, reply) = brief.connect(&gateway, modifiers, target).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        open.push((wire, request_id(&reply)));
    }
    let cut = async |open: Vec<(Wire, String)>| {
        for (mut wire, id) in open {
            assert_eq!(wire.drain(|_| {}).await.expect("an end"), Ending::Reset);
            let record = gateway.record(&id).await;
            assert_eq!((&record["outcome"], &record["ended_by"]), (&json!("key_expired"), &json!("cut")));
        }
    };
    cut(open).await;
    assert!(!untouched.some().await.expect("another key's tunnel goes on").is_empty());
    assert_eq!(brief.shown(&gateway)["expired"], true);

    // An end that is set is as good as one from the beginning, and one that is put off is none.
    let _again = gateway.admin(&["keys", "set", &brief.id, "--expires", "none"]);
    let (mut wire, reply) = brief.connect(&gateway, "", hose.address).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!wire.some().await.expect("it flows").is_empty());
    let acted = Instant::now();
    let _ended = gateway.admin(&["keys", "set", &brief.id, "--expires", "2026-01-01"]);
    cut(vec![(wire, request_id(&reply))]).await;
    assert!(acted.elapsed() < Duration::from_secs(2), "cut after {:?}, the command included", acted.elapsed());
}

#[tokio::test]
async fn a_changed_allowlist_and_proof_hold_at_once() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let key = Key::create(&gateway, &[]);
    let nobody = Key { id: key.id.clone(), secret: "wrong".to_owned() };
    let steps: [(&[&str], &str, &str); 5] = [
        (&["--allow-ip", "127.0.0.2"], "source_denied", "credentials_wrong"),
        (&["--allow-ip", "127.0.0.0/24", "--proof", "ip"], "ok", "ok"),
        (&["--proof", "secret"], "ok", "credentials_wrong"),
        (&["--allow-ip", "none"], "ok", "credentials_wrong"),
        (&["--expires", "2026-01-01"], "key_expired", "credentials_wrong"),
    ];
    for (change, with_secret, without) in steps {
        let arguments: Vec<&str> = ["keys", "set", &key.id].into_iter().chain(change.iter().copied()).collect();
        let _changed = gateway.admin(&arguments);
        assert_eq!(key.tries(&gateway, &origin).await, with_secret, "{change:?}");
        assert_eq!(nobody.tries(&gateway, &origin).await, without, "{change:?}");
    }
}

#[tokio::test]
async fn the_audit_trail_says_who_changed_what() {
    let gateway = Quickstart::new(OUTGATE).start();
    let _made = gateway.admin(&["plans", "create", "large"]);
    let key = Key::create(&gateway, &["--plan", "large"]);
    let claimed = std::process::Command::new(OUTGATE)
        .args(["keys", "set", &key.id, "--plan", "quickstart", "--data"])
        .arg(gateway.data())
        .env("OUTGATE_WHO", "alice@laptop")
        .output()
        .expect("it runs");
    assert!(claimed.status.success(), "{}", String::from_utf8_lossy(&claimed.stderr));
    let exit = gateway.api("POST", "/v1/exits", &json!({}));
    let exit = exit["id"].as_str().expect("an id");
    let _set = gateway.admin(&["exits", "set", exit, "--weight", "4", "--name", "phone 7"]);

    let trail = |arguments: &[&str]| -> Vec<Value> {
        let all: Vec<&str> = ["audit", "--json"].iter().chain(arguments).copied().collect();
        json(&gateway, &all).as_array().expect("a list").clone()
    };
    let of_key = trail(&["--subject", &key.id]);
    let told = |row: &Value| (row["what"].clone(), row["detail"].clone());
    assert_eq!(told(&of_key[0]), (json!("key.set"), json!("plan large -> quickstart")));
    assert_eq!(of_key[0]["who"], "admin (alice@laptop)");
    assert_eq!(of_key[1]["what"], "key.create");
    assert!(of_key[1]["who"].as_str().is_some_and(|who| who.starts_with("admin (") && who.contains('@')), "{}", of_key[1]);
    let of_exit = trail(&["--subject", exit, "--since", "1h"]);
    assert_eq!(told(&of_exit[0]), (json!("exit.set"), json!("name  -> phone 7, weight 1 -> 4")));
    assert_eq!(of_exit[1]["who"], "admin", "who claims nothing is the holder of the token");
    assert!(trail(&[]).iter().any(|row| row["who"] == "quickstart"), "what the gateway did itself");
    assert!(trail(&["--since", "2090-01-01"]).is_empty());
    let listed = gateway.admin(&["audit", "--subject", &key.id]);
    assert!(listed.starts_with("TIME") && listed.contains("admin (alice@laptop)"), "{listed}");
}
