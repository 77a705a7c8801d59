//! The rules about following: what was changed is told in order, and what was changed meanwhile isn't overwritten.

use std::time::Duration;

use super::samples::*;
use crate::contract::{Change, Changes, Store, StoreError};
use crate::key::{Key, KeyState};
use crate::plan::Plan;
use crate::secret::SecretHash;
use crate::usage::{Counters, Grouping, UsageDelta};

/// Ends a suite that hangs; a healthy store takes a second at most.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn changes_are_told_as_they_are_now(store: &dyn Store) {
    assert_eq!(changes_after(store, 0).await, Changes::default());
    let plan = Plan::unlimited(plan_name("plan"));
    let exit = exit("exit-1");
    put(store, Change::PutPlan(plan.clone()), "c1").await;
    put(store, Change::PutKey(key("aaaa", "plan")), "c2").await;
    put(store, Change::PutExit(exit.clone()), "c3").await;
    let faster = Plan { rate: Some(7), ..plan.clone() };
    put(store, Change::PutPlan(faster.clone()), "c4").await;
    // Told again, it is no other change.
    put(store, Change::PutPlan(plan), "c1").await;
    let all = Changes {
        upto: 4,
        // A key comes after its plan, whichever was changed last.
        changes: vec![Change::PutPlan(faster.clone()), Change::PutKey(key("aaaa", "plan")), Change::PutExit(exit.clone())],
    };
    assert_eq!(changes_after(store, 0).await, all);
    let loaded = load(store, now()).await;
    assert_eq!((loaded.change, loaded.keys.len()), (4, 1));
    let cases = [
        (2, vec![Change::PutPlan(faster.clone()), Change::PutExit(exit.clone())]),
        (3, vec![Change::PutPlan(faster)]),
        (4, vec![]),
    ];
    for (seen, changes) in cases {
        assert_eq!(changes_after(store, seen).await, Changes { upto: 4, changes }, "after {seen}");
    }
    put(store, Change::PutKey(key("aaaa", "plan")), "c5").await;
    put(store, Change::RemoveExit(exit.id.clone()), "c6").await;
    let changes = vec![Change::PutKey(key("aaaa", "plan")), Change::RemoveExit(exit.id)];
    assert_eq!(changes_after(store, 4).await, Changes { upto: 6, changes });
    for (seen, limit) in [(0, 2), (4, 1), (7, 100)] {
        assert_eq!(store.changes_after(seen, limit).await, Ok(None), "after {seen}, at most {limit}: load all of it");
    }
}

pub(super) async fn what_was_changed_meanwhile_stays(store: &dyn Store) {
    put(store, Change::PutPlan(Plan::unlimited(plan_name("plan"))), "c1").await;
    put(store, Change::PutKey(key("aaaa", "plan")), "c2").await;
    put(store, Change::PutKey(key("bbbb", "plan")), "c3").await;
    // Both looked at the key after change 3; one suspends it, the other gives it a new secret.
    let suspended = Key { state: KeyState::Suspended, ..key("aaaa", "plan") };
    let rotated = Key { secret: SecretHash::of(b"new"), ..key("aaaa", "plan") };
    assert_eq!(store.change(Change::PutKey(suspended.clone()), 3, audit("suspend")).await, Ok(()));
    let stale = store.change(Change::PutKey(rotated.clone()), 3, audit("rotate")).await;
    assert!(matches!(&stale, Err(StoreError::Conflict(why)) if why.contains("key aaaa")), "{stale:?}");
    assert_eq!(load(store, now()).await.keys.iter().find(|key| key.id == suspended.id), Some(&suspended));
    // The change that was made is still known by its entry, however old its sight is.
    assert_eq!(store.change(Change::PutKey(suspended.clone()), 3, audit("suspend")).await, Ok(()));
    // Another key was not changed meanwhile; and whoever saw change 4 may go on from there.
    assert_eq!(
        store.change(Change::PutKey(Key { expires: Some(now()), ..key("bbbb", "plan") }), 3, audit("other")).await,
        Ok(())
    );
    let both = Key { state: KeyState::Suspended, ..rotated };
    assert_eq!(store.change(Change::PutKey(both), 4, audit("rotate again")).await, Ok(()));
    // What was created or removed elsewhere counts as changed.
    let created = store.change(Change::PutKey(key("aaaa", "plan")), 0, audit("create")).await;
    assert!(matches!(created, Err(StoreError::Conflict(_))), "{created:?}");
    put(store, Change::PutExit(exit("exit-1")), "e1").await;
    let seen = load(store, now()).await.change;
    put(store, Change::RemoveExit(exit("exit-1").id), "e2").await;
    let revived = store.change(Change::PutExit(exit("exit-1")), seen, audit("e3")).await;
    assert!(matches!(revived, Err(StoreError::Conflict(_))), "{revived:?}");
    let entries = store.audit(all_audit()).await.expect("the audit trail");
    assert!(entries.iter().all(|row| !["rotate", "create", "e3"].contains(&row.entry.id.as_str())), "{entries:?}");
}

pub(super) async fn numbers_beyond_the_columns_are_refused(store: &dyn Store) {
    let plan = Plan { bytes: Some(u64::MAX), ..Plan::unlimited(plan_name("plan")) };
    let refused = store.change(Change::PutPlan(plan), crate::ANYHOW, audit("p")).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    let row = UsageDelta {
        counters: Counters { up: u64::MAX / 2, down: 1, ..Counters::default() },
        ..delta("aaaa", "direct", "2026-11-21T00:00:00Z", 0, 0)
    };
    let refused = store.add_usage(batch("gw", 1, vec![row])).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!((load(store, now()).await.change, store.last_sequence("gw").await), (0, Ok(0)));
}

pub(super) async fn another_gateway_hears_of_changes(one: &dyn Store, other: &dyn Store) {
    let mut seen = 0;
    for round in 0..5 {
        let name = plan_name(&format!("plan{round}"));
        put(one, Change::PutPlan(Plan::unlimited(name.clone())), &format!("c{round}")).await;
        let heard = tokio::time::timeout(FOLLOWS_WITHIN, async {
            loop {
                other.changed().await;
                // A call that comes too early is not the one that counts.
                let changes = other.changes_after(seen, 100).await.expect("a healthy store").expect("few changes");
                if changes.upto > seen {
                    break changes;
                }
            }
        });
        let heard = heard.await.expect("the change to be heard of");
        assert_eq!(heard.changes, [Change::PutPlan(Plan::unlimited(name))]);
        seen = heard.upto;
    }
}

pub(super) async fn of_two_at_once_one_is_told_to_look_again(one: &dyn Store, other: &dyn Store) {
    put(one, Change::PutPlan(Plan::unlimited(plan_name("plan"))), "p").await;
    put(one, Change::PutKey(key("aaaa", "plan")), "k").await;
    for round in 0..10_u32 {
        let seen = load(one, now()).await.change;
        let write = |store: &'static str| Plan {
            rate: Some(round + 1),
            burst: (store == "one").then_some(1),
            ..Plan::unlimited(plan_name("plan"))
        };
        let (first, second) = tokio::join!(
            one.change(Change::PutPlan(write("one")), seen, audit(&format!("one{round}"))),
            other.change(Change::PutPlan(write("other")), seen, audit(&format!("other{round}"))),
        );
        let done = [first.is_ok(), second.is_ok()];
        assert!(done == [true, false] || done == [false, true], "{first:?} {second:?}");
        let kept = plans(one).await;
        assert_eq!(kept, [write(if done[0] { "one" } else { "other" })], "what stays is what was answered with yes");
        assert_eq!(load(other, now()).await.change, seen + 1);
    }
}

pub(super) async fn a_key_never_loses_its_plan_to_another_gateway(one: &dyn Store, other: &dyn Store) {
    for round in 0..10 {
        let (plan, id) = (format!("plan{round}"), format!("key{round}"));
        put(one, Change::PutPlan(Plan::unlimited(plan_name(&plan))), &format!("p{round}")).await;
        let (removed, created) = tokio::join!(
            one.change(Change::RemovePlan(plan_name(&plan)), crate::ANYHOW, audit(&format!("r{round}"))),
            other.change(Change::PutKey(key(&id, &plan)), crate::ANYHOW, audit(&format!("k{round}"))),
        );
        assert!(removed.is_ok() != created.is_ok(), "{removed:?} {created:?}");
        let now = load(one, now()).await;
        assert!(now.keys.iter().all(|key| now.plans.iter().any(|plan| plan.name == key.plan)));
    }
}

pub(super) async fn gateways_add_to_the_same_keys(one: &dyn Store, other: &dyn Store) {
    put(one, Change::PutPlan(Plan::unlimited(plan_name("plan"))), "p").await;
    let keys: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
    for id in &keys {
        put(one, Change::PutKey(key(id, "plan")), id).await;
    }
    let deliver = async |store: &dyn Store, gateway: &str, backwards: bool| {
        for sequence in 1..=20 {
            let mut rows: Vec<UsageDelta> = keys
                .iter()
                .flat_map(|id| {
                    [("direct", "2026-10-31T23:00:00Z"), ("direct", "2026-11-21T06:00:00Z"), ("mobile", "2026-11-21T07:00:00Z")]
                        .map(|(pool, hour)| delta(id, pool, hour, 1, 10))
                })
                .collect();
            if backwards {
                rows.reverse();
            }
            // Deadlocks and lost races are refused, never half done.
            while let Err(error) = store.add_usage(batch(gateway, sequence, rows.clone())).await {
                assert!(matches!(error, StoreError::Refused(_)), "{error}");
            }
        }
    };
    tokio::join!(deliver(one, "one", false), deliver(other, "other", true));
    let sums = other.usage(usage_by(Grouping::Key)).await.expect("the usage");
    assert_eq!(sums.len(), keys.len());
    assert!(sums.iter().all(|row| (row.counters.up, row.counters.down) == (120, 1_200)), "{sums:?}");
    let used = load(one, now()).await.used;
    assert_eq!(used.len(), keys.len());
    assert!(used.values().all(|used| used.bytes == 880), "the month's share: {used:?}");
}

async fn changes_after(store: &dyn Store, seen: u64) -> Changes {
    store.changes_after(seen, 100).await.expect("a healthy store").expect("few changes")
}
