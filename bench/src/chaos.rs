//! What happens to requests when exits die, freeze, dawdle or lie: a fleet is harmed under load, with failover and without.
//!
//! Each [`Harm`] gets a gateway and a fleet of its own, so that no row inherits another's ejections. A tenth of the exits is
//! harmed at one moment; set-ups go on at a steady rate, half of them in sticky sessions. The [`page`] has one row per harm.

mod harm;
mod page;
mod ttl;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use outgate_fleetkit::fleet::{Fleet, Recruit, door, online};
use outgate_fleetkit::load::{Ask, Load, Route, Trial};
use outgate_fleetkit::place::{Place, WORLD};
use outgate_fleetkit::verdict::Verdict;
use outgate_testkit::echo::Echo;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::middleman::Middleman;
use tokio::runtime::Builder;

pub(crate) use self::harm::Harm;
use crate::cli::ChaosLine;
use crate::failure::{During, Failure, Outcome};
use crate::process::{self, pause};

/// Before the harm: enough for the gateway to learn how long a set-up takes.
const CALM: Duration = Duration::from_secs(3);
/// Between two looks at the fleet through the admin API; also the precision of the times to notice.
const LOOK: Duration = Duration::from_millis(100);
/// Half of the requests belong to one of so many sessions.
const SESSIONS: usize = 200;

/// How one run is set up.
struct Plan {
    exits: usize,
    rate: u32,
    /// Set-ups that begin so long after the harm are counted.
    counted: Duration,
}

/// Whether a set-up may try another exit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failover {
    On,
    Off,
}

/// What one fleet went through.
struct Finding {
    /// Of the set-ups that began after the harm.
    after: Verdict,
    /// Of all.
    whole: Verdict,
    /// How long the answers of the successful set-ups after the harm took, in µs, sorted.
    took: Vec<u64>,
    /// From the harm to the moment that an exit was offline or ejected, in ms, sorted; those that never were are missing.
    noticed: Vec<u64>,
    harmed: usize,
}

/// A harm, with and without failover.
struct Row {
    harm: Harm,
    on: Finding,
    off: Finding,
}

pub(crate) fn run(line: &ChaosLine) -> Outcome<()> {
    let plan = Plan {
        exits: line.exits.max(20),
        rate: line.rate,
        counted: Duration::from_secs(if line.quick { 6 } else { line.seconds }),
    };
    process::raise_open_files()?;
    let harms: Vec<Harm> = Harm::ALL.into_iter().filter(|harm| line.only.is_empty() || line.only.contains(harm)).collect();
    let mut rows = Vec::new();
    for harm in harms {
        let finding = |failover| examine(&line.outgate, &plan, harm, failover);
        let row = Row { harm, on: finding(Failover::On)?, off: finding(Failover::Off)? };
        say(&page::line(&row))?;
        rows.push(row);
    }
    say(&page::table_of(&rows))?;
    let whole = !line.quick && line.only.is_empty();
    let kept = whole.then(|| ttl::examine(&line.outgate, plan.exits)).transpose()?;
    if let Some(kept) = &kept {
        say(&page::kept(kept))?;
    }
    let wanted = line.out.clone().or_else(|| whole.then(|| "docs/fleet.md".into()));
    if let Some(page) = wanted {
        let before = fs::read_to_string(&page).unwrap_or_default();
        fs::write(&page, page::page(&rows, kept.as_ref(), &plan, &line.outgate, &before)).during("writing the page")?;
        say(&format!("wrote {}\n", page.display()))?;
    }
    let sessions = kept.filter(|kept| kept.stayed < kept.sessions || kept.renewed < kept.sessions);
    let broken = rows.iter().flat_map(Row::broken).chain(sessions.map(|kept| page::kept(&kept)));
    match broken.collect::<Vec<_>>() {
        broken if broken.is_empty() => Ok(()),
        broken => Err(Failure::new(broken.join("\n"))),
    }
}

fn say(text: &str) -> Outcome<()> {
    std::io::stdout().write_all(text.as_bytes()).during("printing")
}

/// One fleet, one harm.
fn examine(outgate: &Path, plan: &Plan, harm: Harm, failover: Failover) -> Outcome<Finding> {
    let mut quickstart = Quickstart::new(&outgate.to_string_lossy());
    if failover == Failover::Off {
        quickstart = quickstart.env("OUTGATE_FLEET_ATTEMPTS", "1");
    }
    let gateway = quickstart.start();
    let (echo, middleman) = (Echo::start(), Middleman::start(door(&gateway)));
    let mut fleet = Fleet::new();
    let runtime = Builder::new_current_thread().enable_all().build().during("making an event loop")?;
    let harmed_count = plan.exits / 10;
    let healthy: Vec<Recruit> = (0..plan.exits - harmed_count).map(|at| Recruit::agent(WORLD[at % WORLD.len()])).collect();
    runtime.block_on(fleet.add(&gateway, &healthy));
    let recruits: Vec<Recruit> = (0..harmed_count).map(|at| harm.recruit(WORLD[at % WORLD.len()], &middleman)).collect();
    let harmed = runtime.block_on(fleet.add(&gateway, &recruits));

    let load = Load::start(Route::new(&gateway, echo.address()), plan.rate, ask);
    pause(CALM);
    let at = Instant::now();
    harm.strike(&mut fleet, &harmed, &middleman);
    let watched = match failover {
        // Some harms take longer to be noticed than their cost takes to be counted.
        Failover::On if harm != Harm::None => plan.counted * 2,
        Failover::On | Failover::Off => plan.counted,
    };
    let noticed = watch(&gateway, &harmed, at, watched);
    let trials = load.stop();
    harm.undo(&fleet, &harmed);

    let ids: HashSet<String> = harmed.iter().cloned().collect();
    let after: Vec<Trial> = trials.iter().filter(|trial| (at..at + plan.counted).contains(&trial.at)).cloned().collect();
    let succeeded = after.iter().filter(|trial| trial.served().is_some());
    let mut took: Vec<u64> = succeeded.map(|trial| trial.took.as_micros().try_into().unwrap_or(u64::MAX)).collect();
    took.sort_unstable();
    Ok(Finding {
        after: Verdict::of(&fleet, &after, &ids),
        whole: Verdict::of(&fleet, &trials, &ids),
        took,
        noticed,
        harmed: harmed.len(),
    })
}

/// Countries in turn, of each the whole; every second request in one of the sessions.
fn ask(number: usize) -> Ask {
    let turn = number / 2 % SESSIONS;
    let place = Place { state: "", city: "", ..WORLD[turn % WORLD.len()] };
    Ask { place, session: number.is_multiple_of(2).then(|| format!("s{turn}")) }
}

/// Looks until the time is up; when each of `ids` was first seen offline or ejected, in ms after `since`, sorted.
fn watch(gateway: &GatewayProcess, ids: &[String], since: Instant, watched: Duration) -> Vec<u64> {
    let mut noticed: HashMap<&str, u64> = HashMap::new();
    while since.elapsed() < watched {
        let online = online(gateway);
        let now = since.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        for id in ids {
            let out = online.get(id).is_none_or(|exit| exit["health"] == "ejected");
            if out {
                noticed.entry(id).or_insert(now);
            }
        }
        pause(LOOK);
    }
    let mut times: Vec<u64> = noticed.into_values().collect();
    times.sort_unstable();
    times
}

impl Row {
    /// What must never be, in words.
    fn broken(&self) -> Vec<String> {
        let mut words = Vec::new();
        for finding in [&self.on, &self.off] {
            for what in [&finding.whole.misplaced, &finding.whole.strayed, &finding.whole.broken] {
                words.extend(what.iter().take(3).map(|one| format!("{}: {one}", self.harm.name())));
            }
        }
        words
    }
}
