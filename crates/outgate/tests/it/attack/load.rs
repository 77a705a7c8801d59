//! More than there is: tunnels, memory, descriptors, places for clients and for exits. New work is refused by name, what runs
//! goes on, and the service comes back.

use std::os::unix::fs::PermissionsExt as _;

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::{until, within};
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Expect, Wire};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{MEMORY, Scene, outcome};
use crate::OUTGATE;
use crate::provocations::labelled_exit::LabelledExit;
use crate::provocations::outputs::connect;

/// An answer that does not end, in chunks: those pass through the process, and not past it through a pipe.
fn endless() -> Script {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    Script::start(vec![Step::ReadHead, Step::Write(head), Step::Repeat(chunk, 100_000), Step::Stall])
}

/// A request to a script's target.
fn ask(scene: &Scene, target: &Script) -> Vec<u8> {
    let target = target.address();
    scene.raw(format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{{auth}}\r\n").as_bytes())
}

/// A tunnel to a target that echoes, as proof that what runs goes on.
async fn lifeline(gateway: &GatewayProcess, scene: &Scene) -> Wire {
    let request = scene
        .raw(b"GET http://{origin}/upgrade HTTP/1.1\r\nHost: {origin}\r\n{auth}Connection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    wire.send(&request).await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 101);
    wire
}

async fn is_alive(wire: &mut Wire, when: &str) {
    wire.send(b"still there?").await.unwrap_or_else(|error| panic!("{when}: {error}"));
    let heard = wire.exactly(12).await.unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_eq!(heard, b"still there?", "{when}");
}

#[tokio::test]
async fn memory_that_runs_short_refuses_what_is_new_and_comes_back() {
    let at_rest = Scene::set().memory();
    let bound = (at_rest + (24 << 20)).to_string();
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_LIMITS_MEMORY", &bound));
    let mut lifeline = lifeline(&scene.gateway, &scene).await;
    let mut kept = scene.client().await;
    kept.send(&scene.get("/ok")).await.expect("open");
    assert_eq!(kept.reply(Expect::Body).await.expect("an answer").status, 200);

    // Clients that never read what they ask for, until there is no room for more.
    let endless = endless();
    let mut greedy = Vec::new();
    let refused = within("memory to run short", async {
        loop {
            let mut wire = scene.client().await;
            wire.send(&ask(&scene, &endless)).await.expect("open");
            let head = wire.head().await.expect("an answer");
            match head.status {
                200 => greedy.push(wire),
                _ => break head,
            }
        }
    })
    .await;
    assert_eq!((refused.status, refused.header("x-proxy-error")), (503, Some("overloaded")), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("10"), "{refused:?}");
    println!("short after {} clients that never read, bound at {bound} bytes", greedy.len());
    kept.send(&scene.get("/ok")).await.expect("open");
    let reply = kept.reply(Expect::Body).await.expect("an answer");
    assert_eq!(reply.text(), "the proxy is overloaded: memory is short\n", "on an open connection too");
    is_alive(&mut lifeline, "while memory is short").await;

    drop(greedy);
    scene.works_again("memory to suffice again").await;
    is_alive(&mut lifeline, "afterwards").await;
}

#[tokio::test]
async fn out_of_descriptors_is_a_pause() {
    let folder = TempDir::new().expect("the machine has a temporary folder");
    let few = folder.path().join("few-descriptors");
    // Hard and soft: the gateway raises its own limit as far as it may.
    std::fs::write(&few, format!("#!/bin/sh\nulimit -n 100\nexec {OUTGATE} \"$@\"\n")).expect("the folder is ours");
    std::fs::set_permissions(&few, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
    let mut scene = Scene::with(Quickstart::new(few.to_str().expect("UTF-8")));
    let mut lifeline = lifeline(&scene.gateway, &scene).await;
    let mut flood = Vec::new();
    for _ in 0..150 {
        flood.push(scene.client().await);
    }
    let paused = |scene: &mut Scene| scene.gateway.daemon().stderr().contains("accepting connections pauses").then_some(());
    until("the gateway to be out of descriptors", || paused(&mut scene)).await;
    is_alive(&mut lifeline, "without descriptors").await;
    drop(flood);
    scene.still_works("descriptors ran out").await;
    is_alive(&mut lifeline, "afterwards").await;
    let said = scene.gateway.daemon().stderr();
    assert!(!said.contains("panicked"), "{said}");
    let pauses = said.matches("accepting connections pauses").count();
    assert!(pauses < 50, "{pauses} lines of log for one shortage");
}

#[tokio::test]
async fn a_flood_at_one_door_leaves_the_other_open() {
    // Quickstart's own exit has a place at its door already.
    let limits = [("OUTGATE_LIMITS_CONNECTIONS", "3"), ("OUTGATE_LIMITS_EXIT_CONNECTIONS", "2")];
    let scene = Scene::with(limits.iter().fold(Quickstart::new(OUTGATE), |start, (name, value)| start.env(name, value)));
    // The event loops accept in no certain order: one of the four finds no place.
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let mut wire = scene.client().await;
        clients.spawn(async move { outcome(&mut wire).await.map(|reply| reply.status) });
    }
    assert_eq!(clients.join_next().await.expect("one of four").expect("no panic"), Some(503));
    let _exit = LabelledExit::link_up(&scene.gateway, &["--pool", "mobile"]).await;
    clients.shutdown().await;

    let door = scene.gateway.told("exit_gateway_url").trim_start_matches("ws://").parse().expect("an address");
    let mut strangers = Vec::new();
    for _ in 0..5 {
        strangers.push(Wire::connect(door).await.expect("the system accepts"));
    }
    for stranger in &mut strangers {
        assert_eq!(stranger.ending().await.expect("an end").0, b"", "no place is left");
    }
    let told = |record: &&Value| record["protocol"] == "link" && record["outcome"] == "overloaded";
    // An exit may want more links than it gets, and is told the same.
    until("their records", || (scene.gateway.records().iter().filter(told).count() >= 5).then_some(())).await;
    scene.works_again("a client's place to be free").await;
}

#[tokio::test]
async fn readers_that_stall_hold_little_and_end_when_idle() {
    let mut scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_IDLE", "1s"));
    let hose = Script::start(vec![Step::ReadExactly(1), Step::Repeat(vec![b'x'; 1 << 16], 100_000), Step::Stall]);
    let endless = endless();
    let (mut readers, mut ids) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let wire = if number % 3 == 0 {
            let mut wire = scene.client().await;
            wire.send(&ask(&scene, &endless)).await.expect("open");
            let head = wire.head().await.expect("an answer");
            ids.push(head.header("x-outgate-request-id").expect("it has one").to_owned());
            wire
        } else {
            let modifiers = if number % 3 == 1 { "" } else { "-pool-residential" };
            let (mut wire, reply) = connect(&scene.gateway, modifiers, &hose.address().to_string()).await;
            wire.send(b"!").await.expect("open");
            ids.push(reply.header("x-outgate-request-id").expect("it has one").to_owned());
            wire
        };
        readers.push(wire);
    }
    for id in ids {
        let ended_by = scene.gateway.record(&id).await["ended_by"].clone();
        assert!(ended_by == "idle" || ended_by == "client_lost", "{ended_by}");
    }
    let memory = scene.memory();
    println!("60 readers that stalled: {} KiB", memory / 1024);
    assert!(memory < MEMORY, "{memory} bytes held");
    drop(readers);
    scene.still_works("readers that stalled").await;
}
