//! Tunnels per second: connect, CONNECT, 200, one byte there and back, close; a fixed number at a time.

use crate::failure::{During, Outcome};
use crate::load::{Clock, PATIENCE, Tick, add_rate};
use crate::measure::Reading;
use crate::route::Route;
use crate::setup::{Mode, SetUp, Step};
use crate::wire::Poll;

pub(super) fn run(route: &Route, concurrency: usize, mut clock: Clock) -> Outcome<Reading> {
    let mut poll = Poll::new().during("epoll")?;
    let mut turn = 0;
    let mut slots = Vec::with_capacity(concurrency);
    for token in 0..concurrency {
        slots.push(SetUp::begin(route, turn, Mode::Echo, &poll, token)?);
        turn += 1;
    }
    let (mut done, mut before) = (0_u64, 0_u64);
    loop {
        let ready = poll.wait(PATIENCE).during("epoll")?;
        for index in 0..ready {
            let token = poll.token(index);
            if slots[token].step(route, &poll, token)? == Step::Open {
                done += 1;
                // Replacing it closes it.
                slots[token] = SetUp::begin(route, turn, Mode::Echo, &poll, token)?;
                turn += 1;
            }
        }
        match clock.tick(done)? {
            Tick::Steady => {}
            Tick::Begin => before = done,
            Tick::End => break,
        }
    }
    let mut reading = clock.reading()?;
    add_rate(&mut reading, done - before);
    Ok(reading)
}
