//! The rules about moving a ledger: all of it or nothing, into an empty one, and sound afterwards.

use tokio::sync::mpsc;

use super::samples::*;
use crate::archive::{Archive, Entry};
use crate::contract::{Change, StoreError};
use crate::key::{Key, KeyState, OldSecret};
use crate::period::Period;
use crate::plan::Plan;
use crate::secret::SecretHash;
use crate::usage::{Delivery, Grouping};

/// Every entry of a small ledger fits into it.
const ROOM: usize = 1_000;

pub(super) async fn a_ledger_moves_whole(from: &dyn Archive, to: &dyn Archive) {
    put(from, Change::PutPlan(Plan { period: Period::Days(7), ..Plan::unlimited(plan_name("weekly")) }), "p1").await;
    put(from, Change::PutPlan(Plan::unlimited(plan_name("monthly"))), "p2").await;
    let blocked = Key { state: KeyState::Blocked { why: "tab\tnew\nline\\N \\. ü".into() }, ..key("bbbb", "monthly") };
    let old_secret = Some(OldSecret { hash: SecretHash::of(b"old"), until: at("2026-11-21T08:00:00.25Z") });
    put(from, Change::PutKey(blocked), "k1").await;
    put(from, Change::PutKey(Key { old_secret, ..key("aaaa", "weekly") }), "k2").await;
    let rows = ["2026-10-31T23:00:00Z", "2026-11-21T06:00:00Z", "2026-11-21T07:00:00Z"];
    let rows = rows.map(|hour| delta("aaaa", "direct", hour, 3, 4)).into_iter().chain([delta("gone", "mobile", rows[0], 1, 1)]);
    assert_eq!(from.add_usage(batch("gw", 1, rows.collect())).await, Ok(Delivery::Added));
    assert_eq!(from.check().await, Ok(Vec::new()));

    let told = all(from).await;
    assert_eq!(told.len(), 2 + 2 + 4 + 1 + 4 + 1);
    assert!(told.is_sorted_by_key(Entry::rank) && told.last() == Some(&Entry::End));
    for cut in [0, 5, told.len() - 1] {
        let given_up = take(to, told[..cut].to_vec()).await;
        assert!(matches!(given_up, Err(StoreError::Conflict(_))), "{cut} entries: {given_up:?}");
    }
    let without_plans = told.iter().filter(|entry| !matches!(entry, Entry::Plan(_))).cloned().collect();
    assert!(take(to, without_plans).await.is_err(), "a key needs its plan");
    assert_eq!(all(to).await, [Entry::End], "nothing of what failed is there");

    assert_eq!(take(to, told.clone()).await, Ok(()));
    assert_eq!(all(to).await, told);
    assert_eq!(to.check().await, Ok(Vec::new()));
    let (here, there) = (load(from, now()).await, load(to, now()).await);
    assert_eq!(there, here);
    assert_eq!(to.usage(usage_by(Grouping::Key)).await, from.usage(usage_by(Grouping::Key)).await);
    assert_eq!(take(to, told).await, Err(StoreError::not_empty()));

    // It goes on where the other ended: the next batch, the next change, the sums.
    for store in [from, to] {
        assert_eq!(store.add_usage(batch("gw", 1, Vec::new())).await, Ok(Delivery::Repeated));
        let row = delta("aaaa", "direct", "2026-11-21T07:00:00Z", 1, 0);
        assert_eq!(store.add_usage(batch("gw", 2, vec![row])).await, Ok(Delivery::Added));
        put(store, Change::RemovePlan(plan_name("unused")), "p1").await;
        put(store, Change::PutPlan(Plan::unlimited(plan_name("new"))), "p3").await;
        assert_eq!(store.check().await, Ok(Vec::new()));
    }
    let (here, there) = (load(from, now()).await, load(to, now()).await);
    assert_eq!((here.change, &here.used), (there.change, &there.used));
    assert_eq!(all(to).await, all(from).await);
}

async fn all(store: &dyn Archive) -> Vec<Entry> {
    let (tell, mut told) = mpsc::channel(ROOM);
    assert_eq!(store.export(tell).await, Ok(()));
    let mut entries = Vec::new();
    while let Some(entry) = told.recv().await {
        entries.push(entry);
    }
    entries
}

async fn take(store: &dyn Archive, entries: Vec<Entry>) -> Result<(), StoreError> {
    let (tell, told) = mpsc::channel(ROOM);
    for entry in entries {
        tell.send(entry).await.expect("the channel has room for all of them");
    }
    drop(tell);
    store.import(told).await
}
