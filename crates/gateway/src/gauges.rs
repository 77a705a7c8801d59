//! What was counted, and how the gateway stands: for metrics, signals and pages.

use outgate_fleet::Strength;
use outgate_meter::{Country, Exits, Gauges, Records, Room, Sharing, Snapshot, Usage};
use outgate_store::PoolKind;
use outgate_store::live::{SharingState, UsageKept};

use crate::gateway::Gateway;

impl Gateway {
    /// What was counted since the start.
    pub fn snapshot(&self) -> Snapshot {
        self.meters.snapshot()
    }

    /// How it stands now. A pool without exits is among them, with none.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            in_flight: self.load.room(),
            connections: self.places.room(),
            exit_connections: self.exit_places.room(),
            memory: self.load.memory(),
            memory_short: self.load.refuse_when_short().is_err(),
            exits: self.strength(),
            keys: self.accounts.len() as u64,
            records: self.records(),
            usage: match self.keeping.now() {
                UsageKept::Ledger => Usage::Ledger,
                UsageKept::Journal => Usage::Journal,
                UsageKept::Nowhere => Usage::Nowhere,
            },
            sharing: match self.shares.as_ref().map(|shares| shares.state()) {
                None | Some(SharingState::Off) => Sharing::Off,
                Some(SharingState::Together { gateways }) => Sharing::Together(gateways),
                Some(SharingState::Alone { .. }) => Sharing::Alone,
            },
            ..Gauges::default()
        }
    }

    fn records(&self) -> Records {
        let health = self.writer.as_ref().map(|writer| writer.health());
        Records { dropped: self.records_dropped(), failing: health.is_some_and(|health| health.failing.is_some()) }
    }

    fn strength(&self) -> Vec<Exits> {
        let settings = self.settings();
        let is_direct = |name: &_| settings.pools.iter().any(|pool| pool.name == *name && pool.kind == PoolKind::Direct);
        let mut exits = Vec::new();
        for (pool, strengths) in self.fleet.strength().into_iter().filter(|(pool, _)| !is_direct(pool)) {
            let of = |country, health, exits, tunnels, capacity| Exits {
                pool: pool.to_string(),
                country,
                health,
                exits,
                tunnels,
                capacity,
            };
            if strengths.is_empty() {
                exits.push(of(Country::Unknown, "healthy", 0, 0, None));
            }
            exits.extend(strengths.into_iter().map(|Strength { country, condition, exits, tunnels, capacity }| {
                let country = Country::of(country.as_ref().map(|country| country.as_str()));
                of(country, condition.name(), exits, tunnels, capacity)
            }));
        }
        exits
    }
}

/// So much of so much.
pub(crate) fn room(taken: usize, bound: usize) -> Room {
    Room { taken: taken as u64, bound: (bound < usize::MAX).then_some(bound as u64) }
}
