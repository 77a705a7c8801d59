//! The hop that goes out.

use std::ffi::OsString;

use outgate_faults::Slug;
use outgate_link::Refusal;
use outgate_testkit::daemon::Daemon;
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::Wire;
use serde_json::Value;

use super::fake_exit::{FakeExit, Manner};
use super::outputs::{connect, doors, get, id, local_exit, login, provoked, quickstart};
use super::trial::{Trial, Way};
use crate::OUTGATE;

scenes![nothing_connected_matches, exits_that_do_not_do_what_they_are_asked, sessions_whose_exit_is_gone];

async fn nothing_connected_matches(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let rows = [
        ("-pool-mobile", "no exit is connected for pool mobile"),
        ("-pool-residential-country-us", "no exit is connected for pool residential, country us"),
    ];
    for (modifiers, sentence) in rows {
        trial.ask(&gateway, modifiers, "echo.outgate:80", &provoked(Slug::NoExit, "dial", sentence)).await;
    }
}

async fn exits_that_do_not_do_what_they_are_asked(trial: &mut Trial) {
    // An exit that fails so often would not be asked again.
    let gateway = doors(&[("OUTGATE_TIMEOUTS_SETUP", "2s"), ("OUTGATE_FLEET_EJECT_AFTER", "100")], "");
    let rows = [
        ("mobile", Manner::Silent, Slug::ExitTimeout, "no exit opened the tunnel within 2 s"),
        ("isp", Manner::Refuses(Refusal::new("of_a_newer_version")), Slug::ExitRefused, "the exit refused the tunnel"),
        ("datacenter", Manner::Leaves, Slug::ExitLost, "the exit was lost"),
    ];
    for (pool, manner, slug, sentence) in rows {
        let user = gateway.user(&format!("-pool-{pool}"));
        for way in trial.ways() {
            // One for each way: some are gone after the first question.
            let exit = FakeExit::link_up(&gateway, pool, manner.clone()).await;
            let expected = provoked(slug, "dial", sentence).at_exit(&exit.id);
            trial.ask_by(*way, &gateway, Some(gateway.credentials(&user)), "echo.outgate:80", &expected).await;
            exit.leave(&gateway).await;
        }
    }
}

/// Each session is told once that its exit is gone.
async fn sessions_whose_exit_is_gone(trial: &mut Trial) {
    let gateway = doors(&[("OUTGATE_SESSIONS_STRICT", "true")], "");
    let exit = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    let session = |number: usize| format!("-pool-mobile-session-ab{number}");
    for number in 0..trial.ways().len() {
        let (_wire, reply) = connect(&gateway, &session(number), "echo.outgate:80").await;
        assert_eq!(reply.header("X-Outgate-Exit"), Some(exit.id.as_str()));
    }
    exit.leave(&gateway).await;
    for (number, way) in trial.ways().iter().enumerate() {
        let expected = provoked(Slug::SessionLost, "dial", format!("the exit of session 'ab{number}' is gone"));
        let user = gateway.user(&session(number));
        trial.ask_by(*way, &gateway, Some(gateway.credentials(&user)), "echo.outgate:80", &expected).await;
    }
}

/// Nothing of the client's has been sent yet, so another exit is tried; only when all have failed is the client told.
#[tokio::test]
async fn other_exits_are_tried_first() {
    // An exit that refuses three times in a row would not be asked a fourth time.
    let gateway = quickstart(&[("OUTGATE_FLEET_EJECT_AFTER", "100")]).start();
    let refuses = || Manner::Refuses(Refusal::new("of_a_newer_version"));
    let bad = FakeExit::link_up(&gateway, "residential", refuses()).await;
    let good = local_exit(&gateway);
    let mut open = Vec::new();
    for _ in 0..4 {
        let (wire, reply) = connect(&gateway, "-pool-residential", "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(good.as_str())));
        // Held open, so that the idle exit is the better choice from the second one on.
        open.push((wire, id(&reply)));
    }
    let mut attempts = Vec::new();
    for (wire, id) in open {
        drop(wire);
        attempts.push(gateway.record(&id).await["attempts"].as_u64().expect("a number"));
    }
    assert!(attempts[1..] == [2, 2, 2], "{attempts:?}");
    drop(bad);
    let bad = [FakeExit::link_up(&gateway, "mobile", refuses()).await, FakeExit::link_up(&gateway, "mobile", refuses()).await];
    let (_wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
    assert_eq!((reply.status, reply.text().as_str()), (502, "the exit refused the tunnel (2 attempts)\n"));
    let status = reply.header("Proxy-Status").expect("every answer has it");
    assert!(status.contains("details=\"the exit refused the tunnel (2 attempts)\"; attempts=2"), "{status}");
    let record = gateway.record(&id(&reply)).await;
    assert_eq!((&record["outcome"], &record["attempts"]), (&"exit_refused".into(), &2.into()));
    assert!(bad.iter().any(|exit| record["exit"] == exit.id.as_str()), "{record}");
    assert_eq!(record["detail"], "the exit said \"of_a_newer_version\"", "the operator learns what the client need not");
}

/// A strict session does not change its exit: once that is gone it is told so, and begins anew.
#[tokio::test]
async fn the_exit_of_a_strict_session_goes_away() {
    let gateway = quickstart(&[("OUTGATE_SESSIONS_STRICT", "true")]).start();
    let session = "-pool-mobile-session-ab12";
    let first = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    let (_open, reply) = connect(&gateway, session, "echo.outgate:80").await;
    assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(first.id.as_str())));
    let second = FakeExit::link_up(&gateway, "mobile", Manner::Opens).await;
    for _ in 0..4 {
        let (_wire, reply) = connect(&gateway, session, "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(first.id.as_str())), "it stays");
    }
    let gone = first.leave(&gateway).await;
    let (_wire, reply) = connect(&gateway, session, "echo.outgate:80").await;
    let record = provoked(Slug::SessionLost, "dial", "the exit of session 'ab12' is gone").check(&gateway, &reply).await;
    assert_eq!((&record["session"], &record["exit"]), (&"ab12".into(), &Value::Null));
    let (_wire, reply) = connect(&gateway, session, "echo.outgate:80").await;
    assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(second.id.as_str())), "once, not for ever");
    assert_eq!(reply.header("X-Outgate-Session-Moved"), None, "a session that begins has moved from nowhere, not from {gone}");
}

/// What happens in the middle is a reset for the client, and the record says that it was the exit.
#[tokio::test]
async fn exits_that_go_away_in_the_middle() {
    let gateway = quickstart(&[]).start();
    let exit = FakeExit::link_up(&gateway, "mobile", Manner::LeavesAfter(b"hello")).await;
    let (mut wire, reply) = connect(&gateway, "-pool-mobile", "echo.outgate:80").await;
    assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(exit.id.as_str())));
    assert_eq!(wire.exactly(5).await.as_deref(), Ok(&b"hello"[..]));
    assert_eq!(reply.header("X-Outgate-Country"), Some("de"), "as the exit says of itself");
    wire.send(b"go").await.expect("the tunnel is open");
    let lost = provoked(Slug::ExitLost, "settle", "the exit was lost").at_exit(&exit.id);
    let record = lost.check_cut(&gateway, &mut wire, &id(&reply), 200).await;
    assert_eq!((&record["country"], &record["pool"]), (&"de".into(), &"mobile".into()));

    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789".as_slice();
    let exit = FakeExit::link_up(&gateway, "isp", Manner::LeavesAfter(half)).await;
    let (mut wire, reply) = {
        let login = login(&gateway, "-pool-isp");
        let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
        let request = format!("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n{login}\r\n");
        wire.send(request.as_bytes()).await.expect("the gateway reads");
        let head = wire.head().await.expect("the head comes");
        (wire, head)
    };
    let lost = provoked(Slug::ExitLost, "relay", "the exit was lost").at_exit(&exit.id);
    lost.check_cut(&gateway, &mut wire, &id(&reply), 200).await;
}

#[tokio::test]
async fn an_exit_that_is_killed() {
    let origin = Script::start(vec![Step::Write(b"hello".to_vec()), Step::Stall]);
    let gateway = quickstart(&[]).start();
    let enroll = gateway.admin(&["exits", "enroll", "--pool", "mobile", "--json"]);
    let enrolled: Value = serde_json::from_str(&enroll).expect("--json prints JSON");
    let text = |field: &str| enrolled[field].as_str().expect("an enrolled exit has an id and a token").to_owned();
    let (exit, token) = (text("id"), text("token"));
    let url = gateway.told("exit_gateway_url");
    let arguments = ["exit", "--gateway", url, "--token", &token, "--allow-target", "127.0.0.0/8"];
    let mut process = Daemon::start(OUTGATE, &arguments.map(OsString::from), &[]);
    until("the exit to be online", || {
        let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).ok()?;
        exits.as_array()?.iter().any(|e| e["id"] == exit.as_str() && !e["online"].is_null()).then_some(())
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let (mut wire, reply) = connect(&gateway, "-pool-mobile", &origin.address().to_string()).await;
        assert_eq!(wire.exactly(5).await.as_deref(), Ok(&b"hello"[..]));
        open.push((wire, reply));
    }
    process.kill();
    for (mut wire, reply) in open {
        let lost = provoked(Slug::ExitLost, "settle", "the exit was lost").at_exit(&exit);
        let record = lost.check_cut(&gateway, &mut wire, &id(&reply), 200).await;
        assert_eq!(record["bytes_down"], 5);
    }
    let (_wire, reply) = get(&gateway, "-pool-mobile", "echo.outgate:80", "/").await;
    provoked(Slug::NoExit, "dial", "no exit is connected for pool mobile").check(&gateway, &reply).await;
}
