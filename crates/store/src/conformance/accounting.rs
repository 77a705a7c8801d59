//! The rules about usage: summed right, counted once, by period.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::samples::*;
use crate::contract::{Change, Store, StoreError};
use crate::id::KeyId;
use crate::key::Key;
use crate::period::Period;
use crate::plan::Plan;
use crate::usage::{Counters, Delivery, Grouping, PeriodUsage, UsageDelta, UsageQuery, UsageRow};

pub(super) async fn usage_sums_by_group(store: &dyn Store) {
    let rows = vec![
        delta("aaaa", "direct", "2026-11-20T23:00:00Z", 1, 10),
        delta("aaaa", "direct", "2026-11-21T00:00:00Z", 2, 20),
        delta("aaaa", "mobile", "2026-11-21T00:00:00Z", 4, 40),
        delta("bbbb", "direct", "2026-11-21T07:00:00Z", 8, 80),
        // Twice the same cell in one batch.
        delta("bbbb", "direct", "2026-11-21T07:00:00Z", 16, 160),
    ];
    assert_eq!(store.add_usage(batch("gw", 1, rows)).await.map(drop), Ok(()));
    /// Grouping, key, since; then each group with its bytes up and down.
    type Case<'a> = (Grouping, Option<&'a str>, &'a str, &'a [(&'a str, u64, u64)]);
    let cases: [Case<'_>; 6] = [
        (Grouping::Key, None, "2026-11-01T00:00:00Z", &[("aaaa", 7, 70), ("bbbb", 24, 240)]),
        (Grouping::Pool, None, "2026-11-01T00:00:00Z", &[("direct", 27, 270), ("mobile", 4, 40)]),
        (Grouping::Day, None, "2026-11-01T00:00:00Z", &[("2026-11-20", 1, 10), ("2026-11-21", 30, 300)]),
        (
            Grouping::Hour,
            None,
            "2026-11-01T00:00:00Z",
            &[("2026-11-20T23:00Z", 1, 10), ("2026-11-21T00:00Z", 6, 60), ("2026-11-21T07:00Z", 24, 240)],
        ),
        (Grouping::Key, None, "2026-11-21T00:59:59Z", &[("aaaa", 6, 60), ("bbbb", 24, 240)]),
        (Grouping::Day, Some("aaaa"), "2026-11-21T00:00:00Z", &[("2026-11-21", 6, 60)]),
    ];
    for (by, key, since, expected) in cases {
        let query = UsageQuery { key: key.map(key_id), since: at(since), by, after: None, limit: 100 };
        let rows = store.usage(query).await.expect("the usage");
        let sums: Vec<(&str, u64, u64)> =
            rows.iter().map(|row| (row.group.as_str(), row.counters.up, row.counters.down)).collect();
        assert_eq!(sums, expected, "by {by} of {key:?} since {since}");
    }
    let by_key = store.usage(usage_by(Grouping::Key)).await.expect("the usage");
    assert_eq!((by_key[0].counters.requests, by_key[0].counters.tunnels), (3, 3), "requests and tunnels are counted too");
    assert_eq!(store.used_since(&key_id("aaaa"), at("2026-11-21T00:30:00Z")).await, Ok(66));
}

pub(super) async fn usage_comes_in_pages(store: &dyn Store) {
    let rows = (0..5).map(|number| delta(&format!("key{number}"), "direct", "2026-11-21T00:00:00Z", 1, 1)).collect();
    assert_eq!(store.add_usage(batch("gw", 1, rows)).await.map(drop), Ok(()));
    for by in [Grouping::Key, Grouping::Hour] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page: Vec<UsageRow> = store.usage(UsageQuery { after, limit: 2, ..usage_by(by) }).await.expect("a page");
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            after = Some(last.group.clone());
            seen.extend(page.into_iter().map(|row| row.group));
        }
        let expected: &[&str] =
            if by == Grouping::Key { &["key0", "key1", "key2", "key3", "key4"] } else { &["2026-11-21T00:00Z"] };
        assert_eq!(seen, expected);
    }
}

pub(super) async fn sequences_are_per_gateway_and_without_gaps(store: &dyn Store) {
    let row = || vec![delta("aaaa", "direct", "2026-11-21T00:00:00Z", 1, 0)];
    assert_eq!(store.add_usage(batch("gw", 1, row())).await.map(drop), Ok(()));
    assert_eq!(store.add_usage(batch("gw", 1, row())).await, Ok(Delivery::Repeated));
    assert_eq!(store.add_usage(batch("gw", 2, Vec::new())).await.map(drop), Ok(()), "an empty batch has a number too");
    let gap = store.add_usage(batch("gw", 4, row())).await;
    assert!(matches!(gap, Err(StoreError::Conflict(_))), "a gap would hide a lost batch: {gap:?}");
    assert_eq!(store.add_usage(batch("other", 1, row())).await.map(drop), Ok(()));
    assert_eq!(store.last_sequence("gw").await, Ok(2));
    assert_eq!(store.last_sequence("other").await, Ok(1));
    assert_eq!(store.last_sequence("third").await, Ok(0));
    assert_eq!(store.used_since(&key_id("aaaa"), Timestamp::UNIX_EPOCH).await, Ok(2));
}

pub(super) async fn periods_count_only_themselves(store: &dyn Store) {
    let anchor = at("2026-11-10T12:00:00Z");
    put(store, Change::PutPlan(Plan::unlimited(plan_name("monthly"))), "p1").await;
    put(store, Change::PutPlan(Plan { period: Period::Days(7), ..Plan::unlimited(plan_name("weekly")) }), "p2").await;
    put(store, Change::PutKey(Key { period_anchor: anchor, ..key("aaaa", "monthly") }), "k1").await;
    put(store, Change::PutKey(Key { period_anchor: anchor, ..key("bbbb", "weekly") }), "k2").await;
    put(store, Change::PutKey(key("cccc", "weekly")), "k3").await;
    let mut sequence = 0;
    for (hour, bytes) in [
        ("2026-10-31T23:00:00Z", 1),
        ("2026-11-01T00:00:00Z", 10),
        ("2026-11-17T11:00:00Z", 100),
        ("2026-11-17T12:00:00Z", 1_000),
    ] {
        for (key, period) in [("aaaa", Period::Month), ("bbbb", Period::Days(7))] {
            sequence += 1;
            let row = UsageDelta { period_start: period.start(anchor, at(hour)), ..delta(key, "direct", hour, bytes, 0) };
            assert_eq!(store.add_usage(batch("gw", sequence, vec![row])).await.map(drop), Ok(()));
        }
    }
    /// Now; then each key with the start of its period and the bytes in it.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str, u64)]);
    let cases: [Case<'_>; 3] = [
        ("2026-11-21T07:00:00Z", &[("aaaa", "2026-11-01T00:00:00Z", 1_110), ("bbbb", "2026-11-17T12:00:00Z", 1_000)]),
        ("2026-11-24T12:00:00Z", &[("aaaa", "2026-11-01T00:00:00Z", 1_110)]),
        ("2026-12-01T00:00:00Z", &[]),
    ];
    for (now, expected) in cases {
        let used: BTreeMap<KeyId, PeriodUsage> = load(store, at(now)).await.used.into_iter().collect();
        let expected: BTreeMap<KeyId, PeriodUsage> =
            expected.iter().map(|(key, start, bytes)| (key_id(key), PeriodUsage { start: at(start), bytes: *bytes })).collect();
        assert_eq!(used, expected, "at {now}");
    }
    // A late row of an earlier period belongs to that one, and the present one stays right.
    let late = UsageDelta { period_start: at("2026-10-01T00:00:00Z"), ..delta("aaaa", "direct", "2026-10-31T23:00:00Z", 7, 0) };
    assert_eq!(store.add_usage(batch("gw", sequence + 1, vec![late])).await.map(drop), Ok(()));
    let used = load(store, at("2026-11-21T07:00:00Z")).await.used;
    assert_eq!(used.get("aaaa").map(|used| used.bytes), Some(1_110));
}

pub(super) async fn a_change_of_plan_recounts_the_period(store: &dyn Store) {
    let today = at("2026-11-21T07:00:00Z");
    let anchor = at("2026-11-20T00:00:00Z");
    put(store, Change::PutPlan(Plan::unlimited(plan_name("plan"))), "p1").await;
    put(store, Change::PutKey(Key { period_anchor: anchor, ..key("aaaa", "plan") }), "k1").await;
    let month = at("2026-11-01T00:00:00Z");
    let rows = [("2026-11-05T00:00:00Z", 1), ("2026-11-20T05:00:00Z", 10)];
    let rows = rows.map(|(hour, bytes)| UsageDelta { period_start: month, ..delta("aaaa", "direct", hour, bytes, 0) });
    assert_eq!(store.add_usage(batch("gw", 1, rows.to_vec())).await.map(drop), Ok(()));
    assert_eq!(load(store, today).await.used.get("aaaa").map(|used| used.bytes), Some(11));

    put(store, Change::PutPlan(Plan { period: Period::Days(30), ..Plan::unlimited(plan_name("plan")) }), "p2").await;
    let expected = PeriodUsage { start: anchor, bytes: 10 };
    assert_eq!(load(store, today).await.used.get("aaaa"), Some(&expected), "before new usage");
    let row = UsageDelta { period_start: anchor, ..delta("aaaa", "direct", "2026-11-21T06:00:00Z", 100, 0) };
    assert_eq!(store.add_usage(batch("gw", 2, vec![row])).await.map(drop), Ok(()));
    let expected = PeriodUsage { start: anchor, bytes: 110 };
    assert_eq!(load(store, today).await.used.get("aaaa"), Some(&expected), "after new usage");
}

pub(super) async fn no_byte_is_lost_or_doubled(store: &dyn Store) {
    let mut random = Sequence(7);
    let mut truth: BTreeMap<String, Counters> = BTreeMap::new();
    for sequence in 1..=60 {
        let rows: Vec<UsageDelta> = (0..random.below(6))
            .map(|_| {
                let key = format!("key{}", random.below(3));
                let pool = if random.below(2) == 0 { "direct" } else { "mobile" };
                let hour = format!("2026-11-21T{:02}:00:00Z", random.below(24));
                delta(&key, pool, &hour, random.below(1 << 20), random.below(1 << 30))
            })
            .collect();
        for row in &rows {
            truth.entry(row.key.as_str().to_owned()).or_default().add(&row.counters);
        }
        assert_eq!(store.add_usage(batch("gw", sequence, rows)).await.map(drop), Ok(()));
    }
    let rows = store.usage(usage_by(Grouping::Key)).await.expect("the usage");
    let counted: BTreeMap<String, Counters> = rows.into_iter().map(|row| (row.group, row.counters)).collect();
    assert_eq!(counted, truth);
    assert_eq!(store.last_sequence("gw").await, Ok(60));
}

pub(super) async fn the_same_batch_twice_at_once_counts_once(store: &dyn Store) {
    for sequence in 1..=20 {
        let same = || batch("gw", sequence, vec![delta("aaaa", "direct", "2026-11-21T00:00:00Z", 1, 0)]);
        let (one, other) = tokio::join!(store.add_usage(same()), store.add_usage(same()));
        let mut outcomes = [one.expect("an outcome"), other.expect("an outcome")];
        outcomes.sort_by_key(|outcome| *outcome == Delivery::Repeated);
        assert_eq!(outcomes, [Delivery::Added, Delivery::Repeated]);
    }
    assert_eq!(store.used_since(&key_id("aaaa"), Timestamp::UNIX_EPOCH).await, Ok(20));
}

pub(super) async fn usage_outlives_its_key_and_plan(store: &dyn Store) {
    // Nothing was ever said about this key: what was used is kept all the same.
    let row = delta("gone", "direct", "2026-11-21T00:00:00Z", 5, 5);
    assert_eq!(store.add_usage(batch("gw", 1, vec![row])).await, Ok(Delivery::Added));
    assert_eq!(store.used_since(&key_id("gone"), Timestamp::UNIX_EPOCH).await, Ok(10));
    assert_eq!(load(store, now()).await.used.len(), 0, "but a snapshot speaks of known keys only");
}

/// Xorshift: the same numbers every time.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
