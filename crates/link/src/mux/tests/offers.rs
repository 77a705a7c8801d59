//! Between gateways: exits offered, changed, withdrawn, and tunnels asked for through them.

use std::{
    sync::atomic::Ordering,
    task::{Poll, Waker},
};

use super::{Pair, batch, call_wakes, counter, small, target};
use crate::{
    frame::{self, Kind, Violation},
    mux::Limits,
    words::{Connect, LinkEnd, News, Offer, Standing, Through},
};

fn offer(number: usize) -> Offer {
    Offer {
        exit: format!("exit{number}"),
        pool: "residential".into(),
        country: Some("us".into()),
        weight: 3,
        max_tunnels: Some(200),
        standing: Standing::Aside,
        since: 1_700_000_000,
        ..Offer::default()
    }
}

#[test]
fn exits_are_offered_changed_and_withdrawn() {
    let mut pair = Pair::new(Limits { offers: 4, ..small() });
    let changed = Offer { standing: Standing::Usable, ..offer(1) };
    let told = [News::Offer(offer(1)), News::Offer(offer(2)), News::Offer(changed), News::Withdraw("exit2".into())];
    for news in &told {
        assert_eq!(pair.exit.poll_tell(news, Waker::noop()), Poll::Ready(true));
    }
    pair.settle();
    assert_eq!(pair.gateway.take_news(), told);
    assert!(pair.gateway.take_news().is_empty(), "once");
    let endless = News::Offer(Offer { agent: "\u{1}".repeat(9_000), carrier: Some("\"".repeat(9_000)), ..offer(3) });
    assert_eq!(pair.exit.poll_tell(&endless, Waker::noop()), Poll::Ready(true));
    pair.settle();
    let [News::Offer(cut)] = &pair.gateway.take_news()[..] else { panic!("it is cut, not lost") };
    assert_eq!((cut.agent.len(), cut.carrier.as_ref().map(String::len)), (128, Some(400)));
    pair.exit.fail(LinkEnd::PeerClosed);
    assert_eq!(pair.exit.poll_tell(&told[0], Waker::noop()), Poll::Ready(false));
}

#[test]
fn a_fleet_of_thousands_is_offered_in_portions() {
    let mut pair = Pair::new(Limits { offers: 100_000, ..Limits::default() });
    let (count, waker) = counter();
    let (mut told, mut messages) = (0, 0);
    while told < 10_000 {
        while told < 10_000 && pair.exit.poll_tell(&News::Offer(offer(told)), &waker).is_ready() {
            told += 1;
        }
        assert!(pair.exit.control.len() < 80 * 1024, "{}", pair.exit.control.len());
        let message = batch(&mut pair.exit).expect("there is more to say");
        call_wakes(&mut pair.exit);
        pair.gateway.on_message(message, pair.now).expect("whole frames");
        messages += 1;
    }
    let last = batch(&mut pair.exit);
    last.into_iter().for_each(|message| pair.gateway.on_message(message, pair.now).expect("whole frames"));
    assert_eq!(pair.gateway.take_news().len(), 10_000);
    assert!(messages > 10 && count.0.load(Ordering::Relaxed) >= messages - 1, "whoever waited was woken each time");
}

#[test]
fn offers_beyond_the_bound_end_the_link() {
    for (most, wire) in [(0, "an exit's own link"), (2, "another gateway's")] {
        let mut pair = Pair::new(Limits { offers: most, ..small() });
        for number in 0..=most {
            assert!(pair.exit.poll_tell(&News::Offer(offer(number)), Waker::noop()).is_ready());
        }
        let message = batch(&mut pair.exit).expect("offers");
        let end = pair.gateway.on_message(message, pair.now).expect_err(wire);
        assert_eq!(end, LinkEnd::Protocol(Violation::TooManyOffers.to_string()), "{wire}");
    }
    let mut out = Vec::new();
    frame::encode(&mut out, Kind::Offer, 0, b"{}");
    let mut pair = Pair::new(Limits { offers: 9, ..small() });
    let end = pair.gateway.on_message(out.clone().into(), pair.now).expect_err("no exit is named");
    assert_eq!(end, LinkEnd::Protocol(Violation::Malformed(Kind::Offer).to_string()));
    let end = pair.exit.on_message(out.into(), pair.now).expect_err("the wrong way");
    assert_eq!(end, LinkEnd::Protocol(Violation::OutOfPlace { kind: Kind::Offer, tunnel: 0 }.to_string()));
}

#[test]
fn a_tunnel_may_be_asked_for_through_an_exit_of_the_asked() {
    let mut pair = Pair::new(small());
    let through = Through { exit: "exit1".into(), echo: Some("{\"key\":\"k1\"}".into()) };
    let connect = Connect { echo: true, through: Some(through), ..target() };
    let id = pair.gateway.open(&connect, pair.now).expect("room");
    pair.settle();
    assert_eq!(pair.exit.poll_incoming(Waker::noop()), Poll::Ready(Some((id, connect))));
}
