//! Clients that wait, read nothing, or never end what they began: each runs into a deadline, and holds little until then.

use outgate_testkit::h2_frames::{Came, Frames, PREFACE, flag, frame, kind, settings, window_update};
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};

use super::{Fate, Scene, check, code, headers};

/// The largest window there is.
const WIDE: u32 = i32::MAX.unsigned_abs();
/// What the window is without a word (RFC 9113, section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;

#[tokio::test]
async fn a_connection_that_does_not_get_going_ends() {
    let mut scene = Scene::set(&[("OUTGATE_TIMEOUTS_HEAD", "300ms"), ("OUTGATE_TIMEOUTS_KEEP_ALIVE", "300ms")]);
    let unfinished = frame(kind::HEADERS, flag::END_STREAM, 1, &scene.get("/ok"));
    let rows = [
        ("nothing", Vec::new()),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface and nothing", PREFACE.to_vec()),
        ("settings and nothing", [PREFACE, &settings(&[])].concat()),
        ("half a frame", [PREFACE, &settings(&[]), &unfinished[..20]].concat()),
        ("half a header block", [PREFACE, &settings(&[]), &unfinished].concat()),
    ];
    for (name, bytes) in rows {
        let mut attacker = Frames::over(scene.gateway.over_tls(&["h2"]).await);
        attacker.send(&bytes).await;
        assert_eq!(attacker.until(|_| false).await, Came::End, "{name}");
    }
    scene.serves_others("connections that did not get going").await;
    scene.is_at_rest("connections that did not get going").await;
}

/// The client never makes room for an answer: what is waiting for it is bounded, and its stream ends when nothing has moved.
#[tokio::test]
async fn a_window_that_never_opens() {
    let mut scene = Scene::set(&[("OUTGATE_TIMEOUTS_IDLE", "300ms")]);
    let rows = [
        ("an answer", headers(1, flag::END_STREAM, &scene.get("/bytes/1000000")), code::INTERNAL_ERROR),
        ("a tunnel", headers(1, flag::NONE, &scene.connect_to(&scene.origin.address().to_string())), code::CONNECT_ERROR),
    ];
    for (name, opening, code) in rows {
        let mut attacker = scene.attacker(&[(4, 0)]).await;
        attacker.send(&opening).await;
        if name == "a tunnel" {
            let get = format!("GET /bytes/1000000 HTTP/1.1\r\nHost: {}\r\n\r\n", scene.origin.address());
            attacker.send(&frame(kind::DATA, flag::NONE, 1, get.as_bytes())).await;
        }
        let Came::Frame(reset) = attacker.until(|frame| frame.kind == kind::RST_STREAM).await else { panic!("{name}: no reset") };
        // Whose silence it was is not always known: what counts is that nobody takes the answer for complete.
        assert!([code, 8].map(|code| code.to_be_bytes().to_vec()).contains(&reset.payload), "{name}: {reset:?}");
        assert!(attacker.is_alive(*b"still up").await, "{name}: only the stream is over");
        scene.serves_others(name).await;
        scene.is_at_rest(name).await;
    }
}

/// Settings that take back what was granted make the window negative (RFC 9113, section 6.9.2): nothing is lost by it.
#[tokio::test]
async fn a_window_that_shrinks_below_nothing() {
    let scene = Scene::set(&[]);
    let mut attacker = scene.attacker(&[]).await;
    let length = 200_000u32;
    attacker.send(&headers(1, flag::END_STREAM, &scene.get(&format!("/bytes/{length}")))).await;
    // Everything that the first window allows has come; then it shrinks to far below what was sent, and grows again.
    let (windows, mut got) = ([0, 1_000, DEFAULT_WINDOW].map(|window| settings(&[(4, window)])), 0);
    loop {
        let Came::Frame(data) = attacker.until(|frame| frame.kind == kind::DATA).await else { panic!("it ended at {got}") };
        got += u32::try_from(data.payload.len()).expect("a frame's length");
        if data.flags & flag::END_STREAM != 0 {
            break;
        }
        if got == DEFAULT_WINDOW {
            assert!(attacker.send(&windows.concat()).await);
            assert!(attacker.is_alive(*b"no data!").await, "there is no room for any");
            assert!(attacker.send(&[window_update(1, length), window_update(0, length)].concat()).await);
        }
    }
    assert_eq!(got, length, "the whole answer");
}

/// The largest windows, as many streams as there may be, and not a byte read.
#[tokio::test]
async fn a_client_that_asks_and_never_reads() {
    let mut scene = Scene::set(&[("OUTGATE_TIMEOUTS_IDLE", "2s"), ("OUTGATE_TIMEOUTS_KEEP_ALIVE", "300ms")]);
    let before = scene.gateway.daemon().open_files();
    let mut attacker = scene.attacker(&[(4, WIDE)]).await;
    attacker.fall_deaf();
    attacker.send(&window_update(0, WIDE - DEFAULT_WINDOW)).await;
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let endless = Script::start(vec![Step::ReadHead, Step::Write(head), Step::Repeat(vec![7; 65_536], 2_000), Step::Stall]);
    let get = scene.get_from(&endless.address().to_string(), "/");
    let open: Vec<u8> = (0..256).flat_map(|n| headers(2 * n + 1, flag::END_STREAM, &get)).collect();
    attacker.send(&open).await;
    until("all to be asked for", || (endless.connections() == 256).then_some(())).await;
    scene.serves_others("while nobody reads").await;
    until("the streams to be given up", || (scene.gateway.daemon().open_files() < before + 20).then_some(())).await;
    scene.serves_others("after nobody read").await;
    scene.is_at_rest("answers that nobody reads").await;
}

#[tokio::test]
async fn a_request_that_never_ends() {
    let mut scene = Scene::set(&[("OUTGATE_TIMEOUTS_RESPONSE", "300ms")]);
    let mut attacker = scene.attacker(&[]).await;
    let open: Vec<u8> = (0..100).flat_map(|n| headers(2 * n + 1, flag::NONE, &scene.get("/upload"))).collect();
    attacker.send(&open).await;
    for n in 0..100 {
        // Told as 408 and ended on our side; then the client is told not to go on.
        let came = attacker.until(|frame| frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0).await;
        assert!(matches!(came, Came::Frame(_)), "{n} were answered");
    }
    check(&mut attacker, "requests that never end", Fate::Lives).await;
    assert!(scene.origin.received().is_empty(), "no whole request came");
    scene.serves_others("requests that never end").await;
    scene.is_at_rest("requests that never end").await;
}
