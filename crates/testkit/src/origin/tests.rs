//! Every row of the table, through a socket.

use super::Origin;
use crate::ca::{Ca, Validity};
use crate::payload::Checksum;
use crate::wire::{Ending, Expect, Reply, Wire};

async fn ask(wire: &mut Wire, head: &str) -> Reply {
    wire.send(head.as_bytes()).await.expect("it reads");
    let expect = if head.starts_with("HEAD") { Expect::NoBody } else { Expect::Body };
    wire.reply(expect).await.unwrap_or_else(|error| panic!("{head:?}: {error}"))
}

#[tokio::test]
async fn answers_by_path_on_one_connection() {
    let origin = Origin::start();
    let mut wire = Wire::connect(origin.address()).await.expect("it listens");
    let table = [
        ("GET /ok HTTP/1.1\r\n\r\n", 200, "ok\n"),
        ("HEAD /ok HTTP/1.1\r\n\r\n", 200, ""),
        ("GET /status/204 HTTP/1.1\r\n\r\n", 204, ""),
        ("GET /status/503 HTTP/1.1\r\n\r\n", 503, "status 503\n"),
        ("GET /1xx HTTP/1.1\r\n\r\n", 200, "ok\n"),
        ("GET /upgrade HTTP/1.1\r\n\r\n", 426, "upgrade to echo\n"),
        ("GET /keepalive HTTP/1.1\r\n\r\n", 200, r#"{"connection":0,"request":6}"#),
        ("GET /nothing HTTP/1.1\r\n\r\n", 404, "no such path\n"),
    ];
    for (head, status, body) in table {
        let reply = ask(&mut wire, head).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{head:?}");
    }
    let reply = ask(&mut wire, "GET /with?X-Proxy-Error=a%20b&Server=x HTTP/1.1\r\n\r\n").await;
    assert_eq!((reply.header("x-proxy-error"), reply.header("server")), (Some("a b"), Some("x")));
    ask(&mut wire, "GET /close HTTP/1.1\r\n\r\n").await;
    assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)));
    assert_eq!((origin.received().len(), origin.connections()), (table.len() + 2, 1));
}

#[tokio::test]
async fn payloads_come_with_their_checksum() {
    let origin = Origin::start();
    for path in ["/bytes/200000", "/chunked/200000", "/until-close/200000"] {
        let mut wire = Wire::connect(origin.address()).await.expect("it listens");
        let reply = ask(&mut wire, &format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        assert_eq!(Checksum::of(&reply.body), Checksum::of_payload(200_000), "{path}");
        let trailer = reply.trailers.first().map(|(_, value)| value.as_str());
        if let Some(sum) = reply.header("x-checksum").or(trailer) {
            assert_eq!(sum, Checksum::of_payload(200_000).hex(), "{path}");
        }
    }
}

#[tokio::test]
async fn bodies_are_kept_whatever_their_framing() {
    let origin = Origin::start();
    let mut wire = Wire::connect(origin.address()).await.expect("it listens");
    let chunked = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n";
    let reply = ask(&mut wire, chunked).await;
    assert!(reply.text().contains(r#""body":"abcde""#), "{}", reply.text());
    assert!(reply.text().contains(r#"["T","v"]"#), "{}", reply.text());

    let expecting = "POST /upload HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde";
    let reply = ask(&mut wire, expecting).await;
    assert_eq!(reply.interim.first().map(|interim| interim.status), Some(100));
    assert!(reply.text().contains(&Checksum::of(b"abcde").hex()), "{}", reply.text());
    assert_eq!(origin.last().map(|request| request.body), Some(b"abcde".to_vec()));

    let rejected = "POST /reject-expect HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(ask(&mut wire, rejected).await.status, 417);
}

#[tokio::test]
async fn slow_waits_and_upgrade_echoes() {
    let origin = Origin::start();
    let mut wire = Wire::connect(origin.address()).await.expect("it listens");
    wire.send(b"GET /slow HTTP/1.1\r\n\r\n").await.expect("it reads");
    crate::patience::until("the request", || origin.last()).await;
    origin.release();
    assert_eq!(wire.reply(Expect::Body).await.map(|reply| reply.status), Ok(200));

    let reply = ask(&mut wire, "GET /upgrade HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(reply.status, 101);
    wire.send(b"any bytes").await.expect("it reads");
    assert_eq!(wire.exactly(9).await.as_deref(), Ok(b"any bytes".as_slice()));
    wire.finish().await.expect("it reads");
    assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)));
}

#[tokio::test]
async fn serves_the_same_inside_tls() {
    let ca = Ca::new();
    let origin = Origin::start_tls(ca.server(&["localhost", "127.0.0.1"], Validity::Current, &[]));
    let wire = Wire::connect(origin.address()).await.expect("it listens");
    let mut wire = wire.tls("127.0.0.1", ca.client(&[])).await.expect("its certificate is good");
    let reply = ask(&mut wire, "GET /bytes/100000 HTTP/1.1\r\n\r\n").await;
    assert_eq!(Checksum::of(&reply.body), Checksum::of_payload(100_000));
    ask(&mut wire, "GET /close HTTP/1.1\r\n\r\n").await;
    assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)));
}
