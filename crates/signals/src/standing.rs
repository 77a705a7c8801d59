//! How things stood during one step of ten seconds, gathered from the gauges of every observation in it.

use std::collections::BTreeMap;

use outgate_meter::{Gauges, Room, Sharing, Usage};

use crate::signal::Scope;

/// What the gauges said during one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The mean part of each bound that was taken, and the last room.
    bounds: BTreeMap<Scope, (f64, u32, Room)>,
    pub(crate) memory_short: bool,
    pub(crate) usage: Usage,
    /// Whether sharing is off for itself at every observation.
    pub(crate) alone: bool,
    pub(crate) shares: bool,
    /// Records dropped up to now.
    pub(crate) dropped: u64,
    pub(crate) failing: bool,
    /// Exits that are connected and well, by pool.
    pub(crate) usable: BTreeMap<String, u64>,
    observed: bool,
}

impl Standing {
    /// Takes in one observation.
    pub(crate) fn see(&mut self, gauges: &Gauges) {
        let files = gauges.process.open_files.map(|taken| Room { taken, bound: gauges.process.most_files });
        let named = |name: &str| Scope::Bound(name.to_owned());
        let rooms = [
            (named("connections"), gauges.connections),
            (named("exit_connections"), gauges.exit_connections),
            (named("in_flight"), gauges.in_flight),
            (named("open_files"), files.unwrap_or_default()),
        ];
        for (scope, room) in rooms.into_iter().chain(capacities(gauges)) {
            if let Some(part) = room.part() {
                let (sum, count, last) = self.bounds.entry(scope).or_default();
                (*sum, *count, *last) = (*sum + part, *count + 1, room);
            }
        }
        let alone = gauges.sharing == Sharing::Alone;
        self.alone = if self.observed { self.alone && alone } else { alone };
        self.shares = gauges.sharing != Sharing::Off;
        self.memory_short |= gauges.memory_short;
        self.usage = worse(self.usage, gauges.usage);
        (self.dropped, self.failing) = (gauges.records.dropped, gauges.records.failing);
        self.usable.clear();
        for exits in &gauges.exits {
            let usable = if UNUSABLE.contains(&exits.health) { 0 } else { exits.exits };
            *self.usable.entry(exits.pool.clone()).or_default() += usable;
        }
        self.observed = true;
    }

    /// Every bound, the mean part of it that was taken, and how full it was at last.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = (&Scope, f64, Room)> {
        self.bounds.iter().map(|(scope, (sum, count, room))| (scope, sum / f64::from((*count).max(1)), *room))
    }
}

/// How many tunnels the exits of each pool carry, and could; a pool with one exit without a bound has none.
fn capacities(gauges: &Gauges) -> BTreeMap<Scope, Room> {
    let mut rooms: BTreeMap<Scope, Room> = BTreeMap::new();
    for exits in gauges.exits.iter().filter(|exits| !UNUSABLE.contains(&exits.health)) {
        let none = Room { taken: 0, bound: Some(0) };
        let room = rooms.entry(Scope::Pool(exits.pool.clone())).or_insert(none);
        room.taken += exits.tunnels;
        room.bound = room.bound.zip(exits.capacity).map(|(here, more)| here + more);
    }
    rooms
}

/// Words of the fleet for exits that are given no tunnels.
const UNUSABLE: [&str; 2] = ["ejected", "draining"];

fn worse(one: Usage, other: Usage) -> Usage {
    match (one, other) {
        (Usage::Nowhere, _) | (_, Usage::Nowhere) => Usage::Nowhere,
        (Usage::Journal, _) | (_, Usage::Journal) => Usage::Journal,
        (Usage::Ledger, Usage::Ledger) => Usage::Ledger,
    }
}
