//! Who is set aside, for how long, and how it comes back.

use outgate_store::Labels;

use super::{MINUTE, SECOND, TestFleet, enter, exit, fleet_of, labels, lease_of, pick, pool, random};
use crate::{Ailment, Condition, Health, Outcome, Strength, Terms};

fn fail(fleet: &TestFleet, n: usize, exits: usize, now: u64) {
    fleet.report(&lease_of(fleet, n, exits, now), Outcome::Failed(Ailment::Refused), now);
}

fn health(fleet: &TestFleet, n: usize, now: u64) -> Health {
    fleet.status(now).into_iter().find(|standing| standing.exit == exit(n)).expect("it is connected").health
}

fn is_out(fleet: &TestFleet, n: usize, now: u64) -> bool {
    matches!(health(fleet, n, now), Health::Ejected { .. })
}

/// Makes every check that is due; those of the exits in `bad` fail.
fn check_all(fleet: &TestFleet, bad: &[usize], now: u64) -> usize {
    let due = fleet.due(now, usize::MAX);
    let count = due.len();
    for check in due {
        let well = !bad.iter().any(|n| *check.lease.exit() == exit(*n));
        fleet.checked(check, well, now);
    }
    count
}

#[test]
fn three_in_a_row_and_it_is_out() {
    let (fleet, _) = fleet_of(4);
    fail(&fleet, 0, 4, 0);
    fail(&fleet, 0, 4, 0);
    fleet.report(&lease_of(&fleet, 0, 4, 0), Outcome::Opened(1), 0);
    fail(&fleet, 0, 4, 0);
    fail(&fleet, 0, 4, 0);
    assert_eq!(health(&fleet, 0, 0), Health::Healthy, "a success in between begins anew");
    fail(&fleet, 0, 4, 0);
    assert_eq!(health(&fleet, 0, 0), Health::Ejected { why: Ailment::Refused, until: 10 * SECOND });
    let mut random = random(1);
    let picked: Vec<_> = (0..100).map(|_| pick(&fleet, &[], 0, &mut random).unwrap()).collect();
    assert!(picked.iter().all(|lease| *lease.exit() != exit(0)));
    fleet.audit();
}

#[test]
fn a_rate_is_judged_too() {
    let (fleet, _) = fleet_of(4);
    for _ in 0..10 {
        fleet.report(&lease_of(&fleet, 0, 4, 0), Outcome::Opened(1), 0);
        fail(&fleet, 0, 4, 0);
    }
    assert!(!is_out(&fleet, 0, 0), "half of them is not too few");
    fail(&fleet, 0, 4, 0);
    assert!(matches!(health(&fleet, 0, 0), Health::Ejected { why: Ailment::Rate, .. }), "{:?}", health(&fleet, 0, 0));
}

#[test]
fn a_link_that_breaks_is_one_failure() {
    let (fleet, _) = fleet_of(4);
    let leases: Vec<_> = (0..10).map(|_| lease_of(&fleet, 0, 4, 0)).collect();
    for lease in &leases {
        fleet.report(lease, Outcome::Failed(Ailment::Lost), 0);
    }
    assert!(!is_out(&fleet, 0, 0), "ten set-ups were lost with it");
    for _ in 0..2 {
        enter(&fleet, 0, &Labels::default(), Terms::default(), 0);
    }
    let leases: Vec<_> = (0..30).map(|_| lease_of(&fleet, 0, 4, 0)).collect();
    for lease in &leases {
        fleet.report(lease, Outcome::Failed(Ailment::Lost), 0);
    }
    assert!(is_out(&fleet, 0, 0), "three links that break in a row are three");
}

#[test]
fn never_more_than_half() {
    for exits in 1..8 {
        let (fleet, _) = fleet_of(exits);
        for n in 0..exits {
            for _ in 0..3 {
                if !is_out(&fleet, n, 0) {
                    fail(&fleet, n, exits, 0);
                }
            }
        }
        let out = (0..exits).filter(|n| is_out(&fleet, *n, 0)).count();
        assert_eq!(out, exits / 2, "of {exits}: a pool that fails whole is no outlier");
        fleet.audit();
    }
}

#[test]
fn who_is_left_when_the_well_leave() {
    let (fleet, links) = fleet_of(4);
    for n in [0, 1] {
        (0..3).for_each(|_| fail(&fleet, n, 4, n as u64));
    }
    fleet.leave(&super::pool(), &exit(2), links[2], 0);
    fleet.audit();
    fleet.leave(&super::pool(), &exit(3), links[3], 0);
    fleet.audit();
    let picked = pick(&fleet, &[], 0, &mut random(1)).expect("half of two are not set aside");
    assert_eq!(*picked.exit(), exit(0), "the one closest to its return");
}

#[test]
fn back_only_through_a_check_and_longer_out_each_time() {
    let (fleet, _) = fleet_of(4);
    (0..3).for_each(|_| fail(&fleet, 0, 4, 0));
    assert_eq!(check_all(&fleet, &[0], 10 * SECOND - 1), 0, "not before its time");
    let mut now = 10 * SECOND;
    for out in [20, 40, 80, 160, 300, 300] {
        assert!(is_out(&fleet, 0, now), "time alone brings nobody back");
        check_all(&fleet, &[0], now);
        let until = now + out * SECOND;
        assert_eq!(health(&fleet, 0, now), Health::Ejected { why: Ailment::Check, until });
        now = until;
    }
    check_all(&fleet, &[], now);
    assert_eq!(health(&fleet, 0, now), Health::SlowStart { since: now, until: now + 60 * SECOND });
    assert_eq!(health(&fleet, 0, now + 60 * SECOND), Health::Healthy);
    // The first failure of a slow start is enough.
    fail(&fleet, 0, 4, now + 30 * SECOND);
    assert!(is_out(&fleet, 0, now + 30 * SECOND));
    fleet.audit();
}

#[test]
fn old_sins_are_forgiven() {
    let (fleet, _) = fleet_of(4);
    let (mut now, mut times) = (0, Vec::new());
    for pause in [0, 5, 11] {
        now += pause * MINUTE;
        (0..3).filter(|_| !is_out(&fleet, 0, now)).collect::<Vec<_>>().iter().for_each(|_| {
            if !is_out(&fleet, 0, now) {
                fail(&fleet, 0, 4, now);
            }
        });
        let Health::Ejected { until, .. } = health(&fleet, 0, now) else { panic!("out") };
        times.push((until - now) / SECOND);
        now = until;
        check_all(&fleet, &[], now);
    }
    assert_eq!(times, [10, 20, 10]);
}

#[test]
fn let_back_slowly() {
    let (fleet, _) = fleet_of(4);
    (0..3).for_each(|_| fail(&fleet, 0, 4, 0));
    let back = 10 * SECOND;
    check_all(&fleet, &[], back);
    let share = |now: u64| {
        let mut random = random(now);
        let taken = (0..4_000).filter(|_| *pick(&fleet, &[], now, &mut random).unwrap().exit() == exit(0)).count();
        taken as f64 / 1_000.0
    };
    let busy = |now: u64| {
        let mut random = random(now);
        let leases: Vec<_> = (0..400).map(|_| pick(&fleet, &[], now, &mut random).unwrap()).collect();
        leases.iter().filter(|lease| *lease.exit() == exit(0)).count() as f64 / 100.0
    };
    for (after, least, most) in [(0, 0.05, 0.2), (30, 0.45, 0.7), (60, 0.9, 1.1)] {
        let now = back + after * SECOND;
        for (what, share) in [("idle", share(now)), ("busy", busy(now))] {
            assert!((least..most).contains(&share), "{after} s after its return, {what}: {share} of its share");
        }
    }
}

#[test]
fn a_reconnect_is_no_way_back() {
    let (fleet, links) = fleet_of(4);
    (0..3).for_each(|_| fail(&fleet, 0, 4, 0));
    fleet.leave(&super::pool(), &exit(0), links[0], SECOND);
    enter(&fleet, 0, &Labels::default(), Terms::default(), 2 * SECOND);
    assert!(is_out(&fleet, 0, 2 * SECOND));
    fleet.sweep(2 * SECOND);
    assert!(is_out(&fleet, 0, 2 * SECOND));
    fleet.audit();
}

#[test]
fn who_carries_traffic_is_not_checked() {
    let (fleet, _) = fleet_of(40);
    assert_eq!(check_all(&fleet, &[], 14 * SECOND), 0);
    let mut now = 0;
    while now < 30 * SECOND {
        now += SECOND;
        for n in 0..40 {
            let lease = lease_of(&fleet, n, 40, now);
            fleet.report(&lease, Outcome::Opened(1), now);
            if n != 39 {
                fleet.report(&lease, Outcome::Delivered, now);
            }
        }
    }
    let due = fleet.due(now, usize::MAX);
    assert_eq!(due.iter().map(|check| check.lease.exit().clone()).collect::<Vec<_>>(), [exit(39)]);
    assert_eq!(fleet.due(now, usize::MAX).len(), 0, "it is being checked already");
    drop(due);
    let again = fleet.due(now, usize::MAX);
    assert_eq!(again.len(), 1, "a check without a result is none");
    again.into_iter().for_each(|check| fleet.checked(check, false, now));
    assert_eq!(fleet.due(now, usize::MAX).len(), 0, "not at once");
    for (seconds, due) in [(1, 1), (2, 0), (3, 1)] {
        fleet.report(&lease_of(&fleet, 39, 40, now), Outcome::Opened(1), now);
        assert_eq!(check_all(&fleet, &[39], now + seconds * SECOND), due, "{seconds} s later");
    }
    assert!(is_out(&fleet, 39, now + 3 * SECOND), "an exit that opens tunnels and delivers nothing is found");
}

#[test]
fn checks_are_bounded_and_reach_everyone() {
    let (fleet, _) = fleet_of(10_000);
    let (mut seen, mut rounds) = (std::collections::HashSet::new(), 0);
    while seen.len() < 10_000 {
        let due = fleet.due(MINUTE, 100);
        assert!(due.len() <= 100);
        for check in due {
            seen.insert(check.lease.exit().clone());
            fleet.checked(check, true, MINUTE);
        }
        rounds += 1;
        assert!(rounds < 1_000, "{} seen", seen.len());
    }
}

#[test]
fn who_opens_and_delivers_nothing_is_checked_soon() {
    let (fleet, _) = fleet_of(4);
    let proof = |outcome, now| (0..4).for_each(|n| fleet.report(&lease_of(&fleet, n, 4, now), outcome, now));
    proof(Outcome::Delivered, 0);
    assert_eq!(check_all(&fleet, &[], SECOND), 0);
    for _ in 0..100 {
        fleet.report(&lease_of(&fleet, 0, 4, SECOND), Outcome::Mute, SECOND);
    }
    assert_eq!(check_all(&fleet, &[0], SECOND), 0, "not at once");
    assert_eq!(check_all(&fleet, &[0], 2 * SECOND), 1, "and only that one");
    for second in 3..30 {
        check_all(&fleet, &[0], second * SECOND);
    }
    assert!(is_out(&fleet, 0, 30 * SECOND) && !is_out(&fleet, 1, 30 * SECOND));
}

#[test]
fn strength_is_told_by_country_and_condition() {
    let fleet = fleet_of(0).0;
    let capped = |most| Terms { max_tunnels: most, ..Terms::default() };
    for (n, (code, most)) in
        [("", Some(5)), ("de", Some(10)), ("de", Some(20)), ("us", Some(7)), ("us", None)].into_iter().enumerate()
    {
        enter(&fleet, n, &labels(code, "", ""), capped(most), 0);
    }
    let _held = [lease_of(&fleet, 1, 5, 0), lease_of(&fleet, 1, 5, 0), lease_of(&fleet, 2, 5, 0)];
    for _ in 0..3 {
        fail(&fleet, 0, 5, 0);
    }
    let row = |code: &str, condition, exits, tunnels, capacity| Strength {
        country: labels(code, "", "").country,
        condition,
        exits,
        tunnels,
        capacity,
    };
    let expected = vec![
        row("", Condition::Ejected, 1, 0, Some(5)),
        row("de", Condition::Healthy, 2, 3, Some(30)),
        // One of them takes any number.
        row("us", Condition::Healthy, 2, 0, None),
    ];
    assert_eq!(fleet.strength(0), [(pool(), expected)]);
}
