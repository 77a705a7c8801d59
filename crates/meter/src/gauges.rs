//! How things stand at one moment, beside what was counted.

use std::time::Duration;

use crate::snapshot::Country;

/// How a program stands at one moment. What it has nothing of stays at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Requests and tunnels in flight.
    pub in_flight: Room,
    /// Clients' connections.
    pub connections: Room,
    /// Exits' connections.
    pub exit_connections: Room,
    /// Resident memory in bytes.
    pub memory: Room,
    /// Whether memory is short, so that new requests are refused.
    pub memory_short: bool,
    /// What the system knows of the process.
    pub process: Process,
    /// The exits that are connected.
    pub exits: Vec<Exits>,
    /// Keys in force.
    pub keys: u64,
    /// Records.
    pub records: Records,
    /// Where usage is kept.
    pub usage: Usage,
    /// With other gateways.
    pub sharing: Sharing,
    /// Spans and log lines that were not exported because the collector did not take them.
    pub telemetry_dropped: u64,
}

/// How much of something is taken, and how much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Taken.
    pub taken: u64,
    /// The bound; none: there is no bound.
    pub bound: Option<u64>,
}

impl Room {
    /// The part that is taken, from 0 on; none where there is no bound.
    pub fn part(&self) -> Option<f64> {
        self.bound.map(|bound| if bound == 0 { 1.0 } else { self.taken as f64 / bound as f64 })
    }
}

/// What the system knows of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// CPU time so far.
    pub cpu: Option<Duration>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// As many may be open.
    pub most_files: Option<u64>,
}

/// A number of connected exits that are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exits {
    /// Their pool.
    pub pool: String,
    /// Their country.
    pub country: Country,
    /// `healthy`, `slow_start` or `ejected`.
    pub health: &'static str,
    /// How many.
    pub exits: u64,
    /// Tunnels open through them.
    pub tunnels: u64,
    /// As many may be; none: one of them has no bound.
    pub capacity: Option<u64>,
}

/// How it stands with records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Lost since the start, because the disk could not keep up or was full.
    pub dropped: u64,
    /// Whether the last write failed.
    pub failing: bool,
}

/// Where usage is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// In the ledger.
    #[default]
    Ledger,
    /// Some of it in the journal on this machine only.
    Journal,
    /// Some of it in memory only.
    Nowhere,
}

/// How it stands with other gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// It shares with nobody.
    #[default]
    Off,
    /// Limits hold over so many gateways.
    Together(u32),
    /// It enforces its share of every limit by itself.
    Alone,
}
