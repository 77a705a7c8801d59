//! The time a set-up takes in a pool: an estimate of its 95th percentile, learned from every one that succeeds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Before anything was learned: nearly every target in the world is reached within this.
const AT_FIRST: u64 = 1_000_000;
/// Below it there is no telling a slow exit from a busy moment.
const LEAST: u64 = 100_000;
/// A set-up budget has room for several of these.
const MOST: u64 = 4_000_000;

/// The estimate, in microseconds.
///
/// It goes up by 19 parts for a sample above it and down by one for a sample below, so it rests where 19 of 20 are below.
pub(crate) struct Delay(AtomicU64);

impl Delay {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(AT_FIRST))
    }

    pub(crate) fn learn(&self, nanos: u64) {
        let sample = nanos / 1_000;
        let step = |estimate: u64| {
            let part = (estimate / 80).max(1);
            Some(if sample > estimate { estimate + 19 * part } else { estimate - part }.clamp(1_000, 2 * MOST))
        };
        // The closure always returns a value, so this never fails.
        let _always = self.0.fetch_update(Relaxed, Relaxed, step);
    }

    /// How long to wait before a second try, in nanoseconds.
    pub(crate) fn nanos(&self) -> u64 {
        self.0.load(Relaxed).clamp(LEAST, MOST) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_where_nineteen_of_twenty_are_below() {
        let (delay, mut seed) = (Delay::new(), 7u64);
        // Uniform between 0 and 2 s: the 95th percentile is 1.9 s.
        let mut sum = 0;
        for round in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            delay.learn((seed >> 33) % 2_000_000_000);
            if round >= 10_000 {
                sum += delay.nanos() / 1_000_000;
            }
        }
        let mean = sum / 10_000;
        assert!((1_700..2_100).contains(&mean), "{mean} ms");
    }

    #[test]
    fn stays_within_its_bounds() {
        let delay = Delay::new();
        assert_eq!(delay.nanos(), 1_000_000_000);
        for _ in 0..2_000 {
            delay.learn(10_000);
        }
        assert_eq!(delay.nanos(), LEAST * 1_000);
        for _ in 0..2_000 {
            delay.learn(u64::MAX);
        }
        assert_eq!(delay.nanos(), MOST * 1_000);
        for _ in 0..2_000 {
            delay.learn(300_000_000);
        }
        assert!((250..400).contains(&(delay.nanos() / 1_000_000)), "{}", delay.nanos());
    }
}
