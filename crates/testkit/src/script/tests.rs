//! Each way to break, seen by `wire` as meant.

use super::*;
use crate::ca::{Ca, Validity};
use crate::wire::{Ending, Expect, Wire, WireError};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn asked(script: &Script) -> Wire {
    let mut wire = Wire::connect(script.address()).await.expect("it listens");
    wire.send(REQUEST).await.expect("it reads");
    wire
}

#[tokio::test]
async fn each_way_to_break_is_seen_as_meant() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789".to_vec();
    let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n".to_vec();
    let head = b"HTTP/1.1 200 OK\r\nContent-Le".to_vec();
    let table = [
        ("reset_before_response", reset_before_response(), WireError::Reset(Vec::new())),
        ("close_before_response", close_before_response(), WireError::Closed),
        ("truncated_length", truncated_length(), WireError::Truncated(half)),
        ("truncated_chunked", truncated_chunked(), WireError::Truncated(chunk)),
        ("truncated_head", truncated_head(), WireError::Truncated(head)),
    ];
    for (name, steps, expected) in table {
        let script = Script::start(steps);
        let mut wire = asked(&script).await;
        assert_eq!(wire.reply(Expect::Body).await, Err(expected), "{name}");
        assert_eq!(script.received(), [REQUEST], "{name}");
    }
}

#[tokio::test]
async fn a_reset_after_half_a_body_is_told_from_a_close() {
    let script = Script::start(reset_mid_response());
    let mut wire = asked(&script).await;
    let head = wire.head().await.expect("the head comes whole");
    assert_eq!(head.header("content-length"), Some("20"));
    assert_eq!(wire.exactly(10).await.as_deref(), Ok(b"0123456789".as_slice()));
    script.release();
    assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Reset)));
}

#[tokio::test]
async fn big_headers_garbage_and_drips_arrive() {
    let script = Script::start(big_header(100_000));
    let reply = asked(&script).await.reply(Expect::Body).await.expect("big but well-formed");
    assert!(reply.header("x-big").is_some_and(|value| value.len() >= 100_000));

    let script = Script::start(garbage());
    let error = asked(&script).await.reply(Expect::Body).await.expect_err("garbage");
    assert!(matches!(error, WireError::Malformed(_)), "{error}");

    let script = Script::start(drip(Duration::from_millis(1)));
    assert_eq!(asked(&script).await.reply(Expect::Body).await.map(|reply| reply.text()), Ok("ok\n".to_owned()));
}

#[tokio::test]
async fn scripts_follow_each_other_and_half_close() {
    let one = vec![Step::ReadHead, Step::HalfClose, Step::ReadToEnd];
    let two = vec![Step::ReadExactly(3), Step::Write(b"two".to_vec())];
    let script = Script::start_each(vec![one, two]);
    let mut first = asked(&script).await;
    assert_eq!(first.ending().await, Ok((Vec::new(), Ending::Fin)));
    first.send(b"more").await.expect("the other direction is open");
    first.finish().await.expect("the other direction is open");
    for _ in 0..2 {
        let mut next = Wire::connect(script.address()).await.expect("it listens");
        next.send(b"abc").await.expect("it reads");
        assert_eq!(next.ending().await, Ok((b"two".to_vec(), Ending::Fin)));
    }
    assert_eq!(script.connections(), 3);
    let whole = [REQUEST, b"more"].concat();
    crate::patience::until("the first connection's last bytes", || (script.received()[0] == whole).then_some(())).await;
}

#[tokio::test]
async fn tls_is_spoken_and_a_bad_certificate_is_refused() {
    let ca = Ca::new();
    for (validity, good) in [(Validity::Current, true), (Validity::Expired, false)] {
        let tls = ca.server(&["localhost"], validity, &["http/1.1"]);
        let script = Script::start_tls(vec![Step::ReadHead, Step::Write(b"hello".to_vec())], tls);
        let wire = Wire::connect(script.address()).await.expect("it listens");
        match wire.tls("localhost", ca.client(&["http/1.1"])).await {
            Ok(mut wire) => {
                assert!(good, "an expired certificate must not be taken");
                wire.send(REQUEST).await.expect("it reads");
                assert_eq!(wire.exactly(5).await.as_deref(), Ok(b"hello".as_slice()));
            }
            Err(error) => {
                assert!(!good, "{error}");
                assert!(error.to_string().contains("xpired"), "{error}");
            }
        }
    }
}
