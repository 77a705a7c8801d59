//! Redis goes away, with and without what it knew: each gateway keeps to its share, and all of them share again.

use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::HANG;
use outgate_testkit::redis_server::{Keeps, RedisServer};

use super::{GATEWAYS, Group};
use crate::OUTGATE;

#[tokio::test]
async fn without_redis_each_keeps_to_its_share_until_it_is_back() {
    for keeps in [Keeps::Nothing, Keeps::Everything] {
        let mut group = Group::start(keeps, &["--threads", "30", "--rate", "3000", "--bytes", "1GB"]).await;
        let first = group.fill(0, 5).await;
        assert_eq!(first.len(), 5);
        group.redis.kill();
        // Whoever asks meanwhile is answered by the share, once it is clear that nobody else answers.
        let mut open = vec![first];
        for at in 0..GATEWAYS {
            open.push(group.fill(at, 31).await);
        }
        group.parts(1).await;
        for at in 0..GATEWAYS {
            open.push(group.fill(at, 31).await);
        }
        let all: usize = open.iter().map(Vec::len).sum();
        assert_eq!(all, 30, "a third of 30 at each of three gateways");
        group.redis.restart();
        group.shares(2).await;
        for at in 0..GATEWAYS {
            let (_wire, reply) = group.open(at, "").await;
            assert_eq!(
                reply.header("x-proxy-error"),
                Some("threads_exceeded"),
                "what was opened meanwhile counts at gateway {at}"
            );
        }
        drop(open);
        let mut alone = Vec::new();
        let started = std::time::Instant::now();
        while alone.len() < 27 {
            assert!(started.elapsed() < HANG, "only {} at one gateway alone", alone.len());
            alone.extend(group.fill(0, 31 - alone.len()).await);
        }
        assert!(alone.len() <= 30);
    }
}

#[tokio::test]
async fn a_frozen_redis_delays_nobody_for_long() {
    let mut group = Group::start(Keeps::Nothing, &["--threads", "30", "--rate", "3000"]).await;
    group.redis.freeze();
    let (_wire, reply) = group.open(0, "").await;
    assert_eq!(reply.status, 200, "its share allows it");
    group.parts(1).await;
    group.redis.thaw();
    group.shares(2).await;
}

#[tokio::test]
async fn a_gateway_starts_without_redis() {
    let mut redis = RedisServer::start(Keeps::Nothing);
    redis.kill();
    let start = Quickstart::new(OUTGATE).env("OUTGATE_STORE_REDIS", &redis.address()).env("OUTGATE_STORE_SHARE", "0.25");
    let mut gateway = start.env("RUST_LOG", "info").start();
    let share = gateway.daemon().line("the warning", |line| line.contains("limits can't be shared").then(|| line.to_owned()));
    assert!(share.contains("0.25"), "it says its share: {share}");
    redis.restart();
    gateway.daemon().line("the good news", |line| line.contains("limits are shared").then_some(()));
}
