//! Status: what an exit is doing now, in numbers, for a status line or a service manager.

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

/// What an exit is doing now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Its id in the gateway's ledger, once it was linked.
    pub exit_id: Option<String>,
    /// The gateway's name, once it was linked.
    pub gateway: Option<String>,
    /// Links that are up and take tunnels.
    pub links: u32,
    /// Links it keeps up.
    pub links_wanted: u32,
    /// The shortest of the links' last measured round trips.
    pub rtt: Option<Duration>,
    /// Tunnels asked for or open.
    pub tunnels: usize,
    /// Bytes towards targets, so far.
    pub up: u64,
    /// Bytes from targets, so far.
    pub down: u64,
    /// What it does besides.
    pub phase: Phase,
}

/// What an exit does besides carrying tunnels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Nothing.
    #[default]
    Serving,
    /// Its rotate hook runs.
    Rotating,
    /// It was asked to stop: open tunnels may finish.
    Stopping,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Serving => "serving",
            Phase::Rotating => "rotating",
            Phase::Stopping => "stopping",
        })
    }
}

/// Who is told the [`Status`], and how often.
#[derive(Clone)]
pub struct Watch {
    /// This often, and not between.
    pub every: Duration,
    /// Must not block.
    pub tell: Arc<dyn Fn(&Status) + Send + Sync>,
}

/// Counts bytes of payload.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) up: Cell<u64>,
    pub(crate) down: Cell<u64>,
}

impl Meter {
    pub(crate) fn add_up(&self, bytes: usize) {
        self.up.set(self.up.get() + bytes as u64);
    }

    pub(crate) fn add_down(&self, bytes: usize) {
        self.down.set(self.down.get() + bytes as u64);
    }
}
