//! Document 001's targeting rows, one by one, against two hundred exits in many countries, states and cities.

use std::collections::HashSet;

use outgate_faults::Slug;
use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::load::{Ask, Route, Served};
use outgate_fleetkit::place::{Place, WORLD};
use outgate_fleetkit::verdict::Verdict;
use outgate_testkit::echo::Echo;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::{until, within};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{granted, tunnel};
use crate::OUTGATE;
use crate::provocations::outputs::{connect, get, id};

/// Exits in the residential pool; the other pools have some beside them.
const RESIDENTIAL: usize = 190;

fn everywhere() -> Vec<Recruit> {
    let residential = (0..RESIDENTIAL).map(|at| WORLD[at % WORLD.len()]);
    let others = ["mobile", "isp", "datacenter"].into_iter().flat_map(|pool| (0..6).map(move |at| WORLD[at * 4].in_pool(pool)));
    residential.chain(others).map(Recruit::agent).collect()
}

fn place(pool: &'static str, country: &'static str, state: &'static str, city: &'static str) -> Place {
    Place { pool, country, state, city }
}

#[tokio::test]
async fn document_001_against_two_hundred_exits() {
    // Its credentials name no pool: targeting applies to the residential network, which is the default there.
    let quickstart = Quickstart::new(OUTGATE).args(["--dialect", "proxies.fo"]);
    let gateway = quickstart.env("OUTGATE_POOLS_DEFAULT", "residential").start();
    let mut fleet = Fleet::new();
    let ids = fleet.add(&gateway, &everywhere()).await;
    assert!(ids.len() >= 200, "{}", ids.len());
    served_rows(&gateway, &fleet).await;
    refused_rows(&gateway).await;
    nobody_is_served_from_elsewhere(&gateway, &fleet).await;
    a_city_whose_exits_are_gone(&gateway, &mut fleet).await;
}

/// What users may write, and what the exit that serves them must then be.
async fn served_rows(gateway: &GatewayProcess, fleet: &Fleet) {
    let anywhere = |country, state, city| place("residential", country, state, city);
    let rows = [
        ("-country-us", anywhere("us", "", "")),
        ("-country-de", anywhere("de", "", "")),
        ("-country-nl", anywhere("nl", "", "")),
        ("-pool-mobile-country-us", place("mobile", "us", "", "")),
        ("-country-us-state-ca", anywhere("us", "ca", "")),
        ("-country-jp-state-13", anywhere("jp", "13", "")),
        ("-country-gb-state-eng", anywhere("gb", "eng", "")),
        ("-state-ca-country-us", anywhere("us", "ca", "")),
        ("-country-us-state-ca-city-losangeles", anywhere("us", "ca", "losangeles")),
        ("-country-us-city-newyork", anywhere("us", "", "newyork")),
        // One name in several states and countries.
        ("-country-us-state-me-city-portland", anywhere("us", "me", "portland")),
        ("-country-us-city-portland", anywhere("us", "", "portland")),
        ("-country-gb-city-birmingham", anywhere("gb", "", "birmingham")),
        ("-country-us-city-birmingham", anywhere("us", "al", "birmingham")),
        // Spelled as people do.
        ("-country-us-state-ca-city-los-angeles", anywhere("us", "ca", "losangeles")),
        ("-country-us-state-ca-city-Los_Angeles", anywhere("us", "ca", "losangeles")),
        ("-country-us-city-new york", anywhere("us", "ny", "newyork")),
        ("-country-br-city-são-paulo", anywhere("br", "sp", "saopaulo")),
        ("-country-br-city-rio-de-janeiro", anywhere("br", "rj", "riodejaneiro")),
        ("-country-ch-city-zürich", anywhere("ch", "zh", "zurich")),
        // Any city of the state, or of the country.
        ("-country-us-state-ca-city-ran", anywhere("us", "ca", "")),
        ("-country-de-city-ran", anywhere("de", "", "")),
        // Values and keywords that look alike; the order is the user's.
        ("-session-a-b-c-country-us-ttl-5", anywhere("us", "", "")),
        ("-city-los-angeles-session-x1-state-ca-country-us", anywhere("us", "ca", "losangeles")),
        ("-ttl-10-session-us-de-country-fr", anywhere("fr", "", "")),
    ];
    for (modifiers, asked) in rows {
        for _ in 0..4 {
            // Through the echo target the exit proves by its token that it is the one which the answer names.
            let (_wire, reply) = get(gateway, modifiers, "echo.outgate", "/").await;
            let served = granted(modifiers, &reply);
            check(fleet, modifiers, &asked, &served);
            let saw: Value = serde_json::from_slice(&reply.body).expect("the echo answers in JSON");
            assert_eq!((&saw["exit"], &saw["country"]), (&served.exit.as_str().into(), &asked.country.into()), "{modifiers}");
        }
        let (_wire, served) = tunnel(gateway, modifiers, "echo.outgate:80").await;
        check(fleet, modifiers, &asked, &served);
    }
    // `city-ran` means any: all cities of a state turn up.
    let all_turn_up = async {
        let mut seen = HashSet::new();
        while seen.len() < 3 {
            let (_wire, served) = tunnel(gateway, "-country-us-state-ca-city-ran", "echo.outgate:80").await;
            seen.insert(fleet.place(&served.exit).expect("one of ours").city);
        }
    };
    within("every city of the state to turn up", all_turn_up).await;
}

fn check(fleet: &Fleet, modifiers: &str, asked: &Place, served: &Served) {
    let is = fleet.place(&served.exit).unwrap_or_else(|| panic!("{modifiers}: {served:?} is none of ours"));
    assert!(is.fits(asked), "{modifiers}: asked for {asked:?}, served from {is:?}");
    assert_eq!(served.country.as_deref(), Some(is.country), "{modifiers}");
}

/// The document's rows of refusals, with what it says of each.
async fn refused_rows(gateway: &GatewayProcess) {
    let (country, state, city) = ("invalid country code", "invalid state code", "invalid city code");
    let login = "Incorrect username or password";
    let rows = [
        ("-country-zz", 454, Some(country), Slug::CountryInvalid),
        ("-country-USA", 454, Some(country), Slug::CountryInvalid),
        ("-country-uk", 454, Some(country), Slug::CountryInvalid),
        ("-country-us-state-zz", 454, Some(state), Slug::StateInvalid),
        // A state of another country.
        ("-country-us-state-by", 454, Some(state), Slug::StateInvalid),
        ("-country-de-state-ca", 454, Some(state), Slug::StateInvalid),
        ("-state-ca", 454, Some(state), Slug::StateInvalid),
        ("-country-us-state-ca-city-atlantis", 454, Some(city), Slug::CityInvalid),
        // A city of another state, country or pool.
        ("-country-us-state-ny-city-losangeles", 454, Some(city), Slug::CityInvalid),
        ("-country-de-city-paris", 454, Some(city), Slug::CityInvalid),
        ("-pool-mobile-country-jp-city-osaka", 454, Some(city), Slug::CityInvalid),
        ("-country-us-ttl-0", 455, Some("invalid ttl"), Slug::TtlInvalid),
        ("-session-x-ttl-ten", 455, Some("invalid ttl"), Slug::TtlInvalid),
        ("-session-x-ttl-99999999", 455, Some("invalid ttl"), Slug::TtlInvalid),
        // A forgotten value does not swallow what follows.
        ("-session-country-us", 407, Some(login), Slug::SessionInvalid),
        ("-contry-us", 407, Some(login), Slug::ModifierUnknown),
        // "Datacenter and ISP don't accept targeting modifiers."
        ("-pool-datacenter-country-us", 407, Some(login), Slug::TargetingUnsupported),
        ("-pool-isp-country-us-city-losangeles", 407, Some(login), Slug::TargetingUnsupported),
        // A country that there is, without an exit.
        ("-country-is", 502, None, Slug::NoExit),
        ("-country-us-state-wy", 502, None, Slug::NoExit),
    ];
    for (modifiers, status, body, slug) in rows {
        let (_wire, reply) = connect(gateway, modifiers, "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Proxy-Error")), (status, Some(slug.name())), "{modifiers}: {}", reply.text());
        if let Some(body) = body {
            assert_eq!(reply.text(), body, "{modifiers}");
        }
        let record = gateway.record(&id(&reply)).await;
        assert_eq!(record["outcome"], slug.name(), "{modifiers}");
    }
    for pool in ["datacenter", "isp"] {
        let (_wire, reply) = connect(gateway, &format!("-pool-{pool}"), "echo.outgate:80").await;
        granted(pool, &reply);
    }
}

/// Two thousand requests for places of every precision, at once with each other.
async fn nobody_is_served_from_elsewhere(gateway: &GatewayProcess, fleet: &Fleet) {
    let echo = Echo::start();
    let precision = |at: usize| {
        let whole = WORLD[at % WORLD.len()];
        match at / WORLD.len() % 3 {
            0 => Place { state: "", city: "", ..whole },
            1 => Place { city: "", ..whole },
            _ => whole,
        }
    };
    let route = Route::new(gateway, echo.address());
    let mut trials = Vec::new();
    for round in 0..40 {
        let mut at_once = JoinSet::new();
        for at in round * 50..(round + 1) * 50 {
            let (route, ask) = (route.clone(), Ask { place: precision(at), session: None });
            at_once.spawn(async move { route.attempt(ask).await });
        }
        trials.extend(at_once.join_all().await);
    }
    let verdict = Verdict::of(fleet, &trials, &Default::default());
    assert_eq!((verdict.carried, verdict.misplaced.as_slice()), (2000, [].as_slice()), "{:?} {:?}", verdict.told, verdict.broken);
}

/// Offered a moment ago, so it is a city; nobody is there now.
async fn a_city_whose_exits_are_gone(gateway: &GatewayProcess, fleet: &mut Fleet) {
    let osaka: Vec<String> =
        fleet.members().iter().filter(|member| member.place.city == "osaka").map(|member| member.id.clone()).collect();
    assert!(!osaka.is_empty());
    for id in &osaka {
        fleet.crash(id);
    }
    until("the exits to be gone", || {
        let online = outgate_fleetkit::fleet::online(gateway);
        osaka.iter().all(|id| !online.contains_key(id)).then_some(())
    })
    .await;
    let (_wire, reply) = connect(gateway, "-country-jp-city-osaka", "echo.outgate:80").await;
    assert_eq!((reply.status, reply.header("X-Proxy-Error")), (502, Some("no_exit")), "{}", reply.text());
    let wait: u64 = reply.header("Retry-After").and_then(|wait| wait.parse().ok()).expect("a known wait is told");
    assert!((5..=30).contains(&wait), "{wait}");
    let (_wire, served) = tunnel(gateway, "-country-jp-city-ran", "echo.outgate:80").await;
    assert_eq!(fleet.place(&served.exit).map(|place| place.city), Some("tokyo"));
}
