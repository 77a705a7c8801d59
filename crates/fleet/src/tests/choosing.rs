//! Who takes the next tunnel.

use std::collections::HashMap;

use outgate_store::Labels;

use super::{Handle, enter, exit, fleet, fleet_of, pick, pool, random};
use crate::{NewLink, Terms};

#[test]
fn the_least_loaded_of_few() {
    let (fleet, _) = fleet_of(8);
    let mut random = random(1);
    let leases: Vec<_> = (0..80).map(|_| pick(&fleet, &[], 0, &mut random).unwrap()).collect();
    assert!(leases.iter().all(|lease| lease.load() == 10), "they are looked through whole: none is ahead by one");
    drop(leases);
    assert_eq!(pick(&fleet, &[], 0, &mut random).unwrap().load(), 1, "a lease counts until it drops, no longer");
}

#[test]
fn nearly_the_least_loaded_of_many() {
    let (fleet, _) = fleet_of(1_000);
    let mut random = random(2);
    let leases: Vec<_> = (0..10_000).map(|_| pick(&fleet, &[], 0, &mut random).unwrap()).collect();
    let most = leases.iter().map(crate::Lease::load).max().unwrap();
    assert!((10..=13).contains(&most), "10 each on average, {most} at most; one drawn blindly would have above 20");
}

#[test]
fn an_idle_fleet_is_used_evenly() {
    for exits in [5, 50] {
        let (fleet, _) = fleet_of(exits);
        let mut random = random(3);
        let mut taken: HashMap<_, u32> = HashMap::new();
        for _ in 0..exits * 200 {
            *taken.entry(pick(&fleet, &[], 0, &mut random).unwrap().exit().clone()).or_default() += 1;
        }
        assert_eq!(taken.len(), exits);
        assert!(taken.values().all(|count| (130..280).contains(count)), "{taken:?}");
    }
}

#[test]
fn weights_share_the_traffic() {
    let fleet = fleet();
    let weights = [1, 2, 5];
    for (n, weight) in weights.into_iter().enumerate() {
        enter(&fleet, n, &Labels::default(), Terms { weight, ..Terms::default() }, 0);
    }
    let mut random = random(4);
    let share = |taken: &[u32; 3]| taken.map(|count| f64::from(count) / f64::from(taken.iter().sum::<u32>()) * 8.0);
    let number = |lease: &crate::Lease<Handle>| (0..3).find(|n| lease.exit() == &exit(*n)).unwrap();
    let mut idle = [0; 3];
    for _ in 0..4_000 {
        idle[number(&pick(&fleet, &[], 0, &mut random).unwrap())] += 1;
    }
    let mut busy = [0; 3];
    let mut leases = Vec::new();
    for _ in 0..800 {
        leases.push(pick(&fleet, &[], 0, &mut random).unwrap());
        busy[number(&leases[leases.len() - 1])] += 1;
    }
    for (what, taken) in [("one at a time", idle), ("all at once", busy)] {
        for (is, weight) in share(&taken).into_iter().zip(weights) {
            assert!((is - f64::from(weight)).abs() < 0.5, "{what}: {taken:?}");
        }
    }
}

#[test]
fn caps_hold_when_many_pick_at_once() {
    let fleet = fleet();
    for n in 0..20 {
        enter(&fleet, n, &Labels::default(), Terms { max_tunnels: Some(3), ..Terms::default() }, 0);
    }
    let taken: usize = std::thread::scope(|scope| {
        let grab = |seed| {
            let fleet = &fleet;
            move || {
                let mut random = random(seed);
                let mut leases = Vec::new();
                while let Some(lease) = pick(fleet, &[], 0, &mut random) {
                    assert!(lease.load() <= 3);
                    leases.push(lease);
                }
                leases
            }
        };
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(grab(seed))).collect();
        // All leases are held until the last thread is done.
        let leases: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        leases.iter().map(Vec::len).sum()
    });
    assert_eq!(taken, 60, "every place, and none twice");
    assert!(pick(&fleet, &[], 0, &mut random(9)).is_some(), "and all are free again");
}

#[test]
fn the_one_that_is_left_is_found() {
    let (fleet, _) = fleet_of(500);
    let tried: Vec<_> = (0..500).filter(|n| *n != 321).map(exit).collect();
    for seed in 0..20 {
        assert_eq!(*pick(&fleet, &tried, 0, &mut random(seed)).unwrap().exit(), exit(321));
    }
    assert!(pick(&fleet, &(0..500).map(exit).collect::<Vec<_>>(), 0, &mut random(0)).is_none());
}

#[test]
fn links_of_an_exit_are_one_member() {
    let fleet = fleet();
    let labels = Labels::default();
    let mut links = Vec::new();
    for link in 0..3 {
        let handle = Handle { link, exit: exit(0), labels: labels.clone() };
        let new = NewLink { exit: &exit(0), labels: &labels, terms: Terms::default(), room: 4, handle };
        links.push(fleet.enter(&pool(), new, 0).unwrap());
    }
    enter(&fleet, 1, &labels, Terms::default(), 0);
    let mut random = random(5);
    let leases: Vec<_> = (0..12).map(|_| pick(&fleet, &[], 0, &mut random).unwrap()).collect();
    let of_exit = |n| leases.iter().filter(|lease| *lease.exit() == exit(n)).count();
    assert_eq!((of_exit(0), of_exit(1)), (6, 6), "three links are no three exits");
    for link in 0..3 {
        let through = leases.iter().filter(|l| *l.exit() == exit(0) && l.link().link == link).count();
        assert_eq!(through, 2, "the link with the fewest tunnels takes the next");
    }
    drop(leases);
    fleet.drain(&pool(), &exit(0), links[0], 0);
    fleet.leave(&pool(), &exit(0), links[1], 0);
    let only = pick(&fleet, &[exit(1)], 0, &mut random).unwrap();
    assert_eq!(only.link().link, 2);
    let more: Vec<_> = (0..3).map(|_| pick(&fleet, &[exit(1)], 0, &mut random).unwrap()).collect();
    assert!(pick(&fleet, &[exit(1)], 0, &mut random).is_none(), "a link has room for so many, {}", more.len() + 1);
    fleet.audit();
}
