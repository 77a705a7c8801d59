//! What counting one request costs: `cargo run --release -p outgate-meter --example cost`.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use outgate_faults::Slug;
use outgate_meter::{Ended, Kind, Meters, Times};

const REQUESTS: u32 = 2_000_000;

fn main() -> std::io::Result<()> {
    let meters = Meters::default();
    let meter = meters.add();
    let pools = ["direct", "residential", "mobile", "isp", "datacenter"];
    let countries = [None, Some("us"), Some("de"), Some("br"), Some("in"), Some("jp"), Some("fr"), Some("gb")];
    let began = Instant::now();
    for number in 0..REQUESTS {
        let (pool, country) = (pools[number as usize % pools.len()], countries[number as usize % countries.len()]);
        let took = Duration::from_micros(u64::from(number % 100_000));
        let slug = (number % 20 == 0).then_some(Slug::TargetRefused);
        meter.answered(black_box(pool), country, took);
        meter.count(black_box(&Ended {
            protocol: "http",
            kind: Kind::Tunnel,
            pool: Some(pool),
            country,
            slug,
            status: Some(if slug.is_some() { 502 } else { 200 }),
            bytes_up: 100,
            bytes_down: 1000,
            attempts: 1,
            times: Times { queue: Some(took / 100), dns: None, connect: Some(took), first_byte: None, total: Some(took * 2) },
        }));
    }
    let each = began.elapsed().as_nanos() / u128::from(REQUESTS);
    let began = Instant::now();
    let snapshot = meters.snapshot();
    let taken = began.elapsed();
    writeln!(std::io::stdout(), "{each} ns a request; a snapshot of {} places in {taken:?}", snapshot.places.len())
}
