//! Requests that are malformed, ambiguous, too big, or no requests at all.

use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};

use super::{GET, HIDDEN, MEMORY, POST, Scene, outcome};

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
        (
            "TE in HTTP/1.0",
            b"POST http://{origin}/upload HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            malformed,
        ),
        ("Connection drops CL", post("Connection: Content-Length\r\nContent-Length: 3\r\n", "abc"), malformed),
        (
            "Connection drops TE",
            post("Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            malformed,
        ),
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
        ("HTTP/1.1x", line("GET http://{origin}/ok HTTP/1.1x"), malformed),
        ("http/1.1 in lower case", line("GET http://{origin}/ok http/1.1"), malformed),
        // Targets.
        ("origin-form", line("GET /ok HTTP/1.1"), "wrong_protocol"),
        ("authority-form with GET", line("GET {origin} HTTP/1.1"), target),
        ("scheme-relative", line("GET //{origin}/ok HTTP/1.1"), "wrong_protocol"),
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
        ("a raw byte in the target", b"GET http://{origin}/\xff HTTP/1.1\r\nHost: {origin}\r\n{auth}\r\n".to_vec(), malformed),
        // CONNECT.
        ("CONNECT without a port", line("CONNECT 127.0.0.1 HTTP/1.1"), target),
        ("CONNECT with a URL", line("CONNECT http://{origin} HTTP/1.1"), target),
        ("CONNECT with a path", line("CONNECT {origin}/ok HTTP/1.1"), target),
        ("CONNECT to everything", line("CONNECT * HTTP/1.1"), target),
        ("CONNECT without a host", line("CONNECT :443 HTTP/1.1"), target),
        ("CONNECT to a user", line("CONNECT user@{origin} HTTP/1.1"), target),
        (
            "CONNECT with a body",
            b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n{auth}Content-Length: 3\r\n\r\nabc".to_vec(),
            malformed,
        ),
        (
            "CONNECT in chunks",
            b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            malformed,
        ),
        (
            "TRACE with a body",
            b"TRACE http://{origin}/ok HTTP/1.1\r\nHost: {origin}\r\n{auth}Content-Length: 3\r\n\r\nabc".to_vec(),
            malformed,
        ),
        ("two Proxy-Authorizations", get("{auth}"), "credentials_malformed"),
    ]
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
    // Broken after a good start: the target has the start, and nothing of what follows.
    let target = Script::start(vec![Step::ReadToEnd]);
    let mut wire = scene.client().await;
    let start = format!(
        "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{{auth}}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        target.address()
    );
    wire.send(&scene.raw(start.as_bytes())).await.expect("open");
    let has_the_start = || target.received().first().is_some_and(|got| got.ends_with(b"3\r\nabc\r\n"));
    until("the target to have the start", || has_the_start().then_some(())).await;
    wire.send(&scene.raw(format!("zz\r\n{HIDDEN}").as_bytes())).await.expect("open");
    let reply = outcome(&mut wire).await.expect("an answer");
    assert_eq!(reply.header("x-proxy-error"), Some("malformed_request"));
    assert!(has_the_start() && target.connections() == 1, "{:?}", target.received());
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
