//! Targets that answer with what no client must see.

use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Expect};

use super::{MEMORY, Scene};

/// Name, what the target answers, the slug the client is told.
fn bad_answers() -> Vec<(&'static str, Vec<Step>, &'static str)> {
    let answer = |bytes: &[u8]| vec![Step::ReadHead, Step::Write(bytes.to_vec()), Step::Stall];
    let malformed = "response_malformed";
    vec![
        ("a giant field", outgate_testkit::script::big_header(4 << 20), "response_header_too_large"),
        (
            "a head without end",
            vec![Step::ReadHead, Step::Repeat(b"X-More: 1\r\n".to_vec(), 400_000), Step::Stall],
            "response_header_too_large",
        ),
        (
            "endless interim answers",
            vec![Step::ReadHead, Step::Repeat(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec(), 100_000), Step::Stall],
            malformed,
        ),
        ("two lengths", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nok\nok"), malformed),
        ("lengths as a list", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\nok\nok"), malformed),
        ("a negative length", answer(b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nok\n"), malformed),
        (
            "two codings",
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            malformed,
        ),
        (
            "chunked under another coding",
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
            malformed,
        ),
        ("a bad chunk", answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), malformed),
        (
            "a forged trailer",
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Proxy-Error: forged\r\n\r\n"),
            malformed,
        ),
        ("no status", answer(b"HTTP/1.1 OK\r\n\r\n"), malformed),
        ("status 999", answer(b"HTTP/1.1 999 Odd\r\n\r\n"), malformed),
        ("another protocol", answer(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), malformed),
        ("NUL in a value", answer(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"), malformed),
        (
            "101 that nobody asked for",
            answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
            "upgrade_failed",
        ),
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
        assert_eq!(
            wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("after {name}: {error}")).text(),
            "ok\n",
            "{name}"
        );
    }
    let memory = scene.memory();
    assert!(memory < MEMORY, "{memory} bytes held");
}

#[tokio::test]
async fn a_folded_value_can_not_split_an_answer() {
    let scene = Scene::set();
    let folded =
        b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n Set-Cookie: forged\r\n\tX-Proxy-Error: forged\r\nContent-Length: 3\r\n\r\nok\n";
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
        let script = Script::start(vec![
            Step::ReadHead,
            Step::Write(bytes.to_vec()),
            Step::ReadHead,
            Step::Write(bytes.to_vec()),
            Step::Stall,
        ]);
        let mut wire = scene.client().await;
        let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{{auth}}\r\n", script.address());
        for turn in 1..=3 {
            wire.send(&scene.raw(request.as_bytes())).await.expect("open");
            let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((reply.text().as_str(), script.connections()), ("ok\n", turn), "{name}: such a connection is not kept");
            assert_eq!(
                (reply.header("content-length").is_some(), reply.header("transfer-encoding").is_some()),
                (name != "two framings", name == "two framings")
            );
        }
    }
}

#[tokio::test]
async fn a_truncated_answer_is_reset_not_closed() {
    let scene = Scene::set();
    for (name, steps) in
        [("length", outgate_testkit::script::truncated_length()), ("chunked", outgate_testkit::script::truncated_chunked())]
    {
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
            assert_eq!(
                (record["outcome"].as_str(), record["status"].as_u64()),
                (Some("response_incomplete"), Some(200)),
                "{name}"
            );
        }
    }
}
