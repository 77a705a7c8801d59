//! What is usual at an hour: the median of the same hour of the days before.

use jiff::Timestamp;

use crate::history::{Bucket, Grain, History, Latency};

/// Days that are looked back.
const DAYS: i64 = 7;
/// Fewer of them with something in that hour make no usual value.
const LEAST_DAYS: usize = 3;
/// Fewer requests in an hour say nothing of its day.
const LEAST_REQUESTS: u64 = 200;

/// What is usual at one hour.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Usual {
    /// The part of requests that fail.
    pub(crate) errors: Option<f64>,
    /// The median answer, in seconds.
    pub(crate) answer: Option<f64>,
}

/// What is usual at the hour of `now`, for one pool or all.
pub(crate) fn usual(history: &History, now: Timestamp, pool: Option<&str>) -> Usual {
    let hour = Grain::Hour.start(now).as_second();
    let buckets = history.buckets(Grain::Hour);
    let same_hour = (1..=DAYS).filter_map(|day| {
        let start = hour - day * 86_400;
        buckets.binary_search_by_key(&start, |bucket| bucket.start.as_second()).ok().map(|at| &buckets[at])
    });
    let days: Vec<(f64, Option<Latency>)> = same_hour.filter_map(|bucket| of(bucket, pool)).collect();
    Usual {
        errors: median(days.iter().map(|(rate, _)| *rate).collect()),
        answer: median(days.iter().filter_map(|(_, answer)| Some(answer.as_ref()?.p50)).collect()),
    }
}

fn of(bucket: &Bucket, pool: Option<&str>) -> Option<(f64, Option<Latency>)> {
    let (failed, rate, answer) = match pool {
        None => (bucket.failed, bucket.error_rate()?, bucket.answer),
        Some(pool) => {
            let bucket = bucket.pool(pool)?;
            (bucket.failed, bucket.error_rate()?, bucket.answer)
        }
    };
    let asked = failed + answer.map_or(0, |answer| answer.count);
    (asked >= LEAST_REQUESTS).then_some((rate, answer))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.len() < LEAST_DAYS {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
}

#[cfg(test)]
mod tests {
    use outgate_faults::Slug;
    use outgate_meter::Histogram;

    use super::*;
    use crate::slice::{Counts, Slice};

    /// An hour of a thousand requests of which this part failed.
    fn hour(start: i64, failed: u64, answer: u64) -> Bucket {
        let mut slice = Slice::default();
        let mut histogram = Histogram::default();
        (0..1000 - failed).for_each(|_| histogram.add(std::time::Duration::from_millis(answer)));
        slice.all.counts = Counts { answered: 1000 - failed, errors: vec![(Slug::TargetReset, failed)] };
        slice.all.answer = histogram;
        slice.bucket(Timestamp::from_second(start).unwrap())
    }

    #[test]
    fn the_same_hour_of_the_days_before_and_no_other() {
        let now = Timestamp::from_second(100 * 86_400 + 9 * 3600 + 1234).unwrap();
        let mut history = History::default();
        // Rates of ten days, oldest first; the three oldest are too old, and the other hours are quite different.
        for (day, failed) in [500, 500, 500, 10, 20, 120, 30, 20, 120, 40].into_iter().enumerate() {
            let midnight = (90 + day as i64) * 86_400;
            history.push(Grain::Hour, hour(midnight + 8 * 3600, 900, 9000));
            history.push(Grain::Hour, hour(midnight + 9 * 3600, failed, 100));
            history.push(Grain::Hour, hour(midnight + 10 * 3600, 900, 9000));
        }
        let usual = usual(&history, now, None);
        assert_eq!(usual.errors, Some(0.03));
        assert!((0.09..0.11).contains(&usual.answer.unwrap()), "{usual:?}");
    }

    #[test]
    fn too_few_days_or_requests_make_no_usual_value() {
        let now = Timestamp::from_second(100 * 86_400).unwrap();
        let mut history = History::default();
        history.push(Grain::Hour, hour(98 * 86_400, 10, 100));
        history.push(Grain::Hour, hour(99 * 86_400, 10, 100));
        assert_eq!(usual(&history, now, None), Usual::default());
        assert_eq!(usual(&history, now, Some("residential")), Usual::default());
    }
}
