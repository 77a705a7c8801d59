//! Bytes in bulk, tunnels by the thousand, and exits that come and go: what arrives is whole, and what breaks is reset.

mod exits;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, within};
use outgate_testkit::payload::{self, Checksum};
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Credentials, Ending, Expect, Reply, Wire};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::exits::OwnExit;
use crate::OUTGATE;

const MIB: u64 = 1 << 20;
const DOWN: u64 = 50 * MIB;
const UP: u64 = 20 * MIB;

/// The ways out that every transfer takes: the gateway's own addresses, and the exit of quickstart.
const WAYS: [&str; 2] = ["", "-pool-residential"];

/// Tunnels that go through exits, as `outgate exits list` tells.
fn tunnels(gateway: &GatewayProcess) -> u64 {
    let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("JSON");
    exits.as_array().map_or(0, |exits| exits.iter().filter_map(|exit| exit["online"]["tunnels"].as_u64()).sum())
}

pub(crate) async fn tunnel(gateway: &GatewayProcess, modifiers: &str, target: SocketAddr) -> (Wire, Reply) {
    let user = gateway.user(modifiers);
    let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &target.to_string()).await;
    let (wire, reply) = connected.unwrap_or_else(|error| panic!("{modifiers:?}: {error}"));
    assert_eq!((reply.status, reply.header("x-proxy-error")), (200, None), "{modifiers:?}: {}", reply.text());
    (wire, reply)
}

pub(crate) fn request_id(reply: &Reply) -> String {
    reply.header("x-outgate-request-id").expect("every answer has it").to_owned()
}

/// A server that sends back whatever it gets, for as long as the test runs.
pub(crate) async fn echo_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                // A tunnel that broke is the test's own doing.
                while let Ok(length @ 1..) = tcp.read(&mut buffer).await {
                    if tcp.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
                count.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    (address, open)
}

/// Reads an answer of known length without keeping it.
async fn summed(wire: &mut Wire, length: u64) -> Checksum {
    let mut sum = Checksum::new();
    while sum.length() < length {
        let block = wire.some().await.unwrap_or_else(|error| panic!("after {} of {length} bytes: {error}", sum.length()));
        assert!(!block.is_empty(), "ended after {} of {length} bytes", sum.length());
        sum.add(&block);
    }
    sum
}

/// Sends the payload as one body, plain or in chunks.
async fn send_payload(wire: &mut Wire, length: u64, chunked: bool) {
    let mut offset = 0;
    while offset < length {
        let block = payload::slice(offset, (length - offset).min(100_000) as usize);
        offset += block.len() as u64;
        if chunked {
            wire.send(format!("{:x}\r\n", block.len()).as_bytes()).await.expect("open");
        }
        wire.send(&block).await.expect("open");
        if chunked {
            wire.send(b"\r\n").await.expect("open");
        }
    }
    if chunked {
        wire.send(b"0\r\n\r\n").await.expect("open");
    }
}

/// 50 MiB down and 20 MiB up, by every framing, over one way.
pub(crate) async fn in_bulk(gateway: &GatewayProcess, origin: &Origin, modifiers: &str) {
    let expected_down = Checksum::of_payload(DOWN);
    let uploaded = format!("{{\"checksum\":\"{}\",\"length\":{UP}}}", Checksum::of_payload(UP).hex());
    let user = gateway.user(modifiers);
    let authorization = gateway.credentials(&user).header_line();
    let host = origin.address();

    // Forwarded.
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let ask = |method: &str, path: &str, fields: &str| {
        format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n{authorization}{fields}\r\n", origin.url(path))
    };
    wire.send(ask("GET", &format!("/bytes/{DOWN}"), "").as_bytes()).await.expect("open");
    let head = wire.head().await.expect("an answer");
    assert_eq!(head.header("x-checksum"), Some(expected_down.hex().as_str()));
    assert_eq!(summed(&mut wire, DOWN).await, expected_down, "{modifiers:?} forwarded down");
    wire.send(ask("GET", &format!("/chunked/{DOWN}"), "").as_bytes()).await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!(Checksum::of(&reply.body), expected_down, "{modifiers:?} forwarded down in chunks");
    assert_eq!(reply.trailers, [("X-Checksum".to_owned(), expected_down.hex())]);
    for (framing, chunked) in [(format!("Content-Length: {UP}\r\n"), false), ("Transfer-Encoding: chunked\r\n".to_owned(), true)]
    {
        wire.send(ask("POST", "/upload", &framing).as_bytes()).await.expect("open");
        send_payload(&mut wire, UP, chunked).await;
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), uploaded, "{modifiers:?} forwarded up, {framing}");
    }

    // Through a tunnel.
    let (mut wire, _) = tunnel(gateway, modifiers, host).await;
    wire.send(format!("GET /bytes/{DOWN} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.expect("open");
    assert_eq!(wire.head().await.expect("an answer").status, 200);
    assert_eq!(summed(&mut wire, DOWN).await, expected_down, "{modifiers:?} tunnelled down");
    wire.send(format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {UP}\r\n\r\n").as_bytes()).await.expect("open");
    send_payload(&mut wire, UP, false).await;
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), uploaded, "{modifiers:?} tunnelled up");
}

#[tokio::test]
async fn bulk_directly() {
    in_bulk(&Quickstart::new(OUTGATE).start(), &Origin::start(), "").await;
}

#[tokio::test]
async fn bulk_through_the_local_exit() {
    in_bulk(&Quickstart::new(OUTGATE).start(), &Origin::start(), "-pool-residential").await;
}

#[tokio::test]
async fn bulk_through_an_exit_process() {
    let gateway = Quickstart::new(OUTGATE).start();
    let _exit = OwnExit::link(&gateway);
    in_bulk(&gateway, &Origin::start(), "-pool-mobile").await;
}

#[tokio::test]
async fn a_side_that_is_done_still_receives_the_rest() {
    let gateway = Quickstart::new(OUTGATE).start();
    for way in WAYS {
        half_closes(&gateway, way).await;
    }
}

/// Each side ends first once, and gets the rest of the other's.
pub(crate) async fn half_closes(gateway: &GatewayProcess, way: &str) {
    let long = payload::slice(0, 3 << 20);
    // The client first.
    let script = Script::start(vec![Step::ReadToEnd, Step::Write(long.clone()), Step::Close]);
    let (mut wire, reply) = tunnel(gateway, way, script.address()).await;
    wire.send(b"that was all").await.expect("open");
    wire.finish().await.expect("open");
    let (rest, ending) = wire.ending().await.expect("an end");
    assert!(rest == long, "{way:?}: {} of {} bytes came", rest.len(), long.len());
    assert_eq!((ending, script.received()), (Ending::Fin, vec![b"that was all".to_vec()]), "{way:?}");
    let record = gateway.record(&request_id(&reply)).await;
    assert_eq!((&record["outcome"], &record["ended_by"]), (&"ok".into(), &"client".into()), "{way:?}");

    // The target first.
    let script = Script::start(vec![Step::Write(long.clone()), Step::HalfClose, Step::ReadToEnd]);
    let (mut wire, reply) = tunnel(gateway, way, script.address()).await;
    let (rest, ending) = wire.ending().await.expect("an end");
    assert!(rest == long && ending == Ending::Fin, "{way:?}: {} of {} bytes came, {ending:?}", rest.len(), long.len());
    wire.send(&long).await.expect("this side is still open");
    wire.finish().await.expect("open");
    until("the target to have it all", || (script.received()[0].len() == long.len()).then_some(())).await;
    assert!(script.received()[0] == long, "{way:?}");
    let record = gateway.record(&request_id(&reply)).await;
    assert_eq!((&record["outcome"], &record["ended_by"]), (&"ok".into(), &"target".into()), "{way:?}");
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&long.len().into(), &long.len().into()), "{way:?}");
}

#[tokio::test]
async fn a_reset_goes_through_as_a_reset() {
    let gateway = Quickstart::new(OUTGATE).start();
    for way in WAYS {
        resets(&gateway, way).await;
    }
}

/// Each side resets once: the other sees a reset, and the record says who it was.
pub(crate) async fn resets(gateway: &GatewayProcess, way: &str) {
    let script = Script::start(vec![Step::Write(b"half".to_vec()), Step::Gate, Step::Reset]);
    let (mut wire, reply) = tunnel(gateway, way, script.address()).await;
    assert_eq!(wire.exactly(4).await.expect("the start"), b"half");
    script.release();
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Reset, "{way:?}");
    let record = gateway.record(&request_id(&reply)).await;
    assert_eq!((&record["outcome"], &record["ended_by"]), (&"target_reset".into(), &"target_lost".into()), "{way:?}");
    assert_eq!(&record["status"], 200, "{way:?}: the client was told of a tunnel before it broke");

    let (echo, open) = echo_server().await;
    let (mut wire, reply) = tunnel(gateway, way, echo).await;
    wire.send(b"x").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
    wire.reset();
    until("the target to be rid of it", || (open.load(Ordering::Relaxed) == 0).then_some(())).await;
    assert_eq!(gateway.record(&request_id(&reply)).await["ended_by"], "client_lost", "{way:?}");
}

#[tokio::test]
async fn who_speaks_first_does_not_matter() {
    let gateway = Quickstart::new(OUTGATE).start();
    for way in WAYS {
        speaks_first(&gateway, way).await;
    }
}

/// The server speaks first, then the client does before it can know of the tunnel.
pub(crate) async fn speaks_first(gateway: &GatewayProcess, way: &str) {
    let script = Script::start(vec![
        Step::Write(b"220 ready\r\n".to_vec()),
        Step::ReadExactly(6),
        Step::Write(b"250\r\n".to_vec()),
        Step::Close,
    ]);
    let (mut wire, _) = tunnel(gateway, way, script.address()).await;
    assert_eq!(wire.exactly(11).await.expect("the greeting"), b"220 ready\r\n", "{way:?}: the server first");
    wire.send(b"HELO\r\n").await.expect("open");
    assert_eq!(wire.ending().await.expect("an end"), (b"250\r\n".to_vec(), Ending::Fin), "{way:?}");

    // Right behind the head, in the same write.
    let (echo, _) = echo_server().await;
    let user = gateway.user(way);
    let early = payload::slice(0, 100_000);
    let head = format!("CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n{}\r\n", gateway.credentials(&user).header_line());
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    wire.send(&[head.as_bytes(), &early].concat()).await.expect("open");
    assert_eq!(wire.reply(Expect::Tunnel).await.expect("an answer").status, 200);
    assert!(wire.exactly(early.len()).await.expect("the echo") == early, "{way:?}: early data");
}

#[tokio::test]
async fn a_slow_reader_stalls_only_itself() {
    let mut gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let before = gateway.daemon().resident_bytes();
    let slow = stalled(&gateway, "-pool-residential", &origin).await;
    let held = gateway.daemon().resident_bytes().saturating_sub(before);
    println!("4 stalled tunnels of 50 MiB hold {} KiB", held / 1024);
    assert!(held < 96 * MIB, "4 stalled tunnels hold {held} bytes");
    read_on(slow).await;
}

/// Tunnels whose client reads no further, while others over the same link have gone at full speed.
pub(crate) async fn stalled(gateway: &GatewayProcess, way: &str, origin: &Origin) -> Vec<Wire> {
    let host = origin.address();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let (mut wire, _) = tunnel(gateway, way, host).await;
        wire.send(format!("GET /bytes/{DOWN} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.expect("open");
        assert_eq!(wire.head().await.expect("it began").status, 200);
        slow.push(wire);
    }
    for _ in 0..3 {
        let (mut wire, _) = tunnel(gateway, way, host).await;
        wire.send(format!("GET /bytes/{} HTTP/1.1\r\nHost: {host}\r\n\r\n", 8 * MIB).as_bytes()).await.expect("open");
        assert_eq!(wire.head().await.expect("an answer").status, 200);
        assert_eq!(summed(&mut wire, 8 * MIB).await, Checksum::of_payload(8 * MIB));
    }
    slow
}

/// They get everything once they read.
pub(crate) async fn read_on(slow: Vec<Wire>) {
    for mut wire in slow {
        assert_eq!(summed(&mut wire, DOWN).await, Checksum::of_payload(DOWN));
    }
}

#[tokio::test]
async fn two_thousand_tunnels_at_once() {
    const TUNNELS: usize = 2_000;
    outgate_testkit::open_files::lift_limit();
    let mut gateway = Quickstart::new(OUTGATE).start();
    let (echo, open) = echo_server().await;
    let before = gateway.daemon().resident_bytes();
    let user = gateway.user("-pool-residential");
    let password = gateway.told("secret").to_owned();
    let proxy = gateway.proxy();
    let mut dialing = JoinSet::new();
    let mut wires = Vec::with_capacity(TUNNELS);
    for number in 0..TUNNELS {
        // As many at a time as a busy machine takes without the set-up deadline coming near.
        if number >= 200 {
            wires.push(within("a tunnel", dialing.join_next()).await.expect("some are under way").expect("no panic"));
        }
        let (user, password) = (user.clone(), password.clone());
        dialing.spawn(async move {
            let credentials = Credentials { user: &user, password: &password };
            let connected = Wire::connect_through(proxy, Some(credentials), &echo.to_string()).await;
            let (wire, reply) = connected.expect("an answer");
            assert_eq!(reply.status, 200, "{}", reply.text());
            wire
        });
    }
    while let Some(wire) = dialing.join_next().await {
        wires.push(wire.expect("no panic"));
    }
    assert_eq!(wires.len(), TUNNELS);
    assert_eq!(tunnels(&gateway), TUNNELS as u64);
    assert_eq!(open.load(Ordering::Relaxed), TUNNELS);
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.send(&[number as u8]).await.expect("open");
    }
    for (number, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.exactly(1).await.expect("the echo"), [number as u8]);
    }
    let held = gateway.daemon().resident_bytes().saturating_sub(before);
    println!("{TUNNELS} tunnels through an exit in the same process: {} KiB, {} bytes each", held / 1024, held / TUNNELS as u64);
    drop(wires);
    until("the exit to be rid of them", || (tunnels(&gateway) == 0).then_some(())).await;
    until("the target to be rid of them", || (open.load(Ordering::Relaxed) == 0).then_some(())).await;
    let key =
        || -> Value { serde_json::from_str(&gateway.admin(&["keys", "show", gateway.told("key_id"), "--json"])).expect("JSON") };
    until("the key to be rid of them", || (key()["open"] == 0).then_some(())).await;
}

#[tokio::test]
async fn a_plan_with_a_speed_keeps_to_it() {
    const SPEED: u64 = 2_000_000;
    let gateway = Quickstart::new(OUTGATE).start();
    let _changed = gateway.admin(&["plans", "set", "quickstart", "--speed", "2MB"]);
    let origin = Origin::start();
    let host = origin.address();
    let length = 3 * SPEED;
    for way in WAYS {
        let (mut wire, _) = tunnel(&gateway, way, host).await;
        let started = Instant::now();
        wire.send(format!("GET /bytes/{length} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.expect("open");
        assert_eq!(wire.head().await.expect("an answer").status, 200);
        assert_eq!(summed(&mut wire, length).await, Checksum::of_payload(length));
        // From below only: a busy machine may be slower, never faster. A quarter of a second is the burst and the last stride.
        let least = Duration::from_secs_f64(length as f64 / SPEED as f64 - 0.25);
        let took = started.elapsed();
        println!("{length} bytes at {SPEED}/s by {way:?}: {took:?}");
        assert!(took >= least, "{way:?}: {took:?} for what takes {least:?} at least");
    }
}

#[tokio::test]
async fn many_tunnels_share_one_speed_from_the_first_byte() {
    const SPEED: u64 = 1_000_000;
    const TUNNELS: usize = 60;
    let gateway = Quickstart::new(OUTGATE).start();
    let _changed = gateway.admin(&["plans", "set", "quickstart", "--speed", "1MB"]);
    let script = Script::start(vec![Step::ReadExactly(1), Step::Repeat(payload::slice(0, 65_536), 10_000), Step::Stall]);
    let mut open = Vec::new();
    for number in 0..TUNNELS {
        open.push(tunnel(&gateway, WAYS[number % 2], script.address()).await.0);
    }
    let got = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut reading = JoinSet::new();
    for mut wire in open {
        let got = Arc::clone(&got);
        reading.spawn(async move {
            wire.send(b"!").await.expect("open");
            while let Ok(block) = wire.some().await {
                got.fetch_add(block.len(), Ordering::SeqCst);
            }
        });
    }
    let looked = || got.load(Ordering::SeqCst) as u64;
    until("some seconds' worth of bytes", || (looked() > 2 * SPEED).then_some(())).await;
    let (length, took) = (looked(), started.elapsed());
    reading.shutdown().await;
    println!("{TUNNELS} tunnels at {SPEED}/s together: {length} bytes in {took:?}");
    // From above only: later looks allow more. Half a second is the burst, and a stride of every tunnel in both directions.
    let most = (took.as_secs_f64() + 0.5) * SPEED as f64;
    assert!(length as f64 <= most, "{length} bytes in {took:?}");
}
