//! Whatever happens to the fleet, no pick is ever of an exit that isn't what was wanted, and none is missed.

use std::collections::HashMap;

use outgate_store::Labels;

use super::{Handle, MINUTE, SECOND, TestFleet, exit, labels, pool, random, stay};
use crate::{Ailment, Fleet, FleetSettings, Health, Lease, LinkId, NewLink, Outcome, Terms, Wanted};

const EXITS: usize = 40;
const STEPS: usize = 2_000;

/// What should be so.
#[derive(Default)]
struct Model {
    exits: HashMap<usize, Known>,
}

struct Known {
    labels: Labels,
    terms: Terms,
    /// Links by their mark: number and whether they drain.
    links: HashMap<u64, (LinkId, bool)>,
}

struct Dice<R>(R);

impl<R: FnMut() -> u64> Dice<R> {
    fn below(&mut self, n: usize) -> usize {
        ((self.0)() % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn labels(&mut self) -> Labels {
        let country = self.of(&["us", "us", "de", "fr", ""]);
        if country.is_empty() {
            return Labels::default();
        }
        let (state, city) = (self.of(&["ca", "ny", ""]), self.of(&["a", "b", "c", ""]));
        labels(country, state, city)
    }

    fn wanted(&mut self) -> Wanted {
        let Labels { country, state, city, .. } = self.labels();
        let countries: &[&str] = self.of(&[&[], &[], &["us"], &["de", "fr"], &["at", "us"]]);
        // States and cities without their country too.
        let country = if self.below(4) == 0 { None } else { country };
        Wanted { country, state, city, countries: countries.iter().map(|c| super::country(c)).collect() }
    }
}

fn health_of(fleet: &TestFleet, now: u64) -> HashMap<usize, Health> {
    let number = |id: &str| id[1..].parse().unwrap();
    fleet.status(now).into_iter().map(|standing| (number(standing.exit.as_str()), standing.health)).collect()
}

/// Holds a lease against the model.
fn check(model: &Model, lease: &Lease<Handle>, wanted: &Wanted, why: &str) {
    let n: usize = lease.exit().as_str()[1..].parse().unwrap();
    let known = model.exits.get(&n).unwrap_or_else(|| panic!("{why}: {n} is not connected"));
    let through = known.links.get(&lease.link().link);
    assert_eq!(through.map(|(_, drains)| *drains), Some(false), "{why}: the link is gone or drains");
    assert_eq!(lease.link().labels, known.labels, "{why}: through a link of another place");
    assert!(wanted.fits(&known.labels), "{why}: {wanted:?} got {:?}", known.labels);
    assert!(!known.terms.draining, "{why}: it drains");
    assert!(known.terms.max_tunnels.is_none_or(|most| lease.load() <= most), "{why}: over its cap");
}

fn churn(seed: u64) -> (usize, usize, usize) {
    let fleet: TestFleet = Fleet::new([pool()], FleetSettings { sessions: 500, ..FleetSettings::default() });
    let (mut dice, mut model) = (Dice(random(seed)), Model::default());
    let (mut now, mut mark, mut held) = (0, 0, Vec::new());
    let (mut picks, mut refused, mut ejections) = (0, 0, 0);
    for step in 0..STEPS {
        let why = format!("seed {seed}, step {step}");
        now += (dice.0)() % (2 * SECOND);
        let n = dice.below(EXITS);
        match dice.below(12) {
            0..=3 => {
                let labels = match model.exits.get(&n) {
                    Some(known) if dice.below(3) > 0 => known.labels.clone(),
                    _ => dice.labels(),
                };
                let max_tunnels = dice.of(&[None, Some(1), Some(2), Some(5)]);
                let terms = Terms { weight: dice.of(&[1, 1, 3, 1000]), max_tunnels, draining: dice.below(8) == 0 };
                mark += 1;
                let handle = Handle { link: mark, exit: exit(n), labels: labels.clone() };
                let room = dice.of(&[1, 3, 100]);
                let new = NewLink { exit: &exit(n), labels: &labels, terms, room, handle };
                let link = fleet.enter(&pool(), new, now).unwrap();
                let known =
                    model.exits.entry(n).or_insert_with(|| Known { labels: labels.clone(), terms, links: HashMap::new() });
                if known.labels != labels {
                    known.labels = labels;
                    known.links.clear();
                }
                known.terms = terms;
                known.links.insert(mark, (link, false));
            }
            4 | 5 => {
                if let Some(known) = model.exits.get_mut(&n) {
                    let mark = *known.links.keys().min().unwrap();
                    let (link, _) = known.links.remove(&mark).unwrap();
                    fleet.leave(&pool(), &exit(n), link, now);
                    if known.links.is_empty() {
                        model.exits.remove(&n);
                    }
                }
            }
            6 => {
                if let Some((_, (link, drains))) = model.exits.get_mut(&n).and_then(|known| known.links.iter_mut().next()) {
                    fleet.drain(&pool(), &exit(n), *link, now);
                    *drains = true;
                }
            }
            7 => {
                if let Some(known) = model.exits.get_mut(&n) {
                    known.terms = Terms { draining: !known.terms.draining, ..known.terms };
                    fleet.agree(&exit(n), known.terms, now);
                }
            }
            8 | 9 => {
                // Reports of leases long held, so also of exits that left or were ejected since.
                if !held.is_empty() {
                    let lease: &Lease<Handle> = &held[dice.below(held.len())];
                    let times = 1 + dice.below(4);
                    for _ in 0..times {
                        let outcome = match dice.below(4) {
                            0 => Outcome::Opened((dice.0)() % SECOND),
                            1 => Outcome::Failed(Ailment::Lost),
                            _ => Outcome::Failed(Ailment::Refused),
                        };
                        fleet.report(lease, outcome, now);
                    }
                }
            }
            10 => {
                let due = fleet.due(now, 1 + dice.below(20));
                for check in due {
                    match dice.below(4) {
                        0 => drop(check),
                        other => fleet.checked(check, other > 1, now),
                    }
                }
            }
            _ => match dice.below(20) {
                0 => {
                    now += 5 * MINUTE;
                    fleet.sweep(now);
                }
                _ => {
                    let most = dice.below(30);
                    held.truncate(most);
                }
            },
        }
        fleet.audit();
        let health = health_of(&fleet, now);
        let out = |n: &usize| matches!(health[n], Health::Ejected { .. });
        ejections = ejections.max(model.exits.keys().filter(|n| out(n)).count());
        for _ in 0..3 {
            let wanted = dice.wanted();
            let avoid: Vec<_> = (0..dice.below(4)).map(|_| exit(dice.below(EXITS))).collect();
            let name = format!("s{}", dice.below(30));
            let stay = (dice.below(2) == 0).then(|| stay(&name, dice.below(2) == 0));
            let load: HashMap<usize, u32> =
                fleet.status(now).into_iter().map(|s| (s.exit.as_str()[1..].parse().unwrap(), s.load)).collect();
            match fleet.pick(&pool(), &wanted, stay.as_ref(), &avoid, now, &mut dice.0) {
                Ok(pick) => {
                    picks += 1;
                    check(&model, &pick.lease, &wanted, &why);
                    let n: usize = pick.lease.exit().as_str()[1..].parse().unwrap();
                    assert!(!avoid.contains(pick.lease.exit()), "{why}: it was tried");
                    assert!(stay.is_some() || !out(&n), "{why}: it is set aside");
                    if dice.below(2) == 0 {
                        held.push(pick.lease);
                    }
                }
                Err(_) => {
                    refused += 1;
                    if stay.is_some_and(|stay| stay.strict) {
                        continue;
                    }
                    // Nothing was missed: no exit that will do has a place. Links' own room is not modelled, so those with a
                    // link in use don't count.
                    let missed = model.exits.iter().find(|(n, known)| {
                        wanted.fits(&known.labels)
                            && !known.terms.draining
                            && !out(n)
                            && !avoid.contains(&exit(**n))
                            && load[n] == 0
                            && known.links.values().any(|(_, drains)| !drains)
                    });
                    assert!(missed.is_none(), "{why}: {wanted:?} could have been {:?}", missed.map(|(n, _)| n));
                }
            }
        }
    }
    (picks, refused, ejections)
}

#[test]
fn no_pick_is_wrong_and_none_is_missed() {
    let mut sums = (0, 0, 0);
    for seed in 0..8 {
        let (picks, refused, ejections) = churn(seed);
        sums = (sums.0 + picks, sums.1 + refused, sums.2.max(ejections));
    }
    assert!(sums.0 > 5_000 && sums.1 > 1_000 && sums.2 >= 3, "the churn was worth something: {sums:?}");
}
