//! The 407: who may go on with the same connection afterwards, and who can't.

use outgate_testkit::wire::{Ending, Expect, Reply, Wire};

use super::{Login, Scene};

/// What follows a 407.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The same request with credentials, over the same connection.
    Again,
    /// The connection ends, cleanly.
    Ends,
}

/// A request without its credentials.
struct Asked {
    line: String,
    fields: String,
    body: Vec<u8>,
}

impl Asked {
    fn new(line: String, fields: &str, body: impl AsRef<[u8]>) -> Self {
        Self { line, fields: fields.to_owned(), body: body.as_ref().to_vec() }
    }

    fn send_with(&self, authorization: &str) -> Vec<u8> {
        let Self { line, fields, body } = self;
        [format!("{line}\r\nHost: x\r\n{authorization}{fields}\r\n").as_bytes(), body].concat()
    }
}

#[tokio::test]
async fn a_407_on_a_connection_that_stays_usable() {
    let scene = Scene::start();
    let (key, secret) = scene.key();
    let good = format!("Proxy-Authorization: {}\r\n", Login::new(&key, &secret).basic());
    let (ok, echo, at) = (scene.origin.url("/ok"), scene.origin.url("/echo"), scene.origin.address());
    let get = |version: &str, fields: &str| Asked::new(format!("GET {ok} {version}"), fields, "");
    let post = |fields: &str, body: &str| Asked::new(format!("POST {echo} HTTP/1.1"), fields, body);
    let chunked = |length: usize| format!("{length:x}\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n", "b".repeat(length));
    let long = "a".repeat(300_000);
    let rows = [
        (get("HTTP/1.1", ""), Then::Again),
        (get("HTTP/1.1", "Proxy-Connection: keep-alive\r\n"), Then::Again),
        (get("HTTP/1.1", "Connection: close\r\n"), Then::Ends),
        (get("HTTP/1.1", "Proxy-Connection: close\r\n"), Then::Ends),
        (get("HTTP/1.0", ""), Then::Ends),
        (get("HTTP/1.0", "Connection: keep-alive\r\n"), Then::Again),
        (get("HTTP/1.0", "Proxy-Connection: Keep-Alive\r\n"), Then::Again),
        (Asked::new(format!("CONNECT {at} HTTP/1.1"), "Proxy-Connection: Keep-Alive\r\n", ""), Then::Again),
        (Asked::new(format!("CONNECT {at} HTTP/1.0"), "Proxy-Connection: Keep-Alive\r\n", ""), Then::Again),
        (Asked::new(format!("CONNECT {at} HTTP/1.0"), "", ""), Then::Ends),
        // A body is read away, so that it is not taken for the next request.
        (post("Content-Length: 5\r\n", "GET /"), Then::Again),
        (post("Transfer-Encoding: chunked\r\n", &chunked(5)), Then::Again),
        (post("Transfer-Encoding: chunked\r\n", &chunked(50_000)), Then::Again),
        (post("Content-Length: 0\r\n", ""), Then::Again),
        // Not one of any length, nor one that may come or not.
        (post("Content-Length: 300000\r\n", &long), Then::Ends),
        (post("Expect: 100-continue\r\nContent-Length: 5\r\n", ""), Then::Ends),
        (post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", ""), Then::Ends),
    ];
    for (asked, then) in rows {
        for tls in [false, true] {
            let told = format!("{} {} (TLS: {tls})", asked.line, asked.fields);
            let mut wire = match tls {
                true => scene.ports.over_tls(&[]).await,
                false => Wire::connect(scene.ports.both()).await.expect("it listens"),
            };
            wire.send(&asked.send_with("")).await.expect("open");
            let reply = answer(&mut wire, &asked).await;
            assert_eq!(reply.header("X-Proxy-Error"), Some("credentials_missing"), "{told}");
            assert_eq!(reply.all("Proxy-Authenticate"), ["Basic realm=\"outgate\", charset=\"UTF-8\""], "{told}");
            let expected = if then == Then::Again { "keep-alive" } else { "close" };
            assert_eq!(reply.header("Connection"), Some(expected), "{told}");
            assert!(reply.interim.is_empty(), "{told}: nobody is asked for a body that is not wanted");
            if then == Then::Ends {
                assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)), "{told}");
                continue;
            }
            wire.send(&asked.send_with(&good)).await.expect("open");
            let reply = answer(&mut wire, &asked).await;
            assert_eq!(reply.status, 200, "{told}: {}", reply.text());
            assert_eq!(reply.header("X-Proxy-Error"), None, "{told}");
        }
    }
}

async fn answer(wire: &mut Wire, asked: &Asked) -> Reply {
    let expect = if asked.line.starts_with("CONNECT") { Expect::Tunnel } else { Expect::Body };
    wire.reply(expect).await.unwrap_or_else(|error| panic!("{} {}: {error}", asked.line, asked.fields))
}

/// A chunked body says too late how long it is: the answer arrives, the rest of it is not read for ever.
#[tokio::test]
async fn a_body_without_end_ends_the_connection() {
    let scene = Scene::start();
    let mut wire = Wire::connect(scene.ports.both()).await.expect("it listens");
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", scene.origin.url("/upload"));
    wire.send(head.as_bytes()).await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 407);
    let chunk = format!("{:x}\r\n{}\r\n", 16_384, "c".repeat(16_384));
    // Fails once the gateway has closed for good; what it does not read must not be for ever.
    while wire.send(chunk.as_bytes()).await.is_ok() {}
    assert_eq!(scene.origin.connections(), 0);
}

/// The words that a client repeats on its connection are asked about again each time.
#[tokio::test]
async fn several_logins_on_one_connection() {
    let scene = Scene::start();
    let (key, secret) = scene.key();
    let (other, other_secret) = scene.new_key(&[]);
    let (url, at) = (scene.origin.url("/ok"), scene.origin.address());
    let mut wire = Wire::connect(scene.ports.both()).await.expect("it listens");
    let rows = [
        (Some(Login::new(&key, &secret)), 200),
        (None, 407),
        (Some(Login::new(&other, &secret)), 407),
        (Some(Login::new(&other, &other_secret)), 200),
        (Some(Login::new(&key, &secret)), 200),
        (None, 407),
    ];
    for (at_row, (who, status)) in rows.into_iter().enumerate() {
        let field = who.map(|who| format!("Proxy-Authorization: {}\r\n", who.basic())).unwrap_or_default();
        wire.send(format!("GET {url} HTTP/1.1\r\nHost: {at}\r\n{field}\r\n").as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, status, "row {at_row}");
    }
}
