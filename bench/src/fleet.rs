//! What choosing an exit costs: fleets of ten to 100,000 exits in this process, and a million sessions.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use outgate_fleet::{Fleet, FleetSettings, NewLink, Stay, Terms, Wanted};
use outgate_store::{Country, ExitId, Labels, PoolName};

use crate::failure::Failure;

/// Fleets measured.
const SIZES: [usize; 3] = [10, 1_000, 100_000];
const SESSIONS: usize = 1_000_000;
/// Picks per round; the round that was disturbed least counts.
const PICKS: u64 = 200_000;
const ROUNDS: usize = 7;
const TTL: u64 = 3_600_000_000_000;
/// Exits are spread over so many countries of two states with two cities each.
const COUNTRIES: usize = 40;

/// A link of the real gateway is one pointer too.
type Bench = Fleet<usize>;

/// Prints a table in markdown.
pub(crate) fn run() -> Result<(), Failure> {
    let pool = PoolName::parse("residential").map_err(|e| Failure::new(e.to_string()))?;
    let countries: Vec<Country> = Country::assigned().take(COUNTRIES).collect();
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| writeln!(out, "{line}").map_err(|e| Failure::new(e.to_string()));
    say("| exits | any exit | a country | a city | a plan's 5 countries | a session that stays | two threads, any exit | a link comes and goes |".into())?;
    say("|---:|---:|---:|---:|---:|---:|---:|---:|".into())?;
    let mut memory = Vec::new();
    for size in SIZES {
        let before = resident()?;
        let fleet: Bench = Fleet::new([pool.clone()], FleetSettings::default());
        let ids = (0..size).map(|n| ExitId::parse(&format!("e{n:07}"))).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|e| Failure::new(e.to_string()))?;
        for (n, id) in ids.iter().enumerate() {
            enter(&fleet, &pool, id, &labels(&countries, n), n);
        }
        if size >= 1_000 {
            // Of a smaller one it would be the pages that are measured.
            memory.push(format!("{} bytes per exit at {size}", (resident()? - before) / size as u64));
        }
        // Every exit carries something, so that there is something to compare.
        let mut seed = 1;
        let held: Vec<_> = (0..size).filter_map(|_| pick(&fleet, &pool, &Wanted::default(), None, &mut seed)).collect();
        let here = labels(&countries, 0);
        let country = Wanted { country: here.country, ..Wanted::default() };
        let city = Wanted { state: here.state.clone(), city: here.city.clone(), ..country.clone() };
        let plan = Wanted { countries: countries[..5].to_vec(), ..Wanted::default() };
        let mut row = vec![size.to_string()];
        for wanted in [&Wanted::default(), &country, &city, &plan] {
            row.push(nanos(|| measure(&fleet, &pool, wanted, None)));
        }
        let stay = Stay { key: "abcd", session: "ab12", ttl: TTL, strict: false };
        row.push(nanos(|| measure(&fleet, &pool, &Wanted::default(), Some(&stay))));
        row.push(nanos(|| {
            let anywhere = Wanted::default();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| measure(&fleet, &pool, &anywhere, None));
                let own = measure(&fleet, &pool, &anywhere, None);
                own.max(other.join().unwrap_or(own))
            })
        }));
        row.push(nanos(|| {
            let started = Instant::now();
            let rounds = 20_000;
            for n in 0..rounds {
                let (id, labels) = (&ids[n % size], labels(&countries, n % size));
                if let Some(link) = enter(&fleet, &pool, id, &labels, n) {
                    fleet.leave(&pool, id, link, 0);
                }
            }
            started.elapsed().as_nanos() as f64 / rounds as f64
        }));
        say(format!("| {} |", row.join(" | ")))?;
        drop(held);
        if size == SIZES[SIZES.len() - 1] {
            let before = resident()?;
            let mut seed = 7;
            for n in 0..SESSIONS {
                let name = format!("s{n}");
                let stay = Stay { session: &name, ..stay };
                black_box(pick(&fleet, &pool, &Wanted::default(), Some(&stay), &mut seed));
            }
            let each = (resident()? - before) / SESSIONS as u64;
            memory.push(format!("{each} bytes per session with {} of them", fleet.sessions()));
            let among = nanos(|| {
                let started = Instant::now();
                for n in 0..PICKS {
                    let name = format!("s{}", n * 7919 % SESSIONS as u64);
                    let stay = Stay { session: &name, ..stay };
                    black_box(pick(&fleet, &pool, &Wanted::default(), Some(&stay), &mut seed));
                }
                started.elapsed().as_nanos() as f64 / PICKS as f64
            });
            memory.push(format!("{among} to find one of them and its exit among {size}"));
        }
    }
    say(format!("\nA lease is taken and given back each time. Memory: {}.", memory.join("; ")))
}

fn labels(countries: &[Country], n: usize) -> Labels {
    let (state, city) = (n / COUNTRIES % 2, n / COUNTRIES / 2 % 2);
    Labels {
        country: Some(countries[n % COUNTRIES]),
        state: Some(format!("s{state}")),
        city: Some(format!("city{state}{city}")),
        ..Labels::default()
    }
}

fn enter(fleet: &Bench, pool: &PoolName, exit: &ExitId, labels: &Labels, n: usize) -> Option<outgate_fleet::LinkId> {
    let terms = Terms::default();
    fleet.enter(pool, NewLink { exit, labels, terms, room: u32::MAX, handle: n }, 0)
}

fn pick(
    fleet: &Bench,
    pool: &PoolName,
    wanted: &Wanted,
    stay: Option<&Stay<'_>>,
    seed: &mut u64,
) -> Option<outgate_fleet::Lease<usize>> {
    // The gateway's own generator: xorshift64*.
    let mut random = || {
        *seed ^= *seed >> 12;
        *seed ^= *seed << 25;
        *seed ^= *seed >> 27;
        seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    fleet.pick(pool, wanted, stay, &[], 1, &mut random).ok().map(|pick| pick.lease)
}

fn measure(fleet: &Bench, pool: &PoolName, wanted: &Wanted, stay: Option<&Stay<'_>>) -> f64 {
    let mut seed = 0x1234_5678;
    let started = Instant::now();
    for _ in 0..PICKS {
        black_box(pick(fleet, pool, wanted, stay, &mut seed));
    }
    started.elapsed().as_nanos() as f64 / PICKS as f64
}

/// The shortest of the rounds, in words: nothing that disturbs a round makes it shorter.
fn nanos(mut round: impl FnMut() -> f64) -> String {
    let shortest = (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min);
    format!("{shortest:.0} ns")
}

/// Bytes of memory that this process holds.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| Failure::new(e.to_string()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| Failure::new("/proc/self/status has no VmRSS"))?;
    Ok(kib * 1024)
}
