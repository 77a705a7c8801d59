//! Plans at their limits: bytes, rate and threads.

use std::time::{Duration, Instant};

use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, within};
use outgate_testkit::payload;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Expect, Wire};

use super::{Firehose, Key, MIB, request_id};
use crate::OUTGATE;

#[tokio::test]
async fn a_tunnel_is_cut_where_its_bytes_end() {
    const LIMIT: u64 = 5_000_000;
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    // Endless once it is asked.
    let hose = || Script::start(vec![Step::ReadExactly(1), Step::Repeat(payload::slice(0, 65_536), 10_000), Step::Stall]);
    for (number, (modifiers, tunnels)) in [("", 1), ("-pool-residential", 1), ("", 4)].into_iter().enumerate() {
        let plan = format!("small{number}");
        let _made = gateway.admin(&["plans", "create", &plan, "--bytes", "5MB"]);
        let key = Key::create(&gateway, &["--plan", &plan]);
        let mut open = Vec::new();
        let hose = hose();
        for _ in 0..tunnels {
            let (wire, reply) = key.connect(&gateway, modifiers, hose.address()).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            open.push((wire, request_id(&reply)));
        }
        let mut ids = Vec::new();
        let mut reading = tokio::task::JoinSet::new();
        for (mut wire, id) in open {
            ids.push(id);
            reading.spawn(async move {
                let mut length = 0;
                wire.send(b"!").await.expect("open");
                let ending = wire.drain(|block| length += block.len() as u64).await.expect("an end");
                assert_eq!(ending, Ending::Reset, "a download that was cut must not look complete");
                length
            });
        }
        let got: u64 = reading.join_all().await.into_iter().sum();
        let counted = key.shown(&gateway)["period"]["bytes"].as_u64().expect("a number");
        println!("{tunnels} tunnels {modifiers:?} with {LIMIT} bytes: counted {counted}, client got {got}");
        assert!(counted >= LIMIT && counted - LIMIT <= MIB, "{counted} counted of {LIMIT}");
        assert!(got <= counted, "{got} of {counted}");
        for id in ids {
            let record = gateway.record(&id).await;
            assert_eq!(
                (&record["outcome"], &record["layer"], &record["ended_by"]),
                (&"bandwidth_exhausted".into(), &"plan".into(), &"cut".into())
            );
        }

        let (mut wire, reply) = key.connect(&gateway, modifiers, origin.address()).await;
        assert_eq!((reply.status, reply.header("x-proxy-error")), (402, Some("bandwidth_exhausted")));
        let wait: u64 = reply.header("retry-after").and_then(|value| value.parse().ok()).expect("until the period begins again");
        assert!((1..=32 * 24 * 3600).contains(&wait), "{wait}");
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", origin.url("/ok"), origin.address(), key.authorization());
        // What follows a refused CONNECT may have been meant for the tunnel: it is not read as a request.
        let (behind, ending) = wire.ending().await.expect("an end");
        assert_eq!((behind.len(), ending), (0, Ending::Fin));
        let mut wire = Wire::connect(gateway.proxy()).await.expect("a connection");
        wire.send(request.as_bytes()).await.expect("sent");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 402);

        let _raised = gateway.admin(&["plans", "set", &plan, "--bytes", "20MB"]);
        let raised = Instant::now();
        while key.tries(&gateway, &origin).await != "ok" {
            assert!(raised.elapsed() < Duration::from_secs(1), "a raised plan must be in force within a second");
        }
    }
}

#[tokio::test]
async fn a_forwarded_answer_is_cut_too() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let _made = gateway.admin(&["plans", "create", "small", "--bytes", "1MB"]);
    let key = Key::create(&gateway, &["--plan", "small"]);
    for path in ["/bytes/9000000", "/chunked/9000000", "/until-close/9000000"] {
        let _raised = gateway.admin(&[
            "plans",
            "set",
            "small",
            "--bytes",
            &format!("{}", key.shown(&gateway)["period"]["bytes"].as_u64().unwrap_or(0) + 1_000_000),
        ]);
        let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", origin.url(path), origin.address(), key.authorization());
        wire.send(request.as_bytes()).await.expect("open");
        let head = wire.head().await.expect("it began");
        assert_eq!(wire.drain(|_| {}).await.expect("an end"), Ending::Reset, "{path}");
        let record = gateway.record(&request_id(&head)).await;
        assert_eq!((&record["outcome"], &record["status"]), (&"bandwidth_exhausted".into(), &200.into()), "{path}");
    }
    // An upload that runs out before anything was answered can still be told.
    let _raised = gateway.admin(&[
        "plans",
        "set",
        "small",
        "--bytes",
        &format!("{}", key.shown(&gateway)["period"]["bytes"].as_u64().unwrap_or(0) + 500_000),
    ]);
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: 600000\r\n\r\n",
        origin.url("/upload"),
        origin.address(),
        key.authorization()
    );
    wire.send(request.as_bytes()).await.expect("open");
    wire.send(&payload::slice(0, 600_000)).await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (402, Some("bandwidth_exhausted")));
    assert!(origin.received().iter().all(|request| request.target != "/upload"), "half an upload is none");
}

#[tokio::test]
async fn rate_and_burst() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let _made = gateway.admin(&["plans", "create", "slow", "--rate", "1", "--burst", "3"]);
    let key = Key::create(&gateway, &["--plan", "slow"]);
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", origin.url("/ok"), origin.address(), key.authorization());
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let started = Instant::now();
    wire.send(request.repeat(10).as_bytes()).await.expect("open");
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let reply = wire.reply(Expect::Body).await.expect("an answer, and the connection goes on");
        if reply.status != 200 {
            assert_eq!((reply.status, reply.header("x-proxy-error")), (429, Some("rate_limited")));
            assert!(reply.header("retry-after").is_some() && reply.header("ratelimit").is_some(), "{reply:?}");
        }
        statuses.push(reply.status);
    }
    let passed = statuses.iter().filter(|status| **status == 200).count() as u64;
    assert_eq!(statuses[..3], [200, 200, 200], "the burst passes");
    assert!(passed <= 3 + started.elapsed().as_secs() + 1, "{statuses:?}");
    let passes = async {
        loop {
            wire.send(request.as_bytes()).await.expect("open");
            if wire.reply(Expect::Body).await.expect("an answer").status == 200 {
                break;
            }
        }
    };
    within("the rate to let one through", passes).await;
    // Refused requests were never sent on.
    assert!(origin.received().len() as u64 <= passed + 1);
}

#[tokio::test]
async fn threads() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (hose, origin) = (Firehose::start().await, Origin::start());
    let _made = gateway.admin(&["plans", "create", "two", "--threads", "2"]);
    let key = Key::create(&gateway, &["--plan", "two"]);
    let (first, _) = key.connect(&gateway, "", hose.address).await;
    let (second, _) = key.connect(&gateway, "-pool-residential", hose.address).await;
    assert_eq!(key.shown(&gateway)["open"], 2);
    let (_, reply) = key.connect(&gateway, "", hose.address).await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (453, Some("threads_exceeded")));
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert_eq!(key.tries(&gateway, &origin).await, "threads_exceeded", "a forwarded request is one as well");
    first.reset();
    until("a thread to be free", || (key.shown(&gateway)["open"] == 1).then_some(())).await;
    assert_eq!(key.tries(&gateway, &origin).await, "ok");
    drop(second);
    until("both to be free", || (key.shown(&gateway)["open"] == 0).then_some(())).await;
    let _lifted = gateway.admin(&["plans", "set", "two", "--threads", "none"]);
    let mut open = Vec::new();
    for _ in 0..5 {
        let (wire, reply) = key.connect(&gateway, "", hose.address).await;
        assert_eq!(reply.status, 200);
        open.push(wire);
    }
}
