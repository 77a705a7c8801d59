//! Bytes per second through parallel tunnels, each way, and how evenly the tunnels share.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Instant;

use crate::failure::{During, Failure, Outcome};
use crate::load::{Clock, PATIENCE, STALL, Tick};
use crate::measure::Reading;
use crate::pattern::{CHUNK, Checker, Read, Source};
use crate::process::pause;
use crate::route::Route;
use crate::setup::{Mode, open_all};
use crate::stats::fair_share;
use crate::wire::{Interest, Poll};

/// From the origin: one read per ready tunnel and turn, every byte position followed.
pub(super) fn down(route: &Route, count: usize, mut clock: Clock) -> Outcome<Reading> {
    let tunnels = open_all(route, count, Mode::Source)?;
    let mut poll = Poll::new().during("epoll")?;
    for (token, tunnel) in tunnels.iter().enumerate() {
        poll.add(tunnel, token, Interest::Read).during("epoll")?;
    }
    let mut checkers = vec![Checker::default(); count];
    let mut scratch = vec![0; CHUNK];
    let (mut bytes, mut total) = (vec![0_u64; count], 0_u64);
    clock.restart();
    loop {
        let ready = poll.wait(PATIENCE).during("epoll")?;
        for index in 0..ready {
            let token = poll.token(index);
            match checkers[token].read(&tunnels[token], &mut scratch).during("reading bulk")? {
                Read::Nothing => {}
                Read::Bytes(read) => {
                    bytes[token] += read as u64;
                    total += read as u64;
                }
                Read::Wrong => {
                    return Err(Failure::new(format!("wrong bytes came down tunnel {token}")));
                }
                Read::End => {
                    return Err(Failure::new(format!("tunnel {token} ended while the origin was sending")));
                }
            }
        }
        match clock.tick(total)? {
            Tick::Steady => {}
            Tick::Begin => bytes.fill(0),
            Tick::End => break,
        }
    }
    reading(&clock, &bytes)
}

/// To the origin. What the kernel took counts: buffers are full at both ends of the measured span, so it equals what
/// arrives. Afterwards the origin must have got every byte.
pub(super) fn up(route: &Route, count: usize, mut clock: Clock) -> Outcome<Reading> {
    let before = tally(route.origin())?;
    let tunnels = open_all(route, count, Mode::Sink)?;
    let source = Source::new().during("making the pattern")?;
    let mut poll = Poll::new().during("epoll")?;
    for (token, tunnel) in tunnels.iter().enumerate() {
        poll.add(tunnel, token, Interest::Write).during("epoll")?;
    }
    let mut sent = vec![0_u64; count];
    let (mut at_begin, mut total) = (sent.clone(), 0_u64);
    clock.restart();
    loop {
        let ready = poll.wait(PATIENCE).during("epoll")?;
        for index in 0..ready {
            let token = poll.token(index);
            if let Some(taken) = source.send(&tunnels[token], sent[token]).during("sending bulk")? {
                sent[token] += taken as u64;
                total += taken as u64;
            }
        }
        match clock.tick(total)? {
            Tick::Steady => {}
            Tick::Begin => at_begin.clone_from(&sent),
            Tick::End => break,
        }
    }
    let bytes: Vec<u64> = sent.iter().zip(&at_begin).map(|(now, then)| now - then).collect();
    let reading = reading(&clock, &bytes)?;
    await_arrival(route.origin(), before, total)?;
    Ok(reading)
}

fn reading(clock: &Clock, bytes: &[u64]) -> Outcome<Reading> {
    let mut reading = clock.reading()?;
    let total = bytes.iter().sum::<u64>() as f64;
    let gib = total / f64::from(1 << 30);
    reading.insert("bytes".into(), total);
    reading.insert("gbit_per_second".into(), total * 8.0 / 1e9 / reading["seconds"]);
    if gib > 0.0 {
        reading.insert("cpu_s_per_gib".into(), (reading["cpu_user"] + reading["cpu_system"]) / gib);
    }
    reading.insert("fair_share".into(), fair_share(bytes).unwrap_or(0.0));
    Ok(reading)
}

/// The sinks' count so far, from the origin itself.
fn tally(origin: SocketAddrV4) -> Outcome<u64> {
    let mut stream = TcpStream::connect(origin).during("asking the origin")?;
    stream.write_all(&[Mode::Tally as u8]).during("asking the origin")?;
    let mut answer = [0; 17];
    stream.read_exact(&mut answer).during("the origin's tally")?;
    let number = |from: usize| answer[from..from + 8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    match number(9) {
        0 => Ok(number(1)),
        wrong => Err(Failure::new(format!("wrong bytes went up ({wrong} reads at the origin)"))),
    }
}

/// Waits until what is still in buffers is through. Tunnels must stay open meanwhile.
fn await_arrival(origin: SocketAddrV4, before: u64, sent: u64) -> Outcome<()> {
    let began = Instant::now();
    loop {
        let arrived = tally(origin)? - before;
        if arrived == sent {
            return Ok(());
        }
        if arrived > sent || began.elapsed() > STALL {
            return Err(Failure::new(format!("{sent} bytes were sent up, {arrived} arrived")));
        }
        pause(PATIENCE);
    }
}
