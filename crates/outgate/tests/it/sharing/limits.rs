//! Rate, threads and bytes hold over all gateways together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use outgate_testkit::patience::{HANG, within};
use outgate_testkit::redis_server::Keeps;
use outgate_testkit::wire::{Credentials, Expect, Wire};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::{GATEWAYS, Group};
use crate::ledger::Firehose;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_rate_holds_over_all_gateways() {
    let group = Group::start(Keeps::Nothing, &["--rate", "300", "--burst", "30"]).await;
    let admitted = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..4 * GATEWAYS {
        let (proxy, admitted) = (group.gateways[worker % GATEWAYS].proxy(), admitted.clone());
        let authorization = Credentials { user: &group.key, password: &group.secret }.header_line();
        workers.spawn(async move {
            let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{authorization}\r\n");
            let mut wire = Wire::connect(proxy).await.expect("it listens");
            while admitted.load(Ordering::SeqCst) < 1_500 {
                wire.send(request.as_bytes()).await.expect("open");
                let reply = wire.reply(Expect::Body).await.expect("an answer");
                match reply.status {
                    200 => drop(admitted.fetch_add(1, Ordering::SeqCst)),
                    429 => assert_eq!(reply.header("x-proxy-error"), Some("rate_limited")),
                    other => panic!("{other}: {}", reply.text()),
                }
            }
        });
    }
    within("1500 requests", async { while workers.join_next().await.transpose().expect("no worker fails").is_some() {} }).await;
    let (admitted, allowed) = (admitted.load(Ordering::SeqCst) as f64, 30.0 + 300.0 * started.elapsed().as_secs_f64());
    let ratio = admitted / allowed;
    assert!((0.9..=1.1).contains(&ratio), "{admitted} of {allowed:.0} that the plan allows: {ratio:.3}");
}

#[tokio::test]
async fn threads_hold_over_all_gateways() {
    let group = Group::start(Keeps::Nothing, &["--threads", "30"]).await;
    // All of them at once.
    let (some, more, rest) = tokio::join!(group.fill(0, 30), group.fill(1, 30), group.fill(2, 30));
    let open = [some, more, rest];
    let counts = open.each_ref().map(Vec::len);
    let all: usize = counts.iter().sum();
    assert!((27..=30).contains(&all), "{all} of 30 are open: {counts:?}");
    drop(open);
    // One alone, as soon as the others' have ended.
    for at in 0..GATEWAYS {
        let mut open = Vec::new();
        let started = Instant::now();
        while open.len() < 27 {
            assert!(started.elapsed() < HANG, "only {} at gateway {at} alone", open.len());
            open.extend(group.fill(at, 31 - open.len()).await);
        }
        open.extend(group.fill(at, 31 - open.len()).await);
        assert!(open.len() <= 30, "{} of 30 are open at gateway {at} alone", open.len());
        let (_wire, refused) = group.open((at + 1) % GATEWAYS, "").await;
        if open.len() == 30 {
            assert_eq!(refused.header("x-proxy-error"), Some("threads_exceeded"), "none is left for another");
        }
    }
}

#[tokio::test]
async fn bytes_hold_over_all_gateways() {
    let plan = 64 * MIB;
    let group = Group::start(Keeps::Nothing, &["--bytes", "64MiB"]).await;
    let hose = Firehose::start().await;
    let got = Arc::new(AtomicU64::new(0));
    let mut drinkers = JoinSet::new();
    for at in 0..GATEWAYS {
        let (wire, reply) = group.open_to(at, "", &hose.address().to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let got = got.clone();
        drinkers.spawn(async move {
            let (mut stream, pending) = wire.into_parts();
            got.fetch_add(pending.len() as u64, Ordering::SeqCst);
            let mut buffer = vec![0; 65_536];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                got.fetch_add(length as u64, Ordering::SeqCst);
            }
        });
    }
    within("all tunnels to be cut", async { while drinkers.join_next().await.is_some() {} }).await;
    // What a reset threw away was moved too: the gateways' own counts are the truth.
    let mut counted = 0;
    for gateway in &group.gateways {
        counted +=
            crate::ledger::used(gateway, "key", &group.key, "down") + crate::ledger::used(gateway, "key", &group.key, "up");
    }
    assert!(counted <= plan + GATEWAYS as u64 * MIB / 4, "{counted} bytes of {plan} and one lease each");
    assert!(counted >= plan - GATEWAYS as u64 * MIB, "{counted} bytes of {plan}: no more than the leases are lost");
    assert!(got.load(Ordering::SeqCst) <= counted);
    for at in 0..GATEWAYS {
        let (_wire, reply) = group.open(at, "").await;
        assert_eq!(reply.header("x-proxy-error"), Some("bandwidth_exhausted"), "at gateway {at}");
    }
}

/// A tenth of a second's tokens and a level of threads that is in use anyway serve most set-ups; without limits all.
#[tokio::test]
async fn a_set_up_asks_once_at_most_and_not_without_limits() {
    for (limits, most) in [(&[] as &[&str], 0), (&["--threads", "1000"], 2), (&["--rate", "100000", "--threads", "1000"], 2)] {
        let group = Group::start(Keeps::Nothing, limits).await;
        let started = Instant::now();
        let before = group.redis.scripts_run();
        for _ in 0..300 {
            let (_wire, reply) = group.open(0, "").await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        // Each gateway says each second that it is there, and looks at a busy key ten times a second, at one rate and two levels.
        let seconds = started.elapsed().as_secs() + 1;
        let asked = group.redis.scripts_run() - before;
        let beats = GATEWAYS as u64 * seconds + if limits.is_empty() { 0 } else { 20 * seconds };
        assert!(asked <= 300 * most + beats, "{asked} scripts for 300 set-ups in {seconds} s with {limits:?}");
    }
}
