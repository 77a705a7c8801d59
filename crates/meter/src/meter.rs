//! Counts what ends on one event loop, and puts the loops' counts together when somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ended::{Ended, Kind, Step};
use crate::histogram::Histogram;
use crate::snapshot::{Country, MOST_PLACES, MOST_POOLS, Moved, OTHER, Place, Placed, Snapshot, Way};
use crate::tally::Tally;

/// What one event loop counts. Only that loop counts on it, so its lock is free but for the moment in which a snapshot is taken,
/// and no cache line goes back and forth between cores.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Counts>);

/// The meters of all event loops, and the payload of all pools.
#[derive(Debug, Default)]
pub struct Meters {
    loops: Mutex<Vec<Arc<Meter>>>,
    moved: Mutex<BTreeMap<Arc<str>, Moved>>,
}

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
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(meter.clone());
        meter
    }

    /// Counts payload that moved, in bytes, whether or not its requests have ended. Not for the way of a byte: whoever counts
    /// bytes anyway tells them here now and then.
    pub fn moved(&self, pool: &str, up: u64, down: u64) {
        let mut pools = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let more = Moved { up, down };
        if let Some(moved) = pools.get_mut(pool) {
            return moved.add(more);
        }
        let name = if pools.len() < MOST_POOLS { pool } else { OTHER };
        pools.entry(name.into()).or_default().add(more);
    }

    /// What all of them counted up to now.
    pub fn snapshot(&self) -> Snapshot {
        let meters = self.loops.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Snapshot { moved, ..Snapshot::default() };
        meters.iter().for_each(|meter| all.merge(&meter.snapshot()));
        all
    }
}

impl Meter {
    /// Counts a request that ended.
    pub fn count(&self, ended: &Ended<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count(ended);
    }

    /// Counts a step that is no single request's: a TLS handshake.
    pub fn time(&self, step: Step, duration: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).steps[step as usize].add(duration);
    }

    /// Counts that a request got its answer, so long after its head was complete: a tunnel's 200, the head of a target's response.
    /// Counted when it happens: a tunnel may end hours later, and what failed is counted at once.
    pub fn answered(&self, pool: &str, country: Option<&str>, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answered(pool, country, took);
    }

    /// Counts that a request which was dialled got a fault for an answer, so long after its head was complete.
    pub fn refused(&self, pool: &str, country: Option<&str>, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused(pool, country, took);
    }

    /// What was counted up to now. Payload that moves is not among it: that is [`Meters::moved`].
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).show()
    }
}

impl Counts {
    fn count(&mut self, ended: &Ended<'_>) {
        let pool = self.number(ended.pool);
        self.ways.entry((ended.protocol, ended.kind, pool)).or_default().count(ended);
        let times = &ended.times;
        if ended.pool.is_some() {
            self.placed(pool, Country::of(ended.country)).tally.count(ended);
        }
        let (forward, tunnel) = match ended.kind {
            // Switched to another protocol, it is a tunnel.
            Kind::Forward if ended.status != Some(101) => (times.total, None),
            Kind::Forward | Kind::Tunnel => (None, times.total),
            Kind::Unasked => (None, None),
        };
        let timed = [
            (Step::Queue, times.queue),
            (Step::Dns, times.dns),
            (Step::Connect, times.connect),
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
        self.set_up(pool, country, took).answer.add(took);
    }

    fn refused(&mut self, pool: &str, country: Option<&str>, took: Duration) {
        self.set_up(pool, country, took);
    }

    fn set_up(&mut self, pool: &str, country: Option<&str>, took: Duration) -> &mut Placed {
        self.steps[Step::Setup as usize].add(took);
        let pool = self.number(Some(pool));
        let placed = self.placed(pool, Country::of(country));
        placed.setup.add(took);
        placed
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
        Snapshot { ways: ways.collect(), places: places.collect(), steps: self.steps.clone(), moved: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ended::Times;
    use outgate_faults::Slug;

    fn ended<'a>(pool: &'a str, country: &'a str) -> Ended<'a> {
        let times = Times { total: Some(Duration::from_secs(2)), ..Times::default() };
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
        for meter in [&one, &other] {
            meter.answered("residential", Some("us"), Duration::from_millis(3));
            meter.count(&ended("residential", "us"));
        }
        other.time(Step::Tls, Duration::from_millis(1));
        meters.moved("residential", 5, 0);
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
        let refused = Ended { times: Times::default(), ..refused };
        other.refused("residential", Some("de"), Duration::from_millis(1));
        other.count(&refused);
        meters.moved("residential", 0, 7);
        let between = &meters.snapshot() - &before;
        assert_eq!((between.total().requests(), between.total().of(Slug::NoExit)), (1, 1));
        assert_eq!(between.places.keys().map(|place| place.country.as_str()).collect::<Vec<_>>(), ["de"]);
        assert_eq!(between.moved(), Moved { up: 0, down: 7 });
        assert_eq!(between.step(Step::Tunnel).count(), 0, "it was never opened");
        let (setups, answers) = between.places.values().fold((0, 0), |(s, a), p| (s + p.setup.count(), a + p.answer.count()));
        assert_eq!((setups, answers, between.step(Step::Setup).count()), (1, 0, 1));
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
