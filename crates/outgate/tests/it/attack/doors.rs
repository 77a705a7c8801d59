//! Every kind of door: clients that trickle or say nothing before their first request, floods of them, too many from one
//! source. Each runs into its deadline or bound, the record names the cause, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use outgate_testkit::ca::Ca;
use outgate_testkit::h2_client::H2Client;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, within};
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::MEMORY;
use crate::provocations::configured::Configured;

/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(5);
/// What a load balancer says of a client.
const BEHIND: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8080\r\n";

/// A kind of door, in the order of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Tls,
    Socks,
    BehindProxy,
    Exits,
}

use Kind::{BehindProxy, Exits, Plain, Socks, Tls};

/// A gateway with a door of each kind.
pub(super) struct Doors {
    pub(super) gateway: Configured,
    ca: Ca,
    origin: Origin,
    _folder: TempDir,
}

impl Doors {
    /// With these settings first.
    pub(super) fn open(settings: &str) -> Self {
        let (ca, folder) = (Ca::new(), TempDir::new().expect("the machine has a temporary folder"));
        let (certificate, key) = ca.server_files(&["localhost"], folder.path());
        let listener = |rest: &str| format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{rest}");
        let listeners = [
            listener(""),
            listener(&format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display())),
            listener("protocols = [\"socks5\"]\n"),
            listener("proxy_protocol_from = [\"127.0.0.1\"]\n"),
        ];
        let gateway = Configured::start(&format!(
            "{settings}exits.address = \"127.0.0.1:0\"\npolicy.ports = [\"1-65535\"]\npolicy.allow_targets = [\"127.0.0.0/8\"]\n{}",
            listeners.concat()
        ));
        Self { gateway, ca, origin: Origin::start(), _folder: folder }
    }

    pub(super) fn address(&self, kind: Kind) -> SocketAddr {
        match kind {
            Exits => self.gateway.exits.expect("the file names one"),
            client => self.gateway.listeners[client as usize],
        }
    }

    async fn tcp(&self, kind: Kind) -> Wire {
        Wire::connect(self.address(kind)).await.expect("it listens")
    }

    pub(super) async fn over_tls(&self, alpn: &[&str]) -> Wire {
        self.tcp(Tls).await.tls("localhost", self.ca.client(alpn)).await.expect("it speaks TLS")
    }

    /// A client that speaks HTTP/2.
    pub(super) async fn http2(&self) -> H2Client {
        H2Client::over(self.over_tls(&["h2"]).await).await
    }

    /// The value of a Proxy-Authorization.
    pub(super) fn authorization(&self) -> String {
        let line = self.credentials().header_line();
        line.trim().split_once(": ").expect("a field").1.to_owned()
    }

    pub(super) fn credentials(&self) -> Credentials<'_> {
        self.gateway.credentials()
    }

    /// A tunnel through a door.
    pub(super) async fn tunnel(&self, kind: Kind, target: SocketAddr) -> Wire {
        let mut wire = match kind {
            Tls => self.over_tls(&["http/1.1"]).await,
            other => self.tcp(other).await,
        };
        if kind == BehindProxy {
            wire.send(BEHIND).await.expect("open");
        }
        if kind == Socks {
            let Credentials { user, password } = self.credentials();
            let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
            let request = [&[5, 1, 0, 3][..], &text(&target.ip().to_string()), &target.port().to_be_bytes()].concat();
            for (said, heard) in [(vec![5, 1, 2], 2), ([vec![1], text(user), text(password)].concat(), 2), (request, 10)] {
                wire.send(&said).await.expect("open");
                assert_eq!(wire.exactly(heard).await.expect("a reply")[1], if heard == 2 && said[0] == 5 { 2 } else { 0 });
            }
            return wire;
        }
        let line = self.credentials().header_line();
        wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{line}\r\n").as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Tunnel).await.expect("an answer").status, 200, "{kind:?}");
        wire
    }

    /// Each door for clients lets a good one through.
    async fn still_work(&self, after: &str) {
        for kind in [Plain, Tls, Socks, BehindProxy] {
            let mut wire = self.tunnel(kind, self.origin.address()).await;
            wire.send(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
            assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200, "{kind:?} after {after}");
        }
    }
}

/// Name, door, what is sent at once, what is sent byte by byte then, what comes back, and the record's protocol and `ended_by`.
type Slow = (&'static str, Kind, &'static [u8], &'static [u8], &'static [u8], &'static str, Option<&'static str>);

#[rustfmt::skip] // one line for each row
const SLOW: &[Slow] = &[
    ("silence on a plain port", Plain, b"", b"", b"", "http", Some("silent")),
    ("silence on a TLS port", Tls, b"", b"", b"", "https", Some("silent")),
    ("silence on a SOCKS port", Socks, b"", b"", b"", "socks5", Some("silent")),
    ("silence of a load balancer", BehindProxy, b"", b"", b"", "proxy", None),
    ("silence behind a load balancer", BehindProxy, BEHIND, b"", b"", "http", Some("silent")),
    ("a handshake that begins", Tls, b"\x16\x03\x01\x02\x00\x01", b"", b"", "https", None),
    ("a handshake that trickles", Tls, b"\x16\x03\x01\x40\x00\x01", b"\0", b"", "https", None),
    ("a PROXY header that trickles", BehindProxy, b"PROXY TCP4 ", b"1", b"", "proxy", None),
    ("a PROXY header of version 2 that trickles", BehindProxy, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x02\x00", b"\0", b"", "proxy", None),
    ("SOCKS methods that trickle", Socks, b"\x05\xff", b"\x01", b"\x05\xff", "socks5", None),
    ("SOCKS methods that do not come", Plain, b"\x05\xff", b"", b"\x05\xff", "socks5", None),
    ("a SOCKS login that does not come", Socks, b"\x05\x01\x02", b"", b"\x05\x02\x01\x01", "socks5", None),
    ("a SOCKS login that trickles", Plain, b"\x05\x01\x02\x01\xff", b"u", b"\x05\x02\x01\x01", "socks5", None),
    ("a SOCKS request that does not come", Plain, b"\x05\x01\x00", b"", b"\x05\x00\x05\x01\0\x01\0\0\0\0\0\0", "socks5", None),
    ("a SOCKS request that trickles", Socks, b"\x05\x01\x00\x05\x01\x00\x03\xff", b"h", b"\x05\x00\x05\x01\0\x01\0\0\0\0\0\0", "socks5", None),
];

#[tokio::test]
async fn whoever_takes_too_long_before_a_request_is_cut_and_recorded() {
    let doors = Doors::open("timeouts.head = \"300ms\"\ntimeouts.keep_alive = \"300ms\"\n");
    for (name, kind, start, drip, answer, protocol, ended_by) in SLOW {
        let before = doors.gateway.records().len();
        let mut wire = doors.tcp(*kind).await;
        wire.send(start).await.expect("open");
        let record = || doors.gateway.records().get(before).cloned();
        let record: Value = within(name, async {
            loop {
                if let Some(record) = record() {
                    break record;
                }
                // Fails once the connection is closed.
                let _cut = wire.send(drip).await;
                // The attack itself, not a wait for anything.
                tokio::time::sleep(DRIP).await;
            }
        })
        .await;
        assert_eq!(
            (&record["outcome"], &record["protocol"]),
            (&"request_timeout".into(), &(*protocol).into()),
            "{name}: {record}"
        );
        assert_eq!((record["ended_by"].as_str(), record["stage"].as_str().is_some()), (*ended_by, true), "{name}: {record}");
        match wire.ending().await {
            Ok((said, _)) => assert_eq!(said, *answer, "{name}"),
            // Who trickles on into a connection that is over may lose the answer to the reset.
            Err(error) => panic!("{name}: {error}"),
        }
    }
    // HTTP is told: inside TLS too.
    let mut wire = doors.over_tls(&["http/1.1"]).await;
    wire.send(b"GET http://a/ HT").await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (408, Some("request_timeout")));
    // HTTP/2 was agreed on, and its preface does not come.
    let mut wire = doors.over_tls(&["h2"]).await;
    wire.send(b"PRI * HTTP/2.0\r\n").await.expect("open");
    let record = doors.gateway.record_of("the preface's record", |record| record["protocol"] == "h2").await;
    assert_eq!(record["outcome"], "request_timeout", "{record}");
    doors.still_work("slow beginnings").await;
}

#[tokio::test]
async fn a_beginning_that_is_wrong_is_recorded() {
    let doors = Doors::open("");
    let stranger = Ca::new();
    let refused = doors.tcp(Tls).await.tls("localhost", stranger.client(&[])).await;
    assert!(refused.is_err(), "who does not know the authority does not go on");
    // This one leaves without a word; others send an alert.
    let sentence = "TLS between client and proxy failed: the client left in the middle of the handshake";
    let record = doors.gateway.record_of("who left", |record| record["outcome"] == "client_tls_failed").await;
    assert_eq!((&record["sentence"], &record["protocol"]), (&sentence.into(), &"https".into()));

    let cases: [(&str, Kind, &[u8], &str, &str); 3] = [
        ("garbage as a handshake", Tls, b"\x16\x03\x01\x00\x05hello", "client_tls_failed", "no TLS handshake"),
        ("no PROXY header", BehindProxy, b"GET / HTTP/1.1\r\n\r\n", "wrong_protocol", "a PROXY protocol header first"),
        ("an endless PROXY header", BehindProxy, &[b"PROXY TCP6 ".as_slice(), &[b'1'; 2000]].concat(), "wrong_protocol", "PROXY"),
    ];
    for (name, kind, bytes, outcome, sentence) in cases {
        let before = doors.gateway.records().len();
        let mut wire = doors.tcp(kind).await;
        wire.send(bytes).await.expect("open");
        let _ended = wire.ending().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let newer = || doors.gateway.records().get(before).cloned();
        let record = until(name, newer).await;
        assert_eq!(record["outcome"], outcome, "{name}: {record}");
        assert!(record["sentence"].as_str().is_some_and(|told| told.contains(sentence)), "{name}: {record}");
    }
    doors.still_work("wrong beginnings").await;
}

#[tokio::test]
async fn half_open_floods_hold_little_and_block_nobody() {
    let doors = Doors::open("timeouts.head = \"10m\"\ntimeouts.keep_alive = \"10m\"\n");
    let starts: [(Kind, &[u8]); 9] = [
        (Plain, b""),
        (Plain, b"CONNECT "),
        (Plain, b"\x05"),
        (Tls, b""),
        (Tls, b"\x16\x03\x01\x02\x00\x01"),
        (Socks, b"\x05\x01"),
        (BehindProxy, b"PROXY "),
        (Exits, b""),
        (Exits, b"GET /v1/link HTTP/1.1\r\n"),
    ];
    let mut held = Vec::new();
    for (kind, start) in starts {
        for _ in 0..50 {
            let mut wire = doors.tcp(kind).await;
            wire.send(start).await.expect("open");
            held.push(wire);
        }
        doors.still_work("a flood").await;
    }
    let memory = doors.gateway.daemon().resident_bytes();
    assert!(memory < MEMORY, "{memory} bytes held");
    // Strangers at the door for exits have ten seconds, whatever clients have.
    for wire in held.iter_mut().rev().take(100) {
        let ended = wire.ending().await.expect("an end");
        assert_eq!(ended, (Vec::new(), Ending::Fin));
    }
    let told = |record: &&Value| record["protocol"] == "link" && record["outcome"] == "request_timeout";
    until("their records", || (doors.gateway.records().iter().filter(told).count() == 100).then_some(())).await;
}

#[tokio::test]
async fn one_source_gets_so_many_places_at_each_door() {
    let doors = Doors::open("limits.connections_per_source = 3\n");
    let overloaded_alert: &[u8] = &[0x15, 3, 3, 0, 2, 2, 0x50];
    let refusals: [(Kind, &[u8]); 4] = [(Plain, b"HTTP/1.1 503 "), (Tls, overloaded_alert), (Socks, b"\x05\xff"), (Exits, b"")];
    for (number, (kind, refusal)) in refusals.into_iter().enumerate() {
        let source = [127, 0, 9, number as u8 + 1].into();
        let before = doors.gateway.records().len();
        // The event loops accept in no certain order: it is one of the four that finds no place.
        let mut four = JoinSet::new();
        for _ in 0..4 {
            let mut wire = Wire::connect_from(source, doors.address(kind)).await.expect("the system accepts");
            four.spawn(async move { wire.ending().await });
        }
        let (said, _) = four.join_next().await.expect("one of four").expect("no panic").expect("an end");
        assert!(said.starts_with(refusal) && said.is_empty() == refusal.is_empty(), "{kind:?}: {said:?}");
        let newer = || doors.gateway.records().get(before).cloned();
        let record = until("its record", newer).await;
        assert_eq!((&record["outcome"], &record["client"]), (&"overloaded".into(), &source.to_string().into()), "{kind:?}");
        assert!(four.try_join_next().is_none(), "{kind:?}: the others have a place");
    }
    // Behind a load balancer it is the client that counts.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(doors.tunnel(BehindProxy, doors.origin.address()).await);
    }
    let mut wire = doors.tcp(BehindProxy).await;
    wire.send(&[BEHIND, b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 503);
    let mut other = doors.tcp(BehindProxy).await;
    other.send(b"PROXY TCP4 203.0.113.8 192.0.2.1 4711 8080\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    assert_eq!(other.reply(Expect::Body).await.expect("an answer").status, 407, "another client has places of its own");
}
