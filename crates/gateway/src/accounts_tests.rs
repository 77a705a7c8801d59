//! What is counted, what is left of a period, and what a change keeps.

use super::*;
use outgate_store::{KeyState, Proof, SecretHash};

fn plan(bytes: Option<u64>) -> Plan {
    Plan { bytes, period: Period::Month, ..Plan::unlimited(PlanName::parse("p").unwrap()) }
}

fn key() -> Key {
    let now = Timestamp::now();
    Key {
        id: KeyId::parse("abcd").unwrap(),
        plan: PlanName::parse("p").unwrap(),
        secret: SecretHash::of(b"s"),
        old_secret: None,
        state: KeyState::Active,
        allow_ips: Vec::new(),
        proof: Proof::Secret,
        expires: None,
        created: now,
        period_anchor: now,
    }
}

/// One key, `abcd`, with so many bytes a month.
pub(crate) fn accounts(bytes: Option<u64>) -> Accounts {
    Accounts::new(Snapshot { plans: vec![plan(bytes)], keys: vec![key()], ..Snapshot::default() }, None).unwrap()
}

#[test]
fn what_is_counted_is_delivered_once() {
    let accounts = accounts(None);
    let pool = PoolName::parse("direct").unwrap();
    let meter = accounts.meter(&accounts.find("abcd").unwrap(), &pool);
    meter.count(Direction::Up, 3, 0);
    meter.count(Direction::Down, 5, 0);
    meter.count_tunnel();
    let rows = accounts.book().take(Timestamp::now());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].counters, Counters { up: 3, down: 5, requests: 0, tunnels: 1 });
    assert!(accounts.book().take(Timestamp::now()).is_empty());
    accounts.meter(&accounts.find("abcd").unwrap(), &pool).count(Direction::Up, 1, 0);
    assert_eq!(accounts.book().take(Timestamp::now())[0].counters.up, 1);
}

#[test]
fn a_bigger_plan_frees_a_key_at_once_and_keeps_its_count() {
    let accounts = accounts(Some(10));
    let pool = PoolName::parse("direct").unwrap();
    let meter = accounts.meter(&accounts.find("abcd").unwrap(), &pool);
    assert_eq!(meter.allowance(0).unwrap(), 10);
    meter.count(Direction::Down, 12, 0);
    assert_eq!(meter.allowance(0).unwrap_err().slug(), outgate_faults::Slug::BandwidthExhausted);
    accounts.put_plan(Arc::new(plan(Some(20))));
    assert_eq!(meter.allowance(0).unwrap(), 8);
    assert_eq!(accounts.find("abcd").unwrap().usage(0).period_bytes, 12);
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn every_period_begins_with_all_its_bytes() {
    let anchor = at("2026-01-15T10:30:00Z");
    let cases = [
        (Period::Month, "2026-01-15T10:30:00Z", "2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z"),
        (Period::Month, "2028-02-10T00:00:00Z", "2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z"),
        (Period::Days(30), "2026-01-15T10:30:00Z", "2026-02-14T09:59:59Z", "2026-02-14T10:00:00Z"),
        (Period::Days(1), "2026-01-15T10:30:00Z", "2026-01-16T09:59:59Z", "2026-01-16T10:00:00Z"),
        // Nobody asked for several periods.
        (Period::Days(7), "2026-01-15T10:30:00Z", "2026-01-22T09:59:59Z", "2026-06-01T00:00:00Z"),
    ];
    for (period, begun, last, next) in cases {
        let accounts = accounts(Some(10));
        let account = accounts.find("abcd").unwrap();
        account.live.govern(&Plan { period, ..plan(Some(10)) }, anchor, at(begun));
        let meter = accounts.meter(&account, &PoolName::parse("direct").unwrap());
        meter.count(Direction::Down, 10, 0);
        let told = meter.allowance_at(at(last), 0).unwrap_err();
        assert_eq!(told.slug(), outgate_faults::Slug::BandwidthExhausted, "{period} at {last}");
        assert_eq!(meter.allowance_at(at(next), 0).unwrap(), 10, "{period} at {next}");
    }
}

#[test]
fn another_kind_of_period_is_counted_anew_from_the_ledger() {
    let now = at("2026-01-20T12:00:00Z");
    for (before, after) in [(Period::Month, Period::Days(7)), (Period::Days(7), Period::Month)] {
        let accounts = accounts(None);
        let account = accounts.find("abcd").unwrap();
        let (live, pool) = (&account.live, PoolName::parse("direct").unwrap());
        let anchor = at("2026-01-15T10:30:00Z");
        live.govern(&Plan { period: before, ..plan(Some(1_000)) }, anchor, now);
        let meter = accounts.meter(&account, &pool);
        meter.count(Direction::Down, 300, 0);
        let _delivered = accounts.book().take(now);
        meter.count(Direction::Up, 20, 0);
        assert!(live.govern(&Plan { period: after, ..plan(Some(1_000)) }, anchor, now), "{before} to {after}");
        assert_eq!(
            meter.allowance_at(now, 0).unwrap(),
            680,
            "{before} to {after}: until it is counted, what was used stays used"
        );
        let begun = live.clone().begin_recount();
        assert_eq!((begun.key.as_str(), begun.start), ("abcd", after.start(anchor, now)));
        // Meanwhile some of it is taken, and more is counted.
        let _taken = accounts.book().take(now);
        meter.count(Direction::Up, 3, 0);
        live.recount(&begun, 450);
        assert_eq!(meter.allowance_at(now, 0).unwrap(), 527, "{before} to {after}: 450 taken before, 20 and 3 since");
        live.recount(&Recount { start: at("2020-01-01T00:00:00Z"), ..begun }, 0);
        assert_eq!(meter.allowance_at(now, 0).unwrap(), 527, "an answer about another period says nothing");
    }
}

#[test]
fn only_changed_periods_wait_for_a_recount_and_once() {
    let accounts = accounts(Some(10));
    accounts.put_plan(Arc::new(plan(Some(20))));
    assert!(accounts.take_recount().is_none(), "the same kind of period");
    let days = |days| accounts.put_plan(Arc::new(Plan { period: Period::Days(days), ..plan(Some(20)) }));
    days(7);
    assert!(accounts.take_recount().is_none(), "nothing was used this month, so nothing since the key was made");
    let meter = accounts.meter(&accounts.find("abcd").unwrap(), &PoolName::parse("direct").unwrap());
    meter.count(Direction::Up, 1, 0);
    days(8);
    days(9);
    assert!(accounts.take_recount().is_some());
    assert!(accounts.take_recount().is_none());
}

#[test]
fn only_keys_in_use_are_told_when_they_end() {
    let accounts = accounts(None);
    for (open, end, told) in [(1, "2026-01-01T00:00:00Z", 1), (0, "2026-02-01T00:00:00Z", 0)] {
        let live = accounts.put_key(Key { expires: Some(at(end)), ..key() }).unwrap();
        live.open.store(open, Relaxed);
        assert_eq!(accounts.take_expired(at(end)).len(), told, "{open} open");
    }
}

#[test]
fn periods_roll_over_by_the_newest_plan() {
    let accounts = accounts(Some(10));
    let account = accounts.find("abcd").unwrap();
    let meter = accounts.meter(&account, &PoolName::parse("direct").unwrap());
    accounts.put_plan(Arc::new(Plan { period: Period::Days(7), ..plan(Some(10)) }));
    meter.count(Direction::Down, 10, 0);
    // A tunnel that was admitted under the old plan is the first to come after the week.
    let week = jiff::SignedDuration::from_hours(7 * 24 + 1);
    let later = Timestamp::now() + week;
    meter.counters.live.roll_over(later);
    assert_eq!(account.usage(0).period_bytes, 0);
    let end = account.live.period_end.load(Relaxed);
    assert!(end > later.as_second() && end <= (later + week).as_second(), "a week, not a month");
}
