//! Sessions keep to an exit for their time, and say when they could not.

use outgate_store::Labels;

use super::{MINUTE, SECOND, country, enter, exit, fleet, fleet_of, labels, lease_of, pick_for, pool, random, stay, wanted};
use crate::{Ailment, Bound, NoPick, Outcome, Stay, Terms};

#[test]
fn stays_for_its_time_and_then_takes_another() {
    let (fleet, _) = fleet_of(50);
    let ab12 = stay("ab12", false);
    for round in 0..20 {
        let start = round * 10 * MINUTE;
        let (first, bound) = pick_for(&fleet, &ab12, &[], start).unwrap();
        assert_eq!(bound, Bound::New);
        for second in [1, 60, 300, 599] {
            assert_eq!(pick_for(&fleet, &ab12, &[], start + second * SECOND), Ok((first.clone(), Bound::Stays)));
        }
        let next = pick_for(&fleet, &ab12, &[], start + 10 * MINUTE).unwrap();
        assert_ne!(next.0, first, "its time is over, used or not");
        fleet.rotate("abcd", &pool(), &wanted("", "", ""), "ab12", start + 10 * MINUTE);
    }
    let exits: std::collections::HashSet<_> =
        (0..50).map(|n| pick_for(&fleet, &stay(&format!("s{n}"), false), &[], n).unwrap().0).collect();
    assert!(exits.len() > 20, "sessions spread over the fleet: {}", exits.len());
}

#[test]
fn the_only_exit_is_better_than_none() {
    let (fleet, _) = fleet_of(1);
    let ab12 = stay("ab12", true);
    for start in [0, 10 * MINUTE] {
        assert_eq!(pick_for(&fleet, &ab12, &[], start), Ok((exit(0), Bound::New)), "another one if there is one");
    }
}

#[test]
fn keys_pools_and_places_have_sessions_of_their_own() {
    let fleet = fleet();
    (0..64).for_each(|n| {
        enter(&fleet, n, &labels(["us", "de"][n % 2], "", ""), Terms::default(), 0);
    });
    let of = |key: &'static str, place: &str| {
        let stay = Stay { key, session: "ab12", ttl: MINUTE, strict: false };
        let wanted = wanted(place, "", "");
        fleet.pick(&pool(), &wanted, Some(&stay), &[], 0, &mut random(7)).ok().unwrap().lease
    };
    let held = [of("abcd", "us"), of("abcd", "de"), of("abcd", ""), of("efgh", "us")];
    assert_eq!(fleet.sessions(), 4);
    let again = [of("abcd", "us"), of("abcd", "de"), of("abcd", ""), of("efgh", "us")];
    assert!(held.iter().zip(&again).all(|(a, b)| a.exit() == b.exit()));
    assert_eq!((held[0].link().labels.country, held[1].link().labels.country), (Some(country("us")), Some(country("de"))));
}

#[test]
fn moves_when_its_exit_is_gone_and_says_so_once() {
    let (fleet, links) = fleet_of(10);
    let ab12 = stay("ab12", false);
    let (first, _) = pick_for(&fleet, &ab12, &[], 0).unwrap();
    let n = (0..10).find(|n| exit(*n) == first).unwrap();
    fleet.leave(&pool(), &first, links[n], SECOND);
    let (second, bound) = pick_for(&fleet, &ab12, &[], SECOND).unwrap();
    assert_eq!(bound, Bound::Moved(first));
    assert_eq!(pick_for(&fleet, &ab12, &[], 2 * SECOND), Ok((second.clone(), Bound::Stays)));
    enter(&fleet, n, &Labels::default(), Terms::default(), 3 * SECOND);
    assert_eq!(pick_for(&fleet, &ab12, &[], 4 * SECOND), Ok((second.clone(), Bound::Stays)), "it does not move back");
    let (third, bound) = pick_for(&fleet, &ab12, std::slice::from_ref(&second), 5 * SECOND).unwrap();
    assert_eq!(bound, Bound::Moved(second), "tried and found wanting");
    assert_eq!(pick_for(&fleet, &ab12, &[], 10 * MINUTE - 1), Ok((third.clone(), Bound::Stays)), "its time goes on");
    assert_ne!(pick_for(&fleet, &ab12, &[], 10 * MINUTE).unwrap().0, third, "from its first use");
}

#[test]
fn a_strict_one_is_lost_once_and_then_begins_anew() {
    let (fleet, links) = fleet_of(10);
    let ab12 = stay("ab12", true);
    let (first, _) = pick_for(&fleet, &ab12, &[], 0).unwrap();
    assert_eq!(pick_for(&fleet, &ab12, std::slice::from_ref(&first), 0), Err(NoPick::NoExit), "no other for this request");
    assert_eq!(pick_for(&fleet, &ab12, &[], 0), Ok((first.clone(), Bound::Stays)));
    let n = (0..10).find(|n| exit(*n) == first).unwrap();
    fleet.leave(&pool(), &first, links[n], SECOND);
    assert_eq!(pick_for(&fleet, &ab12, &[], SECOND), Err(NoPick::SessionLost));
    let (second, bound) = pick_for(&fleet, &ab12, &[], SECOND).unwrap();
    assert_eq!(bound, Bound::New);
    assert_ne!(second, first);
    fleet.agree(&second, Terms { draining: true, ..Terms::default() }, 2 * SECOND);
    assert_eq!(pick_for(&fleet, &ab12, &[], 2 * SECOND), Err(NoPick::SessionLost), "an exit that drains takes nothing new");
}

#[test]
fn a_link_that_comes_back_is_the_same_exit() {
    let (fleet, links) = fleet_of(10);
    let ab12 = stay("ab12", true);
    let (first, _) = pick_for(&fleet, &ab12, &[], 0).unwrap();
    let n = (0..10).find(|n| exit(*n) == first).unwrap();
    fleet.leave(&pool(), &first, links[n], SECOND);
    fleet.sweep(SECOND);
    enter(&fleet, 10, &Labels::default(), Terms::default(), SECOND);
    enter(&fleet, n, &Labels::default(), Terms::default(), 2 * SECOND);
    assert_eq!(pick_for(&fleet, &ab12, &[], 3 * SECOND), Ok((first, Bound::Stays)));
}

#[test]
fn an_exit_that_moved_away_is_gone_for_a_session_of_its_old_place() {
    let fleet = fleet();
    for (n, city) in ["berlin", "berlin"].into_iter().enumerate() {
        enter(&fleet, n, &labels("de", "be", city), Terms::default(), 0);
    }
    let (wanted, ab12) = (wanted("de", "", "berlin"), stay("ab12", false));
    let pick = |now| fleet.pick(&pool(), &wanted, Some(&ab12), &[], now, &mut random(now)).ok().unwrap();
    let first = pick(0).lease.exit().clone();
    let n = usize::from(first == exit(1));
    enter(&fleet, n, &labels("fr", "", "paris"), Terms::default(), SECOND);
    let moved = pick(SECOND);
    assert_eq!((moved.lease.exit().clone(), moved.session), (exit(1 - n), Bound::Moved(first)));
    assert_eq!(moved.lease.link().labels.city.as_deref(), Some("berlin"));
}

#[test]
fn an_ejected_exit_keeps_its_sessions() {
    let (fleet, _) = fleet_of(10);
    let ab12 = stay("ab12", false);
    let (first, _) = pick_for(&fleet, &ab12, &[], 0).unwrap();
    let n = (0..10).find(|n| exit(*n) == first).unwrap();
    (0..3).for_each(|_| fleet.report(&lease_of(&fleet, n, 10, 0), Outcome::Failed(Ailment::TimedOut), 0));
    assert_eq!(pick_for(&fleet, &ab12, &[], SECOND), Ok((first, Bound::Stays)));
}

#[test]
fn a_full_exit_moves_a_session_unless_it_is_strict() {
    let fleet = fleet();
    for n in 0..2 {
        enter(&fleet, n, &Labels::default(), Terms { max_tunnels: Some(1), ..Terms::default() }, 0);
    }
    for strict in [true, false] {
        let name = if strict { "strict" } else { "default" };
        let stay = stay(name, strict);
        let first = fleet.pick(&pool(), &wanted("", "", ""), Some(&stay), &[], 0, &mut random(1)).ok().unwrap().lease;
        let next = pick_for(&fleet, &stay, &[], 1);
        match strict {
            true => assert_eq!(next, Err(NoPick::SessionFull(first.exit().clone()))),
            false => assert_eq!(next.unwrap().1, Bound::Moved(first.exit().clone())),
        }
    }
}

#[test]
fn first_requests_at_once_get_the_same_exit() {
    let (fleet, _) = fleet_of(100);
    for round in 0..50 {
        let name = format!("s{round}");
        let exits: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|seed| {
                    let (fleet, name) = (&fleet, &name);
                    scope.spawn(move || pick_for(fleet, &stay(name, false), &[], seed).unwrap())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(exits.iter().all(|(exit, _)| *exit == exits[0].0), "{exits:?}");
        assert_eq!(exits.iter().filter(|(_, bound)| *bound == Bound::New).count(), 1);
    }
}

#[test]
fn rotation_takes_another_exit() {
    let (fleet, _) = fleet_of(3);
    let ab12 = stay("ab12", true);
    let anywhere = wanted("", "", "");
    assert!(!fleet.rotate("abcd", &pool(), &anywhere, "ab12", 0), "there is no such session yet");
    for now in 0..20 {
        let (before, _) = pick_for(&fleet, &ab12, &[], now).unwrap();
        assert!(fleet.is_with(&pool(), &anywhere, &ab12, &before, now));
        assert!(fleet.rotate("abcd", &pool(), &anywhere, "ab12", now));
        assert!(!fleet.rotate("abcd", &pool(), &anywhere, "ab12", now), "once");
        assert!(!fleet.is_with(&pool(), &anywhere, &ab12, &before, now));
        let (after, bound) = pick_for(&fleet, &ab12, &[], now).unwrap();
        assert_eq!(bound, Bound::New, "strict or not: it was asked for");
        assert_ne!(before, after);
    }
}
