//! What is tried again, through what, and what never is.

use outgate_testkit::dead::RefusingPort;
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::origin::Origin;
use outgate_testkit::relay_process::RelayProcess;
use outgate_testkit::wire::{Expect, Wire};

use super::{ask, connect, get, id};
use crate::OUTGATE;

/// Short waits: what is shown is that they are kept to, not how long they are.
const QUICK: &str = "[retry]\nbackoff_first = \"10ms\"\nbackoff_longest = \"100ms\"\n";

#[tokio::test]
async fn a_set_up_is_tried_again_and_every_try_is_recorded() {
    let origin = Origin::start();
    let upstream = FlakyProxy::start(|number, _| match number {
        0 => Fate::Resets,
        1 => Fate::answer(502, "Bad Gateway", "X-Why: exit"),
        _ => Fate::Serves,
    });
    let relay = RelayProcess::configured(OUTGATE, &format!("{QUICK}[[upstream]]\nurl = \"{}\"\n", upstream.url()));
    let (reply, mut tunnel) = connect(relay.proxy(), &origin.address().to_string()).await;
    assert_eq!((reply.status, reply.header("x-outgate-attempts")), (200, Some("3")), "{reply:?}");
    tunnel.send(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("taken");
    assert_eq!(tunnel.reply(Expect::Body).await.expect("the target's answer").text(), "ok\n");
    drop(tunnel);
    let record = relay.record(id(&reply)).await;
    assert_eq!((&record["outcome"], &record["attempts"]), (&"ok".into(), &3.into()), "{record}");
    let tries: Vec<&str> = record["tries"].as_array().expect("its tries").iter().filter_map(|t| t["outcome"].as_str()).collect();
    assert_eq!((tries[0], tries[2], tries.len()), ("proxy_reset", "ok", 3), "{record}");
    assert_eq!(record["tries"][1]["status"], 502);
}

#[tokio::test]
async fn plain_requests_are_tried_again_if_that_is_safe() {
    let origin = Origin::start();
    let fate = |number: usize, _: &str| if number.is_multiple_of(2) { Fate::Closes } else { Fate::Serves };
    let upstream = FlakyProxy::start(fate);
    let relay = RelayProcess::configured(OUTGATE, &format!("{QUICK}[[upstream]]\nurl = \"{}\"\n", upstream.url()));
    assert_eq!(get(relay.proxy(), &origin.url("/ok"), "").await.status, 200);
    assert_eq!(upstream.heads().len(), 2);

    // A POST that may have reached the target is not repeated.
    let post =
        |fields: &str| format!("POST {} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 2\r\n\r\nhi", origin.url("/upload"));
    let (reply, _wire) = ask(relay.proxy(), &post(""), Expect::Body).await;
    assert!(reply.status >= 500, "{reply:?}");
    assert_eq!((upstream.heads().len(), relay.record(id(&reply)).await["attempts"].as_u64()), (3, Some(1)));

    // One with an idempotency key is; its body is sent whole again.
    let upstream = FlakyProxy::start(fate);
    let relay = RelayProcess::configured(OUTGATE, &format!("{QUICK}[[upstream]]\nurl = \"{}\"\n", upstream.url()));
    let (reply, _wire) = ask(relay.proxy(), &post("Idempotency-Key: 7\r\n"), Expect::Body).await;
    assert_eq!((reply.status, upstream.heads().len()), (200, 2), "{reply:?}");
    assert!(reply.text().contains("\"length\":2"), "{}", reply.text());
}

#[tokio::test]
async fn another_upstream_takes_over_and_tiers_are_kept() {
    let origin = Origin::start();
    let (dead, second, last) =
        (RefusingPort::reserve(), FlakyProxy::start(|_, _| Fate::Serves), FlakyProxy::start(|_, _| Fate::Serves));
    let text = format!(
        "{QUICK}[[upstream]]\nurl = \"http://{}\"\nname = \"dead\"\n[[upstream]]\nurl = \"{}\"\nname = \"second\"\n\
         [[upstream]]\nurl = \"{}\"\nname = \"last\"\ntier = 1\n",
        dead.address(),
        second.url(),
        last.url()
    );
    let relay = RelayProcess::configured(OUTGATE, &text);
    for _ in 0..10 {
        let reply = get(relay.proxy(), &origin.url("/ok"), "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(relay.record(id(&reply)).await["proxy"], "second");
    }
    assert_eq!((second.heads().len(), last.heads().len()), (10, 0), "the last tier is for when the first can't");
}

#[tokio::test]
async fn sessions_are_made_up_and_changed_when_an_exit_fails() {
    let origin = Origin::start();
    // Whoever comes with the first session that was seen gets nowhere: its exit is dead.
    let first = std::sync::Mutex::new(None::<String>);
    let upstream = FlakyProxy::start(move |_, head| {
        let login = head.lines().find(|line| line.starts_with("Proxy-Authorization")).unwrap_or_default().to_owned();
        let mut first = first.lock().expect("no test panics in it");
        match &*first {
            None => {
                *first = Some(login);
                Fate::answer(502, "Bad Gateway", "X-Error-Description: exit node not found (session has ended)")
            }
            Some(dead) if *dead == login => Fate::answer(502, "Bad Gateway", "X-Error-Description: exit node not found"),
            Some(_) => Fate::Serves,
        }
    });
    let text = format!("{QUICK}[[upstream]]\nurl = \"http://customer:secret@{}\"\nprovider = \"oxylabs\"\n", upstream.address());
    let relay = RelayProcess::configured(OUTGATE, &text);
    let reply = get(relay.proxy(), &origin.url("/ok"), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let heads = upstream.heads();
    assert_eq!(heads.len(), 2, "another session went through at once: {heads:?}");
    assert_ne!(heads[0], heads[1]);
    let record = relay.record(id(&reply)).await;
    assert!(record["session"].as_str().is_some_and(|session| session.len() == 8), "{record}");
}

#[tokio::test]
async fn many_at_once_go_through_a_flaky_upstream() {
    let origin = Origin::start();
    let upstream = FlakyProxy::start(|number, _| Fate::three_in_ten(number));
    let relay = RelayProcess::configured(OUTGATE, &format!("{QUICK}[[upstream]]\nurl = \"{}\"\n", upstream.url()));
    let (proxy, target) = (relay.proxy(), origin.address().to_string());
    let mut well = 0;
    for round in 0..10 {
        let asks = (0..10).map(|_| async {
            let (reply, mut tunnel) = connect(proxy, &target).await;
            if reply.status != 200 {
                return false;
            }
            tunnel.send(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.is_ok()
                && tunnel.reply(Expect::Body).await.is_ok_and(|reply| reply.text() == "ok\n")
        });
        let all: Vec<bool> = futures(asks).await;
        well += all.iter().filter(|ok| **ok).count();
        assert!(well >= 9 * (round + 1), "{well} of {} in round {round}", 10 * (round + 1));
    }
    assert!(well >= 98, "{well} of 100");
}

/// Drives several at the same time on one event loop.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = all.map(|one| Box::pin(async move { Some(one.await) })).map(|one| (one, None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, result) in &mut running {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(done) => *result = done,
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}

#[tokio::test]
async fn a_program_that_leaves_ends_its_attempts() {
    let upstream = FlakyProxy::start(|_, _| Fate::answer(503, "Busy", "Retry-After: 30"));
    let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url()]);
    let mut wire = Wire::connect(relay.proxy()).await.expect("the relay listens");
    wire.send(b"GET http://target.example/ HTTP/1.1\r\nHost: target.example\r\n\r\n").await.expect("taken");
    outgate_testkit::patience::until("the first attempt", || (!upstream.heads().is_empty()).then_some(())).await;
    drop(wire);
    let record = outgate_testkit::patience::until("its record", || relay.records().pop()).await;
    assert_eq!(record["ended_by"], "client_lost", "{record}");
}

#[tokio::test]
async fn a_stop_lets_what_is_open_finish() {
    let origin = Origin::start();
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let mut relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url()]);
    let (reply, mut tunnel) = connect(relay.proxy(), &origin.address().to_string()).await;
    assert_eq!(reply.status, 200);
    relay.daemon().signal(outgate_testkit::daemon::Signal::TERM);
    let address = relay.proxy();
    outgate_testkit::patience::until("the listener to close", || std::net::TcpStream::connect(address).is_err().then_some(()))
        .await;
    tunnel.send(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("taken");
    assert_eq!(tunnel.reply(Expect::Body).await.expect("the target's answer").text(), "ok\n");
    drop(tunnel);
    assert!(relay.daemon().wait().success());
    assert_eq!(relay.records().len(), 1, "its record was written before the end");
}
