//! Both ends in one process, joined by a wire with a latency and a simulated clock.

mod offers;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{AnswerError, Limits, Mux, OpenError, Side, StreamError};
use crate::{
    frame::{self, Kind, Violation},
    words::{Connect, Connected, Goodbye, LinkEnd, Refusal, ResetReason, Rotate, Rotated},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    G,
    E,
}

struct Pair {
    now: Instant,
    latency: Duration,
    gateway: Mux,
    exit: Mux,
    to_exit: VecDeque<(Instant, Bytes)>,
    to_gateway: VecDeque<(Instant, Bytes)>,
}

impl Pair {
    fn new(limits: Limits) -> Pair {
        let now = Instant::now();
        Pair {
            now,
            latency: Duration::from_millis(5),
            gateway: Mux::new(Side::Gateway, limits.clone(), now),
            exit: Mux::new(Side::Exit, limits, now),
            to_exit: VecDeque::new(),
            to_gateway: VecDeque::new(),
        }
    }

    fn end(&mut self, end: End) -> &mut Mux {
        match end {
            End::G => &mut self.gateway,
            End::E => &mut self.exit,
        }
    }

    /// Puts what both ends have to say on the wire.
    fn flush(&mut self) {
        let at = self.now + self.latency;
        while let Some(message) = batch(&mut self.gateway) {
            self.to_exit.push_back((at, message));
        }
        while let Some(message) = batch(&mut self.exit) {
            self.to_gateway.push_back((at, message));
        }
    }

    /// One trip: what is said now arrives.
    fn trip(&mut self) {
        self.flush();
        self.now += self.latency;
        while let Some((_, message)) = self.to_exit.pop_front_if(|(at, _)| *at <= self.now) {
            self.exit.on_message(message, self.now).expect("the gateway keeps the protocol");
        }
        while let Some((_, message)) = self.to_gateway.pop_front_if(|(at, _)| *at <= self.now) {
            self.gateway.on_message(message, self.now).expect("the exit keeps the protocol");
        }
    }

    /// Trips until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            self.trip();
            let idle = !self.gateway.has_output() && !self.exit.has_output();
            if idle && self.to_exit.is_empty() && self.to_gateway.is_empty() {
                return;
            }
        }
    }

    fn open(&mut self) -> u32 {
        let id = self.gateway.open(&target(), self.now).expect("room");
        self.settle();
        let Poll::Ready(Some((asked, connect))) = self.exit.poll_incoming(Waker::noop()) else { panic!("asked") };
        assert_eq!((asked, connect), (id, target()));
        self.exit.accept(id, &connected());
        self.settle();
        assert_eq!(self.gateway.poll_answer(id, Waker::noop()), Poll::Ready(Ok(connected())));
        id
    }

    /// Writes until the mux takes no more.
    fn stuff(&mut self, end: End, id: u32) -> usize {
        let data = [7u8; 16 * 1024];
        let mut total = 0;
        while let Poll::Ready(taken) = self.end(end).poll_write(id, &data, Waker::noop()) {
            total += taken.expect("open");
        }
        total
    }

    /// Reads until there is no more.
    fn read(&mut self, end: End, id: u32) -> Vec<u8> {
        let now = self.now;
        let mut all = Vec::new();
        while let Poll::Ready(Ok(Some(chunk))) = self.end(end).poll_chunk(id, Waker::noop(), now) {
            all.extend_from_slice(&chunk);
        }
        all
    }

    fn poll(&mut self, end: End, id: u32) -> Poll<Result<Option<Bytes>, StreamError>> {
        let now = self.now;
        self.end(end).poll_chunk(id, Waker::noop(), now)
    }
}

fn batch(mux: &mut Mux) -> Option<Bytes> {
    let (mut head, mut body) = (Vec::new(), Vec::new());
    mux.poll_output(&mut head, &mut body).then(|| [head, body].concat().into())
}

fn target() -> Connect {
    Connect { request_id: "r1".into(), host: "example.test".into(), port: 443, deadline: None, echo: false, through: None }
}

fn connected() -> Connected {
    Connected {
        address: SocketAddr::from(([192, 0, 2, 1], 443)),
        dns: Duration::from_micros(1500),
        connect: Duration::from_millis(20),
    }
}

fn small() -> Limits {
    Limits { max_tunnels: 16, receive_budget: 1 << 20, ..Limits::default() }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (Arc::clone(&count), Waker::from(count))
}

fn call_wakes(mux: &mut Mux) {
    while let Some(waker) = mux.next_wake() {
        waker.wake();
    }
}

#[test]
fn a_tunnel_from_question_to_end() {
    let mut pair = Pair::new(small());
    let id = pair.open();
    assert_eq!(pair.gateway.poll_write(id, b"hello", Waker::noop()), Poll::Ready(Ok(5)));
    pair.gateway.end(id).expect("open");
    pair.settle();
    assert_eq!(pair.read(End::E, id), b"hello");
    assert_eq!(pair.poll(End::E, id), Poll::Ready(Ok(None)));
    // Half closed: the other direction still carries.
    assert_eq!(pair.exit.poll_write(id, b"answer", Waker::noop()), Poll::Ready(Ok(6)));
    pair.exit.end(id).expect("open");
    pair.settle();
    assert_eq!(pair.read(End::G, id), b"answer");
    assert_eq!(pair.poll(End::G, id), Poll::Ready(Ok(None)));
    assert_eq!((pair.gateway.open_tunnels(), pair.exit.open_tunnels()), (0, 0));
    pair.gateway.release(id);
    pair.exit.release(id);
    pair.settle();
    for mux in [&pair.gateway, &pair.exit] {
        assert!(mux.tunnels.is_empty(), "forgotten");
        assert_eq!((mux.committed, mux.buffered, mux.unsent), (0, 0, 0), "nothing is held");
    }
}

#[test]
fn a_refusal_carries_its_facts() {
    let mut pair = Pair::new(small());
    let id = pair.gateway.open(&target(), pair.now).expect("room");
    let (count, waker) = counter();
    assert_eq!(pair.gateway.poll_answer(id, &waker), Poll::Pending);
    pair.settle();
    assert!(pair.exit.poll_incoming(Waker::noop()).is_ready());
    let refusal = Refusal {
        slug: "target_refused".into(),
        facts: vec![("address".into(), "192.0.2.1".into())],
        detail: Some("os error 111".into()),
    };
    pair.exit.refuse(id, refusal.clone());
    pair.settle();
    call_wakes(&mut pair.gateway);
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "the asker is woken");
    assert_eq!(pair.gateway.poll_answer(id, Waker::noop()), Poll::Ready(Err(AnswerError::Refused(refusal))));
    assert_eq!((pair.gateway.tunnels.len(), pair.exit.tunnels.len()), (0, 0));
}

#[test]
fn a_question_taken_back_reaches_the_exit() {
    let mut pair = Pair::new(small());
    let first = pair.gateway.open(&target(), pair.now).expect("room");
    let second = pair.gateway.open(&target(), pair.now).expect("room");
    pair.settle();
    // One is being dialed, the other still waits to be taken.
    let Poll::Ready(Some((id, _))) = pair.exit.poll_incoming(Waker::noop()) else { panic!("asked") };
    assert_eq!(id, first);
    assert_eq!(pair.exit.poll_cancelled(first, Waker::noop()), Poll::Pending);
    pair.gateway.release(first);
    pair.gateway.release(second);
    pair.settle();
    assert_eq!(pair.exit.poll_cancelled(first, Waker::noop()), Poll::Ready(()));
    assert!(pair.exit.poll_incoming(Waker::noop()).is_pending(), "the second is forgotten");
    pair.exit.accept(first, &connected());
    pair.exit.release(first);
    pair.settle();
    assert_eq!((pair.gateway.tunnels.len(), pair.exit.tunnels.len()), (0, 0));
}

#[test]
fn a_slow_reader_stalls_only_itself() {
    let mut pair = Pair::new(small());
    let (slow, quick) = (pair.open(), pair.open());
    let before = pair.stuff(End::G, slow);
    assert_eq!(before, pair.gateway.limits.initial_window as usize, "credit is the bound");
    let mut moved = 0;
    for _ in 0..50 {
        moved += pair.stuff(End::G, quick);
        pair.settle();
        assert_eq!(pair.stuff(End::G, slow), 0, "no credit without a reader");
        pair.read(End::E, quick);
    }
    assert!(moved > 50 * 32 * 1024, "the other one flows: {moved}");
    pair.settle();
    assert_eq!(pair.read(End::E, slow).len(), before);
    pair.settle();
    assert!(pair.stuff(End::G, slow) > 0, "reading gives credit");
}

#[test]
fn windows_grow_for_a_quick_reader_and_only_for_one() {
    let mut pair = Pair::new(Limits { receive_budget: 8 << 20, ..small() });
    let (quick, leisurely) = (pair.open(), pair.open());
    pair.exit.rtt = Some(pair.latency * 2);
    for _ in 0..40 {
        pair.stuff(End::G, quick);
        pair.settle();
        pair.read(End::E, quick);
    }
    for _ in 0..40 {
        pair.stuff(End::G, leisurely);
        pair.settle();
        pair.now += Duration::from_millis(200);
        pair.read(End::E, leisurely);
    }
    assert_eq!(pair.exit.tunnels[&quick].window, 1 << 20, "up to the most");
    assert_eq!(pair.exit.tunnels[&leisurely].window, 32 * 1024, "as it began");
}

#[test]
fn an_idle_sender_returns_its_credit() {
    let mut pair = Pair::new(Limits { receive_budget: 8 << 20, ..small() });
    let id = pair.open();
    pair.exit.rtt = Some(pair.latency * 2);
    for _ in 0..20 {
        pair.stuff(End::G, id);
        pair.settle();
        pair.read(End::E, id);
        pair.settle();
    }
    let grown = pair.exit.committed;
    assert!(grown >= 256 * 1024, "{grown}");
    // The first ping after the last write finds it busy, the second idle.
    for _ in 0..3 {
        pair.now += pair.exit.limits.heartbeat;
        pair.exit.on_timer(pair.now).expect("alive");
        pair.settle();
    }
    assert_eq!(pair.exit.committed, 32 * 1024);
    assert_eq!(pair.stuff(End::G, id), 32 * 1024, "both ends agree on what is left");
    pair.settle();
    assert_eq!(pair.read(End::E, id).len(), 32 * 1024);
}

#[test]
fn eight_bulk_tunnels_share_evenly() {
    let mut pair = Pair::new(small());
    let ids: Vec<u32> = (0..8).map(|_| pair.open()).collect();
    let mut moved = [0usize; 8];
    // Each trip carries one batch, far less than the tunnels offer.
    for _ in 0..2000 {
        for id in &ids {
            pair.stuff(End::G, *id);
        }
        if let Some(message) = batch(&mut pair.gateway) {
            pair.now += pair.latency;
            pair.exit.on_message(message, pair.now).expect("sound");
        }
        for (at, id) in ids.iter().enumerate() {
            moved[at] += pair.read(End::E, *id).len();
        }
        while let Some(message) = batch(&mut pair.exit) {
            pair.gateway.on_message(message, pair.now).expect("sound");
        }
    }
    let total: usize = moved.iter().sum();
    let least = moved.iter().min().copied().unwrap_or_default();
    assert!(total > 64 << 20, "{total}");
    assert!(least * 8 * 10 >= total * 9, "the slowest has {least} of {total}");
}

#[test]
fn four_thousand_stalled_tunnels_stay_within_the_budget() {
    let mut pair = Pair::new(Limits::default());
    let ids: Vec<u32> = (0..4096).map(|_| pair.gateway.open(&target(), pair.now).expect("room")).collect();
    assert_eq!(pair.gateway.open(&target(), pair.now), Err(OpenError::Full));
    pair.settle();
    while let Poll::Ready(Some((id, _))) = pair.exit.poll_incoming(Waker::noop()) {
        pair.exit.accept(id, &connected());
    }
    pair.settle();
    for id in &ids {
        assert!(pair.gateway.poll_answer(*id, Waker::noop()).is_ready());
    }
    let mut written = 0;
    for _ in 0..3 {
        for id in &ids {
            written += pair.stuff(End::G, *id);
        }
        pair.settle();
    }
    let limits = Limits::default();
    assert_eq!(pair.exit.buffered, written);
    assert!(written <= limits.receive_budget, "{written}");
    assert!(written >= 4096 * limits.floor_window as usize, "nobody is below the floor");
    assert!(pair.gateway.unsent <= limits.unsent_per_link);
    // What the queues really weigh: their chunks are exact copies or few slices.
    let chunks: usize = pair.exit.tunnels.values().map(|entry| entry.queue.len()).sum();
    assert!(chunks <= 4096 * 9, "{chunks}");
}

#[test]
fn many_control_frames_go_out_in_portions_before_any_data() {
    let mut pair = Pair::new(Limits::default());
    let target = Connect { host: "h".repeat(1000), ..target() };
    let ids: Vec<u32> = (0..500).map(|_| pair.gateway.open(&target, pair.now).expect("room")).collect();
    let mut messages = 0;
    while let Some(message) = batch(&mut pair.gateway) {
        assert!(message.len() < 256 * 1024, "{}", message.len());
        pair.exit.on_message(message, pair.now).expect("whole frames");
        messages += 1;
    }
    assert!(messages > 1);
    assert_eq!(pair.exit.open_tunnels(), ids.len());
}

#[test]
fn questions_that_nobody_reads_are_bounded() {
    let mut pair = Pair::new(Limits::default());
    for _ in 0..100_000 {
        match pair.gateway.open(&target(), pair.now) {
            Ok(id) => pair.gateway.release(id),
            Err(error) => {
                assert_eq!(error, OpenError::Full);
                return;
            }
        }
    }
    panic!("100,000 unread questions");
}

#[test]
fn an_idle_tunnel_is_small() {
    assert!(size_of::<super::Entry>() <= 384, "{}", size_of::<super::Entry>());
    let mut pair = Pair::new(small());
    let id = pair.open();
    pair.stuff(End::G, id);
    pair.settle();
    pair.read(End::E, id);
    pair.settle();
    let (here, there) = (&pair.gateway.tunnels[&id], &pair.exit.tunnels[&id]);
    assert_eq!((here.unsent.capacity(), there.queue.capacity()), (0, 0), "no buffer once idle");
}

#[test]
fn a_reset_carries_its_reason_and_late_frames_are_ignored() {
    let mut pair = Pair::new(small());
    let id = pair.open();
    assert_eq!(pair.gateway.poll_write(id, b"on its way", Waker::noop()), Poll::Ready(Ok(10)));
    assert_eq!(pair.exit.poll_write(id, b"a part", Waker::noop()), Poll::Ready(Ok(6)));
    pair.settle();
    pair.exit.reset(id, ResetReason::new("target_reset"));
    // Crosses the reset on the wire.
    assert_eq!(pair.gateway.poll_write(id, b"late", Waker::noop()), Poll::Ready(Ok(4)));
    pair.settle();
    assert_eq!(pair.poll(End::G, id), Poll::Ready(Err(StreamError::Reset)), "a part is not the whole");
    assert_eq!(pair.gateway.reset_reason(id), Some(ResetReason::new("target_reset")));
    assert_eq!(pair.gateway.poll_write(id, b"x", Waker::noop()), Poll::Ready(Err(StreamError::Reset)));
    pair.gateway.release(id);
    pair.settle();
    assert_eq!((pair.gateway.tunnels.len(), pair.exit.tunnels.len()), (0, 0));
    assert_ne!(pair.open(), id, "ids do not come back soon");
}

#[test]
fn what_was_sent_to_its_end_survives_a_reset() {
    let mut pair = Pair::new(small());
    let id = pair.open();
    assert_eq!(pair.exit.poll_write(id, b"all of it", Waker::noop()), Poll::Ready(Ok(9)));
    pair.exit.end(id).expect("open");
    pair.settle();
    pair.exit.release(id);
    pair.settle();
    assert_eq!(pair.read(End::G, id), b"all of it");
    assert_eq!(pair.poll(End::G, id), Poll::Ready(Ok(None)));
}

#[test]
fn the_last_bytes_leave_after_the_handle_is_gone() {
    let mut pair = Pair::new(Limits { batch: 1024, quantum: 1024, ..small() });
    let id = pair.open();
    pair.exit.end(id).expect("open");
    pair.settle();
    let written = pair.stuff(End::G, id);
    pair.gateway.end(id).expect("open");
    assert!(pair.gateway.unsent > 0, "not all of it is staged");
    pair.gateway.release(id);
    pair.settle();
    assert_eq!(pair.read(End::E, id).len(), written);
    assert_eq!(pair.poll(End::E, id), Poll::Ready(Ok(None)));
    assert!(pair.gateway.tunnels.is_empty());
}

#[test]
fn what_was_ended_arrives_though_the_handle_is_dropped() {
    for batch in [1024, 64 * 1024] {
        let mut pair = Pair::new(Limits { batch, quantum: 1024, ..small() });
        let id = pair.open();
        let written = pair.stuff(End::G, id);
        pair.gateway.end(id).expect("open");
        pair.gateway.release(id);
        pair.settle();
        assert_eq!(pair.read(End::E, id).len(), written);
        assert_eq!(pair.poll(End::E, id), Poll::Ready(Ok(None)));
        // The other direction has nobody to go to.
        assert!(pair.exit.reset_reason(id).is_some());
        assert!(pair.gateway.tunnels.is_empty());
        assert_eq!(pair.gateway.unsent, 0);
    }
}

#[test]
fn a_silent_peer_is_dead_and_its_tunnels_are_lost() {
    let mut pair = Pair::new(small());
    let id = pair.open();
    let (count, waker) = counter();
    assert!(pair.gateway.poll_chunk(id, &waker, pair.now).is_pending());
    let asking = pair.gateway.open(&target(), pair.now).expect("room");
    let dead_at = pair.gateway.next_timer();
    assert_eq!(pair.gateway.on_timer(dead_at - Duration::from_millis(1)), Ok(()));
    assert_eq!(pair.gateway.on_timer(dead_at), Err(LinkEnd::Dead));
    call_wakes(&mut pair.gateway);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(pair.poll(End::G, id), Poll::Ready(Err(StreamError::Lost)));
    assert_eq!(pair.gateway.poll_answer(asking, Waker::noop()), Poll::Ready(Err(AnswerError::Lost)));
    assert_eq!(pair.gateway.open(&target(), pair.now), Err(OpenError::Lost));
    pair.gateway.release(id);
    assert_eq!((pair.gateway.tunnels.len(), pair.gateway.committed), (0, 0));
}

#[test]
fn heartbeats_keep_a_quiet_link_and_measure_it() {
    let mut pair = Pair::new(small());
    for _ in 0..10 {
        pair.now = pair.exit.next_timer();
        pair.exit.on_timer(pair.now).expect("alive");
        pair.gateway.on_timer(pair.now).expect("alive");
        pair.settle();
    }
    assert_eq!(pair.exit.rtt(), Some(Duration::from_millis(10)));
    assert_eq!(pair.gateway.rtt(), Some(Duration::from_millis(10)), "the exit tells");
}

#[test]
fn draining_takes_no_new_tunnels() {
    let mut pair = Pair::new(small());
    let id = pair.open();
    pair.exit.drain();
    // Asked before the drain arrived.
    let crossing = pair.gateway.open(&target(), pair.now).expect("not told yet");
    pair.settle();
    assert!(matches!(
        pair.gateway.poll_answer(crossing, Waker::noop()),
        Poll::Ready(Err(AnswerError::Refused(refusal))) if refusal.slug == "draining"
    ));
    assert_eq!(pair.gateway.open(&target(), pair.now), Err(OpenError::Draining));
    assert_eq!(pair.stuff(End::G, id), 32 * 1024, "open ones go on");
}

#[test]
fn goodbye_ends_both_sides() {
    let mut pair = Pair::new(small());
    let id = pair.open();
    pair.gateway.close(Goodbye::new("revoked", "the token was revoked"));
    let message = batch(&mut pair.gateway).expect("last words");
    let why = Goodbye::new("revoked", "the token was revoked");
    assert_eq!(pair.exit.on_message(message, pair.now), Err(LinkEnd::Goodbye(why.clone())));
    assert_eq!(pair.gateway.end_reason(), Some(&LinkEnd::Closed(why)));
    assert_eq!(pair.poll(End::E, id), Poll::Ready(Err(StreamError::Lost)));
    assert_eq!(pair.exit.poll_incoming(Waker::noop()), Poll::Ready(None));
}

#[test]
fn ids_wrap() {
    let mut pair = Pair::new(small());
    pair.gateway.latest = u32::MAX - 1;
    let ids: Vec<u32> = (0..3).map(|_| pair.open()).collect();
    assert_eq!(ids, [u32::MAX, 1, 2]);
    pair.exit.reset(ids[0], ResetReason::default());
    pair.settle();
}

#[test]
fn every_breach_ends_the_link_with_a_goodbye() {
    let data = |tunnel, length: usize| {
        let mut out = Vec::new();
        frame::encode(&mut out, Kind::Data, tunnel, &vec![0; length]);
        out
    };
    let plain = |kind, tunnel, payload: &[u8]| {
        let mut out = Vec::new();
        frame::encode(&mut out, kind, tunnel, payload);
        out
    };
    // Tunnel 1 is open; 2 is asked for and unanswered. What arrives at the gateway:
    let cases: Vec<(&str, Vec<u8>, Violation)> = vec![
        ("over credit", data(1, 33 * 1024), Violation::OverCredit { tunnel: 1 }),
        ("unknown tunnel", data(9, 1), Violation::UnknownTunnel { kind: Kind::Data, tunnel: 9 }),
        ("data before the answer", data(2, 1), Violation::OutOfPlace { kind: Kind::Data, tunnel: 2 }),
        ("answered twice", plain(Kind::Refused, 1, br#"{"slug":"x"}"#), Violation::OutOfPlace { kind: Kind::Refused, tunnel: 1 }),
        (
            "ended twice",
            [plain(Kind::End, 1, b""), plain(Kind::End, 1, b"")].concat(),
            Violation::OutOfPlace { kind: Kind::End, tunnel: 1 },
        ),
        (
            "data after its end",
            [plain(Kind::End, 1, b""), data(1, 1)].concat(),
            Violation::OutOfPlace { kind: Kind::Data, tunnel: 1 },
        ),
        ("endless credit", plain(Kind::Window, 1, &u32::MAX.to_be_bytes()), Violation::CreditOverflow { tunnel: 1 }),
        ("returns more than it has", plain(Kind::Return, 1, &u32::MAX.to_be_bytes()), Violation::CreditOverflow { tunnel: 1 }),
        (
            "asks the gateway for a tunnel",
            plain(Kind::Connect, 3, b"{}"),
            Violation::OutOfPlace { kind: Kind::Connect, tunnel: 3 },
        ),
        ("a second hello", plain(Kind::Hello, 0, b"{}"), Violation::OutOfPlace { kind: Kind::Hello, tunnel: 0 }),
        ("no JSON", plain(Kind::Reset, 1, b"{"), Violation::Malformed(Kind::Reset)),
        ("half a frame", data(1, 9)[..12].to_vec(), Violation::Truncated),
    ];
    for (name, message, violation) in cases {
        let mut pair = Pair::new(small());
        pair.open();
        pair.gateway.open(&target(), pair.now).expect("room");
        pair.flush();
        let end = LinkEnd::Protocol(violation.to_string());
        assert_eq!(pair.gateway.on_message(message.into(), pair.now), Err(end.clone()), "{name}");
        assert_eq!(pair.gateway.end_reason(), Some(&end), "{name}");
        let mut last = batch(&mut pair.gateway).expect("last words");
        let goodbye = frame::decode(&mut last).expect("sound").expect("one");
        assert_eq!(goodbye.kind, Kind::Goodbye, "{name}");
    }
}

#[test]
fn asking_without_reading_is_a_flood() {
    let mut pair = Pair::new(small());
    let mut message = Vec::new();
    pair.exit.drain();
    for id in 1..20_000u32 {
        message.clear();
        let asked = br#"{"request_id":"r","host":"h","port":1,"window":1}"#;
        frame::encode(&mut message, Kind::Connect, id, asked);
        if let Err(end) = pair.exit.on_message(Bytes::copy_from_slice(&message), pair.now) {
            assert_eq!(end, LinkEnd::Protocol(Violation::Flood.to_string()));
            return;
        }
    }
    panic!("20,000 unread refusals");
}

#[test]
fn random_and_mutated_bytes_never_panic() {
    let mut seed = 42u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..3000 {
        let mut pair = Pair::new(small());
        let id = pair.open();
        pair.stuff(End::G, id);
        pair.gateway.open(&target(), pair.now).expect("room");
        pair.gateway.drain();
        let side = if round % 2 == 0 { End::E } else { End::G };
        let mut message = match round % 3 {
            0 => (0..random() % 64).map(|_| random() as u8).collect::<Vec<u8>>(),
            // A well-formed header over random content.
            1 => {
                let length = (random() % 32) as u8;
                let mut out = vec![(random() % 16) as u8, 0, 0, length, 0, 0, 0, (random() % 4) as u8];
                out.extend((0..length).map(|_| random() as u8));
                out
            }
            _ => batch(&mut pair.gateway).expect("something").to_vec(),
        };
        for _ in 0..random() % 4 {
            if !message.is_empty() {
                let at = random() as usize % message.len();
                message[at] ^= 1 << (random() % 8);
            }
        }
        let now = pair.now;
        let mux = pair.end(side);
        let _ = mux.on_message(message.into(), now);
        while batch(mux).is_some() {}
        mux.release(id);
        assert_eq!(mux.committed, mux.tunnels.values().map(|entry| entry.window as usize).sum::<usize>(), "the books balance");
        for entry in mux.tunnels.values().filter(|entry| entry.reset.is_none()) {
            assert_eq!(entry.buffered + entry.outstanding + entry.accrued, entry.window);
        }
    }
}

#[test]
fn an_exit_is_asked_to_rotate_and_answers() {
    let mut pair = Pair::new(Limits::default());
    pair.gateway.ask_rotate(&Rotate { id: "r1".into() });
    pair.settle();
    assert!(pair.exit.take_changed());
    assert_eq!(pair.exit.take_rotate(), Some(Rotate { id: "r1".into() }));
    assert_eq!(pair.exit.take_rotate(), None, "asked once");
    pair.exit.answer_rotate(Rotated { id: "r1".into(), ok: false, why: Some("no\u{7}carrier".into()) });
    pair.settle();
    assert!(pair.gateway.take_changed());
    assert_eq!(pair.gateway.take_rotated(), Some(Rotated { id: "r1".into(), ok: false, why: Some("no carrier".into()) }));
    assert_eq!(pair.gateway.take_rotated(), None);
    for (from, kind) in [(End::G, Kind::Rotated), (End::E, Kind::Rotate)] {
        let mut wrong = Pair::new(Limits::default());
        let mut message = Vec::new();
        frame::encode(&mut message, kind, 0, b"{\"id\":\"r\",\"ok\":true}");
        let receiver = if from == End::G { &mut wrong.exit } else { &mut wrong.gateway };
        let end = receiver.on_message(message.into(), Instant::now());
        assert!(matches!(end, Err(LinkEnd::Protocol(_))), "{kind:?}: {end:?}");
    }
}
