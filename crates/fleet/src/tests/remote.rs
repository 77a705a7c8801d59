//! Exits that other gateways hold, and what they are told of ours.

use std::sync::{Arc, Mutex};

use outgate_store::{ExitId, Labels};

use super::{Handle, SECOND, TestFleet, enter, exit, fleet, fleet_of, labels, pick, pick_for, pool, random, stay, wanted};
use crate::{Ailment, Bound, LinkId, NewLink, NoLease, NoPick, Offered, Outcome, Says, Terms};

/// The number of every way over another gateway; the links of [`enter`] have 0.
const OVER: u64 = 7;

fn enter_remote(fleet: &TestFleet, n: usize, labels: &Labels, says: Says) -> LinkId {
    let handle = Handle { link: OVER, exit: exit(n), labels: labels.clone() };
    let new = NewLink { exit: &exit(n), labels, terms: Terms::default(), room: 2, handle };
    fleet.enter_remote(&pool(), new, says, 0).unwrap()
}

fn way_of(fleet: &TestFleet) -> Option<u64> {
    pick(fleet, &[], 0, &mut random(1)).map(|lease| lease.link().link)
}

#[test]
fn an_own_link_comes_first_and_another_gateway_helps_out() {
    let fleet = fleet();
    let over = enter_remote(&fleet, 0, &Labels::default(), Says::default());
    assert_eq!(way_of(&fleet), Some(OVER));
    let own = enter(&fleet, 0, &Labels::default(), Terms { max_tunnels: Some(1_001), ..Terms::default() }, 0);
    let mut random = random(2);
    let leases: Vec<_> = (0..1_001).map(|_| pick(&fleet, &[], 0, &mut random).unwrap()).collect();
    let ways: Vec<u64> = leases.iter().map(|lease| lease.link().link).collect();
    assert!(ways[..1_000].iter().all(|way| *way == 0) && ways[1_000] == OVER, "its own has room for 1,000");
    drop(leases);
    fleet.leave(&pool(), &exit(0), own, 0);
    assert_eq!(way_of(&fleet), Some(OVER), "the same member goes on");
    fleet.leave(&pool(), &exit(0), over, 0);
    assert_eq!(way_of(&fleet), None);
    fleet.audit();
}

#[test]
fn what_the_other_gateway_says_is_in_force() {
    let (fleet, own) = fleet_of(1);
    let over = enter_remote(&fleet, 1, &Labels::default(), Says { aside: true, draining: false });
    fleet.leave(&pool(), &exit(0), own[0], 0);
    assert_eq!(way_of(&fleet), None, "it is set aside");
    let steps = [(false, false, true), (true, false, false), (false, true, false), (false, false, true)];
    for (draining, aside, usable) in steps {
        fleet.stand(&pool(), &exit(1), over, Says { draining, aside }, 0);
        assert_eq!(way_of(&fleet).is_some(), usable, "draining {draining}, aside {aside}");
        fleet.audit();
    }
}

#[test]
fn sessions_stay_with_an_exit_that_is_set_aside_elsewhere() {
    let fleet = fleet();
    let over = enter_remote(&fleet, 0, &Labels::default(), Says::default());
    let strict = stay("s1", true);
    assert_eq!(pick_for(&fleet, &strict, &[], 0), Ok((exit(0), Bound::New)));
    fleet.stand(&pool(), &exit(0), over, Says { aside: true, draining: false }, 0);
    assert_eq!(pick_for(&fleet, &strict, &[], 1), Ok((exit(0), Bound::Stays)));
    // A new way before the old one goes, as when its weight changes: nobody's session is lost in between.
    enter_remote(&fleet, 0, &Labels::default(), Says::default());
    fleet.leave(&pool(), &exit(0), over, 0);
    assert_eq!(pick_for(&fleet, &strict, &[], 2), Ok((exit(0), Bound::Stays)));
    assert_eq!(fleet.links(&exit(0)).len(), 1);
}

#[test]
fn where_it_is_seen_from_here_counts() {
    let fleet = fleet();
    let (here, there) = (labels("us", "ca", ""), labels("de", "", ""));
    let at = |country: &str| {
        let picked = fleet.pick(&pool(), &wanted(country, "", ""), None, &[], 0, &mut random(1));
        picked.ok().map(|pick| pick.lease.link().link)
    };
    enter_remote(&fleet, 0, &there, Says::default());
    assert_eq!((at("us"), at("de")), (None, Some(OVER)));
    let own = enter(&fleet, 0, &here, Terms::default(), 0);
    assert_eq!((at("us"), at("de")), (Some(0), None), "nothing leaves from there under this name");
    let newer = labels("us", "ny", "");
    let moved = enter(&fleet, 0, &newer, Terms::default(), 0);
    fleet.leave(&pool(), &exit(0), own, 0);
    assert_eq!((at("us"), at("de")), (Some(0), None));
    fleet.leave(&pool(), &exit(0), moved, 0);
    assert_eq!((at("us"), at("de")), (None, Some(OVER)), "the other gateway's word is the only one left");
    fleet.audit();
}

#[test]
fn no_check_is_made_over_another_gateway_and_time_heals() {
    let (fleet, _) = fleet_of(3);
    enter_remote(&fleet, 3, &Labels::default(), Says::default());
    let others: Vec<ExitId> = (0..3).map(exit).collect();
    let lease = pick(&fleet, &others, 0, &mut random(1)).unwrap();
    for _ in 0..3 {
        fleet.report(&lease, Outcome::Failed(Ailment::Refused), 0);
    }
    drop(lease);
    assert!(pick(&fleet, &others, 0, &mut random(1)).is_none(), "set aside for what was seen from here");
    let checked: Vec<_> = fleet.due(60 * SECOND, 10).into_iter().map(|check| check.lease.exit().clone()).collect();
    assert_eq!(checked.len(), 3);
    assert!(!checked.contains(&exit(3)));
    for (now, back) in [(9 * SECOND, false), (10 * SECOND, true)] {
        fleet.let_back_remote(now);
        assert_eq!(pick(&fleet, &others, now, &mut random(1)).is_some(), back);
        fleet.audit();
    }
}

#[test]
fn a_tunnel_for_another_gateway_takes_an_own_link_within_the_cap() {
    let fleet = fleet();
    enter_remote(&fleet, 0, &Labels::default(), Says::default());
    assert_eq!(fleet.lease(&exit(0)).err(), Some(NoLease::Gone), "offers are not passed on");
    assert_eq!(fleet.lease(&exit(1)).err(), Some(NoLease::Gone));
    let own = enter(&fleet, 0, &Labels::default(), Terms { max_tunnels: Some(1), ..Terms::default() }, 0);
    let lease = fleet.lease(&exit(0)).ok().unwrap();
    assert_eq!((lease.link().link, fleet.lease(&exit(0)).err()), (0, Some(NoLease::Full)));
    drop(lease);
    fleet.drain(&pool(), &exit(0), own, 0);
    assert_eq!(fleet.lease(&exit(0)).err(), Some(NoLease::Gone));
}

#[test]
fn whoever_hears_of_changes_hears_of_all() {
    let heard: Arc<Mutex<Vec<ExitId>>> = Arc::default();
    let note = heard.clone();
    let fleet = fleet().telling(move |exit| note.lock().unwrap().push(exit.clone()));
    let heard = || std::mem::take(&mut *heard.lock().unwrap());
    let offered = || fleet.own(&exit(0)).map(|own| (own.offered, own.weight, own.max_tunnels, own.links.len()));
    enter_remote(&fleet, 0, &Labels::default(), Says::default());
    assert!(heard().is_empty() && offered().is_none() && fleet.own_exits().is_empty());

    let first = enter(&fleet, 0, &Labels::default(), Terms::default(), 0);
    assert!(heard().contains(&exit(0)));
    assert_eq!(offered(), Some((Offered::Usable, 1, None, 1)));
    fleet.agree(&exit(0), Terms { weight: 5, max_tunnels: Some(9), draining: false }, 0);
    assert!(heard().contains(&exit(0)));
    assert_eq!(offered(), Some((Offered::Usable, 5, Some(9), 1)));
    fleet.drain(&pool(), &exit(0), first, 0);
    assert!(heard().contains(&exit(0)));
    assert_eq!(offered(), Some((Offered::Draining, 5, Some(9), 1)));
    let moved = labels("us", "", "");
    let second = enter(&fleet, 0, &moved, Terms::default(), 0);
    assert!(heard().contains(&exit(0)));
    assert_eq!(fleet.own(&exit(0)).map(|own| own.labels), Some(moved));

    for n in 1..4 {
        enter(&fleet, n, &Labels::default(), Terms::default(), 0);
    }
    let lease = fleet.lease(&exit(0)).ok().unwrap();
    heard();
    for _ in 0..3 {
        fleet.report(&lease, Outcome::Failed(Ailment::Refused), 0);
    }
    assert!(heard().contains(&exit(0)));
    assert_eq!(offered().map(|own| own.0), Some(Offered::Aside));
    drop(lease);
    let check = fleet.due(20 * SECOND, 9).into_iter().find(|check| check.lease.exit() == &exit(0)).unwrap();
    fleet.checked(check, true, 20 * SECOND);
    assert!(heard().contains(&exit(0)));
    assert_eq!(offered().map(|own| own.0), Some(Offered::Usable));
    fleet.leave(&pool(), &exit(0), second, 20 * SECOND);
    assert!(heard().contains(&exit(0)));
    assert!(offered().is_none() && !fleet.own_exits().contains(&exit(0)));
    let gone = pick_for(&fleet, &stay("s", true), &(1..4).map(exit).collect::<Vec<_>>(), 0);
    assert!(!matches!(gone, Err(NoPick::SessionLost)), "the way over the other gateway is still there");
}
