//! Clients that leave, or seem to, while their target keeps silent; and tunnels in which nobody says anything, or only one side.

use std::time::Duration;

use outgate_testkit::dead::BlackHole;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Expect, Wire};

use super::Scene;
use super::doors::{Doors, Kind};
use crate::OUTGATE;
use crate::provocations::outputs::connect;

/// Far longer than a test may take: only noticing the client can end a request.
fn patient() -> Scene {
    let timeouts = ["SETUP", "CONNECT", "RESPONSE", "IDLE"].map(|name| format!("OUTGATE_TIMEOUTS_{name}"));
    Scene::with(timeouts.iter().fold(Quickstart::new(OUTGATE), |start, name| start.env(name, "10m")))
}

#[tokio::test]
async fn a_client_that_leaves_holds_no_request() {
    let (scene, hole) = (patient(), BlackHole::open());
    let silent = Script::start(vec![Step::ReadHead, Step::Stall]);
    let half = Script::start(vec![
        Step::ReadHead,
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()),
        Step::Stall,
    ]);
    let targets = [
        ("before the answer", silent.address(), "relay"),
        ("within it", half.address(), "relay"),
        ("in the dial", hole.address(), "dial"),
    ];
    for (when, target, stage) in targets {
        for leaves in ["closes", "resets"] {
            let (before, asked) = (scene.gateway.records().len(), silent.received().len());
            let mut wire = scene.client().await;
            let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{{auth}}\r\n");
            wire.send(&scene.raw(request.as_bytes())).await.expect("open");
            match when {
                "before the answer" => until("it to be asked", || (silent.received().len() > asked).then_some(())).await,
                "within it" => {
                    assert_eq!(wire.head().await.expect("an answer").status, 200);
                    assert_eq!(wire.exactly(4).await.expect("its start"), b"half");
                }
                _ => {}
            }
            match leaves {
                "resets" => wire.reset(),
                _ => drop(wire),
            }
            let record = until("the record of who left", || scene.gateway.records().get(before).cloned()).await;
            assert_eq!(
                (&record["ended_by"], &record["stage"]),
                (&"client_lost".into(), &stage.into()),
                "{leaves} {when}: {record}"
            );
        }
    }
    let key = scene.gateway.api("GET", &format!("/v1/keys/{}", scene.gateway.told("key_id")), &serde_json::Value::Null);
    assert_eq!(key["open"], 0, "every thread is back: {key}");
}

#[tokio::test]
async fn a_client_that_half_closes_still_gets_its_answer() {
    let scene = patient();
    let mut wire = scene.client().await;
    wire.send(&scene.get("/slow")).await.expect("open");
    wire.finish().await.expect("open");
    until("the origin to be asked", || (!scene.origin.received().is_empty()).then_some(())).await;
    scene.origin.release();
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), "ok\n");
}

#[tokio::test]
async fn the_end_of_an_http2_request_is_not_the_end_of_its_client() {
    let doors = Doors::open("");
    let stall = Script::start(vec![
        Step::ReadHead,
        Step::Gate,
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        Step::Stall,
    ]);
    let value = doors.authorization();
    let mut asking = Vec::new();
    for _ in 0..2 {
        let mut client = doors.http2().await;
        let request = http::Request::builder().uri(format!("http://{}/", stall.address()));
        let request = request.header("proxy-authorization", &value).body(()).expect("a request");
        asking.push(tokio::spawn(async move { client.open(request).await.map(|(reply, _)| reply.status) }));
    }
    let gives_up = asking.pop().expect("two asked");
    let waits = asking.pop().expect("two asked");
    // Asked later, over HTTP/1.1, and left: when that is noticed, whoever would be taken for gone by mistake is gone too.
    until("both to be asked", || (stall.connections() == 2).then_some(())).await;
    let target = stall.address();
    let mut leaver = Wire::connect(doors.address(Kind::Plain)).await.expect("it listens");
    let line = doors.credentials().header_line();
    leaver.send(format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{line}\r\n").as_bytes()).await.expect("open");
    until("the third to be asked", || (stall.connections() == 3).then_some(())).await;
    drop(leaver);
    doors.gateway.record_of("who left", |record| record["protocol"] == "http" && record["ended_by"] == "client_lost").await;
    gives_up.abort();
    doors.gateway.record_of("who gave up", |record| record["protocol"] == "h2" && record["ended_by"] == "client_lost").await;
    (0..3).for_each(|_| stall.release());
    assert_eq!(waits.await.expect("no panic"), Ok(200));
}

#[tokio::test]
async fn idle_tunnels_are_reset_whichever_way_they_came() {
    let doors = Doors::open("timeouts.idle = \"300ms\"\n");
    let silent = Script::start(vec![Step::Stall]);
    for (kind, protocol) in [(Kind::Plain, "http"), (Kind::Tls, "https"), (Kind::Socks, "socks5")] {
        let mut wire = doors.tunnel(kind, silent.address()).await;
        assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Reset)), "{kind:?}");
        let record = doors.gateway.record_of("its record", |record| record["protocol"] == protocol).await;
        assert_eq!(record["ended_by"], "idle", "{record}");
    }
    // A stream of HTTP/2 is reset, its connection goes on.
    let value = doors.authorization();
    let mut client = doors.http2().await;
    for _ in 0..2 {
        let request = http::Request::builder().method("CONNECT").uri(silent.address().to_string());
        let request = request.header("proxy-authorization", &value).body(()).expect("a request");
        let (reply, mut tunnel) = client.open(request).await.expect("an answer");
        assert_eq!((reply.status, tunnel.ending().await), (200, (Vec::new(), Ending::Reset)));
    }
    let idle = |record: &&serde_json::Value| record["protocol"] == "h2" && record["ended_by"] == "idle";
    until("both records", || (doors.gateway.records().iter().filter(idle).count() == 2).then_some(())).await;
}

#[tokio::test]
async fn one_side_that_speaks_is_enough() {
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_IDLE", "1s"));
    // Three times as long as a tunnel may be idle.
    let (count, pause) = (60, Duration::from_millis(50));
    let speaks = Script::start(vec![Step::Drip(vec![b'.'; count], pause), Step::Close]);
    let listens = Script::start(vec![Step::ReadExactly(count), Step::Close]);
    let (mut to_speaker, _) = connect(&scene.gateway, "", &speaks.address().to_string()).await;
    let (mut to_listener, _) = connect(&scene.gateway, "-pool-residential", &listens.address().to_string()).await;
    let speaking = async {
        for _ in 0..count {
            to_listener.send(b".").await.expect("open");
            // The client's pace, not a wait for anything.
            tokio::time::sleep(pause).await;
        }
        to_listener.ending().await
    };
    let (heard, spoken) = tokio::join!(to_speaker.ending(), speaking);
    assert_eq!(heard, Ok((vec![b'.'; count], Ending::Fin)));
    assert_eq!(spoken, Ok((Vec::new(), Ending::Fin)));
}
