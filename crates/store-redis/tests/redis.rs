//! What is shared, on a real Redis server: the contract, and what becomes of it when the server dies, forgets or hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outgate_store::shared::{
    Asks, BytesAsk, Known, Peer, Presence, RateAsk, SessionAsk, SessionName, Shared, ThreadsAsk, conformance,
};
use outgate_store::{ExitId, KeyId, StoreError};
use outgate_store_redis::Redis;
use outgate_testkit::patience::within;
use outgate_testkit::redis_server::{Keeps, RedisServer};

fn connect(server: &RedisServer, prefix: &str) -> Redis {
    Redis::new(&server.address(), prefix).expect("the server's address")
}

#[tokio::test]
async fn conforms() {
    let server = RedisServer::start(Keeps::Nothing);
    let opened = AtomicUsize::new(0);
    conformance::run(|| async {
        // A prefix of its own is as good as a new server.
        let number = opened.fetch_add(1, Ordering::Relaxed);
        Arc::new(connect(&server, &format!("test{number}"))) as Arc<dyn Shared>
    })
    .await;
    assert!(opened.load(Ordering::Relaxed) > 5);
}

/// One of everything.
fn everything(turn: u64) -> Asks {
    let key = KeyId::parse("aaaa").expect("a key");
    let exit = ExitId::parse("e1").expect("an exit");
    let minute = Duration::from_secs(60);
    Asks {
        member: "a".into(),
        turn,
        presence: Some(Presence::Here {
            peer: Peer { name: "gw".into(), door: None },
            lasts: minute,
            arrived: vec![exit.clone()],
            left: Vec::new(),
            seeks: vec![exit.clone()],
            heard: 0,
        }),
        rates: vec![RateAsk { key: key.clone(), rate: 1, burst: 100, want: 1 }],
        threads: vec![ThreadsAsk { key: key.clone(), limit: 10, used: 2, want: 3 }],
        bytes: vec![BytesAsk { key, period: (0, i64::from(i32::MAX)), limit: 99, known: Known::Ledger(9), used: 1, want: 5 }],
        sessions: vec![
            SessionAsk::Bind(SessionName(1), exit.clone(), minute),
            SessionAsk::Bind(SessionName(2), exit.clone(), minute),
            SessionAsk::End(SessionName(2)),
        ],
    }
}

async fn client(server: &RedisServer) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(server.address()).expect("the server's address");
    client.get_multiplexed_async_connection().await.expect("a connection")
}

#[tokio::test]
async fn nothing_is_kept_for_ever() {
    let server = RedisServer::start(Keeps::Nothing);
    connect(&server, "p").ask(everything(1)).await.expect("an answer");
    let mut connection = client(&server).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("the keys");
    assert_eq!(keys.len(), 10, "one of everything: {keys:?}");
    for key in keys {
        assert!(key.starts_with("p:"), "{key} has the prefix");
        let left: i64 = redis::cmd("TTL").arg(&key).query_async(&mut connection).await.expect("a time");
        assert!(left > 0, "{key} expires: {left}");
    }
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let server = RedisServer::start(Keeps::Nothing);
    let shared = connect(&server, "p");
    shared.ask(everything(1)).await.expect("an answer");
    let mut connection = client(&server).await;
    let _ok: String = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.expect("flushed");
    shared.ask(everything(2)).await.expect("an answer");
}

#[tokio::test]
async fn a_server_may_be_gone_and_come_back() {
    for keeps in [Keeps::Nothing, Keeps::Everything] {
        let mut server = RedisServer::start(keeps);
        let shared = connect(&server, "p");
        let before = shared.ask(everything(1)).await.expect("an answer");
        server.kill();
        let first = shared.ask(everything(2)).await;
        assert!(matches!(first, Err(StoreError::Unclear(_) | StoreError::Refused(_))), "{first:?}");
        let second = shared.ask(everything(3)).await;
        assert!(matches!(second, Err(StoreError::Refused(_))), "nobody listens, so nothing happened: {second:?}");
        server.restart();
        let after = shared.ask(everything(4)).await.expect("an answer of the one that came back");
        let granted = match keeps {
            Keeps::Everything => 98,
            Keeps::Nothing => 99,
        };
        assert_eq!(after.rates[0].remaining, granted, "with what it kept");
        assert_eq!((after.threads, after.bytes), (before.threads, before.bytes), "levels are the same either way");
    }
}

#[tokio::test]
async fn a_frozen_server_is_given_up_and_what_it_does_late_changes_no_level() {
    let server = RedisServer::start(Keeps::Nothing);
    let shared = connect(&server, "p");
    shared.ask(everything(1)).await.expect("an answer");
    server.freeze();
    let mut late = everything(2);
    late.threads[0].want = 9;
    let given_up = tokio::time::timeout(Duration::from_millis(100), shared.ask(late)).await;
    assert!(given_up.is_err(), "no answer while it is frozen");
    server.thaw();
    let after = within("the thawed server", shared.ask(everything(3))).await.expect("an answer");
    assert_eq!(after.threads, [3]);
    let older = shared.ask(everything(2)).await.expect("an answer");
    assert_eq!(older.threads, [3], "whenever it comes");
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    let server = RedisServer::start(Keeps::Nothing);
    let mut connection = client(&server).await;
    let _ok: String =
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("right").query_async(&mut connection).await.expect("set");
    let wrong = Redis::new(&format!("{}?pass=wr0ng", server.address()), "p").expect("an address");
    let Err(error) = wrong.ask(everything(1)).await else { panic!("the password is wrong") };
    assert!(!error.to_string().contains("wr0ng"), "{error}");
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    let right = Redis::new(&format!("{}?pass=right", server.address()), "p").expect("an address");
    right.ask(everything(1)).await.expect("an answer");
}
