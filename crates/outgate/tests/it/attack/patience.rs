//! Clients that are slow, silent, too many, or never read: they run into a deadline or a bound, and block nobody.

use std::time::Duration;

use outgate_testkit::dead::BlackHole;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::{until, within};
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Expect, Wire, WireError};
use tokio::task::JoinSet;

use super::{GET, MEMORY, POST, Scene, outcome};
use crate::OUTGATE;

/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(5);

#[tokio::test]
async fn slow_heads_run_into_their_deadline() {
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_HEAD", "300ms"));
    // One byte at a time for as long as the gateway takes them: the deadline is for the whole head.
    let mut wire = scene.client().await;
    let dripped = async {
        let head = scene.raw(format!("{GET}X-Slow: ").as_bytes());
        for byte in head.iter().chain(std::iter::repeat(&b's')) {
            if wire.send(&[*byte]).await.is_err() {
                break;
            }
            // The attack itself, not a wait for anything.
            tokio::time::sleep(DRIP).await;
            if scene.gateway.records().iter().any(|record| record["outcome"] == "request_timeout") {
                break;
            }
        }
    };
    within("the deadline to pass", dripped).await;
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (408, Some("request_timeout")));

    // Empty lines before a request are skipped, but they buy no time.
    let mut wire = scene.client().await;
    let dripped = async {
        while wire.send(b"\r\n").await.is_ok() {
            // The attack itself, not a wait for anything.
            tokio::time::sleep(DRIP).await;
        }
    };
    within("the connection to be closed", dripped).await;

    // Nothing behind the first byte.
    let mut wire = scene.client().await;
    wire.send(b"G").await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 408);
    assert_eq!(scene.origin.connections(), 0);
    scene.still_works("slow heads").await;
}

#[tokio::test]
async fn a_body_that_never_comes_is_the_clients_fault() {
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_RESPONSE", "300ms"));
    for (name, start) in
        [("length", "Content-Length: 1000\r\n\r\nabc"), ("chunked", "Transfer-Encoding: chunked\r\n\r\n10\r\nabc")]
    {
        let mut wire = scene.client().await;
        wire.send(&scene.raw(format!("{POST}{start}").as_bytes())).await.expect("open");
        let reply = outcome(&mut wire).await.expect("an answer");
        assert_eq!((reply.status, reply.header("x-proxy-error")), (408, Some("request_timeout")), "{name}: {}", reply.text());
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
    }
    assert!(scene.origin.received().is_empty(), "no whole request came");
    let mut wire = scene.client().await;
    wire.send(&scene.get("/slow")).await.expect("open");
    let reply = outcome(&mut wire).await.expect("an answer");
    assert_eq!(reply.header("x-proxy-error"), Some("response_timeout"), "a whole request that is not answered is the target's");
    scene.still_works("slow bodies").await;
}

#[tokio::test]
async fn half_open_connections_cost_little_and_block_nobody() {
    let mut scene = Scene::set();
    let before = scene.memory();
    let mut open = Vec::new();
    for number in 0..200 {
        let mut wire = scene.client().await;
        if number % 2 == 0 {
            wire.send(b"GET http://").await.expect("open");
        }
        open.push(wire);
    }
    scene.still_works("200 half-open connections").await;
    let memory = scene.memory();
    println!("200 half-open connections: {} KiB", (memory.saturating_sub(before)) / 1024);
    assert!(memory < MEMORY, "{memory} bytes held");
    drop(open);
    scene.still_works("they went").await;
}

#[tokio::test]
async fn a_flood_over_the_limit_is_turned_away_and_leaves_nothing_behind() {
    let mut scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_LIMITS_CONNECTIONS", "50"));
    outgate_testkit::open_files::lift_limit();
    let before = scene.memory();
    let mut flood = JoinSet::new();
    for _ in 0..500 {
        let proxy = scene.gateway.proxy();
        flood.spawn(async move {
            let mut wire = Wire::connect(proxy).await.ok()?;
            // Those that get a place say nothing and hold it; the others read why they got none.
            wire.reply(Expect::Body).await.ok()
        });
    }
    // The local exit's link holds a place too.
    let over = 500 - (50 - 1);
    let mut told = 0;
    for _ in 0..over {
        let reply = flood.join_next().await.expect("more than that are turned away").expect("no panic");
        if let Some(reply) = reply {
            assert_eq!((reply.status, reply.header("x-proxy-error")), (503, Some("overloaded")), "{reply:?}");
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
            told += 1;
        }
    }
    println!("flood of 500 over 50 places: {told} were told why, {} merely closed", over - told);
    assert!(told * 10 > over * 9, "only {told} of {over} were told why");
    let memory = scene.memory();
    println!("memory {} KiB before, {} KiB after", before / 1024, memory / 1024);
    assert!(memory < MEMORY, "{memory} bytes held");
    flood.shutdown().await;
    scene.works_again("a place to be free").await;
    scene.still_works("the flood").await;
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_let_go() {
    let mut scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_IDLE", "300ms"));
    let refused = scene.raw(b"GET http://{origin}/ok HTTP/1.1\r\nHost: {origin}\r\n\r\n").repeat(100);
    let good = scene.get("/bytes/100000").repeat(100);
    for (name, requests) in [("requests that are refused", refused), ("requests that are served", good)] {
        let mut wire = scene.client().await;
        let gone = loop {
            if let Err(error) = wire.send(&requests).await {
                break error;
            }
        };
        assert!(matches!(gone, WireError::Reset(_)), "{name}: {gone}");
        let memory = scene.memory();
        assert!(memory < MEMORY, "{name}: {memory} bytes held");
    }
    scene.still_works("clients that never read").await;
}

#[tokio::test]
async fn pipelined_requests_wait_their_turn_outside() {
    let mut scene = Scene::set();
    let (mut sent, mut answered) = (0, 0);
    let mut wire = scene.client().await;
    for _ in 0..50 {
        wire.send(&scene.get("/keepalive").repeat(100)).await.expect("open");
        sent += 100;
        while answered + 1_000 < sent {
            assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200);
            answered += 1;
        }
    }
    while answered < sent {
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        assert_eq!(reply.text(), format!("{{\"connection\":0,\"request\":{answered}}}"), "in order, none lost, none twice");
        answered += 1;
    }
    let memory = scene.memory();
    assert!(memory < MEMORY, "{memory} bytes held");
}

#[tokio::test]
async fn silence_ends_kept_connections_and_tunnels() {
    let quickstart = Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_IDLE", "300ms").env("OUTGATE_TIMEOUTS_KEEP_ALIVE", "300ms");
    let scene = Scene::with(quickstart);
    let mut never_used = scene.client().await;
    assert_eq!(never_used.ending().await.expect("an end"), (Vec::new(), Ending::Fin));
    let mut used = scene.client().await;
    used.send(&scene.get("/ok")).await.expect("open");
    assert_eq!(used.reply(Expect::Body).await.expect("an answer").status, 200);
    assert_eq!(used.ending().await.expect("an end"), (Vec::new(), Ending::Fin));

    let silent = Script::start(vec![Step::Stall]);
    for modifiers in ["", "-pool-residential"] {
        let user = scene.gateway.user(modifiers);
        let target = silent.address().to_string();
        let connected = Wire::connect_through(scene.gateway.proxy(), Some(scene.gateway.credentials(&user)), &target);
        let (mut wire, reply) = connected.await.expect("an answer");
        assert_eq!(wire.ending().await.expect("an end"), (Vec::new(), Ending::Reset), "{modifiers:?}");
        let record = scene.gateway.record(reply.header("x-outgate-request-id").expect("it has one")).await;
        assert_eq!(record["ended_by"], "idle", "{modifiers:?}");
    }
}

#[tokio::test]
async fn the_door_for_exits_opens_to_exits_only() {
    let mut scene = Scene::set();
    let door: std::net::SocketAddr =
        scene.gateway.told("exit_gateway_url").trim_start_matches("ws://").parse().expect("an address");
    let upgrade = |token: &str| {
        format!(
            "GET /v1/link HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: outgate-link.1\r\n\r\n"
        )
    };
    let refused: &[(&str, String, u16)] = &[
        ("no token", "GET /v1/link HTTP/1.1\r\nHost: gw\r\n\r\n".to_owned(), 401),
        ("a wrong token", upgrade("wrong"), 401),
        ("a key's secret as the token", upgrade(scene.gateway.told("secret")), 401),
        (
            "no upgrade",
            format!("GET /v1/link HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {}\r\n\r\n", scene.gateway.told("exit_token")),
            400,
        ),
        ("another path", upgrade(scene.gateway.told("exit_token")).replace("/v1/link", "/"), 404),
        ("an echo nobody waits for", upgrade(scene.gateway.told("exit_token")).replace("/v1/link", "/v1/echo"), 404),
    ];
    for (name, request, status) in refused {
        let mut wire = Wire::connect(door).await.expect("the door is there");
        wire.send(request.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(reply.status, *status, "{name}: {}", reply.text());
    }
    let garbage = [vec![0; 1 << 20], b"\x16\x03\x01".repeat(100_000), b"GET / HTTP/1.1\r\n".repeat(50_000), b"X".repeat(1 << 20)];
    for (number, bytes) in garbage.into_iter().enumerate() {
        let mut wire = Wire::connect(door).await.expect("the door is there");
        let _sent = wire.send(&bytes).await;
        let _finished = wire.finish().await;
        wire.ending().await.unwrap_or_else(|error| panic!("garbage {number}: {error}"));
    }
    // An exit whose first words are no frames of the link.
    for noise in [&b"\x82\xfe\xff\xff0000"[..], b"\x81\x85\0\0\0\0hello", b"\x82\x88\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let mut wire = Wire::connect(door).await.expect("the door is there");
        wire.send(upgrade(scene.gateway.told("exit_token")).as_bytes()).await.expect("open");
        assert_eq!(wire.head().await.expect("a token that is good").status, 101);
        let _sent = wire.send(&noise.repeat(1_000)).await;
        let _finished = wire.finish().await;
        wire.ending().await.expect("it is sent away");
    }
    let memory = scene.memory();
    assert!(memory < MEMORY, "{memory} bytes held");
    let user = scene.gateway.user("-pool-residential");
    let target = scene.origin.address().to_string();
    let connected = Wire::connect_through(scene.gateway.proxy(), Some(scene.gateway.credentials(&user)), &target).await;
    assert_eq!(connected.expect("an answer").1.status, 200, "the real exit still works");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_target_is_dialed_holds_nothing() {
    // Far longer than the test may take: only noticing the client can end the request.
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_SETUP", "10m").env("OUTGATE_TIMEOUTS_CONNECT", "10m"));
    let hole = BlackHole::open();
    let mut leaver = scene.client().await;
    leaver
        .send(&scene.raw(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{{auth}}\r\n", hole.address()).as_bytes()))
        .await
        .expect("sent");
    drop(leaver);
    let record =
        until("the record of who left", || scene.gateway.records().into_iter().find(|r| r["ended_by"] == "client_lost")).await;
    assert_eq!((&record["outcome"], &record["stage"]), (&"ok".into(), &"dial".into()));
}
