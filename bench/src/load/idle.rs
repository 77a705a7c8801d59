//! Memory per open tunnel with nothing flowing through it.

use std::time::{Duration, Instant};

use crate::failure::{During, Failure, Outcome};
use crate::measure::Reading;
use crate::process::{Watched, pause};
use crate::route::Route;
use crate::setup::{Mode, open_all};
use crate::wire;

/// Opens the tunnels, lets the proxy settle, compares its resident memory with before, and checks that each tunnel still works.
/// The proxy must be fresh: memory freed by earlier work would hide what tunnels take.
pub(super) fn run(route: &Route, count: usize, watched: &Watched) -> Outcome<Reading> {
    // What the first tunnels make a proxy create once and for all isn't a tunnel's.
    drop(open_all(route, 32, Mode::Echo)?);
    let before = watched.settled_kib()?;
    let tunnels = open_all(route, count, Mode::Echo)?;
    let after = watched.settled_kib()?;
    for (number, tunnel) in tunnels.iter().enumerate() {
        wire::send(tunnel, b"x").during(format_args!("using idle tunnel {number}"))?;
        let began = Instant::now();
        let mut echo = [0];
        loop {
            match wire::recv(tunnel, &mut echo).during(format_args!("using idle tunnel {number}"))? {
                Some(1) if echo[0] == b'x' => break,
                None if began.elapsed() < Duration::from_secs(5) => pause(Duration::from_micros(50)),
                _ => {
                    return Err(Failure::new(format!("idle tunnel {number} no longer works")));
                }
            }
        }
    }
    let mut reading = Reading::new();
    reading.insert("tunnels".into(), count as f64);
    reading.insert("rss_kib".into(), before as f64);
    reading.insert("kib_per_tunnel".into(), (after as f64 - before as f64) / count as f64);
    Ok(reading)
}
