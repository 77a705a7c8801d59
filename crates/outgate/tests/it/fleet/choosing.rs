//! Who carries the load: least loaded first, by weight, up to each exit's own bound, and nobody who is leaving.

use std::collections::HashMap;

use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::place::Place;
use outgate_testkit::echo::Echo;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::{until, within};
use outgate_testkit::wire::Wire;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{refused, tunnel};
use crate::OUTGATE;
use crate::provocations::outputs::connect;

const MANY: Place = Place::residential("us", "", "");
const FEW: Place = Place::residential("de", "", "");
const WEIGHED: Place = Place::residential("fr", "", "");
const BOUNDED: Place = Place::residential("jp", "", "");
const LEAVING: Place = Place::residential("br", "", "");

fn several(count: usize, recruit: &Recruit) -> Vec<Recruit> {
    vec![recruit.clone(); count]
}

#[tokio::test]
async fn the_load_is_spread_weighed_bounded_and_drained() {
    let gateway = Quickstart::new(OUTGATE).start();
    let echo = Echo::start();
    let target = echo.address().to_string();
    let mut fleet = Fleet::new();
    let weighed = [1, 1, 4].map(|weight| Recruit::agent(WEIGHED).weighing(weight));
    let recruits = [
        several(40, &Recruit::agent(MANY)),
        several(8, &Recruit::agent(FEW)),
        weighed.to_vec(),
        several(2, &Recruit::agent(BOUNDED).holding(5)),
        several(3, &Recruit::agent(LEAVING)),
    ];
    let ids = fleet.add(&gateway, &recruits.concat()).await;

    // Eight are looked through whole: nobody carries two more than another.
    let (_open, loads) = hold(&gateway, FEW, &target, 80, 1).await;
    let (least, most) = (loads.values().min(), loads.values().max());
    assert!(loads.len() == 8 && most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{loads:?}");

    // Of forty some are drawn and the best of them taken, here by twenty requests at a time: 400 tunnels are 10 each.
    let (_open, loads) = hold(&gateway, MANY, &target, 400, 20).await;
    assert!(loads.len() == 40 && loads.values().all(|load| (4..=15).contains(load)), "{loads:?}");

    // A weight of 4 takes four times what a weight of 1 takes.
    let (_open, loads) = hold(&gateway, WEIGHED, &target, 60, 1).await;
    let shares: Vec<usize> = ids[48..51].iter().map(|id| loads.get(id).copied().unwrap_or(0)).collect();
    assert!((8..=12).contains(&shares[0]) && (8..=12).contains(&shares[1]) && (36..=44).contains(&shares[2]), "{shares:?}");

    bounded(&gateway, &target).await;
    drained(&gateway, &target, &mut fleet, &ids[53..]).await;
}

/// Opens tunnels, `at_once` at a time, keeps them, and counts them by exit.
async fn hold(
    gateway: &GatewayProcess,
    place: Place,
    target: &str,
    count: usize,
    at_once: usize,
) -> (Vec<Wire>, HashMap<String, usize>) {
    let (mut open, mut loads) = (Vec::new(), HashMap::new());
    let user = gateway.user(&place.modifiers());
    for _ in 0..count / at_once {
        let mut round = JoinSet::new();
        for _ in 0..at_once {
            let (proxy, user, secret, target) =
                (gateway.proxy(), user.clone(), gateway.told("secret").to_owned(), target.to_owned());
            round.spawn(async move {
                let credentials = outgate_testkit::wire::Credentials { user: &user, password: &secret };
                Wire::connect_through(proxy, Some(credentials), &target).await.expect("a gateway always answers CONNECT")
            });
        }
        for (wire, reply) in round.join_all().await {
            *loads.entry(super::granted(place.country, &reply).exit).or_default() += 1;
            open.push(wire);
        }
    }
    (open, loads)
}

/// Two exits of five tunnels each.
async fn bounded(gateway: &GatewayProcess, target: &str) {
    let (mut open, loads) = hold(gateway, BOUNDED, target, 10, 1).await;
    assert!(loads.len() == 2 && loads.values().all(|load| *load == 5), "{loads:?}");
    for _ in 0..5 {
        assert_eq!(refused(gateway, &BOUNDED.modifiers(), target).await.as_deref(), Some("no_exit"));
    }
    drop(open.pop());
    let room = async {
        loop {
            let (wire, reply) = connect(gateway, &BOUNDED.modifiers(), target).await;
            if reply.status == 200 {
                break wire;
            }
        }
    };
    open.push(within("room where a tunnel ended", room).await);
}

/// One is drained by the operator, one leaves by itself: both finish what they have and are given nothing more.
async fn drained(gateway: &GatewayProcess, target: &str, fleet: &mut Fleet, ids: &[String]) {
    let (mut open, loads) = hold(gateway, LEAVING, target, 9, 1).await;
    assert!(ids.iter().all(|id| loads[id] == 3), "{loads:?}");
    let [by_operator, by_itself, staying] = ids else { panic!("three are leaving or staying: {ids:?}") };
    let _drained = gateway.api("POST", &format!("/v1/exits/{by_operator}/drain"), &Value::Null);
    for _ in 0..20 {
        let (_wire, served) = tunnel(gateway, &LEAVING.modifiers(), target).await;
        assert_ne!(&served.exit, by_operator);
    }
    fleet.leave(by_itself);
    // Its word may cross a question of the gateway's, which then asks another.
    let alone = async {
        let mut in_a_row = 0;
        while in_a_row < 20 {
            let (_wire, served) = tunnel(gateway, &LEAVING.modifiers(), target).await;
            in_a_row = if &served.exit == staying { in_a_row + 1 } else { 0 };
        }
    };
    within("only one to be used", alone).await;
    for wire in &mut open {
        wire.send(b"!").await.expect("what is open goes on");
        assert_eq!(wire.exactly(1).await.expect("what is open goes on"), b"!");
    }
    let _resumed = gateway.api("POST", &format!("/v1/exits/{by_operator}/resume"), &Value::Null);
    let back = async { while tunnel(gateway, &LEAVING.modifiers(), target).await.1.exit != *by_operator {} };
    within("the resumed exit to be used", back).await;
    drop(open);
    until("the one that left to be gone", || (!outgate_fleetkit::fleet::online(gateway).contains_key(by_itself)).then_some(()))
        .await;
}
