//! Delay of the first echoed byte at a fixed rate of set-ups.
//!
//! Open loop: a set-up is due when it is due, however the others fare, and its delay counts from then. A proxy that stalls
//! is charged for everyone who would have come meanwhile.

use std::time::{Duration, Instant};

use crate::failure::{During, Failure, Outcome};
use crate::load::{Clock, PATIENCE, Tick, add_rate};
use crate::measure::Reading;
use crate::route::Route;
use crate::setup::{Mode, SetUp, Step};
use crate::stats::percentile;
use crate::wire::Poll;

/// More under way than this means that the proxy can't keep up with the rate.
const LIMIT: usize = 4000;

pub(super) fn run(route: &Route, rate: u32, mut clock: Clock) -> Outcome<Reading> {
    let mut poll = Poll::new().during("epoll")?;
    let mut slots: Vec<Option<(SetUp, Instant)>> = Vec::new();
    let mut free = Vec::new();
    let mut delays: Vec<u64> = Vec::new();
    let (mut turn, mut done) = (0_u32, 0_u64);
    let start = Instant::now();
    loop {
        let now = Instant::now();
        loop {
            let due = start + Duration::from_secs_f64(f64::from(turn) / f64::from(rate));
            if due > now {
                break;
            }
            let token = free.pop().unwrap_or_else(|| {
                slots.push(None);
                slots.len() - 1
            });
            if token >= LIMIT {
                return Err(Failure::new(format!("{LIMIT} set-ups are under way: {rate}/s is too much for it")));
            }
            slots[token] = Some((SetUp::begin(route, turn as usize, Mode::Echo, &poll, token)?, due));
            turn += 1;
        }
        let due = start + Duration::from_secs_f64(f64::from(turn) / f64::from(rate));
        let ready = poll.wait(due.saturating_duration_since(Instant::now()).min(PATIENCE)).during("epoll")?;
        for index in 0..ready {
            let token = poll.token(index);
            let Some((set_up, due)) = slots[token].as_mut() else {
                continue;
            };
            if set_up.step(route, &poll, token)? == Step::Open {
                delays.push(due.elapsed().as_nanos() as u64);
                slots[token] = None;
                free.push(token);
                done += 1;
            }
        }
        match clock.tick(done)? {
            Tick::Steady => {}
            Tick::Begin => delays.clear(),
            Tick::End => break,
        }
    }
    let mut reading = clock.reading()?;
    add_rate(&mut reading, delays.len() as u64);
    // Those still under way have waited at least this long. Left out, the worst delays would be missing.
    delays.extend(slots.iter().flatten().map(|(_, due)| due.elapsed().as_nanos() as u64));
    delays.sort_unstable();
    for (name, percent) in [("p50_us", 50.0), ("p99_us", 99.0), ("max_us", 100.0)] {
        let delay = percentile(&delays, percent).ok_or_else(|| Failure::new("no set-up was finished"))?;
        reading.insert(name.into(), delay as f64 / 1000.0);
    }
    Ok(reading)
}
