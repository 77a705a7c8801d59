//! Whether sessions keep to their exit for their time and then take another: a minute is the shortest there is.

use std::path::Path;
use std::time::{Duration, Instant};

use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::load::{Ask, Load, Route, Trial};
use outgate_fleetkit::place::{Place, WORLD};
use outgate_testkit::echo::Echo;
use outgate_testkit::gateway_process::Quickstart;
use tokio::runtime::Builder;

use crate::failure::{During, Outcome};
use crate::process::pause;

/// Sessions, each asking for one minute.
const SESSIONS: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// Requests that begin so close to a session's end may fall on either side of it.
const EDGE: Duration = Duration::from_millis(500);
/// Requests per second, all of them in sessions.
const RATE: u32 = 100;

/// What was found.
#[derive(Default)]
pub(super) struct Kept {
    /// Sessions that were in use before and after their minute.
    pub(super) sessions: usize,
    /// Of these, those that had one exit only until their minute was over.
    pub(super) stayed: usize,
    /// Of these, those that had another afterwards.
    pub(super) renewed: usize,
    /// The earliest change of exit after a session's first use, in ms.
    pub(super) earliest: Option<u64>,
}

pub(super) fn examine(outgate: &Path, exits: usize) -> Outcome<Kept> {
    let gateway = Quickstart::new(&outgate.to_string_lossy()).start();
    let echo = Echo::start();
    let mut fleet = Fleet::new();
    let runtime = Builder::new_current_thread().enable_all().build().during("making an event loop")?;
    let recruits: Vec<Recruit> = (0..exits).map(|at| Recruit::agent(WORLD[at % WORLD.len()])).collect();
    runtime.block_on(fleet.add(&gateway, &recruits));
    let us = Place { state: "", city: "", ..WORLD[0] };
    let ask = move |number: usize| Ask { place: us, session: Some(format!("minute{}-ttl-1", number % SESSIONS)) };
    let load = Load::start(Route::new(&gateway, echo.address()), RATE, ask);
    let until = Instant::now() + MINUTE + Duration::from_secs(8);
    while Instant::now() < until {
        pause(Duration::from_millis(100));
    }
    let trials = load.stop();
    let mut kept = Kept::default();
    for session in 0..SESSIONS {
        let name = format!("minute{session}-ttl-1");
        let own: Vec<&Trial> = trials.iter().filter(|trial| trial.ask.session.as_ref() == Some(&name)).collect();
        kept.add(&own);
    }
    Ok(kept)
}

impl Kept {
    /// One session's set-ups, in the order they began.
    fn add(&mut self, trials: &[&Trial]) {
        let served: Vec<(Instant, &str)> =
            trials.iter().filter_map(|trial| Some((trial.at, trial.served()?.exit.as_str()))).collect();
        let Some((first, home)) = served.first().copied() else { return };
        let age = |at: Instant| at.duration_since(first);
        let Some((_, last)) = served.last().filter(|(at, _)| age(*at) > MINUTE + EDGE) else { return };
        self.sessions += 1;
        let change = served.iter().find(|(_, exit)| *exit != home).map(|(at, _)| age(*at));
        if change.is_none_or(|change| change > MINUTE - EDGE) {
            self.stayed += 1;
        }
        if *last != home {
            self.renewed += 1;
        }
        if let Some(change) = change.and_then(|change| u64::try_from(change.as_millis()).ok()) {
            self.earliest = Some(self.earliest.map_or(change, |known| known.min(change)));
        }
    }
}
