//! Sticky sessions: where they stay, when they move, and what is told then. That they end with their time takes minutes, which
//! is for `bench/run chaos` and the fleet's own tests.

use std::collections::{HashMap, HashSet};

use outgate_fleetkit::fleet::{Fleet, Recruit, online};
use outgate_fleetkit::load::{Ask, Route};
use outgate_fleetkit::place::{Place, WORLD};
use outgate_testkit::echo::Echo;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::until;
use tokio::task::JoinSet;

use super::{refused, tunnel};
use crate::OUTGATE;
use crate::provocations::outputs::{connect, id};

const US: Place = Place::residential("us", "", "");

async fn gone(gateway: &GatewayProcess, id: &str) {
    until("the exit to be gone", || (!online(gateway).contains_key(id)).then_some(())).await;
}

#[tokio::test]
async fn a_session_stays_while_its_exit_lives_and_moves_when_it_is_gone() {
    let gateway = Quickstart::new(OUTGATE).start();
    let echo = Echo::start();
    let target = echo.address().to_string();
    let mut fleet = Fleet::new();
    fleet.add(&gateway, &(0..50).map(|at| Recruit::agent(WORLD[at % WORLD.len()])).collect::<Vec<_>>()).await;
    let modifiers = |session: usize| format!("-pool-residential-country-us-session-s-{session}-ttl-10");

    // First uses at once must agree.
    let route = Route::new(&gateway, echo.address());
    let mut at_once = JoinSet::new();
    for _ in 0..32 {
        let (route, ask) = (route.clone(), Ask { place: US, session: Some("first-use".to_owned()) });
        at_once.spawn(async move { route.attempt(ask).await });
    }
    let trials = at_once.join_all().await;
    let exits: HashSet<&str> = trials.iter().filter_map(|trial| Some(trial.served()?.exit.as_str())).collect();
    assert_eq!(exits.len(), 1, "one session, one exit: {trials:?}");

    // They stay, whatever else goes on: sessions in turn, with requests that are free to go anywhere between them.
    let mut homes: HashMap<usize, String> = HashMap::new();
    for _ in 0..6 {
        for session in 0..20 {
            let (wire, served) = tunnel(&gateway, &modifiers(session), &target).await;
            assert_eq!(fleet.place(&served.exit).map(|place| place.country), Some("us"));
            assert_eq!(served.moved, None, "session {session}");
            let home = homes.entry(session).or_insert_with(|| served.exit.clone());
            assert_eq!(*home, served.exit, "session {session} moved though its exit lives");
            let _elsewhere = tunnel(&gateway, &US.modifiers(), &target).await;
            drop(wire);
        }
    }
    let used: HashSet<&String> = homes.values().collect();
    assert!(used.len() >= 5, "sessions are spread over the exits: {homes:?}");
    // Another place is another exit, under the same name.
    let (_wire, served) = tunnel(&gateway, "-pool-residential-country-de-session-s-0", &target).await;
    assert_eq!(served.country.as_deref(), Some("de"));
    let (_wire, served) = tunnel(&gateway, &modifiers(0), &target).await;
    assert_eq!(served.exit, homes[&0], "which left the other where it was");

    // Its exit goes away: that one moves and says from where, the others stay.
    let victim = homes[&3].clone();
    fleet.crash(&victim);
    gone(&gateway, &victim).await;
    let (mut new_homes, mut requests) = (HashMap::new(), Vec::new());
    for session in 0..20 {
        let (wire, reply) = connect(&gateway, &modifiers(session), &target).await;
        let served = super::granted(&modifiers(session), &reply);
        drop(wire);
        requests.push(id(&reply));
        if homes[&session] == victim {
            assert_ne!(served.exit, victim);
            assert_eq!(served.moved.as_deref(), Some(victim.as_str()), "session {session}");
        } else {
            assert_eq!((&served.exit, &served.moved), (&homes[&session], &None), "session {session}");
        }
        new_homes.insert(session, served.exit);
    }
    for session in 0..20 {
        let (_wire, served) = tunnel(&gateway, &modifiers(session), &target).await;
        assert_eq!((&served.exit, &served.moved), (&new_homes[&session], &None), "session {session} has settled");
        let record = gateway.record(&requests[session]).await;
        let moved = (homes[&session] == victim).then_some(victim.as_str());
        assert_eq!(record["session_moved"].as_str(), moved, "{record}");
    }
}

#[tokio::test]
async fn a_strict_session_is_lost_with_its_exit_and_told_once() {
    let gateway = Quickstart::new(OUTGATE).env("OUTGATE_SESSIONS_STRICT", "true").start();
    let echo = Echo::start();
    let target = echo.address().to_string();
    let mut fleet = Fleet::new();
    fleet.add(&gateway, &[Recruit::agent(US), Recruit::agent(US), Recruit::agent(US)]).await;
    let modifiers = format!("{}-session-mine", US.modifiers());
    let (_wire, served) = tunnel(&gateway, &modifiers, &target).await;
    fleet.crash(&served.exit);
    gone(&gateway, &served.exit).await;
    assert_eq!(refused(&gateway, &modifiers, &target).await.as_deref(), Some("session_lost"));
    let (_wire, next) = tunnel(&gateway, &modifiers, &target).await;
    assert_ne!(next.exit, served.exit);
    let (_wire, again) = tunnel(&gateway, &modifiers, &target).await;
    assert_eq!((again.exit, again.moved), (next.exit, None));
}
