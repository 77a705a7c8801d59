//! Durations, counted in fixed buckets: cheap to add to, to merge, to subtract and to ask for a percentile.

use std::time::Duration;

/// Buckets of 1 µs each that the first decade consists of.
const FIRST: usize = 10;
/// Buckets of each decade that follows: ten from 1 to 2, twelve from 2 to 5, ten from 5 to 10. So a bucket is at most an eighth
/// of its lower bound wide, and 1, 2, 2.5 and 5 of every decade are bounds themselves: thresholds lie on them.
const PER_DECADE: usize = 32;
/// Decades after the first: up to 10^9 µs, a quarter of an hour.
const DECADES: usize = 8;
/// All buckets; one more takes what is longer.
const BUCKETS: usize = FIRST + DECADES * PER_DECADE;

/// How many durations fell into each of a fixed set of buckets, to the microsecond, and their sum.
///
/// A bucket holds what is longer than its lower bound and at most its upper bound, as Prometheus has it. An empty one takes
/// no memory, a used one at most 2.2 KB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Up to the last bucket that something fell into.
    buckets: Vec<u64>,
    count: u64,
    /// In microseconds.
    sum: u64,
}

impl Histogram {
    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = bucket(micros);
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(micros);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum)
    }

    /// The mean, if there is anything.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count).map(Duration::from_micros)
    }

    /// The duration that a part of them, from 0 to 1, is not longer than: `quantile(0.99)` is the 99th percentile. Right to a
    /// bucket's width, which is an eighth of it at most; inside a bucket they are taken to lie evenly.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = part.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0_u64;
        for (at, &here) in self.buckets.iter().enumerate().filter(|(_, here)| **here > 0) {
            if (below + here) as f64 >= rank {
                let (from, to) = bounds(at);
                let share = ((rank - below as f64) / here as f64).clamp(0.0, 1.0);
                return Some(Duration::from_micros(from + ((to - from) as f64 * share) as u64));
            }
            below += here;
        }
        None
    }

    /// How many are not longer than a bound. Exact for 1, 2, 2.5 and 5 of every decade of microseconds; another bound counts as
    /// the next higher one that a bucket has.
    pub fn at_most(&self, bound: Duration) -> u64 {
        let last = bucket(u64::try_from(bound.as_micros()).unwrap_or(u64::MAX));
        self.buckets.iter().take(last + 1).sum()
    }

    /// How many are longer than a bound, which is taken as by [`Histogram::at_most`].
    pub fn above(&self, bound: Duration) -> u64 {
        self.count - self.at_most(bound)
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (here, there) in self.buckets.iter_mut().zip(&other.buckets) {
            *here += there;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// What was counted since `earlier`, an older state of the same histogram.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets: Vec<u64> = self.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
        Histogram::of(buckets, self.sum.saturating_sub(earlier.sum))
    }

    /// What it consists of, to be kept somewhere: the sum in microseconds, and every bucket that is not empty with its number.
    /// [`Histogram::from_parts`] takes it back.
    pub fn parts(&self) -> (u64, impl Iterator<Item = (u16, u64)>) {
        let used = self.buckets.iter().enumerate().filter(|(_, here)| **here > 0);
        (self.sum, used.map(|(at, here)| (at as u16, *here)))
    }

    /// The histogram with these parts. A bucket that does not exist counts as the longest.
    pub fn from_parts(sum: u64, used: impl IntoIterator<Item = (u16, u64)>) -> Histogram {
        let mut buckets = Vec::new();
        for (at, here) in used {
            let at = usize::from(at).min(BUCKETS);
            if at >= buckets.len() {
                buckets.resize(at + 1, 0);
            }
            buckets[at] = here;
        }
        Histogram::of(buckets, sum)
    }

    fn of(mut buckets: Vec<u64>, sum: u64) -> Histogram {
        let used = buckets.iter().rposition(|here| *here > 0).map_or(0, |last| last + 1);
        buckets.truncate(used);
        Histogram { count: buckets.iter().sum(), buckets, sum }
    }
}

/// The bucket of so many microseconds.
fn bucket(micros: u64) -> usize {
    // A bound belongs to the bucket below it.
    let micros = micros.saturating_sub(1);
    if micros < FIRST as u64 {
        return micros as usize;
    }
    let decade = micros.ilog10() as usize;
    if decade > DECADES {
        return BUCKETS;
    }
    // From 100 to 999. The first decades have fewer digits than that.
    let digits = match decade {
        0 | 1 => micros * 10,
        _ => micros / 10_u64.pow(decade as u32 - 2),
    };
    let step = match digits {
        ..200 => (digits - 100) / 10,
        200..500 => 10 + (digits - 200) / 25,
        _ => 22 + (digits - 500) / 50,
    };
    FIRST + (decade - 1) * PER_DECADE + step as usize
}

/// The bounds of a bucket, in microseconds. The last one has no upper bound of its own: it is taken for empty.
fn bounds(bucket: usize) -> (u64, u64) {
    (lower(bucket), if bucket >= BUCKETS { lower(BUCKETS) } else { lower(bucket + 1) })
}

fn lower(bucket: usize) -> u64 {
    let Some(after) = bucket.checked_sub(FIRST) else { return bucket as u64 };
    let (decade, step) = (after / PER_DECADE + 1, (after % PER_DECADE) as u64);
    let digits = match step {
        ..10 => 100 + step * 10,
        10..22 => 200 + (step - 10) * 25,
        _ => 500 + (step - 22) * 50,
    };
    // In the decade from 10 µs on some bounds are no whole microseconds; what is whole lies on the same side of both.
    digits * 10_u64.pow(decade as u32) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn every_duration_lies_within_the_bounds_of_its_bucket() {
        let mut looked = 0;
        let mut value = 1_u64;
        while value < 1_000_000_000 {
            for near in [value - 1, value, value + 1] {
                let at = bucket(near);
                let (from, to) = bounds(at);
                // Below 100 µs a bound may be a fraction that was cut off.
                let from = if near < 100 { from.saturating_sub(1) } else { from };
                assert!(
                    (from < near || near == 0) && near <= to.max(1) + u64::from(near < 100),
                    "{near}: {at} is {from} to {to}"
                );
                looked += 1;
            }
            value += 1 + value / 97;
        }
        assert!(looked > 1000);
        assert_eq!(bucket(1_000_000_000), BUCKETS - 1);
        assert_eq!(bucket(1_000_000_001), BUCKETS);
        assert_eq!(bucket(u64::MAX), BUCKETS);
    }

    #[test]
    fn buckets_are_in_order_and_narrow() {
        for at in 1..BUCKETS {
            let (from, to) = bounds(at);
            assert_eq!(from, bounds(at - 1).1);
            assert!(from <= to && (from < 20 || (to - from) * 8 <= from + 8), "{at}: {from} to {to}");
        }
    }

    #[test]
    fn round_numbers_are_bounds() {
        for (bound, longer) in
            [(200_000, 200_001), (500_000, 500_001), (2_000_000, 2_000_001), (2_500, 2_501), (5_000_000, 5_000_001)]
        {
            let mut histogram = Histogram::default();
            histogram.add(micros(bound));
            histogram.add(micros(longer));
            assert_eq!(histogram.at_most(micros(bound)), 1, "{bound}");
        }
    }

    #[test]
    fn quantiles_and_mean_are_near_the_truth() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.mean(), histogram.quantile(0.5)), (None, None));
        for n in 1..=10_000_u64 {
            histogram.add(micros(n * 37));
        }
        assert_eq!(histogram.mean(), Some(micros(37 * 10_001 / 2)));
        for part in [0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (truth, told) = (part * 370_000.0, histogram.quantile(part).unwrap().as_micros() as f64);
            assert!((told - truth).abs() <= truth / 8.0, "{part}: {told} instead of {truth}");
        }
    }

    #[test]
    fn what_is_longer_than_all_buckets_counts_as_their_end() {
        let mut histogram = Histogram::default();
        histogram.add(Duration::MAX);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_secs(1000)));
        histogram.add(Duration::MAX);
        assert_eq!(histogram.count(), 2);
    }

    #[test]
    fn merging_and_subtracting_undo_each_other() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.add(micros(5));
        one.add(micros(70_000));
        other.add(micros(3_000_000));
        let before = one.clone();
        one.merge(&other);
        assert_eq!(one.count(), 3);
        assert_eq!(one.since(&before), other);
        assert_eq!(one.since(&other), before);
        assert_eq!(one.since(&one), Histogram::default());
    }

    #[test]
    fn parts_make_the_whole() {
        let mut histogram = Histogram::default();
        for n in [1, 1, 900, 20_000_000, u64::MAX / 2] {
            histogram.add(micros(n));
        }
        let (sum, parts) = histogram.parts();
        assert_eq!(Histogram::from_parts(sum, parts), histogram);
        assert_eq!(Histogram::from_parts(0, [(u16::MAX, 3)]).count(), 3);
    }
}
