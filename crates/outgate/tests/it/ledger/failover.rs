//! A PostgreSQL that fails over to its standby: gateways that know both go on by themselves, and only what the standby never
//! had is lost.

use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;

use super::outages::{command, journalled, refused_change, requests};
use super::shared::{follows, gateway_on};
use super::{Key, used};

#[tokio::test]
async fn gateways_follow_a_failover_and_lose_nothing_that_was_replicated() {
    let mut primary = PostgresServer::start();
    let mut standby = primary.standby();
    let url = primary.database_or(&standby);
    let _set = primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    let _read = primary.sql("postgres", "SELECT pg_reload_conf()");
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    until("the standby to be waited for", || (primary.sql("postgres", synchronous) == "1").then_some(())).await;
    let (mut gateway, other) = (gateway_on(&url), gateway_on(&url));
    let origin = Origin::start();
    let key = Key::create(&gateway, &[]);
    follows("the key", async || (key.tries(&other, &origin).await == "ok").then_some(())).await;
    let mut made = 1;
    // Until something of it was delivered; then at once, so that a delivery may be under way.
    while requests(&primary, &url) < 20 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok");
        made += 1;
    }
    primary.kill();
    for _ in 0..10 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok", "keys in use go on being served");
        assert_eq!(key.tries(&other, &origin).await, "ok", "keys in use go on being served");
    }
    made += 20;
    let refused = refused_change(&gateway, "before");
    assert!(refused.contains("can't be written now"), "a standby takes no changes: {refused}");
    until("the journal", || (journalled(&gateway) >= 10).then_some(())).await;
    standby.promote();
    until("all of it to be delivered", || (requests(&standby, &url) >= made).then_some(())).await;
    until("changes to work again", || command(&gateway, &["plans", "create", "after"]).status.success().then_some(())).await;
    follows("the change at the other", async || other.admin(&["plans", "list"]).contains("after").then_some(())).await;
    // The session that listens is the one that holds the gateway's name: a lock of 64 bits.
    let listening = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted";
    until("both to listen at the new one", || (standby.sql(&url, listening) == "2").then_some(())).await;
    until("the journals' end", || (journalled(&gateway) + journalled(&other) == 0).then_some(())).await;
    assert_eq!(used(&gateway, "key", &key.id, "requests"), made, "each once");
    let log = gateway.daemon().stderr();
    assert!(!log.contains("a-secret-password") && !log.contains("expects another usage batch"), "{log}");
}

#[tokio::test]
async fn a_failover_to_a_standby_that_was_behind_costs_what_it_never_had() {
    let mut primary = PostgresServer::start();
    let mut standby = primary.standby();
    let url = primary.database_or(&standby);
    let mut gateway = gateway_on(&url);
    let origin = Origin::start();
    let key = Key::create(&gateway, &[]);
    assert_eq!(key.tries(&gateway, &origin).await, "ok");
    until("a batch at the primary", || (requests(&primary, &url) == 1).then_some(())).await;
    let followed = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()";
    until("the standby to have it", || (primary.sql("postgres", followed) == "1").then_some(())).await;
    assert_eq!(requests(&standby, &url), 1);
    // What is delivered from here on has several batches, and the standby none of them.
    standby.stop();
    for delivered in 2..=4 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok");
        until("another batch", || (requests(&primary, &url) == delivered).then_some(())).await;
    }
    let lost = command(&gateway, &["plans", "create", "lost"]);
    assert!(lost.status.success(), "{lost:?}");
    primary.kill();
    for _ in 0..10 {
        assert_eq!(key.tries(&gateway, &origin).await, "ok");
    }
    standby.start_again();
    standby.promote();
    until("what was not lost", || (requests(&standby, &url) == 1 + 10).then_some(())).await;
    assert!(gateway.daemon().stderr().contains("expects another usage batch"), "the gap is told");
    follows("the standby's plans", async || (!gateway.admin(&["plans", "list"]).contains("lost")).then_some(())).await;
    assert_eq!(key.tries(&gateway, &origin).await, "ok");
    until("deliveries to go on", || (requests(&standby, &url) == 12).then_some(())).await;
    assert!(command(&gateway, &["plans", "create", "after"]).status.success());
}
