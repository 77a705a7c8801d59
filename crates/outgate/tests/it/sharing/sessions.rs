//! A session is with the same exit at every gateway, and stays nowhere once it was ended.

use std::collections::HashSet;

use outgate_fleetkit::fleet::online;
use outgate_testkit::daemon::Daemon;
use outgate_testkit::patience::{HANG, until};
use outgate_testkit::redis_server::Keeps;
use outgate_testkit::wire::{Credentials, Expect, Wire};

use super::{GATEWAYS, Group};

/// Every exit is linked to every gateway.
async fn link(group: &Group) -> Vec<Daemon> {
    let mut agents = Vec::new();
    for gateway in &group.gateways {
        for token in &group.exits {
            agents.push(gateway.exit_enrolled(token, &[]));
        }
    }
    for gateway in &group.gateways {
        // And quickstart's own.
        until("every exit at every gateway", || (online(gateway).len() > group.exits.len()).then_some(())).await;
    }
    agents
}

async fn home(group: &Group, at: usize, session: &str) -> String {
    let (_wire, reply) = group.open(at, &format!("-pool-mobile-session-{session}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-outgate-exit").expect("every success names its exit").to_owned()
}

#[tokio::test]
async fn a_session_has_one_exit_at_all_gateways() {
    let group = Group::start(Keeps::Nothing, &[]).await;
    let _agents = link(&group).await;
    let mut homes = HashSet::new();
    for number in 0..12 {
        let session = format!("s{number}");
        let here = home(&group, number % GATEWAYS, &session).await;
        for at in 0..GATEWAYS {
            assert_eq!(home(&group, at, &session).await, here, "session {session} at gateway {at}");
        }
        homes.insert(here);
    }
    assert!(homes.len() > 1, "sessions are spread over the exits: {homes:?}");
    // Two first uses at once.
    for number in 0..12 {
        let session = format!("t{number}");
        let (one, other) = tokio::join!(home(&group, 0, &session), home(&group, 1, &session));
        assert_eq!(one, other, "session {session}");
    }
}

#[tokio::test]
async fn a_session_that_is_rotated_at_one_gateway_is_elsewhere_at_all() {
    let group = Group::start(Keeps::Nothing, &[]).await;
    let _agents = link(&group).await;
    let before = home(&group, 0, "mine").await;
    assert_eq!(home(&group, 1, "mine").await, before);
    let user = format!("{}-pool-mobile", group.key);
    let credentials = Credentials { user: &user, password: &group.secret }.header_line();
    let authorization = credentials.trim_start_matches("Proxy-");
    let mut wire = Wire::connect(group.gateways[0].console()).await.expect("the console listens");
    let request = format!("POST /v1/me/sessions/mine/rotate HTTP/1.1\r\nHost: c\r\nContent-Length: 0\r\n{authorization}\r\n");
    wire.send(request.as_bytes()).await.expect("it reads");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200);
    let after = home(&group, 0, "mine").await;
    assert_ne!(after, before);
    // The others hear of it.
    for at in 1..GATEWAYS {
        let started = std::time::Instant::now();
        while home(&group, at, "mine").await != after {
            assert!(started.elapsed() < HANG, "gateway {at} still leads to {before}");
        }
    }
}
