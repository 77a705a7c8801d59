//! A fleet spread over three gateways, and gateways that have one ledger.

use std::collections::HashSet;

use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::place::WORLD;
use outgate_testkit::daemon::Signal;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::until;
use serde_json::{Value, json};

use super::{Cluster, copied};
use crate::OUTGATE;
use crate::provocations::outputs::{connect, local_exit};
use crate::transfer::{echo_server, tunnel};

#[tokio::test]
async fn every_exit_is_used_from_every_gateway() {
    const EXITS: usize = 100;
    let cluster = Cluster::start(3).await;
    let mut fleet = Fleet::new();
    let mut ids = HashSet::new();
    for (number, gateway) in cluster.gateways.iter().enumerate() {
        let share = (0..EXITS).filter(|exit| exit % 3 == number);
        let recruits: Vec<Recruit> = share.map(|exit| Recruit::agent(WORLD[exit % WORLD.len()].in_pool("mobile"))).collect();
        ids.extend(fleet.add(gateway, &recruits).await);
    }
    assert_eq!(ids.len(), EXITS);
    let (echo, _) = echo_server().await;
    for (number, gateway) in cluster.gateways.iter().enumerate() {
        cluster.sees(number, "mobile", EXITS as u64).await;
        // Held open, so that the idle ones are the better choice.
        let (mut open, mut used) = (Vec::new(), HashSet::new());
        while used.len() < EXITS && open.len() < 10 * EXITS {
            let (mut wire, reply) = tunnel(gateway, "-pool-mobile", echo).await;
            wire.send(b"x").await.expect("open");
            assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
            used.insert(reply.header("X-Outgate-Exit").expect("every answer has it").to_owned());
            open.push(wire);
        }
        println!("gw{number}: all {EXITS} exits used within {} tunnels", open.len());
        assert_eq!(used, ids, "gw{number}");
    }
    // A place is asked for by its name, wherever the exit is linked.
    for place in &WORLD[..10] {
        let modifiers = place.in_pool("mobile").modifiers();
        let (_wire, reply) = connect(&cluster.gateways[0], &modifiers, &echo.to_string()).await;
        let exit = reply.header("X-Outgate-Exit").unwrap_or_else(|| panic!("{modifiers}: {}", reply.text()));
        assert!(fleet.place(exit).is_some_and(|is| is.fits(&place.in_pool("mobile"))), "{modifiers}: {exit}");
    }
}

/// As with a shared ledger: every gateway knows every exit, one exit is linked to two of them, another one to one.
#[tokio::test]
async fn gateways_that_have_one_ledger() {
    let mut first = Quickstart::new(OUTGATE).start();
    let enrolled = first.api("POST", "/v1/exits", &json!({ "pool": "mobile", "country": "de" }));
    let (id, token) = (enrolled["id"].as_str().expect("an id"), enrolled["token"].as_str().expect("a token"));
    let local = local_exit(&first);
    first.daemon().signal(Signal::TERM);
    assert!(first.daemon().wait().success());
    let mut cluster = Cluster::plan(2);
    for number in 0..2 {
        let gateway = cluster.quickstart(number).start_in(copied(&first.folder()));
        cluster.join(gateway);
    }
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let _exit = there.exit_enrolled(token, &["--allow-target", "127.0.0.0/8"]);
    cluster.sees(0, "mobile", 1).await;
    let row = |at: &GatewayProcess, id: &str| at.api("GET", &format!("/v1/exits/{id}"), &Value::Null);
    let online = &row(here, id)["online"];
    assert_eq!((&online["gateway"], &online["country"], &online["health"]), (&"gw1".into(), &"de".into(), &"healthy".into()));
    assert_eq!(row(there, id)["online"]["gateway"], Value::Null);
    let listed = here.admin(&["exits", "list"]);
    assert!(listed.lines().any(|line| line.contains(id) && line.contains("gw1")), "{listed}");

    // The local exit of both is one exit with a link to each.
    until("the local exit to be told of", || (row(here, &local)["online"]["links"] == 2).then_some(())).await;
    assert_eq!((super::exits_in(here, "residential"), &row(here, &local)["online"]["gateway"]), (1, &Value::Null));
    let (_wire, reply) = connect(here, "-pool-residential", "echo.outgate:80").await;
    let status = reply.header("Proxy-Status").expect("every answer has it").replace('"', "");
    assert_eq!(status, format!("{local}, gw0"), "its own link comes first");

    // Only the gateway that it is linked to can have it change its address.
    let output = std::process::Command::new(OUTGATE).args(["exits", "rotate", id, "--data"]).arg(here.data()).output();
    let output = output.expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("linked to the gateway gw1"), "{told}");

    // What a ledger says is in force at the gateway that was told; the shared one tells all.
    let _drained = here.admin(&["exits", "drain", id]);
    let (_wire, reply) = connect(here, "-pool-mobile", "echo.outgate:80").await;
    assert_eq!(reply.header("X-Proxy-Error"), Some("no_exit"));
    let _drained = there.admin(&["exits", "drain", id]);
    let _resumed = here.admin(&["exits", "resume", id]);
    let refused = || async {
        let (_wire, reply) = connect(here, "-pool-mobile", "echo.outgate:80").await;
        reply.header("X-Proxy-Error").map(str::to_owned)
    };
    assert_eq!(refused().await.as_deref(), Some("no_exit"), "the gateway that holds it says that it is draining");
}
