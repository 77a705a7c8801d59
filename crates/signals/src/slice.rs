//! What happened in one stretch of time, small enough to keep many of them: counts by scope and the distributions that rules ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use outgate_faults::Slug;
use outgate_meter::{Country, Gauges, Histogram, Snapshot, Step};

use crate::counts_against_us;
use crate::history::{Bucket, Latency, PoolBucket};

/// What happened in one stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// Requests that ended, whatever became of them.
    pub(crate) requests: u64,
    /// All faults, also those that are their senders'.
    pub(crate) faults: Vec<(Slug, u64)>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) all: Series,
    pub(crate) pools: BTreeMap<Arc<str>, Series>,
    pub(crate) countries: BTreeMap<(Arc<str>, Country), Counts>,
    pub(crate) queue: Histogram,
    pub(crate) dns: Histogram,
    pub(crate) connect: Histogram,
    pub(crate) tls: Histogram,
    pub(crate) first_byte: Histogram,
    /// The most at once.
    pub(crate) in_flight: u64,
    /// Connected exits by pool, as last seen.
    pub(crate) exits: BTreeMap<String, u64>,
}

/// What became of the requests of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) requests: u64,
    pub(crate) counts: Counts,
    /// How long answers took.
    pub(crate) answer: Histogram,
}

/// Answers against errors. What a sender did wrong is neither.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Those that [`counts_against_us`] has.
    pub(crate) errors: Vec<(Slug, u64)>,
}

impl Counts {
    fn of(answered: u64, faults: &[(Slug, u64)]) -> Self {
        Self { answered, errors: faults.iter().copied().filter(|(slug, _)| counts_against_us(*slug)).collect() }
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// How many could have been answered.
    pub(crate) fn asked(&self) -> u64 {
        self.answered + self.failed()
    }

    /// The fault that most of them failed with.
    pub(crate) fn leading(&self) -> Option<Slug> {
        self.errors.iter().max_by_key(|(_, count)| *count).map(|(slug, _)| *slug)
    }

    pub(crate) fn merge(&mut self, other: &Counts) {
        self.answered += other.answered;
        merge_faults(&mut self.errors, &other.errors);
    }
}

impl Series {
    pub(crate) fn merge(&mut self, other: &Series) {
        self.requests += other.requests;
        self.counts.merge(&other.counts);
        self.answer.merge(&other.answer);
    }
}

/// Adds counts to counts; both are in the catalogue's order.
pub(crate) fn merge_faults(here: &mut Vec<(Slug, u64)>, more: &[(Slug, u64)]) {
    for (slug, count) in more {
        match here.binary_search_by_key(slug, |(slug, _)| *slug) {
            Ok(at) => here[at].1 += count,
            Err(at) => here.insert(at, (*slug, *count)),
        }
    }
}

impl Slice {
    /// What was counted between two observations, and how things stood at the second.
    pub(crate) fn of(between: &Snapshot, gauges: &Gauges) -> Self {
        let total = between.total();
        let mut slice = Slice {
            requests: total.requests(),
            bytes_up: between.moved.values().map(|moved| moved.up).sum(),
            bytes_down: between.moved.values().map(|moved| moved.down).sum(),
            queue: between.step(Step::Queue).clone(),
            dns: between.step(Step::Dns).clone(),
            connect: between.step(Step::Connect).clone(),
            tls: between.step(Step::Tls).clone(),
            first_byte: between.step(Step::FirstByte).clone(),
            in_flight: gauges.in_flight.taken,
            ..Slice::default()
        };
        for (place, placed) in &between.places {
            let counts = Counts::of(placed.answer.count(), &placed.tally.faults);
            let pool = slice.pools.entry(place.pool.clone()).or_default();
            pool.requests += placed.tally.requests();
            pool.counts.merge(&counts);
            pool.answer.merge(&placed.answer);
            slice.all.answer.merge(&placed.answer);
            if place.country != Country::Unknown {
                slice.countries.insert((place.pool.clone(), place.country), counts);
            }
        }
        // Requests that failed before they had a pool count here only.
        slice.all.requests = slice.requests;
        slice.all.counts = Counts::of(slice.all.answer.count(), &total.faults);
        slice.faults = total.faults;
        for exits in &gauges.exits {
            *slice.exits.entry(exits.pool.clone()).or_default() += exits.exits;
        }
        slice
    }

    /// Adds what happened after it.
    pub(crate) fn merge(&mut self, later: &Slice) {
        self.requests += later.requests;
        merge_faults(&mut self.faults, &later.faults);
        self.bytes_up += later.bytes_up;
        self.bytes_down += later.bytes_down;
        self.all.merge(&later.all);
        later.pools.iter().for_each(|(pool, series)| self.pools.entry(pool.clone()).or_default().merge(series));
        later.countries.iter().for_each(|(place, counts)| self.countries.entry(place.clone()).or_default().merge(counts));
        self.queue.merge(&later.queue);
        self.dns.merge(&later.dns);
        self.connect.merge(&later.connect);
        self.tls.merge(&later.tls);
        self.first_byte.merge(&later.first_byte);
        self.in_flight = self.in_flight.max(later.in_flight);
        self.exits.clone_from(&later.exits);
    }

    /// What pages show of it.
    pub(crate) fn bucket(&self, start: Timestamp) -> Bucket {
        let mut faults = self.faults.clone();
        faults.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let median = |histogram: &Histogram| histogram.quantile(0.5).map(|time| time.as_secs_f64());
        let mut pools: BTreeMap<&str, PoolBucket> = BTreeMap::new();
        let entry = |pool: &str| PoolBucket { pool: pool.into(), requests: 0, failed: 0, answer: None, exits: 0 };
        for (pool, series) in &self.pools {
            let bucket = pools.entry(pool).or_insert_with(|| entry(pool));
            (bucket.requests, bucket.failed) = (series.requests, series.counts.failed());
            bucket.answer = latency(&series.answer);
        }
        for (pool, exits) in &self.exits {
            pools.entry(pool).or_insert_with(|| entry(pool)).exits = *exits;
        }
        Bucket {
            start,
            requests: self.requests,
            failed: self.all.counts.failed(),
            faults,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            answer: latency(&self.all.answer),
            dns: median(&self.dns),
            connect: median(&self.connect),
            tls: median(&self.tls),
            first_byte: median(&self.first_byte),
            in_flight: self.in_flight,
            pools: pools.into_values().collect(),
        }
    }
}

fn latency(histogram: &Histogram) -> Option<Latency> {
    let part = |part| histogram.quantile(part).map(|time| time.as_secs_f64());
    Some(Latency {
        count: histogram.count(),
        mean: histogram.mean()?.as_secs_f64(),
        p50: part(0.5)?,
        p95: part(0.95)?,
        p99: part(0.99)?,
    })
}
