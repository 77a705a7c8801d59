//! Frames and fields that break a rule of RFC 9113, one at a time.

use outgate_faults::Slug;
use outgate_testkit::h2_frames::{Came, cancel, flag, frame, header_block, kind, settings, window_update};

use super::{Fate, Scene, check, code, headers};

const PROTOCOL: Fate = Fate::Ended(&[code::PROTOCOL_ERROR]);
const FLOW: Fate = Fate::Ended(&[code::FLOW_CONTROL_ERROR]);
const SIZE: Fate = Fate::Ended(&[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR]);

/// Each breach: its name, its bytes, what must become of it.
fn of_frames(scene: &Scene) -> Vec<(&'static str, Vec<u8>, Fate)> {
    let get = scene.get("/hidden");
    let open = headers(1, flag::NONE, &scene.get("/upload"));
    let part = frame(kind::HEADERS, flag::END_STREAM, 1, &get);
    let closed = Fate::Ended(&[code::STREAM_CLOSED, code::PROTOCOL_ERROR]);
    let on_itself = [&[0, 0, 0, 1, 16], &get[..]].concat();
    vec![
        ("DATA on an idle stream", frame(kind::DATA, flag::NONE, 1, b"x"), PROTOCOL),
        ("DATA on the connection", frame(kind::DATA, flag::NONE, 0, b"x"), PROTOCOL),
        ("RST_STREAM on an idle stream", cancel(1), PROTOCOL),
        ("WINDOW_UPDATE on an idle stream", window_update(1, 1), PROTOCOL),
        ("HEADERS on the connection", headers(0, flag::END_STREAM, &get), PROTOCOL),
        ("HEADERS on a stream of the server's", headers(2, flag::END_STREAM, &get), PROTOCOL),
        (
            "HEADERS on an older stream",
            [headers(5, flag::END_STREAM, &get.clone()), headers(3, flag::END_STREAM, &get)].concat(),
            closed,
        ),
        ("CONTINUATION out of nowhere", frame(kind::CONTINUATION, flag::END_HEADERS, 1, &get), PROTOCOL),
        ("a frame inside a header block", [part.clone(), frame(kind::PING, flag::NONE, 0, &[0; 8])].concat(), PROTOCOL),
        ("another stream's CONTINUATION", [part, frame(kind::CONTINUATION, flag::END_HEADERS, 3, b"")].concat(), PROTOCOL),
        ("a stream that depends on itself", headers(1, flag::END_STREAM | flag::PRIORITY, &on_itself), Fate::Malformed),
        ("PUSH_PROMISE from a client", frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL),
        ("a frame that is too large", frame(kind::DATA, flag::NONE, 1, &[0; 16_385]), Fate::Ended(&[code::FRAME_SIZE_ERROR])),
        ("a PING of seven bytes", frame(kind::PING, flag::NONE, 0, &[0; 7]), SIZE),
        ("SETTINGS of five bytes", frame(kind::SETTINGS, flag::NONE, 0, &[0; 5]), SIZE),
        ("SETTINGS on a stream", frame(kind::SETTINGS, flag::NONE, 1, b""), PROTOCOL),
        ("a window beyond 31 bits in SETTINGS", settings(&[(4, 1 << 31)]), Fate::Ended(&[code::FLOW_CONTROL_ERROR, 1])),
        ("a frame size below the least in SETTINGS", settings(&[(5, 100)]), PROTOCOL),
        ("the connection's window beyond 31 bits", window_update(0, i32::MAX.unsigned_abs()), FLOW),
        ("a window opened by nothing", window_update(0, 0), PROTOCOL),
        (
            "a stream's window beyond 31 bits",
            [open.clone(), window_update(1, i32::MAX.unsigned_abs())].concat(),
            Fate::Reset(&[code::FLOW_CONTROL_ERROR]),
        ),
        // More than the connection's window, all of it on one stream.
        ("DATA beyond the window", [open, frame(kind::DATA, flag::NONE, 1, &[0; 16_384]).repeat(130)].concat(), FLOW),
        ("a header block that is none", headers(1, flag::END_STREAM, &[0xff; 40]), Fate::Ended(&[code::COMPRESSION_ERROR, 1])),
    ]
}

/// Each malformed request: its name and its fields.
fn of_fields() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let get = [(":method", "GET"), (":scheme", "http"), (":authority", "{origin}"), (":path", "/hidden")];
    let with = |name: &'static str, value: &'static str| [&get[..], &[(name, value)]].concat();
    let without = |name: &str| get.iter().filter(|(field, _)| *field != name).copied().collect::<Vec<_>>();
    let connect = |more: &[(&'static str, &'static str)]| [&[(":method", "CONNECT"), (":authority", "{origin}")], more].concat();
    vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("an empty path", [&without(":path")[..], &[(":path", "")]].concat()),
        ("a method twice", with(":method", "GET")),
        ("a path twice", with(":path", "/other")),
        ("a status", with(":status", "200")),
        ("an unknown pseudo-field", with(":unknown", "x")),
        ("a pseudo-field behind a field", [&[("x", "y")], &get[..]].concat()),
        ("an upper-case name", with("X-Upper", "x")),
        ("a name with a space", with("x y", "x")),
        ("a line feed in a value", with("x", "a\r\nx-injected: b")),
        ("a null in a value", with("x", "a\0b")),
        ("connection", with("connection", "close")),
        ("keep-alive", with("keep-alive", "5")),
        ("proxy-connection", with("proxy-connection", "keep-alive")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("upgrade", with("upgrade", "websocket")),
        ("te other than trailers", with("te", "gzip")),
        ("two lengths", [&with("content-length", "1")[..], &[("content-length", "2")]].concat()),
        ("a length without a body", with("content-length", "5")),
        ("a length that is no number", with("content-length", "five")),
        ("CONNECT with a scheme", connect(&[(":scheme", "http")])),
        ("CONNECT with a path", connect(&[(":path", "/")])),
        // RFC 8441 is not offered in SETTINGS, so nobody may use it.
        ("extended CONNECT", connect(&[(":scheme", "http"), (":path", "/"), (":protocol", "websocket")])),
        ("a space in the authority", vec![(":method", "CONNECT"), (":authority", "a b:80")]),
    ]
}

#[tokio::test]
async fn frames_that_break_the_rules() {
    let mut scene = Scene::set(&[]);
    let breaches = of_frames(&scene);
    assert!(breaches.len() > 20);
    for (name, bytes, fate) in breaches {
        let mut attacker = scene.attacker(&[]).await;
        attacker.send(&bytes).await;
        check(&mut attacker, name, fate).await;
        scene.serves_others(name).await;
    }
    scene.is_at_rest("frames that break the rules").await;
}

#[tokio::test]
async fn fields_that_break_the_rules() {
    let mut scene = Scene::set(&[]);
    let (breaches, authority) = (of_fields(), scene.origin.address().to_string());
    assert!(breaches.len() > 20);
    for (name, fields) in breaches {
        let put = |value: &'static str| if value == "{origin}" { authority.as_str() } else { value };
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, put(value))).collect();
        let block = header_block(&[&fields[..], &[("proxy-authorization", &scene.authorization)]].concat());
        let mut attacker = scene.attacker(&[]).await;
        attacker.send(&headers(1, flag::END_STREAM, &block)).await;
        check(&mut attacker, name, Fate::Malformed).await;
    }
    scene.serves_others("fields that break the rules").await;
    assert!(scene.origin.received().iter().all(|request| request.target == "/ok"), "none of it went out");
    scene.is_at_rest("fields that break the rules").await;
}

/// What is only too large for us is answered by us, with everything an answer has; what is far beyond, by the protocol.
#[tokio::test]
async fn heads_that_are_too_large() {
    let scene = Scene::set(&[]);
    let get = |name: &str, value: &str| {
        let request = http::Request::get(scene.origin.url("/hidden")).header("proxy-authorization", &scene.authorization);
        request.header(name, value).body(()).expect("a request")
    };
    let mut client = scene.gateway.over_h2().await;
    let (reply, _) = client.ask(get("x-large", &"x".repeat(40_000))).await.expect("an answer");
    let slug = Slug::HeaderTooLarge;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (slug.row().status, Some(slug.name())), "{reply:?}");
    assert!(reply.header("proxy-status").is_some() && reply.header("x-outgate-request-id").is_some());
    assert_eq!(reply.text(), "the request header is over the limit of 32768 bytes\n");
    let many = (0..200).fold(get("x", "y"), |mut request, n| {
        let name = http::HeaderName::from_bytes(format!("x-{n}").as_bytes()).expect("a name");
        request.headers_mut().insert(name, http::HeaderValue::from_static("y"));
        request
    });
    let (reply, _) = client.ask(many).await.expect("an answer");
    assert_eq!(reply.header("x-proxy-error"), Some(slug.name()), "{reply:?}");
    let (reply, _) = client.ask(get("x-large", &"x".repeat(100_000))).await.expect("an answer");
    assert_eq!(reply.status, 431, "{reply:?}");
    assert!(scene.origin.received().is_empty(), "none of it went out");
}

/// One stream is one request: what a client sends behind an answer is never read as another one.
#[tokio::test]
async fn what_follows_an_answer_is_no_request() {
    let scene = Scene::set(&[]);
    let mut attacker = scene.attacker(&[]).await;
    let at = scene.origin.address();
    // Refused for want of credentials, which on a connection of HTTP/1.1 leaves it usable.
    let connect = header_block(&[(":method", "CONNECT"), (":authority", &at.to_string())]);
    let smuggled =
        format!("GET http://{at}/hidden HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: {}\r\n\r\n", scene.authorization);
    let data = frame(kind::DATA, flag::END_STREAM, 1, smuggled.as_bytes());
    assert!(attacker.send(&[headers(1, flag::NONE, &connect), data].concat()).await);
    let answered = attacker.until(|frame| frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0).await;
    assert!(matches!(answered, Came::Frame(_)));
    // In its own time it would be served before these are.
    for n in 1..4 {
        assert!(attacker.send(&headers(2 * n + 1, flag::END_STREAM, &scene.get("/ok"))).await);
        let answered = attacker.until(|frame| frame.stream == 2 * n + 1 && frame.flags & flag::END_STREAM != 0).await;
        assert!(matches!(answered, Came::Frame(_)));
    }
    assert!(scene.origin.received().iter().all(|request| request.target == "/ok"), "the smuggled request was served");
}
