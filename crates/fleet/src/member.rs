//! One exit as the picks see it: atomics that any event loop may read and change at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use outgate_store::{ExitId, PoolName};

use crate::health::{HealthSettings, Window};

/// A whole slow start; an effective weight is a weight times this much of it.
pub(crate) const FULL: u64 = 256;
/// An exit that was just let back takes at least a tenth of its share, or it would prove nothing.
const FIRST_SHARE: u64 = 26;

/// What is counted of one exit of one pool. It outlives the exit's links, so that a new link starts with the old one's record.
///
/// What a pick looks at comes first, on one line of the cache.
#[repr(C, align(64))]
pub(crate) struct Member {
    pub(crate) weight: AtomicU32,
    /// Most tunnels at once; `u32::MAX` is no cap.
    pub(crate) cap: AtomicU32,
    /// Tunnels open and being set up.
    pub(crate) load: AtomicU32,
    /// When its slow start began; 0 is none.
    pub(crate) slow_from: AtomicU64,
    /// When an active check is due; a delivery in between sets it forward.
    pub(crate) check_at: AtomicU64,
    /// An active check is under way.
    pub(crate) checking: AtomicBool,
    /// Failures since the last success.
    pub(crate) failures: AtomicU32,
    /// Active checks that failed since the last one that did not.
    pub(crate) failed_checks: AtomicU32,
    pub(crate) window: Window,
    /// Stands for the id where there is little room.
    pub(crate) number: u32,
    pub(crate) id: ExitId,
    pub(crate) pool: PoolName,
}

impl Member {
    pub(crate) fn new(id: ExitId, pool: PoolName, number: u32) -> Self {
        Self {
            id,
            pool,
            number,
            weight: AtomicU32::new(1),
            cap: AtomicU32::new(u32::MAX),
            load: AtomicU32::new(0),
            slow_from: AtomicU64::new(0),
            check_at: AtomicU64::new(0),
            checking: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            failed_checks: AtomicU32::new(0),
            window: Window::default(),
        }
    }

    /// Its weight for a pick at `now`: the operator's, times how far its slow start has come.
    pub(crate) fn effective_weight(&self, now: u64, health: &HealthSettings) -> u64 {
        let share = match self.slow_from.load(Relaxed) {
            0 => FULL,
            from => match now.saturating_sub(from) {
                passed if passed >= health.slow_start => FULL,
                passed => (u128::from(passed) * u128::from(FULL) / u128::from(health.slow_start.max(1))) as u64,
            },
        };
        u64::from(self.weight.load(Relaxed).max(1)) * share.max(FIRST_SHARE)
    }

    /// Whether it was let back not long ago.
    pub(crate) fn starts_slowly(&self, now: u64, health: &HealthSettings) -> bool {
        let from = self.slow_from.load(Relaxed);
        from != 0 && now.saturating_sub(from) < health.slow_start
    }

    pub(crate) fn is_full(&self) -> bool {
        self.load.load(Relaxed) >= self.cap.load(Relaxed)
    }
}

/// A link of an exit, and how many leases go through it.
pub(crate) struct Seat<L> {
    pub(crate) number: u64,
    pub(crate) open: AtomicU32,
    /// Most tunnels the link itself carries.
    pub(crate) room: u32,
    /// Its end was already counted against the exit: it took many tunnels with it, but it was one event.
    pub(crate) lost: AtomicBool,
    pub(crate) handle: L,
}

/// The right to one tunnel through one link of an exit. It counts in the exit's load until it drops, so that picks at the
/// same time see each other.
pub struct Lease<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) seat: Arc<Seat<L>>,
}

impl<L> Lease<L> {
    /// Within the exit's cap and the link's room, or not at all.
    pub(crate) fn take(member: &Arc<Member>, seat: &Arc<Seat<L>>) -> Option<Self> {
        count_below(&member.load, member.cap.load(Relaxed))?;
        if count_below(&seat.open, seat.room).is_none() {
            member.load.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self { member: member.clone(), seat: seat.clone() })
    }

    /// Whatever the caps: a check must get through a full exit too.
    pub(crate) fn take_beyond(member: &Arc<Member>, seat: &Arc<Seat<L>>) -> Self {
        member.load.fetch_add(1, Relaxed);
        seat.open.fetch_add(1, Relaxed);
        Self { member: member.clone(), seat: seat.clone() }
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.seat.handle
    }

    /// The exit.
    pub fn exit(&self) -> &ExitId {
        &self.member.id
    }

    /// Tunnels of this exit, open and being set up, this one included.
    pub fn load(&self) -> u32 {
        self.member.load.load(Relaxed)
    }
}

impl<L> Drop for Lease<L> {
    fn drop(&mut self) {
        self.member.load.fetch_sub(1, Relaxed);
        self.seat.open.fetch_sub(1, Relaxed);
    }
}

fn count_below(counter: &AtomicU32, most: u32) -> Option<u32> {
    counter.fetch_update(Relaxed, Relaxed, |count| (count < most).then(|| count + 1)).ok()
}
