//! Set-ups that take another exit, exits that are set aside for it and come back, and sessions that move or don't.
//!
//! The exits here are linked up for real and do not do what they are asked (`fake_exit`), or are the real one of the quickstart.

use outgate_link::Refusal;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Expect, Reply, Wire};
use serde_json::{Value, json};

use crate::provocations::fake_exit::{FakeExit, Manner, online};
use crate::provocations::outputs::{connect, get, id, local_exit, login, quickstart};

/// These exits open tunnels to nowhere: on a slow machine a check would find that out before the test is over.
const UNCHECKED: (&str, &str) = ("OUTGATE_FLEET_CHECK_INTERVAL", "10m");
/// More set-ups than any of these tests needs.
const MANY: usize = 100;

fn refuses(slug: &str) -> Manner {
    Manner::Refuses(Refusal::new(slug))
}

fn health(gateway: &GatewayProcess, exit: &FakeExit) -> (Value, Value) {
    let online = online(gateway, &exit.id).expect("exits can be listed");
    (online["health"].clone(), online["ejected_why"].clone())
}

fn attempts(reply: &Reply) -> usize {
    reply.header("X-Outgate-Attempts").map_or(1, |count| count.parse().expect("a number"))
}

/// Opens tunnels through `pool`, which all must come through `good`, until `bad` is set aside. How many took two attempts.
async fn until_ejected(gateway: &GatewayProcess, pool: &str, good: &str, bad: &FakeExit, why: &str) -> usize {
    let mut second = 0;
    for _ in 0..MANY {
        let (wire, reply) = connect(gateway, &format!("-pool-{pool}"), "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(good)), "{}", reply.text());
        second += attempts(&reply) - 1;
        drop(wire);
        let record = gateway.record(&id(&reply)).await;
        assert_eq!(record["attempts"], attempts(&reply));
        match attempts(&reply) {
            1 => assert!(record["tries"].is_null(), "{record}"),
            _ => {
                let [first, last] = [&record["tries"][0], &record["tries"][1]];
                assert_eq!(
                    (&first["exit"], &last["exit"], &last["outcome"]),
                    (&json!(bad.id), &json!(good), &json!("ok")),
                    "{record}"
                );
                assert!(first["outcome"] != "ok" && last["at"].as_f64() >= first["at"].as_f64(), "{record}");
            }
        }
        if health(gateway, bad).0 == "ejected" {
            assert_eq!(health(gateway, bad).1, why);
            return second;
        }
    }
    panic!("{MANY} tunnels and it was not set aside");
}

#[tokio::test]
async fn exits_that_fail_are_set_aside() {
    let gateway = quickstart(&[UNCHECKED, ("OUTGATE_FLEET_EJECT_FOR", "10m"), ("OUTGATE_FLEET_EJECT_MOST", "10m")]).start();
    let rows = [
        ("mobile", refuses("of_a_newer_version"), "it refused tunnels"),
        // Its link is alive; another exit is asked after a while and is first.
        ("isp", Manner::Silent, "other exits were faster by far"),
        ("datacenter", refuses("target_refused"), "it could not reach targets that other exits reached"),
    ];
    for (pool, manner, why) in rows {
        let bad = FakeExit::link_up(&gateway, pool, manner).await;
        let good = FakeExit::link_up(&gateway, pool, Manner::Opens).await;
        assert_eq!(until_ejected(&gateway, pool, &good.id, &bad, why).await, 3, "{pool}: three in a row");
        for _ in 0..10 {
            let (_wire, reply) = connect(&gateway, &format!("-pool-{pool}"), "echo.outgate:80").await;
            assert_eq!((reply.status, attempts(&reply)), (200, 1), "{pool}: it is asked no more");
        }
        assert_eq!(health(&gateway, &good).0, "healthy");
    }
}

/// It opens every tunnel, so no set-up gives it away; the check that wants an answer through it does.
#[tokio::test]
async fn an_exit_that_only_pretends_is_found_by_its_checks() {
    let settings = [("OUTGATE_TIMEOUTS_SETUP", "1s"), ("OUTGATE_FLEET_CHECK_INTERVAL", "1s")];
    let gateway = quickstart(&settings).start();
    let good = local_exit(&gateway);
    let bad = FakeExit::link_up(&gateway, "residential", Manner::Opens).await;
    until("the liar to be set aside", || (health(&gateway, &bad).0 == "ejected").then_some(())).await;
    assert_eq!(health(&gateway, &bad).1, "it failed active checks");
    assert_eq!(online(&gateway, &good).expect("it is there")["health"], "healthy");
    for _ in 0..5 {
        let (_wire, reply) = get(&gateway, "-pool-residential", "echo.outgate:80", "/").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(good.as_str())));
    }
}

#[tokio::test]
async fn an_exit_that_is_well_again_comes_back() {
    let settings = [("OUTGATE_FLEET_EJECT_FOR", "1s"), ("OUTGATE_FLEET_CHECK", "target.example:443")];
    let gateway = quickstart(&settings).start();
    let bad = FakeExit::link_up(&gateway, "mobile", refuses("of_a_newer_version")).await;
    let good = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    until_ejected(&gateway, "mobile", &good.id, &bad, "it refused tunnels").await;
    until("a check to fail", || (health(&gateway, &bad).1 == "it failed active checks").then_some(())).await;
    bad.becomes(Manner::Opens);
    until("it to be let back", || (health(&gateway, &bad).0 == "slow_start").then_some(())).await;
    let mut open = Vec::new();
    for _ in 0..MANY {
        let (wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
        assert_eq!((reply.status, attempts(&reply)), (200, 1));
        if reply.header("X-Outgate-Exit") == Some(&bad.id) {
            return;
        }
        open.push(wire);
    }
    panic!("it is given nothing");
}

/// The target's own fault is told as before, after one other exit has seen it too.
#[tokio::test]
async fn a_target_that_two_exits_blame() {
    let gateway = quickstart(&[UNCHECKED]).start();
    let exits = [
        FakeExit::link_up(&gateway, "mobile", refuses("target_refused")).await,
        FakeExit::link_up(&gateway, "mobile", refuses("target_refused")).await,
        FakeExit::link_up(&gateway, "mobile", refuses("target_refused")).await,
    ];
    for _ in 0..10 {
        let (_wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Proxy-Error")), (502, Some("target_refused")), "{}", reply.text());
        assert!(reply.header("Proxy-Status").is_some_and(|status| status.contains("attempts=2")), "one other exit, not all");
    }
    assert!(exits.iter().all(|exit| health(&gateway, exit).0 == "healthy"), "nobody disproved them");
}

#[tokio::test]
async fn not_more_exits_than_allowed() {
    let gateway = quickstart(&[("OUTGATE_FLEET_ATTEMPTS", "2")]).start();
    let mut exits = Vec::new();
    for _ in 0..3 {
        exits.push(FakeExit::link_up(&gateway, "mobile", refuses("of_a_newer_version")).await);
    }
    let (_wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
    assert_eq!((reply.status, reply.text().as_str()), (502, "the exit refused the tunnel (2 attempts)\n"));
}

#[tokio::test]
async fn a_session_moves_with_a_word_and_stays_there() {
    let gateway = quickstart(&[UNCHECKED]).start();
    let session = "-pool-mobile-session-ab12";
    let open = |wire_and_reply: (Wire, Reply)| {
        let (_wire, reply) = wire_and_reply;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let field = |name: &str| reply.header(name).map(str::to_owned);
        (field("X-Outgate-Exit").expect("it went through one"), field("X-Outgate-Session-Moved"), id(&reply))
    };
    let first = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    assert_eq!(open(connect(&gateway, session, "echo.outgate:80").await).1, None);
    let others =
        [FakeExit::link_up(&gateway, "mobile", Manner::Opens).await, FakeExit::link_up(&gateway, "mobile", Manner::Opens).await];
    for _ in 0..5 {
        let (exit, moved, _) = open(connect(&gateway, session, "echo.outgate:80").await);
        assert_eq!((exit, moved), (first.id.clone(), None), "it stays while its exit is there");
    }
    // Its exit is there and fails.
    first.becomes(refuses("of_a_newer_version"));
    let (second, moved, request) = open(connect(&gateway, session, "echo.outgate:80").await);
    assert!(others.iter().any(|exit| exit.id == second));
    assert_eq!(moved, Some(first.id.clone()));
    let record = gateway.record(&request).await;
    assert_eq!((&record["session_moved"], &record["attempts"]), (&first.id.as_str().into(), &2.into()), "{record}");
    first.becomes(Manner::Opens);
    let (exit, moved, request) = open(connect(&gateway, session, "echo.outgate:80").await);
    assert_eq!((exit, moved), (second.clone(), None));
    assert_eq!(gateway.record(&request).await["session_moved"], Value::Null);
    // Its exit is gone.
    let (gone, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|exit| exit.id == second);
    for exit in gone {
        exit.leave(&gateway).await;
    }
    let (third, moved, _) = open(connect(&gateway, session, "echo.outgate:80").await);
    assert_eq!(moved, Some(second));
    assert!(third == first.id || third == rest[0].id);
}

#[tokio::test]
async fn a_strict_session_asks_its_own_exit_only() {
    let gateway = quickstart(&[("OUTGATE_SESSIONS_STRICT", "true")]).start();
    let session = "-pool-mobile-session-ab12";
    let own = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    let (_open, reply) = connect(&gateway, session, "echo.outgate:80").await;
    assert_eq!(reply.header("X-Outgate-Exit"), Some(own.id.as_str()));
    let _other = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    for slug in ["of_a_newer_version", "target_refused"] {
        own.becomes(refuses(slug));
        let (_wire, reply) = connect(&gateway, session, "echo.outgate:80").await;
        assert_eq!(reply.status, 502);
        let status = reply.header("Proxy-Status").expect("every answer of ours has it");
        // An id that begins with a digit stands in quotes (RFC 8941, section 3.3.4).
        let named = status.trim_start_matches('"').starts_with(own.id.as_str());
        assert!(named && !status.contains("attempts"), "{status}");
    }
}

/// The client's connection stays, and so would the one behind it: a session that was rotated must not go on through that.
#[tokio::test]
async fn a_kept_connection_ends_with_its_session() {
    let gateway = quickstart(&[UNCHECKED]).start();
    let answers = || Manner::Answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let exits = [FakeExit::link_up(&gateway, "mobile", answers()).await, FakeExit::link_up(&gateway, "mobile", answers()).await];
    let login = login(&gateway, "-pool-mobile-session-ab12");
    let request = format!("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n{login}\r\n");
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let mut used = async || {
        wire.send(request.as_bytes()).await.expect("the connection stays");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        let exit = reply.header("X-Outgate-Exit").map(str::to_owned);
        (exit.unwrap_or_else(|| panic!("{}", reply.text())), gateway.record(&id(&reply)).await["attempts"].clone())
    };
    let (first, attempts) = used().await;
    assert_eq!(attempts, 1);
    assert_eq!(used().await, (first.clone(), 0.into()), "no exit was asked again");
    let own = gateway.credentials(gateway.told("key_id")).header_line();
    let rotate = format!(
        "POST /v1/me/sessions/ab12/rotate?pool=mobile HTTP/1.1\r\nHost: console\r\nContent-Length: 0\r\n{}\r\n",
        own.trim_start_matches("Proxy-")
    );
    let mut console = Wire::connect(gateway.console()).await.expect("the console listens");
    console.send(rotate.as_bytes()).await.expect("the console reads");
    assert_eq!(console.reply(Expect::Body).await.expect("an answer").status, 200);
    let (second, attempts) = used().await;
    assert_eq!(attempts, 1);
    assert!(second != first && exits.iter().any(|exit| exit.id == second), "{first} {second}");
}

#[tokio::test]
async fn an_exits_cap_and_weight_hold() {
    let gateway = quickstart(&[UNCHECKED]).start();
    let capped = FakeExit::enroll(&gateway, &["--pool", "mobile", "--max-tunnels", "2"], Manner::Opens).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let (wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(capped.id.as_str())));
        open.push(wire);
    }
    let (_wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
    assert_eq!((reply.status, reply.header("X-Proxy-Error")), (502, Some("no_exit")));
    let heavy = FakeExit::enroll(&gateway, &["--pool", "isp", "--weight", "3"], Manner::Opens).await;
    let _light = FakeExit::enroll(&gateway, &["--pool", "isp", "--weight", "1"], Manner::Opens).await;
    let mut through_heavy = 0;
    for _ in 0..16 {
        let (wire, reply) = connect(&gateway, "-pool-isp", "echo.outgate:80").await;
        through_heavy += usize::from(reply.header("X-Outgate-Exit") == Some(heavy.id.as_str()));
        open.push(wire);
    }
    assert!((11..=13).contains(&through_heavy), "three of four: {through_heavy} of 16");
}
