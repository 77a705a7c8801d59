//! More of something than anybody needs, as fast as it can be written.

use outgate_testkit::dead::BlackHole;
use outgate_testkit::h2_frames::{Came, cancel, flag, frame, header_block, kind, settings, string, window_update};
use outgate_testkit::patience::until;

use super::{Fate, Scene, check, code, headers};

/// A flood: what comes first, and what comes over and over.
struct Flood {
    name: &'static str,
    first: Vec<u8>,
    /// The bytes of each round, by its number.
    round: Box<dyn Fn(u32) -> Vec<u8>>,
    rounds: u32,
    fate: Fate,
}

fn flood(name: &'static str, first: Vec<u8>, rounds: u32, fate: Fate, round: impl Fn(u32) -> Vec<u8> + 'static) -> Flood {
    Flood { name, first, round: Box::new(round), rounds, fate }
}

const CALM: Fate = Fate::Ended(&[code::ENHANCE_YOUR_CALM]);

fn floods(scene: &Scene) -> Vec<Flood> {
    let get = scene.get("/ok");
    let begun = |flags| frame(kind::HEADERS, flags, 1, &get);
    let upload = headers(1, flag::NONE, &scene.get("/upload"));
    let of_one_stream = Fate::Ended(&[code::PROTOCOL_ERROR, code::STREAM_CLOSED, code::ENHANCE_YOUR_CALM]);
    vec![
        // CVE-2024-27316: a header block that never ends.
        flood("empty CONTINUATIONs", begun(flag::NONE), 10_000, CALM, |_| frame(kind::CONTINUATION, flag::NONE, 1, b"")),
        flood("CONTINUATIONs with fields", begun(flag::NONE), 10_000, CALM, |n| {
            frame(kind::CONTINUATION, flag::NONE, 1, &header_block(&[("x-more", &n.to_string())]))
        }),
        // CVE-2023-44487: streams that are opened and given up at once.
        flood("a rapid reset", Vec::new(), 5_000, CALM, {
            let get = get.clone();
            move |n| [headers(2 * n + 1, flag::END_STREAM, &get), cancel(2 * n + 1)].concat()
        }),
        flood("SETTINGS", Vec::new(), 20_000, Fate::Lives, |_| settings(&[])),
        flood("SETTINGS that change the windows", Vec::new(), 20_000, Fate::Lives, |n| settings(&[(4, n % 2 * 60_000)])),
        flood("PINGs", Vec::new(), 20_000, Fate::Lives, |n| frame(kind::PING, flag::NONE, 0, &u64::from(n).to_be_bytes())),
        flood("PRIORITYs", Vec::new(), 20_000, Fate::Lives, |n| frame(kind::PRIORITY, flag::NONE, 2 * n + 1, &[0, 0, 0, 0, 16])),
        flood("WINDOW_UPDATEs of the connection", Vec::new(), 20_000, Fate::Lives, |_| window_update(0, 1)),
        flood("WINDOW_UPDATEs of a stream", upload.clone(), 20_000, Fate::Lives, |_| window_update(1, 1)),
        flood("frames of an unknown type", Vec::new(), 20_000, Fate::Lives, |_| frame(0xbb, 0xff, 0, b"grease")),
        flood("empty DATA", upload.clone(), 20_000, CALM, |_| frame(kind::DATA, flag::NONE, 1, b"")),
        flood("trailers", upload, 100, of_one_stream, |_| headers(1, flag::END_STREAM, &header_block(&[("x", "y")]))),
        flood("resets of one stream", headers(1, flag::END_STREAM, &get), 20_000, Fate::Lives, |_| cancel(1)),
    ]
}

#[tokio::test]
async fn a_flood_ends_its_connection_or_costs_nothing() {
    let mut scene = Scene::set(&[]);
    let floods = floods(&scene);
    assert!(floods.len() > 10);
    for Flood { name, first, round, rounds, fate } in floods {
        let mut attacker = scene.attacker(&[]).await;
        attacker.send(&first).await;
        let half = rounds / 2;
        let bytes = |from, to| (from..to).flat_map(&round).collect::<Vec<u8>>();
        attacker.send(&bytes(0, half)).await;
        scene.serves_others(&format!("during {name}")).await;
        attacker.send(&bytes(half, rounds)).await;
        check(&mut attacker, name, fate).await;
        scene.is_at_rest(name).await;
        scene.serves_others(&format!("after {name}")).await;
    }
}

/// Resets in step with the gateway, so that each request is at work when its client gives it up: the work ends with it.
#[tokio::test]
async fn a_reset_ends_the_work_that_it_bought() {
    // Far longer than the test may take: only noticing the reset can end the work.
    let mut scene = Scene::set(&[("OUTGATE_TIMEOUTS_SETUP", "10m"), ("OUTGATE_TIMEOUTS_CONNECT", "10m")]);
    let hole = BlackHole::open();
    let before = scene.gateway.daemon().open_files();
    let mut attacker = scene.attacker(&[]).await;
    let authority = hole.address().to_string();
    let (get, connect) = (scene.get_from(&authority, "/"), scene.connect_to(&authority));
    for n in 0..1_000u32 {
        let (stream, ping) = (2 * n + 1, u64::from(n).to_be_bytes());
        let opening = if n % 2 == 0 { headers(stream, flag::END_STREAM, &get) } else { headers(stream, flag::NONE, &connect) };
        assert!(attacker.send(&opening).await);
        assert!(attacker.is_alive(ping).await, "the request was taken before the PING was answered");
        assert!(attacker.send(&cancel(stream)).await);
    }
    until("the dials to be given up", || (scene.gateway.daemon().open_files() < before + 20).then_some(())).await;
    scene.is_at_rest("a reset of what was at work").await;
    scene.serves_others("after resets of what was at work").await;
}

/// More streams than the gateway takes are refused in a way that says: nothing was done, ask again.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let mut scene = Scene::set(&[]);
    let get = scene.get("/slow");
    let mut attacker = scene.attacker(&[]).await;
    let open: Vec<u8> = (0..300).flat_map(|n| headers(2 * n + 1, flag::END_STREAM, &get)).collect();
    assert!(attacker.send(&open).await);
    let mut refused = Vec::new();
    while refused.len() < 300 - 256 {
        let Came::Frame(reset) = attacker.until(|frame| frame.kind == kind::RST_STREAM).await else {
            panic!("it ended after {refused:?}")
        };
        assert_eq!(reset.payload, code::REFUSED_STREAM.to_be_bytes(), "{reset:?}");
        refused.push(reset.stream);
    }
    assert!(refused.iter().all(|stream| *stream > 2 * 256), "the first 256 were taken: {refused:?}");
    scene.serves_others("while 256 streams wait").await;
    scene.is_at_rest("a hoard of streams").await;
    for _ in 0..256 {
        scene.origin.release();
    }
    let mut answered = 0;
    while answered < 256 {
        let came = attacker.until(|frame| frame.kind == kind::HEADERS).await;
        assert!(matches!(came, Came::Frame(_)), "{answered} were answered");
        answered += 1;
    }
}

/// A few bytes that become many: a field that is in the table once and named thousands of times (the "HPACK bomb").
#[tokio::test]
async fn what_unpacks_to_much_is_not_unpacked() {
    let mut scene = Scene::set(&[]);
    // A literal that enters the table (RFC 7541, section 6.2.1), then its index: 62, the first dynamic one.
    let planted = [vec![0x40], string("x-bomb"), string(&"b".repeat(3_900))].concat();
    let bomb = [scene.get("/bomb"), planted, vec![0xbe; 12_000]].concat();
    let mut attacker = scene.attacker(&[]).await;
    assert!(attacker.send(&headers(1, flag::END_STREAM, &bomb)).await);
    scene.serves_others("during a bomb").await;
    check(&mut attacker, "a bomb", CALM).await;
    scene.is_at_rest("a bomb").await;
    assert!(!scene.origin.received().iter().any(|request| request.target.contains("bomb")), "nobody was sent it");
}
