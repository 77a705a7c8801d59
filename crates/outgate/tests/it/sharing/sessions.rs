//! A session is with the same exit at every gateway, and stays nowhere once it was ended.

use std::collections::HashSet;

use outgate_testkit::daemon::Daemon;
use outgate_testkit::patience::until;
use outgate_testkit::redis_server::Keeps;

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
        until("every exit at every gateway", || {
            let listed = gateway.api("GET", "/v1/exits", &serde_json::Value::Null).to_string();
            (listed.matches("\"online\":true").count() > group.exits.len()).then_some(())
        })
        .await;
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
