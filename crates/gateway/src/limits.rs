//! Rate, speed and concurrency limits that are shared between event loops without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The generic cell rate algorithm (ITU-T I.371), on nanoseconds since the gateway's start.
///
/// One atomic holds the theoretical arrival time of the next unit. Used for requests per second
/// (refuse what comes too early) and for bytes per second (delay it).
#[derive(Debug, Default)]
pub(crate) struct Gcra {
    theoretical_arrival: AtomicU64,
}

/// A rate as the GCRA sees it: what one unit costs and how far ahead the burst may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Nanoseconds a thousand units take: finer than one nanosecond a unit, for bytes.
    per_thousand: u64,
    /// Nanoseconds the arrival time may run ahead.
    tolerance: u64,
}

impl Pace {
    /// `rate` units per second, `burst` of them at once.
    pub(crate) fn new(rate: u64, burst: u64) -> Self {
        let per_thousand = (1_000_000_000_000 / rate.max(1)).max(1);
        Self { per_thousand, tolerance: cost(per_thousand, burst.max(1)) }
    }
}

impl Pace {
    /// The same burst, at `times` less than the rate.
    pub(crate) fn slowed(self, times: u64) -> Self {
        Self { per_thousand: self.per_thousand.saturating_mul(times), tolerance: self.tolerance.saturating_mul(times) }
    }
}

fn cost(per_thousand: u64, units: u64) -> u64 {
    u64::try_from(u128::from(per_thousand) * u128::from(units) / 1000).unwrap_or(u64::MAX)
}

impl Gcra {
    /// Takes one unit now, or tells how long to wait for it.
    pub(crate) fn take(&self, pace: Pace, now: u64) -> Result<(), Duration> {
        let step = cost(pace.per_thousand, 1);
        let mut seen = self.theoretical_arrival.load(Ordering::Relaxed);
        loop {
            let next = seen.max(now).saturating_add(step);
            let ahead = next - now;
            if ahead > pace.tolerance.max(step) {
                return Err(Duration::from_nanos(ahead - pace.tolerance.max(step)));
            }
            match self.theoretical_arrival.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }

    /// Charges units that were already used, and tells how long to pause to be on pace again.
    pub(crate) fn charge(&self, pace: Pace, units: u64, now: u64) -> Duration {
        let step = cost(pace.per_thousand, units);
        let mut seen = self.theoretical_arrival.load(Ordering::Relaxed);
        loop {
            let next = seen.max(now).saturating_add(step);
            match self.theoretical_arrival.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Duration::from_nanos((next - now).saturating_sub(pace.tolerance)),
                Err(other) => seen = other,
            }
        }
    }

    /// How many units could be taken now.
    pub(crate) fn remaining(&self, pace: Pace, now: u64) -> u64 {
        let ahead = self.theoretical_arrival.load(Ordering::Relaxed).saturating_sub(now);
        pace.tolerance.saturating_sub(ahead) / cost(pace.per_thousand, 1).max(1)
    }
}

impl Gcra {
    /// How long until a unit could be taken.
    pub(crate) fn wait(&self, pace: Pace, now: u64) -> Duration {
        let ahead = self.theoretical_arrival.load(Ordering::Relaxed).saturating_sub(now);
        Duration::from_nanos((ahead + cost(pace.per_thousand, 1)).saturating_sub(pace.tolerance))
    }

    /// Whether the whole burst is available again.
    pub(crate) fn at_rest(&self, pace: Pace, now: u64) -> bool {
        self.remaining(pace, now) * cost(pace.per_thousand, 1) >= pace.tolerance
    }
}

/// Takes one of `limit` slots; give it back with [`give_back`].
pub(crate) fn take_slot(slots: &AtomicU32, limit: u32) -> bool {
    slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < limit).then_some(used + 1)).is_ok()
}

/// Gives a slot back.
pub(crate) fn give_back(slots: &AtomicU32) {
    slots.fetch_sub(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let (gcra, pace) = (Gcra::default(), Pace::new(10, 5));
        assert_eq!(gcra.remaining(pace, SECOND), 5);
        for n in 0..5 {
            assert_eq!(gcra.take(pace, SECOND), Ok(()), "{n}");
        }
        assert_eq!(gcra.take(pace, SECOND), Err(Duration::from_millis(100)));
        assert_eq!(gcra.remaining(pace, SECOND), 0);
        assert_eq!(gcra.take(pace, SECOND + SECOND / 10), Ok(()));
        let passed = (0..1000u64).filter(|i| gcra.take(pace, 2 * SECOND + i * 10_000_000).is_ok()).count();
        assert!((100..=106).contains(&passed), "{passed} in ten seconds at 10/s, burst 5");
    }

    #[test]
    fn speed_is_paced_by_bytes() {
        let (gcra, pace) = (Gcra::default(), Pace::new(1_000_000, 100_000));
        assert_eq!(gcra.charge(pace, 100_000, SECOND), Duration::ZERO);
        assert_eq!(gcra.charge(pace, 500_000, SECOND), Duration::from_millis(500));
        // Faster than a byte a nanosecond still costs something.
        let fast = Pace::new(10_000_000_000, 1);
        assert_eq!(Gcra::default().charge(fast, 10_000_000_000, SECOND).as_millis(), 1000);
    }

    #[test]
    fn slots() {
        let slots = AtomicU32::new(0);
        assert!(take_slot(&slots, 2) && take_slot(&slots, 2) && !take_slot(&slots, 2));
        give_back(&slots);
        assert!(take_slot(&slots, 2));
    }
}
