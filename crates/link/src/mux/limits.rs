//! Limits: what one link may hold, and how it keeps time.

use std::time::Duration;

use crate::frame;

/// What a link may hold and how it keeps time. The defaults suit a gateway; a small device may say less.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most tunnels at once.
    pub max_tunnels: usize,
    /// Window a tunnel begins with while the budget is not scarce, in bytes.
    pub initial_window: u32,
    /// Window every tunnel is sure of, in bytes.
    pub floor_window: u32,
    /// Largest window of a tunnel, in bytes.
    pub max_window: u32,
    /// All windows of the link together, in bytes.
    pub receive_budget: usize,
    /// Written and unsent of one tunnel, in bytes.
    pub unsent_per_tunnel: usize,
    /// Written and unsent of all tunnels, in bytes.
    pub unsent_per_link: usize,
    /// Size a batch is filled up to, in bytes.
    pub batch: usize,
    /// Most of one tunnel in one turn of a batch, in bytes.
    pub quantum: usize,
    /// The exit pings this often.
    pub heartbeat: Duration,
    /// Silence that means the peer is dead.
    pub dead: Duration,
    /// Exits that the peer may offer and that nobody has looked at yet; none from an exit.
    pub offers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_tunnels: 4096,
            initial_window: 32 * 1024,
            floor_window: 4 * 1024,
            max_window: 1024 * 1024,
            receive_budget: 32 * 1024 * 1024,
            unsent_per_tunnel: 128 * 1024,
            unsent_per_link: 8 * 1024 * 1024,
            batch: 64 * 1024,
            quantum: 32 * 1024,
            heartbeat: Duration::from_secs(3),
            dead: Duration::from_secs(9),
            offers: 0,
        }
    }
}

impl Limits {
    /// Frames in flight let the exit see a tunnel open before another one's end: it tolerates this many more.
    pub(super) const SLACK: usize = 64;

    /// Makes the numbers fit each other: a budget that covers every floor, windows in order.
    #[must_use]
    pub fn consistent(mut self) -> Limits {
        self.max_tunnels = self.max_tunnels.clamp(1, 1 << 20);
        self.floor_window = self.floor_window.clamp(1024, 1 << 20);
        self.initial_window = self.initial_window.clamp(self.floor_window, 1 << 24);
        self.max_window = self.max_window.clamp(self.initial_window, 1 << 24);
        let floors = (self.max_tunnels + Limits::SLACK) * self.floor_window as usize;
        self.receive_budget = self.receive_budget.max(floors + self.initial_window as usize);
        self.quantum = self.quantum.clamp(1024, frame::MAX_DATA);
        self.batch = self.batch.clamp(self.quantum, 256 * 1024);
        self.unsent_per_tunnel = self.unsent_per_tunnel.max(self.quantum);
        self.unsent_per_link = self.unsent_per_link.max(self.unsent_per_tunnel);
        self
    }
}
