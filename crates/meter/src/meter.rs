//! Counts what ends on one event loop, and puts the loops' counts together when somebody asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ended::{Ended, Kind, Step};
use crate::histogram::Histogram;
use crate::snapshot::{Country, MOST_PLACES, MOST_POOLS, Moved, OTHER, Place, Placed, Snapshot, Way};
use crate::tally::Tally;

/// What one event loop counts. Only that loop counts on it, so its lock is free but for the moment in which a snapshot is taken,
/// and no cache line goes back and forth between cores.
#[derive(Debug, Default)]
pub struct Meter {
    counts: Mutex<Counts>,
    up: AtomicU64,
    down: AtomicU64,
}

/// The meters of all event loops.
#[derive(Debug, Default)]
pub struct Meters(Mutex<Vec<Arc<Meter>>>);

#[derive(Debug, Default)]
struct Counts {
    /// Their places here are their numbers; the first is no pool.
    pools: Vec<Arc<str>>,
    ways: HashMap<(&'static str, Kind, u8), Tally>,
    places: HashMap<(u8, Country), Placed>,
    steps: [Histogram; Step::COUNT],
}

impl Meters {
    /// A meter for one more event loop.
    pub fn add(&self) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(meter.clone());
        meter
    }

    /// What all of them counted up to now.
    pub fn snapshot(&self) -> Snapshot {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Snapshot::default();
        meters.iter().for_each(|meter| all.merge(&meter.snapshot()));
        all
    }
}

impl Meter {
    /// Counts a request that ended.
    pub fn count(&self, ended: &Ended<'_>) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).count(ended);
    }

    /// Counts a step that is no single request's: a TLS handshake.
    pub fn time(&self, step: Step, duration: Duration) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).steps[step as usize].add(duration);
    }

    /// Counts that a request got its answer, so long after its head was complete: a tunnel's 200, the head of a target's response.
    /// Counted when it happens: a tunnel may end hours later, and what failed is counted at once.
    pub fn answered(&self, pool: &str, country: Option<&str>, took: Duration) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).answered(pool, country, took);
    }

    /// Counts payload while it moves. Only the meter's own event loop calls it: what it adds to nobody else writes.
    pub fn moved(&self, up: u64, down: u64) {
        for (counter, more) in [(&self.up, up), (&self.down, down)] {
            if more > 0 {
                counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
            }
        }
    }

    /// What was counted up to now.
    pub fn snapshot(&self) -> Snapshot {
        let moved = Moved { up: self.up.load(Relaxed), down: self.down.load(Relaxed) };
        Snapshot { moved, ..self.counts.lock().unwrap_or_else(PoisonError::into_inner).show() }
    }
}

impl Counts {
    fn count(&mut self, ended: &Ended<'_>) {
        let pool = self.number(ended.pool);
        self.ways.entry((ended.protocol, ended.kind, pool)).or_default().count(ended);
        let times = &ended.times;
        if ended.pool.is_some() {
            let placed = self.placed(pool, Country::of(ended.country));
            placed.tally.count(ended);
            if let Some(setup) = times.setup {
                placed.setup.add(setup);
            }
        }
        let (forward, tunnel) = match ended.kind {
            Kind::Forward => (times.total, None),
            Kind::Tunnel if ended.status.is_some_and(|status| status < 300) => (None, times.total),
            Kind::Tunnel | Kind::Unasked => (None, None),
        };
        let timed = [
            (Step::Queue, times.queue),
            (Step::Dns, times.dns),
            (Step::Connect, times.connect),
            (Step::Setup, times.setup),
            (Step::FirstByte, times.first_byte),
            (Step::Forward, forward),
            (Step::Tunnel, tunnel),
        ];
        for (step, duration) in timed {
            if let Some(duration) = duration {
                self.steps[step as usize].add(duration);
            }
        }
    }

    fn answered(&mut self, pool: &str, country: Option<&str>, took: Duration) {
        let pool = self.number(Some(pool));
        self.placed(pool, Country::of(country)).answer.add(took);
    }

    /// The number of a pool.
    fn number(&mut self, pool: Option<&str>) -> u8 {
        if self.pools.is_empty() {
            self.pools.push("".into());
        }
        let pool = pool.unwrap_or_default();
        let found = |pools: &[Arc<str>], pool: &str| pools.iter().position(|known| &**known == pool);
        let at = found(&self.pools, pool).unwrap_or_else(|| {
            let full = self.pools.len() > MOST_POOLS;
            let name = if full { OTHER } else { pool };
            found(&self.pools, name).unwrap_or_else(|| {
                self.pools.push(name.into());
                self.pools.len() - 1
            })
        });
        at as u8
    }

    fn placed(&mut self, pool: u8, country: Country) -> &mut Placed {
        let full = self.places.len() >= MOST_PLACES && !self.places.contains_key(&(pool, country));
        self.places.entry((pool, if full { Country::Other } else { country })).or_default()
    }

    fn show(&self) -> Snapshot {
        let pool = |number: &u8| self.pools[usize::from(*number)].clone();
        let ways = self.ways.iter().map(|((protocol, kind, number), tally)| {
            let way = Way { protocol, kind: *kind, pool: pool(number) };
            (way, tally.clone())
        });
        let places = self.places.iter().map(|((number, country), placed)| {
            let place = Place { pool: pool(number), country: *country };
            (place, placed.clone())
        });
        Snapshot { ways: ways.collect(), places: places.collect(), steps: self.steps.clone(), moved: Moved::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ended::Times;
    use outgate_faults::Slug;

    fn ended<'a>(pool: &'a str, country: &'a str) -> Ended<'a> {
        let times = Times { setup: Some(Duration::from_millis(3)), total: Some(Duration::from_secs(2)), ..Times::default() };
        Ended {
            protocol: "http",
            kind: Kind::Tunnel,
            pool: Some(pool),
            country: Some(country),
            status: Some(200),
            bytes_up: 10,
            bytes_down: 20,
            attempts: 1,
            times,
            ..Ended::default()
        }
    }

    #[test]
    fn what_two_loops_count_is_one_sum_and_differences_are_what_happened() {
        let meters = Meters::default();
        let (one, other) = (meters.add(), meters.add());
        one.count(&ended("residential", "us"));
        other.count(&ended("residential", "us"));
        other.time(Step::Tls, Duration::from_millis(1));
        one.moved(5, 0);
        let before = meters.snapshot();
        assert_eq!(before.total().requests(), 2);
        assert_eq!(before.pool("residential").bytes_down, 40);
        let us = Place { pool: "residential".into(), country: Country::Code(*b"us") };
        assert_eq!(before.places[&us].setup.count(), 2);
        assert_eq!(
            (before.step(Step::Tls).count(), before.step(Step::Tunnel).count(), before.step(Step::Forward).count()),
            (1, 2, 0)
        );

        let refused = Ended { slug: Some(Slug::NoExit), status: Some(502), country: Some("de"), ..ended("residential", "") };
        other.count(&refused);
        other.moved(0, 7);
        let between = &meters.snapshot() - &before;
        assert_eq!((between.total().requests(), between.total().of(Slug::NoExit)), (1, 1));
        assert_eq!(between.places.keys().map(|place| place.country.as_str()).collect::<Vec<_>>(), ["de"]);
        assert_eq!(between.moved, Moved { up: 0, down: 7 });
        assert_eq!(between.step(Step::Tunnel).count(), 0, "it was never opened");
        assert_eq!(&meters.snapshot() - &meters.snapshot(), Snapshot::default());
    }

    #[test]
    fn pools_and_places_are_bounded_and_nothing_is_lost() {
        let meter = Meter::default();
        let countries: Vec<String> =
            (b'a'..=b'z').flat_map(|a| (b'a'..=b'z').map(move |b| String::from_utf8(vec![a, b]).unwrap())).collect();
        for pool in 0..MOST_POOLS * 2 {
            for country in &countries[..64] {
                meter.count(&ended(&format!("p{pool}"), country));
            }
        }
        let snapshot = meter.snapshot();
        // Those that are counted apart, and the rest.
        assert_eq!(snapshot.ways.len(), MOST_POOLS + 1);
        assert!(snapshot.places.len() <= MOST_PLACES + MOST_POOLS + 1, "{}", snapshot.places.len());
        assert_eq!(snapshot.total().requests(), (MOST_POOLS * 2 * 64) as u64);
        assert_eq!(snapshot.places.values().map(|placed| placed.tally.requests()).sum::<u64>(), (MOST_POOLS * 2 * 64) as u64);
        assert_eq!(snapshot.pool(OTHER).requests(), (MOST_POOLS * 64) as u64);
    }

    #[test]
    fn an_answer_is_counted_before_its_request_ends() {
        let meter = Meter::default();
        let before = meter.snapshot();
        meter.answered("residential", Some("us"), Duration::from_millis(3));
        let between = meter.snapshot().since(&before);
        let answer = &between.places_of("residential").answer;
        assert_eq!((between.total().requests(), answer.count(), answer.mean()), (0, 1, Some(Duration::from_millis(3))));
    }

    #[test]
    fn who_never_was_admitted_has_no_place() {
        let meter = Meter::default();
        let unasked = Ended { protocol: "https", slug: Some(Slug::CredentialsWrong), status: Some(407), ..Ended::default() };
        meter.count(&unasked);
        let snapshot = meter.snapshot();
        assert!(snapshot.places.is_empty() && snapshot.pool("").failed() == 1);
    }
}
