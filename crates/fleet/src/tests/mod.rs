//! The fleet by the turn of numbers: time and randomness are the tests' own.

mod choosing;
mod churn;
mod health;
mod places;
mod remote;
mod sessions;

use outgate_store::{Country, ExitId, Labels, PoolName};

use crate::{Bound, Fleet, FleetSettings, Lease, LinkId, NewLink, NoPick, Stay, Terms, Wanted};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;

/// What stands in for a link: who it is of and where that exit said it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Handle {
    pub(crate) link: u64,
    pub(crate) exit: ExitId,
    pub(crate) labels: Labels,
}

pub(crate) type TestFleet = Fleet<Handle>;

/// A small generator with a good spread; the seed is part of a failure's message.
pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn pool() -> PoolName {
    PoolName::parse("residential").unwrap()
}

pub(crate) fn exit(n: usize) -> ExitId {
    ExitId::parse(&format!("e{n}")).unwrap()
}

pub(crate) fn country(code: &str) -> Country {
    Country::parse(code).unwrap()
}

pub(crate) fn labels(country_code: &str, state: &str, city: &str) -> Labels {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let country = (!country_code.is_empty()).then(|| country(country_code));
    Labels { country, state: some(state), city: some(city), ..Labels::default() }
}

pub(crate) fn wanted(country_code: &str, state: &str, city: &str) -> Wanted {
    let Labels { country, state, city, .. } = labels(country_code, state, city);
    Wanted { country, state, city, countries: Vec::new() }
}

pub(crate) fn fleet() -> TestFleet {
    Fleet::new([pool()], FleetSettings::default())
}

pub(crate) fn enter(fleet: &TestFleet, n: usize, labels: &Labels, terms: Terms, now: u64) -> LinkId {
    let handle = Handle { link: 0, exit: exit(n), labels: labels.clone() };
    fleet.enter(&pool(), NewLink { exit: &exit(n), labels, terms, room: 1_000, handle }, now).unwrap()
}

/// A fleet of so many exits that say nothing of where they are.
pub(crate) fn fleet_of(exits: usize) -> (TestFleet, Vec<LinkId>) {
    let fleet = fleet();
    let links = (0..exits).map(|n| enter(&fleet, n, &Labels::default(), Terms::default(), 0)).collect();
    (fleet, links)
}

pub(crate) fn pick(fleet: &TestFleet, avoid: &[ExitId], now: u64, random: &mut impl FnMut() -> u64) -> Option<Lease<Handle>> {
    fleet.pick(&pool(), &Wanted::default(), None, avoid, now, random).ok().map(|pick| pick.lease)
}

/// A lease of this very exit.
pub(crate) fn lease_of(fleet: &TestFleet, n: usize, exits: usize, now: u64) -> Lease<Handle> {
    let others: Vec<ExitId> = (0..exits).filter(|other| *other != n).map(exit).collect();
    pick(fleet, &others, now, &mut random(1)).expect("it is usable")
}

pub(crate) fn stay(session: &str, strict: bool) -> Stay<'_> {
    Stay { key: "abcd", session, ttl: 10 * MINUTE, strict }
}

pub(crate) fn pick_for(fleet: &TestFleet, stay: &Stay<'_>, avoid: &[ExitId], now: u64) -> Result<(ExitId, Bound), NoPick> {
    // A seed of its own each time: that a session stays is not to be the same draw twice.
    let picked = fleet.pick(&pool(), &Wanted::default(), Some(stay), avoid, now, &mut random(now));
    picked.map(|pick| (pick.lease.exit().clone(), pick.session))
}
