//! Exits, links and gateways that go: who notices, and what becomes of tunnels and set-ups.

use outgate_faults::Slug;
use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::load::{Ask, Load, Outcome, Route};
use outgate_fleetkit::place::Place;
use outgate_link::Refusal;
use outgate_testkit::daemon::Signal;
use outgate_testkit::echo::Echo;
use outgate_testkit::middleman::Weather;
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Ending, Wire};

use super::Cluster;
use crate::provocations::fake_exit::{FakeExit, Manner};
use crate::provocations::labelled_exit::LabelledExit;
use crate::provocations::outputs::{connect, id};
use crate::transfer::{echo_server, tunnel};

const PLACE: Place = Place::residential("de", "", "").in_pool("mobile");

/// A tunnel that carries bytes, held by gw0 through an exit of gw1.
async fn held(cluster: &Cluster, exit: &str) -> (Wire, String) {
    let (echo, _) = echo_server().await;
    let (mut wire, reply) = tunnel(&cluster.gateways[0], "-pool-mobile", echo).await;
    assert_eq!(reply.header("X-Outgate-Exit"), Some(exit));
    wire.send(b"x").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
    (wire, id(&reply))
}

async fn lost(cluster: &Cluster, held: (Wire, String), why: &str) {
    let (mut wire, id) = held;
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Reset, "{why}");
    let record = cluster.gateways[0].record(&id).await;
    assert_eq!((&record["outcome"], &record["gateway"]), (&"exit_lost".into(), &"gw1".into()), "{why}: {record}");
}

#[tokio::test]
async fn an_exit_that_dies_takes_its_tunnels_and_another_one_is_tried() {
    let cluster = Cluster::start(2).await;
    let dying = FakeExit::link_up(&cluster.gateways[1], "mobile", Manner::LeavesAfter(b"hello")).await;
    cluster.sees(0, "mobile", 1).await;
    let (mut wire, reply) = connect(&cluster.gateways[0], "-pool-mobile", "echo.outgate:80").await;
    assert_eq!((reply.status, wire.exactly(5).await.as_deref()), (200, Ok(&b"hello"[..])));
    wire.send(b"go").await.expect("open");
    lost(&cluster, (wire, id(&reply)), "its exit died").await;
    drop(dying);
    cluster.sees(0, "mobile", 0).await;

    // Both ways over the same gateway: the one that ends its link when asked, and the one that works.
    let good = FakeExit::link_up(&cluster.gateways[1], "mobile", Manner::Opens).await;
    let mut bad = Vec::new();
    for (manner, slug) in
        [(Manner::Leaves, Slug::ExitLost), (Manner::Refuses(Refusal::new("of_a_newer_version")), Slug::ExitRefused)]
    {
        bad.push((FakeExit::link_up(&cluster.gateways[1], "isp", manner.clone()).await, slug));
        cluster.sees(0, "isp", 1).await;
        let (exit, slug) = &bad[bad.len() - 1];
        let (_wire, reply) = connect(&cluster.gateways[0], "-pool-isp", "echo.outgate:80").await;
        assert_eq!(reply.header("X-Proxy-Error"), Some(slug.name()), "{}", reply.text());
        let status = reply.header("Proxy-Status").expect("every answer has it").replace('"', "");
        assert!(status.starts_with(&exit.id) && status.ends_with(", gw1, gw0"), "{status}");
        let record = cluster.gateways[0].record(&id(&reply)).await;
        assert_eq!((&record["exit"], &record["gateway"]), (&exit.id.as_str().into(), &"gw1".into()), "{record}");
        if *slug == Slug::ExitLost {
            cluster.sees(0, "isp", 0).await;
        }
    }
    let second = FakeExit::link_up(&cluster.gateways[1], "isp", Manner::Opens).await;
    cluster.sees(0, "isp", 2).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let (wire, reply) = connect(&cluster.gateways[0], "-pool-isp", "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(second.id.as_str())), "{}", reply.text());
        open.push((wire, reply.header("X-Outgate-Attempts").map(str::to_owned)));
    }
    assert!(open.iter().any(|(_, attempts)| attempts.as_deref() == Some("2")), "the one that refuses was asked first");
    drop(good);
}

#[tokio::test]
async fn a_gateway_that_is_killed_and_comes_back() {
    let mut cluster = Cluster::start(2).await;
    let exit = FakeExit::link_up(&cluster.gateways[1], "mobile", Manner::Answers(b"x")).await;
    cluster.sees(0, "mobile", 1).await;
    cluster.sees(0, "residential", 2).await;
    let tunnel = held(&cluster, &exit.id).await;
    cluster.gateways[1].daemon().kill();
    lost(&cluster, tunnel, "its gateway was killed").await;
    cluster.sees(0, "mobile", 0).await;
    let (_wire, reply) = connect(&cluster.gateways[0], "-pool-mobile", "echo.outgate:80").await;
    assert_eq!(reply.header("X-Proxy-Error"), Some("no_exit"));
    cluster.restart(1);
    cluster.sees(0, "residential", 2).await;
    let again = FakeExit::link_up(&cluster.gateways[1], "mobile", Manner::Answers(b"x")).await;
    cluster.sees(0, "mobile", 1).await;
    held(&cluster, &again.id).await;
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_noticed_and_its_exits_return() {
    let cluster = Cluster::start(2).await;
    let exit = FakeExit::link_up(&cluster.gateways[1], "mobile", Manner::Answers(b"x")).await;
    cluster.sees(0, "mobile", 1).await;
    let tunnel = held(&cluster, &exit.id).await;
    let started = std::time::Instant::now();
    cluster.doors[0].set(Weather::Partition);
    cluster.sees(0, "mobile", 0).await;
    println!("a gateway that fell silent was noticed after {:?}", started.elapsed());
    lost(&cluster, tunnel, "its gateway fell silent").await;
    cluster.doors[0].set(Weather::Fair);
    cluster.sees(0, "mobile", 1).await;
    held(&cluster, &exit.id).await;
}

/// One after the other is stopped and started, under load, and no set-up at the third fails.
#[tokio::test]
async fn a_rolling_restart_fails_no_set_up() {
    let mut cluster = Cluster::start(3).await;
    let mut fleet = Fleet::new();
    for number in [1, 2] {
        fleet.add(&cluster.gateways[number], &vec![Recruit::agent(PLACE); 3]).await;
    }
    cluster.sees(0, "mobile", 6).await;
    // On a thread of its own: this one waits for processes.
    let echo = Echo::start();
    let load = Load::start(Route::new(&cluster.gateways[0], echo.address()), 50, |_| Ask { place: PLACE, session: None });
    for (stopped, left) in [(1, 3), (2, 3)] {
        cluster.gateways[stopped].daemon().signal(Signal::TERM);
        assert!(cluster.gateways[stopped].daemon().wait().success());
        cluster.sees(0, "mobile", left).await;
        cluster.restart(stopped);
        fleet.add(&cluster.gateways[stopped], &vec![Recruit::agent(PLACE); 3]).await;
        cluster.sees(0, "mobile", 6).await;
    }
    let trials = load.stop();
    let failed: Vec<_> = trials.iter().filter(|trial| !matches!(trial.outcome, Outcome::Carried(_))).collect();
    println!("{} set-ups during a rolling restart", trials.len());
    // What was carried is one byte: a tunnel of a stopping gateway may be cut, but a set-up may not fail.
    assert!(trials.len() > 100 && failed.is_empty(), "{} of {}: {failed:?}", failed.len(), trials.len());
}

/// The gateway that stops lets the tunnels of the others finish, as its own.
#[tokio::test]
async fn open_tunnels_of_others_may_finish_before_a_gateway_stops() {
    let mut cluster = Cluster::start(2).await;
    let exit = LabelledExit::link_up(&cluster.gateways[1], &["--pool", "mobile"]).await;
    cluster.sees(0, "mobile", 1).await;
    let (mut wire, id) = held(&cluster, &exit.id).await;
    cluster.gateways[1].daemon().signal(Signal::TERM);
    until("gw0 to be told", || {
        let told = cluster.gateways[0].daemon().stderr().contains("the gateway is draining");
        told.then_some(())
    })
    .await;
    let (_wire, reply) = connect(&cluster.gateways[0], "-pool-mobile", "echo.outgate:80").await;
    assert_eq!(reply.header("X-Proxy-Error"), Some("no_exit"), "nothing new goes there");
    for _ in 0..3 {
        wire.send(b"y").await.expect("open");
        assert_eq!(wire.exactly(1).await.expect("still served"), b"y");
    }
    wire.finish().await.expect("open");
    assert_eq!(wire.ending().await.expect("an end"), (Vec::new(), Ending::Fin));
    assert!(cluster.gateways[1].daemon().wait().success());
    assert_eq!(cluster.gateways[0].record(&id).await["outcome"], "ok");
    assert!(!cluster.gateways[1].daemon().stderr().contains("were cut"));
}
