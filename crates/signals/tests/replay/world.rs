//! A gateway's traffic as it is counted: a daily curve, weekends, two pools, the failures of a good day, and troubles on demand.

use std::time::Duration;

use outgate_faults::Slug;
use outgate_meter::{Country, Ended, Exits, Gauges, Kind, Meter, Records, Room, Sharing, Snapshot, Step, Times, Usage};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    /// Document 004's: the one upstream node is slow; 12 % end in 502 and 504, and what succeeds is slow.
    SlowUpstream,
    SlowTargets,
    SlowNames,
    FailingNames,
    ExitsGone,
    LedgerAway,
    Overload,
    Alone,
    FullDisk,
    SlowHandshakes,
}

pub(crate) struct World {
    random: Random,
    meter: Meter,
    trouble: Trouble,
    /// How far load and failures are from their usual values: they wander.
    load: f64,
    misery: f64,
    /// Seconds that a small burst of failures goes on.
    burst: i64,
    dropped: u64,
    failed: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { random, meter: Meter::default(), trouble: Trouble::None, load: 0.0, misery: 0.0, burst: 0, dropped: 0, failed: 0 }
    }

    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        self.trouble = trouble;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.meter.snapshot()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    pub(crate) fn gauges(&mut self) -> Gauges {
        let gone = self.trouble == Trouble::ExitsGone;
        let overload = self.trouble == Trouble::Overload;
        self.dropped += u64::from(self.trouble == Trouble::FullDisk) * 17;
        let room = |taken, bound| Room { taken, bound: Some(bound) };
        let exits = |country: &[u8; 2], exits| Exits {
            pool: "residential".into(),
            country: Country::Code(*country),
            health: "healthy",
            exits,
            tunnels: exits,
            capacity: Some(exits * 8),
        };
        // One of them has a bad minute now and then.
        let ill = Exits { health: "ejected", exits: 2, ..exits(b"us", 2) };
        Gauges {
            in_flight: if overload { room(970, 1000) } else { room(300 + self.random.below(150), 1000) },
            connections: room(400, 10_000),
            exit_connections: room(30, 1000),
            memory_short: overload,
            exits: if gone { vec![ill] } else { vec![exits(b"us", 20), exits(b"de", 9), ill] },
            records: Records { dropped: self.dropped, failing: false },
            usage: if self.trouble == Trouble::LedgerAway { Usage::Nowhere } else { Usage::Ledger },
            sharing: if self.trouble == Trouble::Alone { Sharing::Alone } else { Sharing::Together(2) },
            ..Gauges::default()
        }
    }

    /// The seconds up to `now` pass.
    pub(crate) fn pass(&mut self, now: i64, seconds: i64) {
        let step = seconds as f64;
        self.load = wander(self.load, 0.05, step, &mut self.random);
        self.misery = wander(self.misery, 0.12, step, &mut self.random);
        // A blip now and then: an exit that dies takes its tunnels along.
        self.burst = if self.burst > 0 { self.burst - seconds } else { 0 };
        if self.burst <= 0 && self.random.below((5400 / seconds).max(1) as u64) == 0 {
            self.burst = 10;
        }
        let rate = per_second(now) * (1.0 + self.load).clamp(0.5, 2.0);
        let expected = rate * step;
        let requests = (expected + expected.sqrt() * self.random.normal()).round().max(0.0) as u64;
        (0..requests).for_each(|_| self.request());
        for _ in 0..requests / 3 {
            let slow = if self.trouble == Trouble::SlowHandshakes { 5.0 } else { 1.0 };
            let time = self.spread(0.12, 0.6) * slow;
            self.meter.time(Step::Tls, Duration::from_secs_f64(time));
        }
    }

    fn request(&mut self) {
        let residential = self.random.below(5) < 2;
        let pool = if residential { "residential" } else { "direct" };
        let country = residential.then(|| if self.random.below(3) == 0 { "de" } else { "us" });
        let asked = if self.trouble == Trouble::SlowNames || self.random.below(3) > 0 { 1.0 } else { 0.0 };
        let slow_names = matches!(self.trouble, Trouble::SlowNames | Trouble::FailingNames);
        let dns = asked * self.spread(if slow_names { 0.9 } else { 0.03 }, 0.9) + 0.000_05;
        let connect = self.spread(if residential { 0.45 } else { 0.12 }, 0.7);
        let slow = matches!(self.trouble, Trouble::SlowUpstream | Trouble::SlowTargets);
        let first_byte = self.spread(if slow { 2.2 } else { 0.15 }, 0.8);
        let slug = self.outcome(residential);
        let times = Times {
            queue: Some(Duration::from_micros(80)),
            dns: (!residential).then_some(Duration::from_secs_f64(dns)),
            connect: Some(Duration::from_secs_f64(connect)),
            first_byte: slug.is_none().then_some(Duration::from_secs_f64(first_byte)),
            total: Some(Duration::from_secs_f64(dns + connect + first_byte)),
        };
        let known_pool = slug != Some(Slug::LedgerUnavailable) && slug != Some(Slug::CredentialsWrong);
        let ended = Ended {
            protocol: "http",
            kind: Kind::Forward,
            pool: known_pool.then_some(pool),
            country,
            slug,
            status: Some(slug.map_or(200, |slug| slug.row().status)),
            bytes_up: 500,
            bytes_down: 20_000,
            attempts: 1,
            times,
        };
        if slug.is_none() {
            self.meter.answered(pool, country, Duration::from_secs_f64(dns + connect + first_byte));
        }
        self.failed += u64::from(slug.is_some());
        self.meter.count(&ended);
    }

    fn outcome(&mut self, residential: bool) -> Option<Slug> {
        let dice = self.random.unit();
        let special = match self.trouble {
            Trouble::SlowUpstream if dice < 0.07 => Some(Slug::ResponseTimeout),
            Trouble::SlowUpstream if dice < 0.12 => Some(Slug::ResponseIncomplete),
            Trouble::FailingNames if dice < 0.2 => Some(Slug::DnsTimeout),
            Trouble::ExitsGone if residential => Some(Slug::NoExit),
            Trouble::LedgerAway => Some(Slug::LedgerUnavailable),
            Trouble::Overload if dice < 0.3 => Some(Slug::Overloaded),
            _ => None,
        };
        if special.is_some() {
            return special;
        }
        if self.burst > 0 && self.random.unit() < 0.12 {
            return Some(if residential { Slug::ExitLost } else { Slug::TargetReset });
        }
        let misery = (1.0 + self.misery).clamp(0.3, 1.8);
        // A good day: what is ours, then what is not.
        let usual = [
            (0.004 * misery, Slug::TargetRefused),
            (0.003 * misery, Slug::TargetReset),
            (0.003 * misery, Slug::ConnectTimeout),
            (if residential { 0.006 * misery } else { 0.0 }, Slug::ExitLost),
            (0.010, Slug::DnsNotFound),
            (0.004, Slug::PortDenied),
            (0.006, Slug::RateLimited),
            (0.012, Slug::CredentialsWrong),
        ];
        let mut dice = self.random.unit();
        usual.into_iter().find_map(|(part, slug)| {
            dice -= part;
            (dice < 0.0).then_some(slug)
        })
    }

    /// Log-normal around a median.
    fn spread(&mut self, median: f64, sigma: f64) -> f64 {
        (median * (sigma * self.random.normal()).exp()).min(30.0)
    }
}

/// Requests a second: nights at a fifth of the day, weekends at less than half.
fn per_second(now: i64) -> f64 {
    let hour = now.rem_euclid(86_400) as f64 / 3600.0;
    let weekend = (now.div_euclid(86_400) + 3).rem_euclid(7) >= 5;
    let day = 0.6 - 0.4 * ((hour - 3.0) / 24.0 * std::f64::consts::TAU).cos();
    8.0 * day * if weekend { 0.45 } else { 1.0 }
}

/// A value that wanders around zero within minutes.
fn wander(value: f64, much: f64, seconds: f64, random: &mut Random) -> f64 {
    let kept = (-seconds / 600.0).exp();
    value * kept + much * 4.0 * (1.0 - kept * kept).sqrt() * random.normal()
}

/// Splitmix64: the same week for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}
