//! Accounts under traffic: what is counted, what a kill may lose, what limits and states do to live tunnels.
//!
//! What counts: of a tunnel its payload both ways; of a forwarded request every byte exchanged with the target, heads and
//! framing included. Bytes count when the gateway takes them from a side.

mod changes;
mod crash;
mod failover;
mod keys;
mod limits;
mod moving;
mod outages;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outgate_testkit::daemon::Signal;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::payload;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Credentials, Ending, Expect, Reply, Wire};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::OUTGATE;

const MIB: u64 = 1 << 20;

/// A key of a test's own.
struct Key {
    id: String,
    secret: String,
}

impl Key {
    fn create(gateway: &GatewayProcess, arguments: &[&str]) -> Self {
        let all: Vec<&str> = ["keys", "create", "--json"].iter().chain(arguments).copied().collect();
        let told = json(gateway, &all);
        Self::told(&told)
    }

    fn first(gateway: &GatewayProcess) -> Self {
        Self { id: gateway.told("key_id").to_owned(), secret: gateway.told("secret").to_owned() }
    }

    fn told(value: &Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned();
        Self { id: text("id"), secret: text("secret") }
    }

    fn authorization(&self) -> String {
        Credentials { user: &self.id, password: &self.secret }.header_line()
    }

    async fn connect(&self, gateway: &GatewayProcess, modifiers: &str, target: SocketAddr) -> (Wire, Reply) {
        let user = format!("{}{modifiers}", self.id);
        let credentials = Credentials { user: &user, password: &self.secret };
        Wire::connect_through(gateway.proxy(), Some(credentials), &target.to_string()).await.expect("an answer")
    }

    /// A good request: the slug it is refused with, or `ok`.
    async fn tries(&self, gateway: &GatewayProcess, origin: &Origin) -> String {
        let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
        self.tries_over(&mut wire, origin).await
    }

    async fn tries_over(&self, wire: &mut Wire, origin: &Origin) -> String {
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", origin.url("/ok"), origin.address(), self.authorization());
        wire.send(request.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        if reply.status == 200 { "ok".to_owned() } else { reply.header("x-proxy-error").unwrap_or("none").to_owned() }
    }

    fn shown(&self, gateway: &GatewayProcess) -> Value {
        json(gateway, &["keys", "show", &self.id, "--json"])
    }
}

fn json(gateway: &GatewayProcess, arguments: &[&str]) -> Value {
    let text = gateway.admin(arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

fn request_id(reply: &Reply) -> String {
    reply.header("x-outgate-request-id").expect("every answer has it").to_owned()
}

/// One number of one row of `outgate usage`; zero when there is no such row.
pub(crate) fn used(gateway: &GatewayProcess, by: &str, group: &str, field: &str) -> u64 {
    let rows = json(gateway, &["usage", "--by", by, "--json"]);
    let rows = rows.as_array().expect("a list");
    rows.iter().find(|row| row[by] == group).map_or(0, |row| row[field].as_u64().expect("a number"))
}

/// A target that sends without end and swallows what it gets, and counts both.
pub(crate) struct Firehose {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Firehose {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hose = Self { address: listener.local_addr().expect("bound"), sent: Arc::default(), received: Arc::default() };
        let (sent, received) = (Arc::clone(&hose.sent), Arc::clone(&hose.received));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (mut reader, mut writer) = tcp.into_split();
                let (sent, received) = (Arc::clone(&sent), Arc::clone(&received));
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                        received.fetch_add(length as u64, Ordering::SeqCst);
                    }
                });
                tokio::spawn(async move {
                    let block = payload::slice(0, 16_384);
                    while let Ok(length @ 1..) = writer.write(&block).await {
                        sent.fetch_add(length as u64, Ordering::SeqCst);
                    }
                });
            }
        });
        hose
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn counted(&self) -> (u64, u64) {
        (self.received.load(Ordering::SeqCst), self.sent.load(Ordering::SeqCst))
    }
}

/// Reads a tunnel to its end in the background, counting.
fn drink(wire: Wire, counter: &Arc<AtomicU64>) {
    let counter = Arc::clone(counter);
    tokio::spawn(async move {
        let (mut stream, pending) = wire.into_parts();
        counter.fetch_add(pending.len() as u64, Ordering::SeqCst);
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            counter.fetch_add(length as u64, Ordering::SeqCst);
        }
    });
}

/// Writes into a tunnel until it breaks, counting; reads what comes back with the other hand.
fn pour(wire: Wire, sent: &Arc<AtomicU64>, back: &Arc<AtomicU64>) {
    let (sent, back) = (Arc::clone(sent), Arc::clone(back));
    tokio::spawn(async move {
        let (stream, pending) = wire.into_parts();
        back.fetch_add(pending.len() as u64, Ordering::SeqCst);
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                back.fetch_add(length as u64, Ordering::SeqCst);
            }
        });
        let block = payload::slice(0, 16_384);
        while let Ok(length @ 1..) = writer.write(&block).await {
            sent.fetch_add(length as u64, Ordering::SeqCst);
        }
    });
}

#[tokio::test]
async fn usage_is_what_the_target_exchanged_to_the_byte() {
    let gateway = Quickstart::new(OUTGATE).start();
    let key = Key::first(&gateway);
    for (pool, modifiers) in [("direct", ""), ("residential", "-pool-residential")] {
        let answer = b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;e=1\r\nabcd\r\n0\r\nX-T: 1\r\n\r\n";
        let get = Script::start(vec![Step::ReadHead, Step::Write(answer.to_vec()), Step::ReadToEnd]);
        let upload = b"5\r\nhello\r\n3;e=2\r\nabc\r\n0\r\nX-T: 2\r\n\r\n";
        let done = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nok\n";
        let post =
            Script::start(vec![Step::ReadHead, Step::ReadExactly(upload.len()), Step::Write(done.to_vec()), Step::ReadToEnd]);
        let (up, down) = (payload::slice(0, 100_000), payload::slice(0, 700_001));
        let tunnel = Script::start(vec![Step::ReadExactly(up.len()), Step::Write(down.clone()), Step::ReadToEnd]);

        let user = format!("{}{modifiers}", key.id);
        let authorization = Credentials { user: &user, password: &key.secret }.header_line();
        let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
        let head = |method: &str, to: SocketAddr, fields: &str| {
            format!("{method} http://{to}/ HTTP/1.1\r\nHost: {to}\r\n{authorization}{fields}\r\n")
        };
        wire.send(head("GET", get.address(), "").as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), "abcd");
        let post_head = head("POST", post.address(), "Transfer-Encoding: chunked\r\n");
        wire.send(&[post_head.as_bytes(), upload].concat()).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 201);
        drop(wire);
        let (mut wire, reply) = key.connect(&gateway, modifiers, tunnel.address()).await;
        wire.send(&up).await.expect("open");
        assert_eq!(wire.exactly(down.len()).await.expect("all of it"), down);
        wire.finish().await.expect("open");
        assert_eq!(wire.ending().await.expect("an end").1, Ending::Fin);
        let record = gateway.record(&request_id(&reply)).await;
        assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&up.len().into(), &down.len().into()), "{pool}");

        // What is refused costs nothing.
        let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
        let denied = format!("CONNECT 127.0.0.1:25 HTTP/1.1\r\nHost: a\r\n{authorization}\r\n");
        wire.send(denied.as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Tunnel).await.expect("an answer").status, 403);

        let received: usize = [&get, &post, &tunnel].iter().flat_map(|script| script.received()).map(|bytes| bytes.len()).sum();
        let sent = answer.len() + done.len() + down.len();
        until("the usage to be delivered", || (used(&gateway, "pool", pool, "down") == sent as u64).then_some(())).await;
        assert_eq!(used(&gateway, "pool", pool, "up"), received as u64, "{pool}");
        assert_eq!((used(&gateway, "pool", pool, "requests"), used(&gateway, "pool", pool, "tunnels")), (2, 1), "{pool}");
    }
    let whole = used(&gateway, "key", &key.id, "bytes");
    let both = used(&gateway, "pool", "direct", "bytes") + used(&gateway, "pool", "residential", "bytes");
    assert_eq!(whole, both);
    assert_eq!(key.shown(&gateway)["period"]["bytes"], whole);
    for by in ["day", "hour"] {
        let rows = json(&gateway, &["usage", "--by", by, "--since", "2h", "--json"]);
        let rows = rows.as_array().expect("a list");
        assert!((1..=2).contains(&rows.len()), "{rows:?}");
        assert_eq!(rows.iter().filter_map(|row| row["bytes"].as_u64()).sum::<u64>(), whole, "by {by}");
    }
    assert_eq!(json(&gateway, &["usage", "--key", &key.id, "--json"])[0]["bytes"], whole);
}

#[tokio::test]
async fn a_killed_gateway_loses_next_to_nothing() {
    let mut gateway = Quickstart::new(OUTGATE).start();
    let (mut up_before, mut down_before) = (0, 0);
    // Paced, so that the bound is a hard 1 MiB; and last as fast as it goes, where the bound is a quarter of a second.
    for (round, speed) in ["2MB", "2MB", "4MB", "none"].into_iter().enumerate() {
        let hose = Firehose::start().await;
        let key = Key::first(&gateway);
        let _changed = gateway.admin(&["plans", "set", "quickstart", "--speed", speed]);
        let (drunk, poured): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let started = Instant::now();
        for modifiers in ["", "-pool-residential"] {
            let (wire, reply) = key.connect(&gateway, modifiers, hose.address).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            drink(wire, &drunk);
            let (wire, reply) = key.connect(&gateway, modifiers, hose.address).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            pour(wire, &poured, &drunk);
        }
        // Long enough that some of it must have been settled.
        let enough =
            || drunk.load(Ordering::SeqCst) + hose.counted().0 > 3 * MIB && started.elapsed() > Duration::from_millis(700);
        until("traffic", || enough().then_some(())).await;
        let (received, _) = hose.counted();
        let delivered = drunk.load(Ordering::SeqCst);
        let rate = (received + delivered) as f64 / started.elapsed().as_secs_f64();
        gateway.daemon().kill();
        let bound = MIB.max((rate / 4.0) as u64);

        gateway = Quickstart::new(OUTGATE).start_in(gateway.folder());
        let (up, down) = (used(&gateway, "key", &key.id, "up") - up_before, used(&gateway, "key", &key.id, "down") - down_before);
        let (took, sent) = (poured.load(Ordering::SeqCst), hose.counted().1);
        let lost = (received + delivered).saturating_sub(up + down);
        println!(
            "round {round} at {speed}: {:.1} MB/s, delivered {} KiB, recorded {} KiB, lost {} KiB of {} KiB allowed",
            rate / 1e6,
            (received + delivered) / 1024,
            (up + down) / 1024,
            lost / 1024,
            bound / 1024
        );
        assert!(lost <= bound, "round {round}: {lost} bytes lost, {bound} allowed");
        assert!(
            up <= took && down <= sent,
            "round {round}: more was recorded ({up} up, {down} down) than happened ({took}, {sent})"
        );
        assert_eq!(key.shown(&gateway)["period"]["bytes"], up + down + up_before + down_before, "the limit goes on from there");
        (up_before, down_before) = (up_before + up, down_before + down);
    }
}

#[tokio::test]
async fn a_clean_stop_loses_nothing() {
    let mut gateway = Quickstart::new(OUTGATE).start();
    let key = Key::first(&gateway);
    let (mut up, mut down) = (0, 0);
    for _ in 0..3 {
        let sent = payload::slice(0, 777_777);
        let script = Script::start(vec![Step::ReadExactly(1_000), Step::Write(sent.clone()), Step::Close]);
        for modifiers in ["", "-pool-residential"] {
            let (mut wire, _) = key.connect(&gateway, modifiers, script.address()).await;
            wire.send(&payload::slice(0, 1_000)).await.expect("open");
            assert!(wire.exactly(sent.len()).await.expect("all of it") == sent);
            wire.finish().await.expect("open");
            assert_eq!(wire.ending().await.expect("an end").1, Ending::Fin);
            (up, down) = (up + 1_000, down + sent.len() as u64);
        }
        gateway.daemon().signal(Signal::TERM);
        assert_eq!(gateway.daemon().wait().code(), Some(0), "{}", gateway.daemon().stderr());
        gateway = Quickstart::new(OUTGATE).start_in(gateway.folder());
        assert_eq!((used(&gateway, "key", &key.id, "up"), used(&gateway, "key", &key.id, "down")), (up, down));
        assert_eq!(used(&gateway, "key", &key.id, "tunnels"), (up / 1_000));
    }
    assert_eq!(gateway.records().len() as u64, up / 1_000, "and every record was written");
}
