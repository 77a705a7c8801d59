//! What happened, in buckets of ten seconds, minutes and hours: what pages draw, and what the usual value at an hour is.

use std::collections::VecDeque;

use jiff::Timestamp;
use outgate_faults::Slug;
use serde::{Deserialize, Serialize};

use crate::slugs;

/// How wide a bucket is, and how many are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grain {
    /// 10 s, for an hour.
    TenSeconds,
    /// A minute, for a day.
    Minute,
    /// An hour, for 35 days.
    Hour,
}

impl Grain {
    /// Every grain, finest first.
    pub const ALL: [Grain; 3] = [Grain::TenSeconds, Grain::Minute, Grain::Hour];

    /// Seconds of one bucket.
    pub fn seconds(self) -> i64 {
        match self {
            Grain::TenSeconds => 10,
            Grain::Minute => 60,
            Grain::Hour => 3600,
        }
    }

    /// Buckets that are kept.
    pub fn kept(self) -> usize {
        match self {
            Grain::TenSeconds => 360,
            Grain::Minute => 1440,
            Grain::Hour => 35 * 24,
        }
    }

    /// The beginning of the bucket that a moment is in.
    pub(crate) fn start(self, at: Timestamp) -> Timestamp {
        let start = at.as_second().div_euclid(self.seconds()) * self.seconds();
        Timestamp::from_second(start).unwrap_or(at)
    }
}

/// What happened in one stretch of time. Buckets in which nothing was watched are missing, not empty.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bucket {
    /// When it began.
    pub start: Timestamp,
    /// Requests that ended.
    pub requests: u64,
    /// Those of them that failed by no fault of their sender's; see [`crate::counts_against_us`].
    pub failed: u64,
    /// Every fault that occurred and how often, most frequent first. The rest went well.
    #[serde(with = "slugs")]
    pub faults: Vec<(Slug, u64)>,
    /// Bytes towards targets.
    pub bytes_up: u64,
    /// Bytes towards clients.
    pub bytes_down: u64,
    /// How long answers took from a request's complete head on: a tunnel's 200, the head of a target's response. Its count is that
    /// of the answers.
    pub answer: Option<Latency>,
    /// Median of name resolutions, in seconds.
    pub dns: Option<f64>,
    /// Median of connecting to targets, in seconds.
    pub connect: Option<f64>,
    /// Median of clients' TLS handshakes, in seconds.
    pub tls: Option<f64>,
    /// Median of waiting for the first byte, in seconds.
    pub first_byte: Option<f64>,
    /// The most requests and tunnels in flight at once.
    pub in_flight: u64,
    /// By pool, in the order of their names.
    pub pools: Vec<PoolBucket>,
}

/// One pool in a bucket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolBucket {
    /// Its name.
    pub pool: String,
    /// Requests that ended.
    pub requests: u64,
    /// Those of them that failed by no fault of their sender's.
    pub failed: u64,
    /// How long answers took.
    pub answer: Option<Latency>,
    /// Its exits that were connected, at the end.
    pub exits: u64,
}

impl Bucket {
    /// The part of what could have been answered that failed, if there was anything.
    pub fn error_rate(&self) -> Option<f64> {
        rate(self.failed, self.answer)
    }

    /// The bucket of one pool.
    pub fn pool(&self, pool: &str) -> Option<&PoolBucket> {
        self.pools.iter().find(|bucket| bucket.pool == pool)
    }

    /// Adds another part of the same stretch of time: before and after a restart. Percentiles are then those of the parts, weighted.
    fn absorb(&mut self, later: &Bucket) {
        let weighted = |here: Option<f64>, there: Option<f64>| match (here, there) {
            (Some(here), Some(there)) => Some((here + there) / 2.0),
            (one, other) => one.or(other),
        };
        self.answer = Latency::merged(self.answer, later.answer);
        (self.dns, self.connect) = (weighted(self.dns, later.dns), weighted(self.connect, later.connect));
        (self.tls, self.first_byte) = (weighted(self.tls, later.tls), weighted(self.first_byte, later.first_byte));
        self.requests += later.requests;
        self.failed += later.failed;
        self.bytes_up += later.bytes_up;
        self.bytes_down += later.bytes_down;
        self.in_flight = self.in_flight.max(later.in_flight);
        for (slug, count) in &later.faults {
            match self.faults.iter_mut().find(|(known, _)| known == slug) {
                Some((_, sum)) => *sum += count,
                None => self.faults.push((*slug, *count)),
            }
        }
        self.faults.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for pool in &later.pools {
            match self.pools.iter_mut().find(|known| known.pool == pool.pool) {
                Some(known) => {
                    known.answer = Latency::merged(known.answer, pool.answer);
                    known.requests += pool.requests;
                    known.failed += pool.failed;
                    known.exits = pool.exits;
                }
                None => self.pools.push(pool.clone()),
            }
        }
        self.pools.sort_by(|one, other| one.pool.cmp(&other.pool));
    }
}

impl PoolBucket {
    /// The part of what could have been answered that failed, if there was anything.
    pub fn error_rate(&self) -> Option<f64> {
        rate(self.failed, self.answer)
    }
}

fn rate(failed: u64, answer: Option<Latency>) -> Option<f64> {
    let asked = failed + answer.map_or(0, |answer| answer.count);
    (asked > 0).then(|| failed as f64 / asked as f64)
}

/// A distribution of durations, in seconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Latency {
    fn merged(one: Option<Latency>, other: Option<Latency>) -> Option<Latency> {
        let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
        let count = one.count + other.count;
        let weighted = |here: f64, there: f64| (here * one.count as f64 + there * other.count as f64) / count.max(1) as f64;
        Some(Latency {
            count,
            mean: weighted(one.mean, other.mean),
            p50: weighted(one.p50, other.p50),
            p95: weighted(one.p95, other.p95),
            p99: weighted(one.p99, other.p99),
        })
    }
}

/// The buckets that are over, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    fine: VecDeque<Bucket>,
    minutes: VecDeque<Bucket>,
    hours: VecDeque<Bucket>,
}

impl History {
    /// The buckets of one grain, oldest first.
    pub fn buckets(&self, grain: Grain) -> &VecDeque<Bucket> {
        match grain {
            Grain::TenSeconds => &self.fine,
            Grain::Minute => &self.minutes,
            Grain::Hour => &self.hours,
        }
    }

    /// The buckets of one grain that began at `since` or later, oldest first.
    pub fn since(&self, grain: Grain, since: Timestamp) -> impl Iterator<Item = &Bucket> {
        let buckets = self.buckets(grain);
        let first = buckets.partition_point(|bucket| bucket.start < since);
        buckets.range(first..)
    }

    /// Adds a bucket that is over; the oldest goes when there are too many.
    pub(crate) fn push(&mut self, grain: Grain, bucket: Bucket) {
        let buckets = match grain {
            Grain::TenSeconds => &mut self.fine,
            Grain::Minute => &mut self.minutes,
            Grain::Hour => &mut self.hours,
        };
        // After the clock was set back: time that is told twice is told as it was the second time.
        while buckets.back().is_some_and(|last| last.start > bucket.start) {
            buckets.pop_back();
        }
        match buckets.back_mut().filter(|last| last.start == bucket.start) {
            Some(last) => last.absorb(&bucket),
            None => buckets.push_back(bucket),
        }
        while buckets.len() > grain.kept() {
            buckets.pop_front();
        }
    }
}
