//! The rules about plans, keys, exits and the audit trail.

use jiff::Timestamp;

use super::samples::*;
use crate::audit::{Audit, AuditQuery, AuditRow};
use crate::contract::{ANYHOW, Change, Snapshot, Store, StoreError};
use crate::country::Country;
use crate::exit::{Exit, ExitState, Labels};
use crate::id::ExitId;
use crate::key::{Key, KeyState, OldSecret, Proof};
use crate::period::Period;
use crate::plan::Plan;
use crate::secret::SecretHash;
use crate::usage::Grouping;

pub(super) async fn begins_empty(store: &dyn Store) {
    assert_eq!(store.load(now()).await, Ok(Snapshot::default()));
    assert_eq!(store.last_sequence("gw").await, Ok(0));
    assert_eq!(store.audit(all_audit()).await, Ok(Vec::new()));
    assert_eq!(store.usage(usage_by(Grouping::Key)).await, Ok(Vec::new()));
    assert_eq!(store.used_since(&key_id("nobody"), Timestamp::UNIX_EPOCH).await, Ok(0));
}

pub(super) async fn plans_come_back_whole(store: &dyn Store) {
    let full = Plan {
        name: plan_name("full"),
        bytes: Some(u64::MAX / 2),
        period: Period::Days(30),
        rate: Some(5),
        burst: Some(10),
        threads: Some(u32::MAX),
        speed: Some(1_000_000),
        pools: vec![pool("direct"), pool("mobile_de")],
        ports: vec!["80".parse().expect("a port"), "8000-8999".parse().expect("a range")],
        countries: vec![Country::parse("de").expect("a country"), Country::parse("us").expect("a country")],
    };
    let plain = Plan::unlimited(plan_name("plain"));
    put(store, Change::PutPlan(full.clone()), "p1").await;
    put(store, Change::PutPlan(plain.clone()), "p2").await;
    assert_eq!(plans(store).await, [full.clone(), plain.clone()]);

    let replaced = Plan { bytes: None, ports: Vec::new(), period: Period::Month, ..full };
    put(store, Change::PutPlan(replaced.clone()), "p3").await;
    assert_eq!(plans(store).await, [replaced, plain], "a plan is replaced whole");
}

pub(super) async fn plans_in_use_stay(store: &dyn Store) {
    let key = key("aaaa", "basic");
    let refused = store.change(Change::PutKey(key.clone()), ANYHOW, audit("k0")).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "a key needs its plan: {refused:?}");

    put(store, Change::PutPlan(Plan::unlimited(plan_name("basic"))), "p1").await;
    put(store, Change::PutPlan(Plan::unlimited(plan_name("other"))), "p2").await;
    put(store, Change::PutKey(key.clone()), "k1").await;
    let refused = store.change(Change::RemovePlan(plan_name("basic")), ANYHOW, audit("p3")).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "a plan with keys stays: {refused:?}");

    put(store, Change::PutKey(Key { plan: plan_name("other"), ..key }), "k2").await;
    put(store, Change::RemovePlan(plan_name("basic")), "p4").await;
    assert_eq!(store.change(Change::RemovePlan(plan_name("basic")), ANYHOW, audit("p5")).await, Err(StoreError::NotFound));
    // The same change told again (same audit id) is already done, not "not found".
    assert_eq!(store.change(Change::RemovePlan(plan_name("basic")), ANYHOW, audit("p4")).await, Ok(()));
    let audited = store.audit(all_audit()).await.expect("the audit trail");
    assert_eq!(audited.len(), 5, "what was refused is not audited");
}

pub(super) async fn keys_come_back_whole(store: &dyn Store) {
    put(store, Change::PutPlan(Plan::unlimited(plan_name("basic"))), "p").await;
    let states =
        [KeyState::Active, KeyState::Suspended, KeyState::Revoked, KeyState::Blocked { why: "spam, \"seen\" twice; ü".into() }];
    let mut expected = Vec::new();
    for (number, state) in states.into_iter().enumerate() {
        let plain = key(&format!("key{number}"), "basic");
        let full = Key {
            state,
            old_secret: (number % 2 == 0)
                .then(|| OldSecret { hash: SecretHash::of(b"old"), until: at("2026-11-21T08:00:00.25Z") }),
            allow_ips: vec!["192.0.2.0/24".parse().expect("a net"), "2001:db8::/32".parse().expect("a net")],
            proof: if number == 1 { Proof::Source } else { Proof::Secret },
            expires: (number > 1).then(|| at("2027-01-01T00:00:00Z")),
            ..plain
        };
        put(store, Change::PutKey(full.clone()), &format!("k{number}")).await;
        expected.push(full);
    }
    expected[0].state = KeyState::Suspended;
    expected[0].old_secret = None;
    put(store, Change::PutKey(expected[0].clone()), "again").await;
    let mut keys = load(store, now()).await.keys;
    keys.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(keys, expected);
}

pub(super) async fn exits_come_back_whole(store: &dyn Store) {
    let bare = exit("exit-1");
    let labels = Labels {
        country: Country::parse("us").ok(),
        state: Some("ca".into()),
        city: Some("losangeles".into()),
        asn: Some(u32::MAX),
        carrier: Some("A Carrier".into()),
    };
    let full = Exit {
        id: ExitId::parse("exit-2").expect("an id"),
        name: Some("Phone 7".into()),
        pool: Some(pool("mobile")),
        labels,
        weight: *Exit::WEIGHTS.end(),
        max_tunnels: Some(u32::MAX),
        state: ExitState::Draining,
        ..bare.clone()
    };
    put(store, Change::PutExit(bare.clone()), "e1").await;
    put(store, Change::PutExit(full.clone()), "e2").await;
    let revoked = Exit { state: ExitState::Revoked, ..bare };
    put(store, Change::PutExit(revoked.clone()), "e3").await;
    let mut exits = load(store, now()).await.exits;
    exits.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(exits, [revoked.clone(), full.clone()]);
    put(store, Change::RemoveExit(revoked.id.clone()), "e4").await;
    assert_eq!(store.change(Change::RemoveExit(revoked.id), ANYHOW, audit("e5")).await, Err(StoreError::NotFound));
    assert_eq!(load(store, now()).await.exits, [full]);
}

pub(super) async fn changes_are_audited_once(store: &dyn Store) {
    let first = Plan::unlimited(plan_name("first"));
    put(store, Change::PutPlan(first.clone()), "one").await;
    put(store, Change::PutPlan(Plan { rate: Some(1), ..first.clone() }), "two").await;
    // An old change that arrives late must not undo a newer one.
    put(store, Change::PutPlan(first.clone()), "one").await;
    assert_eq!(plans(store).await, [Plan { rate: Some(1), ..first }]);
    let rows = store.audit(all_audit()).await.expect("the audit trail");
    let ids: Vec<&str> = rows.iter().map(|row| row.entry.id.as_str()).collect();
    assert_eq!(ids, ["two", "one"], "newest first, each once");
    assert_eq!(rows[0].entry, audit("two"), "entries come back whole");
}

pub(super) async fn audit_comes_in_pages(store: &dyn Store) {
    for number in 0..5 {
        let change = Change::PutPlan(Plan::unlimited(plan_name(&format!("plan{number}"))));
        let entry = Audit { subject: format!("plan{}", number % 2), ..audit(&format!("a{number}")) };
        assert_eq!(store.change(change, ANYHOW, entry).await, Ok(()));
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.audit(AuditQuery { subject: None, before, limit: 2 }).await.expect("a page");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        seen.extend(page.into_iter().map(|row| row.entry.id));
    }
    assert_eq!(seen, ["a4", "a3", "a2", "a1", "a0"]);
    let query = AuditQuery { subject: Some("plan1".into()), before: None, limit: 100 };
    let about: Vec<AuditRow> = store.audit(query).await.expect("the entries of one subject");
    assert_eq!(about.iter().map(|row| row.entry.id.as_str()).collect::<Vec<_>>(), ["a3", "a1"]);
}
