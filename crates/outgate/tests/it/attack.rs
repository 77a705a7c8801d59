//! Hostile input: every malformed or ambiguous request gets a clear answer or a close, nothing reaches the origin,
//! memory stays bounded, and the next good request works.

use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Expect, Reply, Wire, WireError};
use tokio::task::JoinSet;

use crate::OUTGATE;

/// What a gateway in a debug build may hold in memory while it is attacked. At rest it holds a tenth of it.
const MEMORY: u64 = 160 << 20;

/// A gateway, an origin it may reach, and the first key's credentials.
struct Scene {
    gateway: GatewayProcess,
    origin: Origin,
    authorization: String,
}

impl Scene {
    fn set() -> Self {
        Self::with(Quickstart::new(OUTGATE))
    }

    fn with(quickstart: Quickstart) -> Self {
        let gateway = quickstart.start();
        let authorization = gateway.credentials(gateway.told("key_id")).header_line();
        Self { gateway, origin: Origin::start(), authorization }
    }

    async fn client(&self) -> Wire {
        Wire::connect(self.gateway.proxy()).await.expect("the gateway listens")
    }

    /// `{origin}` becomes the origin's address, `{auth}` a Proxy-Authorization line.
    fn raw(&self, text: &[u8]) -> Vec<u8> {
        let text = replaced(text, b"{origin}", self.origin.address().to_string().as_bytes());
        replaced(&text, b"{auth}", self.authorization.as_bytes())
    }

    fn get(&self, path: &str) -> Vec<u8> {
        self.raw(format!("GET http://{{origin}}{path} HTTP/1.1\r\nHost: {{origin}}\r\n{{auth}}\r\n").as_bytes())
    }

    /// A good request on a fresh connection works.
    async fn still_works(&self, after: &str) {
        let mut wire = self.client().await;
        wire.send(&self.get("/ok")).await.unwrap_or_else(|error| panic!("after {after}: {error}"));
        let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"), "after {after}");
    }

    fn memory(&mut self) -> u64 {
        let daemon: &mut Daemon = self.gateway.daemon();
        daemon.resident_bytes()
    }
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// What came of an attack: an answer, or a close without one.
async fn outcome(wire: &mut Wire) -> Option<Reply> {
    match wire.reply(Expect::Body).await {
        Ok(reply) => Some(reply),
        Err(WireError::Closed | WireError::Reset(_)) => None,
        Err(error) => panic!("neither an answer nor a close: {error}"),
    }
}

const GET: &str = "GET http://{origin}/ok HTTP/1.1\r\nHost: {origin}\r\n{auth}";
const POST: &str = "POST http://{origin}/upload HTTP/1.1\r\nHost: {origin}\r\n{auth}";
/// What a smuggler would hide behind a body: it must never be seen by the origin as a request.
const HIDDEN: &str = "GET http://{origin}/hidden HTTP/1.1\r\nHost: {origin}\r\n{auth}\r\n";

/// Name, request, the slug it is refused with.
fn refused_heads() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let get = |fields: &str| format!("{GET}{fields}\r\n").into_bytes();
    let post = |fields: &str, body: &str| format!("{POST}{fields}\r\n{body}").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: {{origin}}\r\n{{auth}}\r\n").into_bytes();
    let malformed = "malformed_request";
    let target = "malformed_target";
    vec![
        // Two framings, or an unclear one.
        ("TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{HIDDEN}")), malformed),
        ("CL and TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{HIDDEN}")), malformed),
        ("two CL that differ", post("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"), malformed),
        ("two CL that agree", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), malformed),
        ("CL as a list", post("Content-Length: 3, 3\r\n", "abc"), malformed),
        ("CL with a sign", post("Content-Length: +3\r\n", "abc"), malformed),
        ("negative CL", post("Content-Length: -1\r\n", "abc"), malformed),
        ("hexadecimal CL", post("Content-Length: 0x3\r\n", "abc"), malformed),
        ("empty CL", post("Content-Length:\r\n", "abc"), malformed),
        ("CL with a blank inside", post("Content-Length: 1 0\r\n", "abc"), malformed),
        ("CL beyond 64 bits", post("Content-Length: 18446744073709551616\r\n", "abc"), malformed),
        ("CL negative as a signed number", post("Content-Length: 18446744073709551615\r\n", "abc"), malformed),
        ("TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), malformed),
        ("TE chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), malformed),
        ("TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), malformed),
        ("TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), malformed),
        ("TE identity", post("Transfer-Encoding: identity\r\n", "abc"), malformed),
        ("TE misspelled", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), malformed),
        ("TE with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), malformed),
        ("TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), malformed),
        ("TE empty", post("Transfer-Encoding:\r\n", "0\r\n\r\n"), malformed),
        ("TE in HTTP/1.0", format!("POST http://{{origin}}/upload HTTP/1.0\r\n{{auth}}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into_bytes(), malformed),
        ("Connection drops CL", post("Connection: Content-Length\r\nContent-Length: 3\r\n", "abc"), malformed),
        ("Connection drops TE", post("Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), malformed),
        ("Connection drops Host", get("Connection: host\r\n"), malformed),
        // Lines and fields.
        ("a folded field", get("X-Fold: a\r\n b\r\n"), malformed),
        ("a folded TE", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), malformed),
        ("a first field that is folded", b"GET http://{origin}/ok HTTP/1.1\r\n Host: {origin}\r\n{auth}\r\n".to_vec(), malformed),
        ("a blank before the colon", post("Content-Length : 3\r\n", "abc"), malformed),
        ("a tab before the colon", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), malformed),
        ("no colon", get("X-Nothing\r\n"), malformed),
        ("no name", get(": value\r\n"), malformed),
        ("a blank in a name", get("X Y: value\r\n"), malformed),
        ("NUL in a value", get("X-Nul: a\0b\r\n"), malformed),
        ("NUL in a name", get("X\0Nul: a\r\n"), malformed),
        ("CR in a value", get("X-Cr: a\rContent-Length: 3\r\n"), malformed),
        ("a control character in a value", get("X-Bell: \x07\r\n"), malformed),
        ("bare LF after the request line", b"GET http://{origin}/ok HTTP/1.1\nHost: {origin}\r\n{auth}\r\n".to_vec(), malformed),
        ("bare LF after a field", get("X-Lf: a\nX-Two: b\r\n"), malformed),
        ("bare LF as the end", b"GET http://{origin}/ok HTTP/1.1\r\nHost: {origin}\r\n{auth}\n".to_vec(), malformed),
        ("CR CR LF", b"GET http://{origin}/ok HTTP/1.1\r\r\nHost: {origin}\r\n{auth}\r\n".to_vec(), malformed),
        ("no Host", b"GET http://{origin}/ok HTTP/1.1\r\n{auth}\r\n".to_vec(), malformed),
        ("two Hosts", get("Host: {origin}\r\n"), malformed),
        ("a Host that is none", b"GET http://{origin}/ok HTTP/1.1\r\nHost: a b/c\r\n{auth}\r\n".to_vec(), malformed),
        ("Host as a list", b"GET http://{origin}/ok HTTP/1.1\r\nHost: a, b\r\n{auth}\r\n".to_vec(), malformed),
        // Request lines.
        ("two blanks", line("GET  http://{origin}/ok HTTP/1.1"), malformed),
        ("a blank in front", line(" GET http://{origin}/ok HTTP/1.1"), malformed),
        ("a blank in the target", line("GET http://{origin}/a b HTTP/1.1"), malformed),
        ("a tab between the words", line("GET\thttp://{origin}/ok\tHTTP/1.1"), malformed),
        ("HTTP/0.9", line("GET http://{origin}/ok"), malformed),
        ("a method that is no token", line("GE(T http://{origin}/ok HTTP/1.1"), malformed),
        ("HTTP/2.0 by name", line("GET http://{origin}/ok HTTP/2.0"), "version_unsupported"),
        ("HTTP/1.2", line("GET http://{origin}/ok HTTP/1.2"), "version_unsupported"),
        ("HTTP/1.1x", line("GET http://{origin}/ok HTTP/1.1x"), "version_unsupported"),
        ("http/1.1 in lower case", line("GET http://{origin}/ok http/1.1"), malformed),
        // Targets.
        ("origin-form", line("GET /ok HTTP/1.1"), target),
        ("authority-form with GET", line("GET {origin} HTTP/1.1"), target),
        ("scheme-relative", line("GET //{origin}/ok HTTP/1.1"), target),
        ("one slash", line("GET http:/{origin}/ok HTTP/1.1"), target),
        ("no authority", line("GET http:///ok HTTP/1.1"), target),
        ("a user in the target", line("GET http://user:pass@{origin}/ok HTTP/1.1"), target),
        ("a backslash in the authority", line("GET http://{origin}\\@evil.example/ok HTTP/1.1"), target),
        ("an escaped host", line("GET http://127.0.0.1%2f@evil.example/ok HTTP/1.1"), target),
        ("port 0", line("GET http://127.0.0.1:0/ok HTTP/1.1"), target),
        ("port 65536", line("GET http://127.0.0.1:65536/ok HTTP/1.1"), target),
        ("a port with a sign", line("GET http://127.0.0.1:+80/ok HTTP/1.1"), target),
        ("two ports", line("GET http://{origin}:80/ok HTTP/1.1"), target),
        ("a bracket left open", line("GET http://[::1/ok HTTP/1.1"), target),
        ("a fragment", line("GET http://{origin}/ok#top HTTP/1.1"), target),
        ("another scheme", line("GET ftp://{origin}/ok HTTP/1.1"), target),
        ("https in clear", line("GET https://{origin}/ok HTTP/1.1"), "https_needs_connect"),
        ("a raw byte in the target", b"GET http://{origin}/\xff HTTP/1.1\r\nHost: {origin}\r\n{auth}\r\n".to_vec(), target),
        // CONNECT.
        ("CONNECT without a port", line("CONNECT 127.0.0.1 HTTP/1.1"), target),
        ("CONNECT with a URL", line("CONNECT http://{origin} HTTP/1.1"), target),
        ("CONNECT with a path", line("CONNECT {origin}/ok HTTP/1.1"), target),
        ("CONNECT to everything", line("CONNECT * HTTP/1.1"), target),
        ("CONNECT without a host", line("CONNECT :443 HTTP/1.1"), target),
        ("CONNECT to a user", line("CONNECT user@{origin} HTTP/1.1"), target),
        ("CONNECT with a body", format!("CONNECT {{origin}} HTTP/1.1\r\nHost: {{origin}}\r\n{{auth}}Content-Length: 3\r\n\r\nabc").into_bytes(), malformed),
        ("CONNECT in chunks", format!("CONNECT {{origin}} HTTP/1.1\r\nHost: {{origin}}\r\n{{auth}}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into_bytes(), malformed),
        ("TRACE with a body", b"TRACE http://{origin}/ok HTTP/1.1\r\nHost: {origin}\r\n{auth}Content-Length: 3\r\n\r\nabc".to_vec(), target_or(malformed)),
        ("two Proxy-Authorizations", get("{auth}"), "credentials_malformed"),
    ]
}

/// TRACE with a body is refused with the target's slug: its message names the body.
const fn target_or(_: &'static str) -> &'static str {
    "malformed_target"
}

#[tokio::test]
async fn ambiguous_heads_are_refused_by_name_and_never_forwarded() {
    let scene = Scene::set();
    let cases = refused_heads();
    assert!(cases.len() >= 60, "{}", cases.len());
    for (name, request, slug) in cases {
        let mut wire = scene.client().await;
        wire.send(&scene.raw(&request)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let reply = outcome(&mut wire).await.unwrap_or_else(|| panic!("{name}: closed without an answer"));
        assert!((400..500).contains(&reply.status) || reply.status == 505, "{name}: {}", reply.status);
        assert_eq!(reply.header("x-proxy-error"), Some(slug), "{name}: {}", reply.text());
        assert!(reply.reason.contains(slug), "{name}: {}", reply.reason);
        if slug != "credentials_malformed" {
            assert_eq!(reply.header("connection"), Some("close"), "{name}: what follows can't be trusted");
            let (more, _) = wire.ending().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(more, b"", "{name}: a second answer");
        }
        assert_eq!(scene.origin.connections(), 0, "{name} reached the origin");
    }
    scene.still_works("all of them").await;
}

#[tokio::test]
async fn bodies_that_break_the_chunked_coding_take_nothing_along() {
    let scene = Scene::set();
    let long_line = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(5_000));
    let many_trailers = format!("0\r\n{}\r\n", "X-T: 1\r\n".repeat(4_000));
    let cases: &[(&str, &str)] = &[
        ("no size", "\r\n"),
        ("no number", "zz\r\nabc"),
        ("a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("negative", "-3\r\nabc\r\n0\r\n\r\n"),
        ("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("a blank in front", " 3\r\nabc\r\n0\r\n\r\n"),
        ("two numbers", "3 3\r\nabc\r\n0\r\n\r\n"),
        ("beyond 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("negative as a signed number", "FFFFFFFFFFFFFFFE\r\nabc\r\n0\r\n\r\n"),
        ("many zeros", "00000000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
        ("CR without LF", "3\rabc\r\n0\r\n\r\n"),
        ("longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("no CRLF behind the data", "3\r\nabc0\r\n\r\n"),
        ("bare LF behind the data", "3\r\nabc\n0\r\n\r\n"),
        ("bare LF as the end", "0\r\n\n"),
        ("NUL in an extension", "3;a=\0\r\nabc\r\n0\r\n\r\n"),
        ("LF in an extension", "3;a=\nabc\r\n0\r\n\r\n"),
        ("an endless extension", &long_line),
        ("endless trailers", &many_trailers),
        ("a folded trailer", "0\r\nX-T: 1\r\n 2\r\n\r\n"),
        ("a trailer without a name", "0\r\n: 1\r\n\r\n"),
        ("a trailer that is no field", "0\r\nGET /hidden HTTP/1.1\r\n\r\n"),
        ("a framing trailer", "0\r\nContent-Length: 50\r\n\r\n"),
        ("a coding trailer", "0\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("a routing trailer", "0\r\nHost: evil.example\r\n\r\n"),
        ("credentials as a trailer", "0\r\nProxy-Authorization: Basic eA==\r\n\r\n"),
        ("our own word as a trailer", "0\r\nX-Outgate-Exit: forged\r\n\r\n"),
        ("NUL in a trailer", "0\r\nX-T: \0\r\n\r\n"),
    ];
    for (name, body) in cases {
        let mut wire = scene.client().await;
        let request = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}{HIDDEN}");
        wire.send(&scene.raw(request.as_bytes())).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let reply = outcome(&mut wire).await.unwrap_or_else(|| panic!("{name}: closed without an answer"));
        assert_eq!((reply.status, reply.header("x-proxy-error")), (400, Some("malformed_request")), "{name}: {}", reply.text());
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
        assert_eq!(wire.ending().await.unwrap_or_else(|error| panic!("{name}: {error}")).0, b"", "{name}: a second answer");
        let whole: Vec<String> = scene.origin.received().into_iter().map(|request| request.target).collect();
        assert!(whole.is_empty(), "{name} ended at the origin as {whole:?}");
    }
    // Broken after a good start: the origin has the start, and never a whole request.
    let mut wire = scene.client().await;
    wire.send(&scene.raw(format!("{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").as_bytes())).await.expect("open");
    until("the origin to be connected", || (scene.origin.connections() > 0).then_some(())).await;
    wire.send(scene.raw(format!("zz\r\n{HIDDEN}").as_bytes()).as_slice()).await.expect("open");
    let reply = outcome(&mut wire).await.expect("an answer");
    assert_eq!(reply.header("x-proxy-error"), Some("malformed_request"));
    assert_eq!((scene.origin.received().len(), scene.origin.connections()), (0, 1));
    scene.still_works("broken bodies").await;
}

#[tokio::test]
async fn oversized_heads_are_refused_within_bounds() {
    let mut scene = Scene::set();
    let long_uri = format!("GET http://{{origin}}/{} HTTP/1.1\r\nHost: {{origin}}\r\n{{auth}}\r\n", "u".repeat(9_000));
    let long_field = format!("{GET}X-Long: {}\r\n\r\n", "f".repeat(40_000));
    let many_fields = format!("{GET}{}\r\n", "X-Many: 1\r\n".repeat(3_500));
    let many_small = format!("{GET}{}\r\n", "X: 1\r\n".repeat(200));
    let huge_field = format!("{GET}X-Huge: {}\r\n\r\n", "h".repeat(2 << 20));
    let huge_uri = "GET http://".to_owned() + &"g".repeat(2 << 20);
    let cases = [
        ("a long URI", long_uri, 414, "uri_too_long", true),
        ("a long field", long_field, 431, "header_too_large", true),
        ("many fields", many_fields, 431, "header_too_large", true),
        ("more fields than anybody sends", many_small, 431, "header_too_large", true),
        ("a field of 2 MB", huge_field, 431, "header_too_large", false),
        ("a URI of 2 MB", huge_uri, 414, "uri_too_long", false),
    ];
    for (name, request, status, slug, always_answered) in cases {
        for _ in 0..5 {
            let mut wire = scene.client().await;
            // What is far too long may be cut off before all of it was sent: then there may be no answer left to read.
            let sent = wire.send(&scene.raw(request.as_bytes())).await;
            assert!(sent.is_ok() || !always_answered, "{name}: {sent:?}");
            match outcome(&mut wire).await {
                Some(reply) => assert_eq!((reply.status, reply.header("x-proxy-error")), (status, Some(slug)), "{name}"),
                None => assert!(!always_answered, "{name} got no answer"),
            }
        }
    }
    assert_eq!(scene.origin.connections(), 0);
    let memory = scene.memory();
    assert!(memory < MEMORY, "{memory} bytes held");
    scene.still_works("oversized heads").await;
}

#[tokio::test]
async fn garbage_gets_an_answer_or_a_close() {
    let mut scene = Scene::set();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let step = |state: &mut u64| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            (*state >> 32) as u8
        };
        (0..length).map(|_| step(&mut state)).collect()
    };
    let mut cases = vec![noise(2 << 20), vec![0; 2 << 20], vec![b'\r'; 100_000], vec![b'\n'; 100_000], b"GET ".repeat(50_000)];
    cases.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
    cases.push(b"\x05\x01\x00".to_vec());
    cases.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    cases.push(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    cases.extend((0..50).map(|_| noise(200)));
    for (number, bytes) in cases.into_iter().enumerate() {
        let mut wire = scene.client().await;
        // Refused early, it may be reset while the rest is still being sent.
        let _sent = wire.send(&bytes).await;
        let _finished = wire.finish().await;
        let (answer, _) = wire.ending().await.unwrap_or_else(|error| panic!("case {number}: {error}"));
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "case {number}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(scene.origin.connections(), 0);
    let memory = scene.memory();
    assert!(memory < MEMORY, "{memory} bytes held");
    scene.still_works("garbage").await;
}

#[tokio::test]
async fn slow_heads_run_into_their_deadline() {
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_HEAD", "300ms"));
    // One byte at a time for as long as the gateway takes them: the deadline is for the whole head.
    let mut wire = scene.client().await;
    let dripped = async {
        let head = scene.raw(format!("{GET}X-Slow: ").as_bytes());
        for byte in head.iter().chain(std::iter::repeat(&b's')) {
            if wire.send(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            if scene.gateway.records().iter().any(|record| record["outcome"] == "request_timeout") {
                break;
            }
        }
    };
    outgate_testkit::patience::within("the deadline to pass", dripped).await;
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (408, Some("request_timeout")));

    // Empty lines before a request are skipped, but they buy no time.
    let mut wire = scene.client().await;
    let dripped = async {
        while wire.send(b"\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    outgate_testkit::patience::within("the connection to be closed", dripped).await;

    // Nothing behind the first byte.
    let mut wire = scene.client().await;
    wire.send(b"G").await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 408);
    assert_eq!(scene.origin.connections(), 0);
    scene.still_works("slow heads").await;
}

#[tokio::test]
async fn a_body_that_never_comes_is_the_clients_fault() {
    let scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_RESPONSE", "300ms"));
    for (name, start) in [("length", "Content-Length: 1000\r\n\r\nabc"), ("chunked", "Transfer-Encoding: chunked\r\n\r\n10\r\nabc")] {
        let mut wire = scene.client().await;
        wire.send(&scene.raw(format!("{POST}{start}").as_bytes())).await.expect("open");
        let reply = outcome(&mut wire).await.expect("an answer");
        assert_eq!((reply.status, reply.header("x-proxy-error")), (408, Some("request_timeout")), "{name}: {}", reply.text());
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
    }
    assert!(scene.origin.received().is_empty(), "no whole request came");
    let mut wire = scene.client().await;
    wire.send(&scene.get("/slow")).await.expect("open");
    let reply = outcome(&mut wire).await.expect("an answer");
    assert_eq!(reply.header("x-proxy-error"), Some("response_timeout"), "a whole request that is not answered is the target's");
    scene.still_works("slow bodies").await;
}

#[tokio::test]
async fn half_open_connections_cost_little_and_block_nobody() {
    let mut scene = Scene::set();
    let before = scene.memory();
    let mut open = Vec::new();
    for number in 0..200 {
        let mut wire = scene.client().await;
        if number % 2 == 0 {
            wire.send(b"GET http://").await.expect("open");
        }
        open.push(wire);
    }
    scene.still_works("200 half-open connections").await;
    let memory = scene.memory();
    println!("200 half-open connections: {} KiB", (memory.saturating_sub(before)) / 1024);
    assert!(memory < MEMORY, "{memory} bytes held");
    drop(open);
    scene.still_works("they went").await;
}

#[tokio::test]
async fn a_flood_over_the_limit_is_turned_away_and_leaves_nothing_behind() {
    let mut scene = Scene::with(Quickstart::new(OUTGATE).env("OUTGATE_LIMITS_CONNECTIONS", "50"));
    outgate_testkit::open_files::lift_limit();
    let before = scene.memory();
    let mut flood = JoinSet::new();
    for _ in 0..500 {
        let proxy = scene.gateway.proxy();
        flood.spawn(async move {
            let mut wire = Wire::connect(proxy).await.ok()?;
            // Those that get a place keep silent and hold it; the others read why.
            tokio::select! {
                reply = wire.reply(Expect::Body) => Some((reply.ok(), None)),
                () = tokio::time::sleep(std::time::Duration::from_secs(2)) => Some((None, Some(wire))),
            }
        });
    }
    let (mut told, mut holding, mut closed) = (0, Vec::new(), 0);
    while let Some(done) = flood.join_next().await {
        match done.expect("no panic") {
            Some((Some(reply), _)) => {
                assert_eq!((reply.status, reply.header("x-proxy-error")), (503, Some("overloaded")), "{reply:?}");
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                told += 1;
            }
            Some((None, Some(wire))) => holding.push(wire),
            Some((None, None)) | None => closed += 1,
        }
    }
    println!("flood of 500 over 50 places: {} hold a place, {told} were told, {closed} were closed", holding.len());
    assert!(holding.len() < 50, "{} hold a place; the local exit holds one too", holding.len());
    assert!(told > 400, "only {told} were told why, {closed} merely closed");
    let memory = scene.memory();
    println!("memory {} KiB before, {} KiB after", before / 1024, memory / 1024);
    assert!(memory < MEMORY, "{memory} bytes held");
    drop(holding);
    outgate_testkit::patience::within("a place to be free", async {
        loop {
            let mut wire = scene.client().await;
            let sent = wire.send(&scene.get("/ok")).await.is_ok();
            if sent && outcome(&mut wire).await.is_some_and(|reply| reply.status == 200) {
                break;
            }
        }
    })
    .await;
    scene.still_works("the flood").await;
}

/// Name, what the target answers, the slug the client is told.
fn bad_answers() -> Vec<(&'static str, Vec<Step>, &'static str)> {
    let answer = |bytes: &[u8]| vec![Step::ReadHead, Step::Write(bytes.to_vec()), Step::Stall];
    let malformed = "response_malformed";
    vec![
        ("a giant field", outgate_testkit::script::big_header(4 << 20), "response_header_too_large"),
        ("a head without end", vec![Step::ReadHead, Step::Repeat(b"X-More: 1\r\n".to_vec(), 400_000), Step::Stall], "response_header_too_large"),
        ("endless interim answers", vec![Step::ReadHead, Step::Repeat(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec(), 100_000), Step::Stall], malformed),
        ("two lengths", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nok\nok"), malformed),
        ("lengths as a list", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\nok\nok"), malformed),
        ("a negative length", answer(b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nok\n"), malformed),
        ("two codings", answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), malformed),
        ("chunked under another coding", answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), malformed),
        ("a bad chunk", answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), malformed),
        ("a forged trailer", answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Proxy-Error: forged\r\n\r\n"), malformed),
        ("no status", answer(b"HTTP/1.1 OK\r\n\r\n"), malformed),
        ("status 999", answer(b"HTTP/1.1 999 Odd\r\n\r\n"), malformed),
        ("another protocol", answer(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), malformed),
        ("NUL in a value", answer(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"), malformed),
        ("101 that nobody asked for", answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), "upgrade_failed"),
    ]
}

#[tokio::test]
async fn hostile_answers_become_a_named_fault() {
    let mut scene = Scene::set();
    for (name, steps, slug) in bad_answers() {
        let script = Script::start(steps);
        let mut wire = scene.client().await;
        let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{{auth}}\r\n", script.address());
        wire.send(&scene.raw(request.as_bytes())).await.expect("open");
        let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some(slug)), "{name}: {}", reply.text());
        assert!(reply.interim.len() <= 64, "{name}: {} interim answers", reply.interim.len());
        wire.send(&scene.get("/ok")).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("after {name}: {error}")).text(), "ok\n", "{name}");
    }
    let memory = scene.memory();
    assert!(memory < MEMORY, "{memory} bytes held");
}

#[tokio::test]
async fn a_folded_value_can_not_split_an_answer() {
    let scene = Scene::set();
    let folded = b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n Set-Cookie: forged\r\n\tX-Proxy-Error: forged\r\nContent-Length: 3\r\n\r\nok\n";
    let script = Script::start(vec![Step::ReadHead, Step::Write(folded.to_vec()), Step::Stall]);
    let mut wire = scene.client().await;
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{{auth}}\r\n", script.address());
    wire.send(&scene.raw(request.as_bytes())).await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("one line for one field");
    assert_eq!((reply.header("set-cookie"), reply.header("x-proxy-error"), reply.text().as_str()), (None, None, "ok\n"));
    assert!(reply.header("x-fold").is_some_and(|value| value.starts_with("a ") && value.ends_with("forged")), "{reply:?}");
}

#[tokio::test]
async fn what_follows_an_answer_is_never_taken_for_the_next_one() {
    let scene = Scene::set();
    let double = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let conflicting = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n";
    for (name, bytes) in [("an unasked second answer", double.as_slice()), ("two framings", conflicting.as_slice())] {
        let script = Script::start(vec![Step::ReadHead, Step::Write(bytes.to_vec()), Step::ReadHead, Step::Write(bytes.to_vec()), Step::Stall]);
        let mut wire = scene.client().await;
        let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{{auth}}\r\n", script.address());
        for turn in 1..=3 {
            wire.send(&scene.raw(request.as_bytes())).await.expect("open");
            let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((reply.text().as_str(), script.connections()), ("ok\n", turn), "{name}: such a connection is not kept");
            assert_eq!((reply.header("content-length").is_some(), reply.header("transfer-encoding").is_some()), (name != "two framings", name == "two framings"));
        }
    }
}

#[tokio::test]
async fn a_truncated_answer_is_reset_not_closed() {
    let scene = Scene::set();
    for (name, steps) in [("length", outgate_testkit::script::truncated_length()), ("chunked", outgate_testkit::script::truncated_chunked())] {
        let script = Script::start(steps);
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut wire = scene.client().await;
            let request = format!("GET http://{0}/ {version}\r\nHost: {0}\r\n{{auth}}\r\n", script.address());
            wire.send(&scene.raw(request.as_bytes())).await.expect("open");
            let head = wire.head().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(head.status, 200, "{name}");
            let (_, ending) = wire.ending().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(ending, Ending::Reset, "{name} {version}: half an answer must not look complete");
            let id = head.header("x-outgate-request-id").expect("every answer has it").to_owned();
            let record = scene.gateway.record(&id).await;
            assert_eq!((record["outcome"].as_str(), record["status"].as_u64()), (Some("response_incomplete"), Some(200)), "{name}");
        }
    }
}
