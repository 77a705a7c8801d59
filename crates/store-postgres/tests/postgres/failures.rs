//! What a failure says about what happened: refused before the commit, unclear when its answer is lost, and never half done.

use std::time::Duration;

use jiff::Timestamp;
use outgate_store::{
    ANYHOW, Audit, AuditQuery, Change, Counters, Delivery, Hour, KeyId, Plan, PlanName, PoolName, Store, StoreError, UsageBatch,
    UsageDelta,
};
use outgate_store_postgres::Postgres;
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;

use crate::{SERVER, open};

fn put_plan(name: &str) -> (Change, Audit) {
    let entry = Audit {
        id: format!("put-{name}"),
        at: Timestamp::UNIX_EPOCH,
        who: "admin".into(),
        what: "plan.create".into(),
        subject: name.into(),
        detail: String::new(),
    };
    (Change::PutPlan(Plan::unlimited(PlanName::parse(name).expect("a name"))), entry)
}

async fn put(store: &Postgres, name: &str) -> Result<(), StoreError> {
    let (change, entry) = put_plan(name);
    store.change(change, ANYHOW, entry).await
}

async fn audited(store: &Postgres) -> usize {
    let query = AuditQuery { subject: None, before: None, limit: 100 };
    store.audit(query).await.expect("a healthy store").len()
}

fn row(key: &str, bytes: u64) -> UsageDelta {
    UsageDelta {
        key: KeyId::parse(key).expect("an id"),
        pool: PoolName::parse("direct").expect("a name"),
        hour: Hour(10),
        period_start: Timestamp::UNIX_EPOCH,
        counters: Counters { up: bytes, down: 0, requests: 1, tunnels: 0 },
    }
}

fn batch(sequence: u64, rows: Vec<UsageDelta>) -> UsageBatch {
    UsageBatch { gateway: "gw".into(), sequence, rows }
}

/// Makes every COMMIT that wrote an audit entry do this first.
fn at_commit(server: &PostgresServer, url: &str, what: &str) {
    let _nothing = server.sql(
        url,
        &format!(
            "CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$;
             DROP TRIGGER IF EXISTS at_commit ON audit;
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
             EXECUTE FUNCTION at_commit()"
        ),
    );
}

const COMMITTING: &str = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'";

#[tokio::test]
async fn a_commit_that_fails_is_refused_and_one_without_an_answer_is_unclear() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let store = open(&url).await;
    at_commit(&server, &url, "RAISE EXCEPTION 'not today'");
    let refused = put(&store, "one").await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("not today (P0001)")), "{refused:?}");

    at_commit(&server, &url, "PERFORM pg_sleep(60)");
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'";
    let (unclear, ()) = tokio::join!(put(&store, "two"), async {
        until("the commit to be cut", || (server.sql(&url, cut) == "1").then_some(())).await;
    });
    assert!(matches!(&unclear, Err(StoreError::Unclear(_))), "{unclear:?}");
    let unclear = put(&store, "three").await;
    assert!(matches!(&unclear, Err(StoreError::Unclear(why)) if why.contains("did not answer to a COMMIT")), "{unclear:?}");
    let (unclear, ()) = tokio::join!(put(&store, "four"), async {
        until("a commit to begin", || (server.sql(&url, COMMITTING) != "0").then_some(())).await;
        server.kill();
    });
    assert!(matches!(&unclear, Err(StoreError::Unclear(_) | StoreError::Refused(_))), "{unclear:?}");
    server.start_again();
    let _nothing = server.sql(&url, "DROP TRIGGER at_commit ON audit");
    // Told again under the same id, each is made once, whatever had become of it.
    for name in ["two", "three", "four", "two"] {
        until_done(async || put(&store, name).await).await;
    }
    assert_eq!(audited(&store).await, 3);
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_lock_is_refused() {
    let url = SERVER.database();
    let store = open(&url).await;
    assert_eq!(store.add_usage(batch(1, vec![row("aaaa", 1)])).await, Ok(Delivery::Added));
    let blocker = "BEGIN; LOCK TABLE audit, deliveries; SELECT pg_sleep(60)";
    let place = url.clone();
    // Ends when it is cut below, which psql counts as a failure.
    let blocking = std::thread::spawn(move || SERVER.sql(&place, blocker));
    let sleeper = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until("the lock", || (SERVER.sql(&url, &format!("SELECT count(*) {sleeper}")) == "1").then_some(())).await;
    let (changed, added) = tokio::join!(put(&store, "one"), store.add_usage(batch(2, vec![row("aaaa", 1)])));
    for refused in [changed.err(), added.err()] {
        assert!(matches!(&refused, Some(StoreError::Refused(why)) if why.contains("lock timeout (55P03)")), "{refused:?}");
    }
    let _done = SERVER.sql(&url, &format!("SELECT pg_terminate_backend(pid) {sleeper}"));
    assert!(blocking.join().is_err());
    until_done(async || put(&store, "one").await).await;
    assert_eq!(store.add_usage(batch(2, vec![row("aaaa", 1)])).await, Ok(Delivery::Added));
}

#[tokio::test]
async fn a_sum_that_no_column_holds_is_refused_and_leaves_nothing_behind() {
    let url = SERVER.database();
    let store = open(&url).await;
    let most = i64::MAX.unsigned_abs();
    assert_eq!(store.add_usage(batch(1, vec![row("aaaa", most)])).await, Ok(Delivery::Added));
    let refused = store.add_usage(batch(2, vec![row("aaaa", 1), row("bbbb", 1)])).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("out of range (22003)")), "{refused:?}");
    assert_eq!(store.last_sequence("gw").await, Ok(1));
    assert_eq!(store.used_since(&KeyId::parse("bbbb").expect("an id"), Timestamp::UNIX_EPOCH).await, Ok(0));
}

#[tokio::test]
async fn ten_thousand_rows_are_a_handful_of_statements() {
    let url = SERVER.database();
    let store = open(&url).await;
    let rows = |number: u64| (0..10_000).map(|key| row(&format!("key{key}"), number)).collect();
    for sequence in 1..=3 {
        assert_eq!(store.add_usage(batch(sequence, rows(sequence))).await, Ok(Delivery::Added));
    }
    assert_eq!(SERVER.sql(&url, "SELECT count(*), sum(up), min(up), max(up) FROM usage"), "10000|60000|6|6");
    assert_eq!(SERVER.sql(&url, "SELECT count(*), sum(bytes) FROM periods"), "10000|60000");
}

#[tokio::test]
async fn it_goes_on_by_itself_after_the_server_was_away() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let store = open(&url).await;
    assert_eq!(put(&store, "one").await, Ok(()));
    for end in [PostgresServer::stop, PostgresServer::kill] {
        end(&mut server);
        let refused = put(&store, "two").await;
        assert!(matches!(&refused, Err(StoreError::Refused(_))), "{refused:?}");
        let started = std::time::Instant::now();
        store.changed().await;
        assert!(started.elapsed() < Duration::from_secs(10), "a follower looks by itself");
        server.start_again();
        // The connections that were kept are dead, and the first call finds new ones.
        until_done(async || store.last_sequence("gw").await.map(drop)).await;
    }
    assert_eq!(put(&store, "two").await, Ok(()));
    assert_eq!(audited(&store).await, 2);
}

#[tokio::test]
async fn a_server_that_answers_nothing_holds_nobody_up() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let store = open(&url).await;
    assert_eq!(store.add_usage(batch(1, vec![row("aaaa", 1)])).await, Ok(Delivery::Added));
    server.freeze();
    let (changed, asked, added) =
        tokio::join!(put(&store, "one"), store.last_sequence("gw"), store.add_usage(batch(2, vec![row("aaaa", 1)])),);
    for refused in [changed.err(), asked.err(), added.err()] {
        assert!(matches!(&refused, Some(StoreError::Refused(why)) if why.contains("did not do it within")), "{refused:?}");
    }
    server.thaw();
    // What it was sent before is rolled back, or was never sent.
    until_done(async || store.add_usage(batch(2, vec![row("aaaa", 1)])).await.map(drop)).await;
    assert_eq!(store.used_since(&KeyId::parse("aaaa").expect("an id"), Timestamp::UNIX_EPOCH).await, Ok(2));
    until_done(async || put(&store, "one").await).await;
    assert_eq!(audited(&store).await, 1);
}

/// What is refused or unclear is told again, as callers do.
async fn until_done(call: impl AsyncFn() -> Result<(), StoreError>) {
    for _ in 0..1_000 {
        match call().await {
            Ok(()) => return,
            Err(StoreError::Refused(_) | StoreError::Unclear(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a thousand times in vain");
}
