//! What is special about each way in, and what is said to who took the wrong one. That all tell the same faults is `matrix`.

use std::net::{Ipv4Addr, SocketAddr};

use outgate_faults::{Slug, socks5_reply};
use outgate_testkit::ca::Ca;
use outgate_testkit::h2_client::H2Client;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, within};
use outgate_testkit::script::{Script, Step};
use outgate_testkit::socks::{self, Said};
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire};
use serde_json::Value;
use tempfile::TempDir;

use super::configured::Configured;
use super::outputs::{hop, provoked};

/// A gateway with a listener for each way in.
pub(crate) struct Ports {
    pub(crate) gateway: Configured,
    ca: Ca,
    folder: TempDir,
}

impl Ports {
    pub(crate) fn open() -> Self {
        Self::open_with("")
    }

    /// With more settings.
    fn open_with(settings: &str) -> Self {
        let (ca, folder) = (Ca::new(), TempDir::new().expect("the machine has a temporary folder"));
        let (certificate, key) = ca.server_files(&["localhost"], folder.path());
        let gateway = Configured::start(&format!(
            "{settings}policy.ports = [\"1-24\", \"26-65535\"]\npolicy.allow_targets = [\"127.0.0.0/8\"]\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"http\"]\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"socks5\"]\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]\n",
            certificate.display(),
            key.display(),
        ));
        Self { gateway, ca, folder }
    }

    pub(crate) fn both(&self) -> SocketAddr {
        self.gateway.listeners[0]
    }

    pub(crate) fn http_only(&self) -> SocketAddr {
        self.gateway.listeners[1]
    }

    pub(crate) fn socks_only(&self) -> SocketAddr {
        self.gateway.listeners[2]
    }

    pub(crate) fn tls(&self) -> SocketAddr {
        self.gateway.listeners[3]
    }

    fn behind_a_proxy(&self) -> SocketAddr {
        self.gateway.listeners[4]
    }

    pub(crate) async fn over_tls(&self, alpn: &[&str]) -> Wire {
        self.over_tls_from(Ipv4Addr::LOCALHOST, alpn).await
    }

    pub(crate) async fn over_tls_from(&self, source: Ipv4Addr, alpn: &[&str]) -> Wire {
        let wire = Wire::connect_from(source.into(), self.tls()).await.expect("it listens");
        wire.tls("localhost", self.ca.client(alpn)).await.expect("it speaks TLS")
    }

    /// The record that `found` is true of.
    pub(crate) async fn record(&self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.gateway.records().into_iter().find(&found)).await
    }
}

#[tokio::test]
async fn socks5_refuses_what_it_does_not_offer() {
    let (ports, origin) = (Ports::open(), Origin::start());
    let who = Some(ports.gateway.credentials());
    let garbled = "malformed target: the host is neither a DNS name nor an IP address";
    let rows = [
        (socks::request(2, "127.0.0.1", 80), Slug::MethodUnsupported, "method BIND is not supported"),
        (socks::request(3, "127.0.0.1", 80), Slug::MethodUnsupported, "method UDP ASSOCIATE is not supported"),
        (socks::request(socks::CONNECT, "no host", 80), Slug::MalformedTarget, garbled),
    ];
    for door in [ports.both(), ports.socks_only()] {
        for (asked, slug, sentence) in &rows {
            let (said, mut wire) = socks::ask(door, who, asked).await.expect("a reply");
            assert_eq!(said, Said::Reply(socks5_reply(*slug)), "{slug}");
            assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)), "{slug}");
            let record = ports.record(sentence, |record| record["sentence"] == *sentence).await;
            assert_eq!((&record["outcome"], &record["protocol"]), (&slug.name().into(), &"socks5".into()), "{record}");
        }
        let asked = socks::request(socks::CONNECT, "127.0.0.1", origin.address().port());
        let (said, mut wire) = socks::ask(door, who, &asked).await.expect("a reply");
        assert_eq!(said, Said::Reply(0));
        wire.send(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("the origin's answer").status, 200);
    }
}

#[tokio::test]
async fn a_port_says_what_it_takes() {
    let ports = Ports::open();
    let hello = b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let cases = [
        (ports.socks_only(), "HTTP was spoken to a port that expects SOCKS5 (socks5h:// in the proxy's URL)"),
        (ports.tls(), "HTTP in clear was spoken to a port that expects TLS (https:// in the proxy's URL)"),
    ];
    for (door, sentence) in cases {
        let mut wire = Wire::connect(door).await.expect("it listens");
        wire.send(hello).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer in clear");
        provoked(Slug::WrongProtocol, "read", sentence).check(&ports.gateway, &reply).await;
    }
    let mut wire = Wire::connect(ports.http_only()).await.expect("it listens");
    wire.send(&[5, 1, 2]).await.expect("open");
    assert_eq!(wire.ending().await, Ok((vec![5, 0xff], Ending::Fin)), "no method is acceptable");
    let mut wire = Wire::connect(ports.tls()).await.expect("it listens");
    wire.send(&[5, 1, 2]).await.expect("open");
    assert_eq!(wire.ending().await, Ok((vec![5, 0xff], Ending::Fin)));
    for sentence in [
        "SOCKS5 was spoken to a port that expects HTTP/1.1",
        "SOCKS in clear was spoken to a port that expects TLS (https:// in the proxy's URL)",
    ] {
        let record = ports.record(sentence, |record| record["sentence"] == sentence).await;
        assert_eq!(record["outcome"], "wrong_protocol");
    }
}

#[tokio::test]
async fn tls_keeps_connections_and_ends_tunnels_cleanly() {
    let (ports, origin) = (Ports::open(), Origin::start());
    let authorization = ports.gateway.credentials().header_line();
    let mut wire = ports.over_tls(&["http/1.1"]).await;
    for _ in 0..2 {
        let get = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{authorization}\r\n", origin.url("/ok"), origin.address());
        wire.send(get.as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200, "kept alive");
    }
    let mut wire = ports.over_tls(&[]).await;
    let to = origin.address();
    wire.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{authorization}\r\n").as_bytes()).await.expect("open");
    assert_eq!(wire.reply(Expect::Tunnel).await.expect("an answer").status, 200);
    wire.send(format!("GET /ok HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("the origin's answer").status, 200);
    assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)), "with a close_notify");
}

/// Nothing of it can be told but by TLS itself.
#[tokio::test]
async fn tls_that_client_and_proxy_do_not_agree_on() {
    let ports = Ports::open();
    let mut wire = Wire::connect(ports.tls()).await.expect("it listens");
    wire.send(b"\x16\x03\x01\x00\x05hello").await.expect("open");
    let sentence = "TLS between client and proxy failed: what the client sent is no TLS handshake";
    let record = ports.record(sentence, |record| record["sentence"] == sentence).await;
    let id = record["request_id"].as_str().expect("it has one").to_owned();
    provoked(Slug::ClientTlsFailed, "read", sentence).check_record(&ports.gateway, &id, None).await;
}

#[tokio::test]
async fn a_new_certificate_is_in_force_without_a_restart() {
    let ports = Ports::open();
    let _first = ports.over_tls(&[]).await;
    let next = Ca::new();
    let _files = next.server_files(&["localhost"], ports.folder.path());
    within("the new certificate", async {
        loop {
            let wire = Wire::connect(ports.tls()).await.expect("it listens");
            if wire.tls("localhost", next.client(&[])).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

/// A request of HTTP/2, by somebody or by nobody.
fn request(method: &str, uri: &str, who: Option<Credentials<'_>>) -> http::Request<()> {
    let request = http::Request::builder().method(method).uri(uri);
    let value = who.map(|who| who.field_value());
    value.into_iter().fold(request, |request, value| request.header("proxy-authorization", value)).body(()).expect("a request")
}

#[tokio::test]
async fn http2_carries_requests_and_tunnels() {
    let (ports, origin) = (Ports::open(), Origin::start());
    let who = Some(ports.gateway.credentials());
    let mut client = H2Client::over(ports.over_tls(&["h2"]).await).await;
    let hop = hop(&ports.gateway);
    for (method, path, body) in [("GET", "/ok", "ok\n"), ("HEAD", "/ok", ""), ("GET", "/until-close/5", "")] {
        let (reply, _) = client.ask(request(method, &origin.url(path), who)).await.expect("an answer");
        assert_eq!((reply.status, reply.header("x-proxy-error")), (200, None), "{method} {path}: {}", reply.text());
        assert!(reply.text().ends_with(body), "{method} {path}");
        // RFC 9110, section 7.6.3: to the target what the request came in over, to the client what its answer did.
        assert_eq!(origin.last().expect("a request").header("via"), Some(format!("2.0 {hop}").as_str()), "{method} {path}");
        assert_eq!(reply.header("via"), Some(format!("1.1 {hop}").as_str()), "{method} {path}");
        assert!(reply.header("x-outgate-request-id").is_some() && reply.header("connection").is_none(), "{reply:?}");
    }
    let (reply, mut tunnel) = client.ask(request("CONNECT", &origin.address().to_string(), who)).await.expect("an answer");
    let fields: Vec<_> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((reply.status, fields), (200, vec!["proxy-status", "x-outgate-request-id", "x-outgate-exit"]));
    tunnel.send(b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true);
    let (answer, ending) = tunnel.ending().await;
    assert!(answer.starts_with(b"HTTP/1.1 200") && ending == Ending::Fin, "{}", String::from_utf8_lossy(&answer));
    // OPTIONS of the whole server has a form of its own.
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(origin.address().to_string().parse().expect("an authority"));
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("*"));
    let mut options = request("OPTIONS", "/", who);
    *options.uri_mut() = http::Uri::from_parts(parts).expect("a URI");
    let (reply, _) = client.ask(options).await.expect("an answer");
    assert!(reply.header("x-proxy-error").is_none(), "{}", reply.text());
    assert_eq!(origin.last().map(|request| (request.method, request.target)), Some(("OPTIONS".into(), "*".into())));
}

/// A target's answer may have as many fields as over HTTP/1.1, beside those that the gateway adds.
#[tokio::test]
async fn an_answer_of_many_fields_over_http2() {
    let ports = Ports::open();
    let head = (0..255).fold("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_owned(), |head, n| format!("{head}X-{n}: y\r\n"));
    let origin = Script::start(vec![Step::ReadHead, Step::Write(format!("{head}\r\n").into_bytes()), Step::Close]);
    let mut client = H2Client::over(ports.over_tls(&["h2"]).await).await;
    let asked = request("GET", &format!("http://{}/", origin.address()), Some(ports.gateway.credentials()));
    let (reply, _) = client.ask(asked).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-254")), (200, Some("y")));
}

#[tokio::test]
async fn a_stream_of_http2_counts_as_a_connection() {
    let ports = Ports::open_with("limits.connections_per_source = 1\n");
    let mut client = H2Client::over(ports.over_tls(&["h2"]).await).await;
    let (reply, _) = client.ask(request("CONNECT", "example.com:443", None)).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (Slug::Overloaded.row().status, Some("overloaded")));
}

#[tokio::test]
async fn who_is_behind_a_load_balancer_is_told_apart() {
    let (ports, origin) = (Ports::open(), Origin::start());
    let authorization = ports.gateway.credentials().header_line();
    let get = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{authorization}\r\n", origin.url("/ok"), origin.address());
    let v1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8080\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 8, 192, 0, 2, 1, 0x12, 0x67, 0x1f, 0x90]);
    for (header, client) in [(v1, "203.0.113.7"), (v2, "203.0.113.8")] {
        let mut wire = Wire::connect(ports.behind_a_proxy()).await.expect("it listens");
        // In pieces, as a network may deliver it.
        let (start, rest) = header.split_at(9);
        wire.send(start).await.expect("open");
        wire.send(rest).await.expect("open");
        wire.send(get.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let record = ports.record(client, |record| record["client"] == client).await;
        assert_eq!(record["outcome"], "ok");
    }
    let mut wire = Wire::connect(ports.behind_a_proxy()).await.expect("it listens");
    wire.send(get.as_bytes()).await.expect("open");
    let (said, _how) = wire.ending().await.expect("an end");
    assert!(said.is_empty(), "the header is required: {}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn an_address_can_be_proof_enough() {
    let (ports, origin) = (Ports::open(), Origin::start());
    let get = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/ok"), origin.address());
    let ask = async |source: [u8; 4]| {
        let mut wire = Wire::connect_from(source.into(), ports.both()).await.expect("all of 127/8 is local");
        wire.send(get.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        reply.header("x-proxy-error").unwrap_or("ok").to_owned()
    };
    assert_eq!(ask([127, 0, 7, 1]).await, "credentials_missing");
    let wide = ports.gateway.admin(&["keys", "create", "--by-ip", "--allow-ip", "127.0.7.0/24"]);
    assert_eq!(ask([127, 0, 7, 1]).await, "ok");
    assert_eq!(ask([127, 0, 8, 1]).await, "credentials_missing");
    let _narrow = ports.gateway.admin(&["keys", "create", "--by-ip", "--allow-ip", "127.0.7.9"]);
    let id = wide["id"].as_str().expect("a key has an id");
    let _suspended = ports.gateway.admin(&["keys", "suspend", id]);
    assert_eq!(ask([127, 0, 7, 1]).await, "key_suspended");
    assert_eq!(ask([127, 0, 7, 9]).await, "ok", "the narrowest network decides");
    let _same = ports.gateway.admin(&["keys", "create", "--by-ip", "--allow-ip", "127.0.7.9"]);
    assert_eq!(ask([127, 0, 7, 9]).await, "credentials_missing", "two keys with one address are nobody");
    // The same over SOCKS5, with no login at all.
    let _resumed = ports.gateway.admin(&["keys", "resume", id]);
    let mut wire = Wire::connect_from([127, 0, 7, 1].into(), ports.both()).await.expect("local");
    wire.send(&[5, 1, 0]).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a method"), [5, 0]);
    wire.send(&socks::request(socks::CONNECT, "127.0.0.1", origin.address().port())).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a reply"), [5, 0]);
}
