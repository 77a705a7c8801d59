//! What the gateway carries at once, over all event loops: requests and tunnels in flight, and memory. Over a bound new work
//! is refused; what runs goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outgate_faults::{Fault, raise};
use outgate_meter::Room;
use tokio::time::{MissedTickBehavior, interval};

use crate::gateway::Gateway;
use crate::gauges::room;
use crate::memory;
use crate::settings::{Limits, MemoryBound};

/// When to come back while memory is short: what holds it ends by idle deadlines, not within the second or two in which a
/// connection ends.
const MEMORY_WAIT: Duration = Duration::from_secs(10);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// No bound.
const UNBOUNDED: u64 = u64::MAX;

/// The gateway's load and its bounds.
pub(crate) struct Load {
    in_flight: AtomicUsize,
    most: AtomicUsize,
    /// Bytes; [`UNBOUNDED`] for none.
    memory: AtomicU64,
    short: AtomicBool,
    strain: Mutex<Strain>,
}

/// Keeps looking at the gateway's memory, until the event loop ends.
pub(crate) async fn watch(gateway: Arc<Gateway>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        gateway.load.look(gateway.places.taken());
    }
}

/// One request or tunnel in flight; it is over when this drops.
pub(crate) struct Carried(Arc<Load>);

impl Load {
    /// An idle gateway under these bounds.
    pub(crate) fn new(limits: &Limits) -> Self {
        let load = Self {
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            memory: AtomicU64::new(UNBOUNDED),
            short: AtomicBool::new(false),
            strain: Mutex::default(),
        };
        load.bound(limits);
        // Before the first connection, so that a bound that is too low shows at once.
        load.look(0);
        load
    }

    /// Sets the bounds. What is over them already goes on.
    pub(crate) fn bound(&self, limits: &Limits) {
        let memory = match limits.memory {
            MemoryBound::Bytes(bytes) => bytes,
            MemoryBound::Available => memory::available().map_or(UNBOUNDED, |bytes| bytes / 10 * 9),
            MemoryBound::Off => UNBOUNDED,
        };
        self.memory.store(memory, Relaxed);
        self.most.store(limits.tunnels, Relaxed);
    }

    /// Takes up one more request or tunnel.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Carried, Fault> {
        let most = self.most.load(Relaxed);
        let took = self.in_flight.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1));
        took.map(|_| Carried(self.clone())).map_err(|_| raise::overloaded("too many requests and tunnels at once"))
    }

    /// Requests and tunnels in flight.
    pub(crate) fn room(&self) -> Room {
        room(self.in_flight.load(Relaxed), self.most.load(Relaxed))
    }

    /// Resident memory; zero on a system that does not say.
    pub(crate) fn memory(&self) -> Room {
        let bound = self.memory.load(Relaxed);
        Room { taken: memory::resident().unwrap_or(0), bound: (bound != UNBOUNDED).then_some(bound) }
    }

    /// Refuses what is new while memory is short.
    pub(crate) fn refuse_when_short(&self) -> Result<(), Fault> {
        match self.short.load(Relaxed) {
            true => Err(raise::overloaded("memory is short").with_retry_after(MEMORY_WAIT)),
            false => Ok(()),
        }
    }

    /// Looks at the process's memory, with so many connections open.
    fn look(&self, connections: usize) {
        let bound = self.memory.load(Relaxed);
        let resident = if bound == UNBOUNDED { 0 } else { memory::resident().unwrap_or(0) };
        let short = self.strain.lock().unwrap_or_else(PoisonError::into_inner).judge(resident, bound, connections);
        if self.short.swap(short, Relaxed) != short {
            match short {
                true => tracing::warn!(resident, bound, connections, "memory is short: new connections and requests are refused"),
                false => tracing::info!(resident, bound, connections, "memory suffices again"),
            }
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Whether memory is short, told so that it does not flap.
///
/// It is short from the bound on, and until a sixteenth below it is reached again. But an allocator gives pages back late or
/// never: what ended connections held is free inside the process, and resident all the same. So once half of the connections
/// are gone the rest may grow back into that, as long as what is resident does not grow with them.
#[derive(Debug, Default)]
struct Strain {
    short: bool,
    /// Connections when it became short.
    connections: usize,
    /// What was resident when it was let off for connections that went.
    let_off: u64,
}

impl Strain {
    fn judge(&mut self, resident: u64, bound: u64, connections: usize) -> bool {
        let slack = bound / 16;
        if resident < bound - slack {
            *self = Self::default();
        } else if self.short && resident <= bound.saturating_add(slack) && connections <= self.connections / 2 {
            (self.short, self.let_off) = (false, resident);
        } else if !self.short && resident >= bound && resident > self.let_off.saturating_add(slack / 4) {
            (self.short, self.connections) = (true, connections);
        }
        self.short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_is_bounded_and_a_new_bound_holds_at_once() {
        let limits = |tunnels| Limits { tunnels, memory: MemoryBound::Off, ..Limits::default() };
        let load = Arc::new(Load::new(&limits(2)));
        let (first, second) = (load.take().unwrap(), load.take().unwrap());
        let fault = load.take().err().expect("two are all there may be");
        assert!(fault.sentence().contains("too many requests and tunnels") && fault.retry_after().is_some(), "{fault}");
        load.bound(&limits(1));
        drop(first);
        assert!(load.take().is_err(), "the one that is left is as many as may be now");
        drop(second);
        assert!(load.take().is_ok());
    }

    #[test]
    fn memory_is_short_without_flapping() {
        // Resident, connections, whether it is short then; the bound is 1600, so the slack is 100.
        let table = [
            (1000, 10, false),
            (1599, 100, false),
            (1600, 100, true),
            (1580, 100, true),
            (1501, 51, true),
            (1499, 100, false),
            (1599, 100, false),
            // Half of the connections went and the allocator gave nothing back.
            (1650, 100, true),
            (1650, 51, true),
            (1650, 50, false),
            (1670, 90, false),
            (1676, 90, true),
            (1701, 0, true),
            (1700, 0, false),
            (1700, 50, false),
            (1400, 50, false),
            (1600, 0, true),
        ];
        let mut strain = Strain::default();
        for (row, (resident, connections, short)) in table.into_iter().enumerate() {
            assert_eq!(strain.judge(resident, 1600, connections), short, "row {row}: {strain:?}");
        }
    }
}
