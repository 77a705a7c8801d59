//! The ways in: the same faults over SOCKS5, TLS and HTTP/2, and what is said to who took the wrong one.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use outgate_faults::{Slug, socks5_reply};
use outgate_testkit::ca::Ca;
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, within};
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire};
use serde_json::Value;
use tempfile::TempDir;

use super::configured::Configured;
use super::outputs::{Site, provoked};

/// A gateway with a listener for each way in.
pub(crate) struct Doors {
    pub(crate) gateway: Configured,
    ca: Ca,
    folder: TempDir,
}

impl Doors {
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
        until(what, || {
            let text = ["access.jsonl", "auth.jsonl"]
                .map(|file| std::fs::read_to_string(self.gateway.data().join("records").join(file)));
            let lines = text.iter().flatten().flat_map(|text| text.lines());
            lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(&found)
        })
        .await
    }
}

/// SOCKS5's login with user name and password (RFC 1929).
pub(crate) fn login(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Vec<u8> {
    let (user, password) = (user.as_ref(), password.as_ref());
    let mut bytes = vec![1, user.len() as u8];
    bytes.extend(user);
    bytes.push(password.len() as u8);
    bytes.extend(password);
    bytes
}

/// SOCKS5's request (RFC 1928, section 4).
pub(crate) fn request(command: u8, host: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![5, command, 0];
    match host.parse::<Ipv4Addr>() {
        Ok(address) => {
            bytes.push(1);
            bytes.extend(address.octets());
        }
        Err(_) => {
            bytes.extend([3, host.len() as u8]);
            bytes.extend(host.bytes());
        }
    }
    bytes.extend(port.to_be_bytes());
    bytes
}

/// Logs in and asks; the reply's code, and the connection.
async fn socks(door: SocketAddr, as_: Credentials<'_>, asked: &[u8]) -> (u8, Wire) {
    let mut wire = Wire::connect(door).await.expect("it listens");
    wire.send(&[5, 2, 0, 2]).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a method"), [5, 2]);
    wire.send(&login(as_.user, as_.password)).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a verdict"), [1, 0]);
    wire.send(asked).await.expect("open");
    let head = wire.exactly(4).await.expect("a reply");
    let length = if head[3] == 4 { 18 } else { 6 };
    let _bound = wire.exactly(length).await.expect("an address");
    (head[1], wire)
}

#[tokio::test]
async fn socks5_says_what_its_byte_can_and_the_record_the_rest() {
    let (doors, origin, refusing) = (Doors::open(), Origin::start(), RefusingPort::reserve());
    let as_ = doors.gateway.credentials();
    let refused = refusing.address().port();

    let rows: [(Vec<u8>, Slug, String); 6] = [
        (request(1, "example.com", 25), Slug::PortDenied, "port 25 is not allowed (allowed: 1-24, 26-65535)".into()),
        (
            request(1, "169.254.169.254", 80),
            Slug::TargetMetadata,
            "169.254.169.254 is a cloud metadata service, which no proxy request may reach".into(),
        ),
        (request(2, "127.0.0.1", 80), Slug::MethodUnsupported, "method BIND is not supported".into()),
        (request(3, "127.0.0.1", 80), Slug::MethodUnsupported, "method UDP ASSOCIATE is not supported".into()),
        (request(1, "127.0.0.1", refused), Slug::TargetRefused, format!("127.0.0.1:{refused} refused the connection")),
        (
            request(1, "no host", 80),
            Slug::MalformedTarget,
            "malformed target: the host is neither a DNS name nor an IP address".into(),
        ),
    ];

    for door in [doors.both(), doors.socks_only()] {
        for (asked, slug, sentence) in &rows {
            let (code, mut wire) = socks(door, as_, asked).await;
            assert_eq!(code, socks5_reply(*slug), "{slug}");
            assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)), "{slug}");
            let record = doors.record(sentence, |record| record["sentence"] == sentence.as_str()).await;
            assert_eq!((&record["outcome"], &record["protocol"]), (&slug.name().into(), &"socks5".into()), "{record}");
        }
    }
    let (code, mut wire) = socks(doors.both(), as_, &request(1, "127.0.0.1", origin.address().port())).await;
    assert_eq!(code, 0);
    wire.send(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("the origin's answer").status, 200);

    // A wrong secret is told in the login's own words.
    let mut wire = Wire::connect(doors.both()).await.expect("it listens");
    wire.send(&[5, 1, 2]).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a method"), [5, 2]);
    wire.send(&login(as_.user, "wrong")).await.expect("open");
    assert_eq!(wire.ending().await, Ok((vec![1, 1], Ending::Fin)));
    // Without a login it is the reply that refuses, because there is room for a reason in it.
    let mut wire = Wire::connect(doors.both()).await.expect("it listens");
    wire.send(&[5, 1, 0]).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a method"), [5, 0]);
    wire.send(&request(1, "127.0.0.1", 80)).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a reply"), [5, socks5_reply(Slug::CredentialsMissing)]);
}

#[tokio::test]
async fn a_port_says_what_it_takes() {
    let doors = Doors::open();
    let hello = b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let cases = [
        (doors.socks_only(), "HTTP was spoken to a port that expects SOCKS5 (socks5h:// in the proxy's URL)"),
        (doors.tls(), "HTTP in clear was spoken to a port that expects TLS (https:// in the proxy's URL)"),
    ];
    for (door, sentence) in cases {
        let mut wire = Wire::connect(door).await.expect("it listens");
        wire.send(hello).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer in clear");
        provoked(Slug::WrongProtocol, "read", sentence).check(&doors.gateway, &reply).await;
    }
    let mut wire = Wire::connect(doors.http_only()).await.expect("it listens");
    wire.send(&[5, 1, 2]).await.expect("open");
    assert_eq!(wire.ending().await, Ok((vec![5, 0xff], Ending::Fin)), "no method is acceptable");
    let mut wire = Wire::connect(doors.tls()).await.expect("it listens");
    wire.send(&[5, 1, 2]).await.expect("open");
    assert_eq!(wire.ending().await, Ok((vec![5, 0xff], Ending::Fin)));
    for sentence in [
        "SOCKS5 was spoken to a port that expects HTTP/1.1",
        "SOCKS in clear was spoken to a port that expects TLS (https:// in the proxy's URL)",
    ] {
        let record = doors.record(sentence, |record| record["sentence"] == sentence).await;
        assert_eq!(record["outcome"], "wrong_protocol");
    }
}

#[tokio::test]
async fn the_same_over_tls() {
    let (doors, origin) = (Doors::open(), Origin::start());
    let authorization = doors.gateway.credentials().header_line();
    let mut wire = doors.over_tls(&["http/1.1"]).await;
    for _ in 0..2 {
        let get = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{authorization}\r\n", origin.url("/ok"), origin.address());
        wire.send(get.as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200, "kept alive");
    }
    let connect = format!("CONNECT example.com:25 HTTP/1.1\r\nHost: example.com:25\r\n{authorization}\r\n");
    wire.send(connect.as_bytes()).await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    let sentence = "port 25 is not allowed (allowed: 1-24, 26-65535)";
    let record = provoked(Slug::PortDenied, "admit", sentence).check(&doors.gateway, &reply).await;
    assert_eq!(record["protocol"], "https");

    // A tunnel's bytes, and its end.
    let mut wire = doors.over_tls(&[]).await;
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
    let doors = Doors::open();
    let mut wire = Wire::connect(doors.tls()).await.expect("it listens");
    wire.send(b"\x16\x03\x01\x00\x05hello").await.expect("open");
    let sentence = "TLS between client and proxy failed: what the client sent is no TLS handshake";
    let record = doors.record(sentence, |record| record["sentence"] == sentence).await;
    let id = record["request_id"].as_str().expect("it has one").to_owned();
    provoked(Slug::ClientTlsFailed, "read", sentence).check_record(&doors.gateway, &id, None).await;
}

#[tokio::test]
async fn a_new_certificate_is_in_force_without_a_restart() {
    let doors = Doors::open();
    let _first = doors.over_tls(&[]).await;
    let next = Ca::new();
    let _files = next.server_files(&["localhost"], doors.folder.path());
    within("the new certificate", async {
        loop {
            let wire = Wire::connect(doors.tls()).await.expect("it listens");
            if wire.tls("localhost", next.client(&[])).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

/// One HTTP/2 request; the answer's status and the slug it tells, and its body.
async fn h2(doors: &Doors, request: http::Request<()>) -> (u16, Option<String>, Vec<u8>) {
    let (answer, body) = h2_over(doors.over_tls(&["h2"]).await, request).await;
    let slug = answer.headers.get("x-proxy-error").map(|slug| slug.to_str().expect("ASCII").to_owned());
    (answer.status.as_u16(), slug, body)
}

/// One HTTP/2 request over a connection that agreed to it; in a tunnel that opens, `/ok` is asked for.
pub(crate) async fn h2_over(wire: Wire, request: http::Request<()>) -> (http::response::Parts, Vec<u8>) {
    let (stream, _) = wire.into_parts();
    let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await.expect("room for a stream");
    let is_tunnel = request.method() == http::Method::CONNECT;
    let (answer, mut up) = client.send_request(request, !is_tunnel).expect("a good request");
    let (answer, mut body) = answer.await.expect("an answer").into_parts();
    if is_tunnel && answer.status == 200 {
        let get = "GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        up.send_data(Bytes::from_static(get.as_bytes()), true).expect("room");
    }
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("the stream ends well");
        body.flow_control().release_capacity(data.len()).expect("it was received");
        all.extend_from_slice(&data);
    }
    driver.abort();
    (answer, all)
}

#[tokio::test]
async fn the_same_over_http2() {
    let (doors, origin) = (Doors::open(), Origin::start());
    let credentials = doors.gateway.credentials().header_line();
    let value = credentials.trim().split_once(": ").expect("a field").1;
    let ask = |method: &str, uri: &str| {
        http::Request::builder().method(method).uri(uri).header("proxy-authorization", value).body(()).expect("a request")
    };
    let (status, slug, body) = h2(&doors, ask("CONNECT", &origin.address().to_string())).await;
    assert_eq!((status, slug), (200, None));
    assert!(body.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&body));
    let (status, slug, body) = h2(&doors, ask("GET", &origin.url("/ok"))).await;
    assert_eq!((status, slug), (200, None), "{}", String::from_utf8_lossy(&body));
    assert!(!body.is_empty());
    let (status, slug, _) = h2(&doors, ask("HEAD", &origin.url("/ok"))).await;
    assert_eq!((status, slug), (200, None));

    let told = |slug: Slug| (slug.row().status, Some(slug.name().to_owned()));
    let (status, slug, body) = h2(&doors, ask("CONNECT", "example.com:25")).await;
    assert_eq!((status, slug), told(Slug::PortDenied));
    assert_eq!(body, b"port 25 is not allowed (allowed: 1-24, 26-65535)\n");
    let record = doors.record("the refusal", |record| record["protocol"] == "h2" && record["outcome"] == "port_denied").await;
    assert_eq!(record["method"], "CONNECT");
    let anonymous = http::Request::builder().method("CONNECT").uri("example.com:443").body(()).expect("a request");
    let (status, slug, _) = h2(&doors, anonymous).await;
    assert_eq!((status, slug), told(Slug::CredentialsMissing));
}

#[tokio::test]
async fn a_stream_of_http2_counts_as_a_connection() {
    let doors = Doors::open_with("limits.connections_per_source = 1\n");
    let request = http::Request::builder().method("CONNECT").uri("example.com:443").body(()).expect("a request");
    let (status, slug, _) = h2(&doors, request).await;
    assert_eq!((status, slug.as_deref()), (Slug::Overloaded.row().status, Some("overloaded")));
}

#[tokio::test]
async fn who_is_behind_a_load_balancer_is_told_apart() {
    let (doors, origin) = (Doors::open(), Origin::start());
    let authorization = doors.gateway.credentials().header_line();
    let get = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{authorization}\r\n", origin.url("/ok"), origin.address());
    let v1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8080\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 8, 192, 0, 2, 1, 0x12, 0x67, 0x1f, 0x90]);
    for (header, client) in [(v1, "203.0.113.7"), (v2, "203.0.113.8")] {
        let mut wire = Wire::connect(doors.behind_a_proxy()).await.expect("it listens");
        // In pieces, as a network may deliver it.
        let (start, rest) = header.split_at(9);
        wire.send(start).await.expect("open");
        wire.send(rest).await.expect("open");
        wire.send(get.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let record = doors.record(client, |record| record["client"] == client).await;
        assert_eq!(record["outcome"], "ok");
    }
    let mut wire = Wire::connect(doors.behind_a_proxy()).await.expect("it listens");
    wire.send(get.as_bytes()).await.expect("open");
    let (said, _how) = wire.ending().await.expect("an end");
    assert!(said.is_empty(), "the header is required: {}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn an_address_can_be_proof_enough() {
    let (doors, origin) = (Doors::open(), Origin::start());
    let get = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/ok"), origin.address());
    let ask = async |source: [u8; 4]| {
        let mut wire = Wire::connect_from(source.into(), doors.both()).await.expect("all of 127/8 is local");
        wire.send(get.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        reply.header("x-proxy-error").unwrap_or("ok").to_owned()
    };
    assert_eq!(ask([127, 0, 7, 1]).await, "credentials_missing");
    let wide = doors.gateway.admin(&["keys", "create", "--by-ip", "--allow-ip", "127.0.7.0/24"]);
    assert_eq!(ask([127, 0, 7, 1]).await, "ok");
    assert_eq!(ask([127, 0, 8, 1]).await, "credentials_missing");
    let _narrow = doors.gateway.admin(&["keys", "create", "--by-ip", "--allow-ip", "127.0.7.9"]);
    let id = wide["id"].as_str().expect("a key has an id");
    let _suspended = doors.gateway.admin(&["keys", "suspend", id]);
    assert_eq!(ask([127, 0, 7, 1]).await, "key_suspended");
    assert_eq!(ask([127, 0, 7, 9]).await, "ok", "the narrowest network decides");
    let _same = doors.gateway.admin(&["keys", "create", "--by-ip", "--allow-ip", "127.0.7.9"]);
    assert_eq!(ask([127, 0, 7, 9]).await, "credentials_missing", "two keys with one address are nobody");
    // The same over SOCKS5, with no login at all.
    let _resumed = doors.gateway.admin(&["keys", "resume", id]);
    let mut wire = Wire::connect_from([127, 0, 7, 1].into(), doors.both()).await.expect("local");
    wire.send(&[5, 1, 0]).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a method"), [5, 0]);
    wire.send(&request(1, "127.0.0.1", origin.address().port())).await.expect("open");
    assert_eq!(wire.exactly(2).await.expect("a reply"), [5, 0]);
}
