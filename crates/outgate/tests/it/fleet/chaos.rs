//! A fleet that is harmed in every way at once, under load: what must hold whatever happens. `bench/run chaos` has the numbers.

use std::collections::HashSet;
use std::time::Duration;

use outgate_fleetkit::actor::Manner;
use outgate_fleetkit::fleet::{Fleet, Recruit, door, online};
use outgate_fleetkit::load::{Ask, Load, Outcome, Route};
use outgate_fleetkit::place::{Place, WORLD};
use outgate_fleetkit::verdict::Verdict;
use outgate_testkit::daemon::Signal;
use outgate_testkit::echo::Echo;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::middleman::{Middleman, Weather};
use outgate_testkit::patience::until;

use crate::OUTGATE;

/// Half of the requests belong to one of these many sessions.
const SESSIONS: usize = 40;

/// Countries in turn; each has healthy exits.
fn ask(at: usize) -> Ask {
    let whole = WORLD[at / 2 % SESSIONS % WORLD.len()];
    let session = at.is_multiple_of(2).then(|| format!("s{}", at / 2 % SESSIONS));
    Ask { place: Place { state: "", city: "", ..whole }, session }
}

#[tokio::test]
async fn whatever_happens_to_the_fleet() {
    // Quicker than the defaults, of which each step would take this test half a minute.
    let hasty = [
        ("TIMEOUTS_HEARTBEAT", "300ms"),
        ("TIMEOUTS_DEAD", "1500ms"),
        ("TIMEOUTS_SETUP", "4s"),
        ("FLEET_CHECK_INTERVAL", "500ms"),
        ("FLEET_EJECT_AFTER", "2"),
        ("FLEET_EJECT_FOR", "500ms"),
        ("FLEET_EJECT_MOST", "500ms"),
    ];
    let hasty =
        hasty.into_iter().fold(Quickstart::new(OUTGATE), |with, (name, value)| with.env(&format!("OUTGATE_{name}"), value));
    let gateway = hasty.start();
    let echo = Echo::start();
    let middleman = Middleman::start(door(&gateway));
    let mut fleet = Fleet::new();
    let healthy: Vec<Recruit> = (0..50).map(|at| Recruit::agent(WORLD[at % WORLD.len()])).collect();
    fleet.add(&gateway, &healthy).await;
    let here = |at: usize| Place { state: "", city: "", ..WORLD[at * 5] };
    let actors: Vec<Recruit> = (0..4).map(|at| Recruit::actor(here(at), Manner::Honest)).collect();
    let harmed: Vec<Recruit> = [
        vec![Recruit::process(here(0)), Recruit::process(here(2))],
        vec![Recruit::agent(here(1)).behind(&middleman), Recruit::agent(here(3)).behind(&middleman)],
        actors,
    ]
    .concat();
    let harmed = fleet.add(&gateway, &harmed).await;
    let [killed, frozen, partitioned, also_partitioned, slow, lying, refusing, silent] = &harmed[..] else { panic!("eight") };

    let load = Load::start(Route::new(&gateway, echo.address()), 60, ask);
    until("requests before the harm", || (echo.accepted() >= 60).then_some(())).await;
    fleet.crash(killed);
    fleet.process(frozen).signal(Signal::STOP);
    middleman.set(Weather::Partition);
    fleet.tell(slow, Manner::Slow(Duration::from_secs(1)));
    fleet.tell(lying, Manner::Lying);
    fleet.tell(refusing, Manner::Refusing("exit_refused"));
    fleet.tell(silent, Manner::Silent);

    // No FIN tells of these: silence does.
    let silent_deaths = [killed, frozen, partitioned, also_partitioned];
    until("every death to be noticed", || {
        let online = online(&gateway);
        silent_deaths.iter().all(|id| !online.contains_key(*id)).then_some(())
    })
    .await;
    // And what still answers pings but does not do its work is set aside.
    let useless = [lying, refusing, silent];
    let health = |id: &String| online(&gateway).get(id).map(|exit| exit["health"].clone());
    for id in useless {
        until("the useless to be set aside", || (health(id)? == "ejected").then_some(())).await;
    }
    let before = echo.accepted();
    until("requests after the harm", || (echo.accepted() >= before + 120).then_some(())).await;

    // All but the killed one come back.
    fleet.process(frozen).signal(Signal::CONT);
    middleman.set(Weather::Fair);
    for id in [slow, lying, refusing, silent] {
        fleet.tell(id, Manner::Honest);
    }
    for id in &harmed[1..] {
        until("who can come back to be back", || (health(id)? != "ejected").then_some(())).await;
    }

    let trials = load.stop();
    let verdict = Verdict::of(&fleet, &trials, &harmed.iter().cloned().collect::<HashSet<_>>());
    assert_eq!(verdict.misplaced, [] as [String; 0]);
    assert_eq!(verdict.strayed, [] as [String; 0]);
    assert_eq!(verdict.broken, [] as [String; 0], "every request is answered");
    // With other exits to try, none of this is the client's to suffer.
    assert!(verdict.told.is_empty(), "{:?} of {}", verdict.told, verdict.trials);
    for trial in &trials {
        if let Outcome::Mute(served) = &trial.outcome {
            assert!(harmed.contains(&served.exit), "a healthy exit carried nothing: {trial:?}");
        }
    }
}
