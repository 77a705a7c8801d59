//! How values are spread: counts in buckets whose width grows with the value, so that every percentile is within 3 %.

/// Each doubling of the value has so many buckets.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.ilog2();

/// Counted values. Only buckets that have something take room.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    buckets: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
    most: u64,
}

impl Spread {
    pub(crate) fn add(&mut self, value: u64) {
        self.add_to(bucket(value), 1);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.most = self.most.max(value);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        other.buckets.iter().for_each(|(bucket, count)| self.add_to(*bucket, *count));
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.most = self.most.max(other.most);
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The average; none of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The value that a part of all (0 to 1) does not exceed, within 3 %; none of nothing.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let rank = (part.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += count;
            if below >= rank {
                return Some(upper(*bucket).min(self.most));
            }
        }
        None
    }
}

/// Values below 32 have a bucket each, all others 32 between one power of two and the next.
fn bucket(value: u64) -> u16 {
    let exponent = (value | 1).ilog2();
    if exponent <= STEP_BITS {
        return value as u16;
    }
    let shift = exponent - STEP_BITS;
    (u64::from(shift) * STEPS + (value >> shift)) as u16
}

/// The largest value of a bucket.
fn upper(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket / STEPS).saturating_sub(1);
    if shift == 0 {
        return bucket;
    }
    let first = bucket - shift * STEPS;
    (u128::from(first + 1) << shift).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_within_its_bucket_and_buckets_are_narrow() {
        let mut values: Vec<u64> = (0..100_000).collect();
        values.extend((0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        values.push(u64::MAX);
        values.sort_unstable();
        let mut before = 0;
        for value in values {
            let bucket = bucket(value);
            assert!(bucket >= before, "{value}");
            before = bucket;
            assert!(upper(bucket) >= value, "{value}: {}", upper(bucket));
            assert!((upper(bucket) - value) as f64 <= value as f64 / STEPS as f64, "{value}: {}", upper(bucket));
        }
    }

    #[test]
    fn percentiles_of_halves_that_are_merged_are_those_of_all() {
        let (mut all, mut odd, mut even) = (Spread::default(), Spread::default(), Spread::default());
        for value in 1..=1000 {
            all.add(value * 1000);
            if value % 2 == 0 { &mut even } else { &mut odd }.add(value * 1000);
        }
        odd.merge(&even);
        assert_eq!(all, odd);
        for (part, exact) in [(0.0, 1e3), (0.5, 5e5), (0.9, 9e5), (0.99, 9.9e5), (1.0, 1e6)] {
            let found = all.quantile(part).unwrap() as f64;
            assert!((found - exact).abs() <= exact * 0.032, "{part}: {found}");
        }
        assert_eq!((all.mean(), all.most(), all.count()), (Some(500_500.0), 1_000_000, 1000));
        assert_eq!((Spread::default().quantile(0.5), Spread::default().mean()), (None, None));
    }
}
