//! Medians, percentiles and ratios.

/// Median with the extremes, so that a reader sees the spread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` for no values or a value that isn't a number.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, min: sorted[0], max: sorted[sorted.len() - 1] })
    }

    /// Ratios of values taken in the same round, so that whatever slowed the machine in a round slowed both.
    /// Rounds where either side is missing or the divisor is zero are left out.
    pub(crate) fn of_ratios(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Self> {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(theirs)
            .filter_map(|(ours, theirs)| match (ours, theirs) {
                (Some(ours), Some(theirs)) if *theirs != 0.0 => Some(ours / theirs),
                _ => None,
            })
            .collect();
        Self::of(&ratios)
    }
}

/// Nearest-rank percentile of sorted values: the smallest value with at least `percent` of all values at or below it.
pub(crate) fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    if sorted.is_empty() {
        return None;
    }
    let rank = (percent / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    Some(sorted[rank.min(sorted.len()) - 1])
}

/// The slowest one's part of an equal share: 1 is perfectly fair, 0 is starved.
pub(crate) fn fair_share(amounts: &[u64]) -> Option<f64> {
    let total: u64 = amounts.iter().sum();
    let least = amounts.iter().min()?;
    (total > 0).then(|| *least as f64 * amounts.len() as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        type Triple = (f64, f64, f64);
        let cases: [(&[f64], Option<Triple>); 5] = [
            (&[], None),
            (&[1.0, f64::NAN], None),
            (&[7.0], Some((7.0, 7.0, 7.0))),
            (&[3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0))),
            (&[4.0, 1.0, 2.0, 3.0], Some((2.5, 1.0, 4.0))),
        ];
        for (values, expected) in cases {
            let expected = expected.map(|(median, min, max)| Spread { median, min, max });
            assert_eq!(Spread::of(values), expected, "{values:?}");
        }
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        let cases: &[(&[u64], f64, Option<u64>)] = &[
            (&[], 50.0, None),
            (&[5], 0.0, Some(5)),
            (&[5], 99.0, Some(5)),
            (&[1, 2], 50.0, Some(1)),
            (&[1, 2, 3], 50.0, Some(2)),
            (&hundred, 50.0, Some(50)),
            (&hundred, 99.0, Some(99)),
            (&hundred, 99.1, Some(100)),
            (&hundred, 100.0, Some(100)),
        ];
        for (sorted, percent, expected) in cases {
            assert_eq!(percentile(sorted, *percent), *expected, "{percent} of {}", sorted.len());
        }
    }

    #[test]
    fn ratios_pair_rounds() {
        let ours = [Some(10.0), Some(30.0), None, Some(5.0)];
        let theirs = [Some(10.0), Some(10.0), Some(1.0), Some(0.0)];
        assert_eq!(Spread::of_ratios(&ours, &theirs), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of_ratios(&ours, &[]), None);
    }

    #[test]
    fn fairness() {
        let cases: &[(&[u64], Option<f64>)] =
            &[(&[], None), (&[0, 0], None), (&[5, 5], Some(1.0)), (&[0, 10], Some(0.0)), (&[1, 3], Some(0.5))];
        for (amounts, expected) in cases {
            assert_eq!(fair_share(amounts), *expected, "{amounts:?}");
        }
    }
}
