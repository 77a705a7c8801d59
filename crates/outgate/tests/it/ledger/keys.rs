//! The states of a key, and what they do to its live tunnels.

use std::time::{Duration, Instant};

use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Ending, Expect, Wire};

use super::{Firehose, Key, json, request_id};
use crate::OUTGATE;

#[tokio::test]
async fn a_key_that_loses_its_standing_loses_its_tunnels_within_a_second() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (hose, origin) = (Firehose::start().await, Origin::start());
    let idle = Script::start(vec![Step::Stall]);
    let bystander = Key::create(&gateway, &[]);
    let (mut untouched, _) = bystander.connect(&gateway, "", hose.address).await;
    let cases: [(&[&str], &str, Option<&str>); 3] = [
        (&["suspend"], "key_suspended", Some("resume")),
        (&["block", "--why", "sends spam"], "key_blocked", Some("unblock")),
        (&["revoke"], "key_revoked", None),
    ];
    for (action, slug, undo) in cases {
        let key = Key::create(&gateway, &[]);
        let mut busy = Vec::new();
        for (modifiers, target) in
            [("", hose.address), ("-pool-residential", hose.address), ("", idle.address()), ("-pool-residential", idle.address())]
        {
            let (wire, reply) = key.connect(&gateway, modifiers, target).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            busy.push((wire, request_id(&reply)));
        }
        // One that waits for its answer can still be told.
        let mut waiting = Wire::connect(gateway.proxy()).await.expect("it listens");
        let request =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", origin.url("/slow"), origin.address(), key.authorization());
        let asked = origin.received().len();
        waiting.send(request.as_bytes()).await.expect("open");
        until("the origin to be asked", || (origin.received().len() > asked).then_some(())).await;

        let arguments: Vec<&str> = ["keys", action[0], key.id.as_str()].into_iter().chain(action[1..].iter().copied()).collect();
        let _done = gateway.admin(&arguments);
        let acted = Instant::now();
        for (mut wire, id) in busy {
            assert_eq!(wire.drain(|_| {}).await.expect("an end"), Ending::Reset, "{slug}");
            let took = acted.elapsed();
            assert!(took < Duration::from_secs(1), "{slug}: cut after {took:?}");
            let record = gateway.record(&id).await;
            assert_eq!((&record["outcome"], &record["ended_by"]), (&slug.into(), &"cut".into()));
        }
        let reply = waiting.reply(Expect::Body).await.expect("an answer");
        assert_eq!(reply.header("x-proxy-error"), Some(slug), "{}", reply.text());
        assert!(!reply.text().contains("spam"), "the reason is the operator's: {}", reply.text());
        assert_eq!(key.tries(&gateway, &origin).await, slug);
        assert_eq!(key.shown(&gateway)["open"], 0, "{slug}: every slot is back");
        match undo {
            Some(undo) => {
                let _undone = gateway.admin(&["keys", undo, &key.id]);
                assert_eq!(key.tries(&gateway, &origin).await, "ok", "{undo}");
            }
            None => {
                let back =
                    std::process::Command::new(OUTGATE).args(["keys", "resume", &key.id, "--data"]).arg(gateway.data()).output();
                assert_eq!(back.expect("it runs").status.code(), Some(1), "revoked is for good");
                assert_eq!(key.tries(&gateway, &origin).await, slug);
            }
        }
    }
    assert!(!untouched.some().await.expect("another key's tunnel goes on").is_empty());
}

#[tokio::test]
async fn secrets_rotate_with_and_without_grace() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let old = Key::create(&gateway, &[]);
    let new = Key::told(&json(&gateway, &["keys", "rotate", &old.id, "--grace", "1h", "--json"]));
    assert_ne!(old.secret, new.secret);
    assert_eq!((old.tries(&gateway, &origin).await, new.tries(&gateway, &origin).await), ("ok".to_owned(), "ok".to_owned()));
    let newest = Key::told(&json(&gateway, &["keys", "rotate", &old.id, "--json"]));
    assert_eq!(newest.tries(&gateway, &origin).await, "ok");
    for key in [&old, &new] {
        assert_eq!(key.tries(&gateway, &origin).await, "credentials_wrong");
    }
    let short = Key::told(&json(&gateway, &["keys", "rotate", &old.id, "--grace", "1s", "--json"]));
    assert_eq!((short.tries(&gateway, &origin).await.as_str(), newest.tries(&gateway, &origin).await.as_str()), ("ok", "ok"));
    until("the grace to end", || short.shown(&gateway)["old_secret_until"].is_null().then_some(())).await;
    assert_eq!(newest.tries(&gateway, &origin).await, "credentials_wrong");
    assert_eq!(short.tries(&gateway, &origin).await, "ok");
}

#[tokio::test]
async fn quickstart_makes_another_key_when_its_own_has_another_secret() {
    let mut gateway = Quickstart::new(OUTGATE).start();
    let first = Key::first(&gateway);
    let _rotated = gateway.admin(&["keys", "rotate", &first.id]);
    gateway.daemon().kill();
    let gateway = Quickstart::new(OUTGATE).start_in(gateway.folder());
    let second = Key::first(&gateway);
    assert_ne!(second.id, first.id);
    assert_eq!(second.tries(&gateway, &Origin::start()).await, "ok", "what it prints works as pasted");
}

#[tokio::test]
async fn a_kept_connection_is_asked_again_when_its_key_changes() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let (old, other) = (Key::create(&gateway, &[]), Key::create(&gateway, &[]));
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    for _ in 0..2 {
        assert_eq!(old.tries_over(&mut wire, &origin).await, "ok");
    }
    let _suspended = gateway.admin(&["keys", "suspend", &old.id]);
    assert_eq!(old.tries_over(&mut wire, &origin).await, "key_suspended");
    let _resumed = gateway.admin(&["keys", "resume", &old.id]);
    assert_eq!(old.tries_over(&mut wire, &origin).await, "ok");
    let new = Key::told(&json(&gateway, &["keys", "rotate", &old.id, "--grace", "2s", "--json"]));
    for key in [&old, &new, &other, &old] {
        assert_eq!(key.tries_over(&mut wire, &origin).await, "ok");
    }
    until("the grace to end", || new.shown(&gateway)["old_secret_until"].is_null().then_some(())).await;
    assert_eq!(old.tries_over(&mut wire, &origin).await, "credentials_wrong");
    assert_eq!(new.tries_over(&mut wire, &origin).await, "ok");
    let forged = Key { id: new.id.clone(), secret: old.secret.clone() };
    assert_eq!(forged.tries_over(&mut wire, &origin).await, "credentials_wrong", "somebody else's login is no proof");
}

#[tokio::test]
async fn keys_expire_and_keep_to_their_sources() {
    let gateway = Quickstart::new(OUTGATE).start();
    let origin = Origin::start();
    let brief = Key::create(&gateway, &["--expires", "1s"]);
    until("the key to expire", || (brief.shown(&gateway)["expired"] == true).then_some(())).await;
    assert_eq!(brief.tries(&gateway, &origin).await, "key_expired");
    let lasting = Key::create(&gateway, &["--expires", "1h"]);
    assert_eq!(lasting.tries(&gateway, &origin).await, "ok");

    let local = Key::create(&gateway, &["--allow-ip", "127.0.0.2", "--allow-ip", "127.0.3.0/24"]);
    assert_eq!(local.tries(&gateway, &origin).await, "source_denied");
    for (source, outcome) in [([127, 0, 0, 2], "ok"), ([127, 0, 3, 77], "ok"), ([127, 0, 4, 1], "source_denied")] {
        let mut wire = Wire::connect_from(source.into(), gateway.proxy()).await.expect("all of 127/8 is local");
        assert_eq!(local.tries_over(&mut wire, &origin).await, outcome, "from {source:?}");
    }
}
