//! Targets past the upstreams, and the rule that says so.

use outgate_testkit::dead::RefusingPort;
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::origin::Origin;
use outgate_testkit::relay_process::RelayProcess;
use outgate_testkit::wire::Expect;

use super::{connect, get, id};
use crate::OUTGATE;

#[tokio::test]
async fn a_rule_leads_past_the_upstreams_and_is_shown() {
    let (origin, elsewhere) = (Origin::start(), Origin::start_at("127.0.0.2:0".parse().expect("an address")));
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let rule = format!("127.0.0.1:{}", origin.address().port());
    let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url(), "--no-proxy", &format!("example.com,{rule}")]);

    let reply = get(relay.proxy(), &origin.url("/ok"), "").await;
    assert_eq!((reply.status, reply.header("x-outgate-bypass")), (200, Some(rule.as_str())));
    let record = relay.record(id(&reply)).await;
    assert_eq!(
        (&record["bypass"], &record["pool"], &record["proxy"]),
        (&rule.as_str().into(), &"direct".into(), &serde_json::Value::Null)
    );

    let (reply, mut tunnel) = connect(relay.proxy(), &origin.address().to_string()).await;
    assert_eq!((reply.status, reply.header("x-outgate-bypass")), (200, Some(rule.as_str())));
    tunnel.send(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("taken");
    assert_eq!(tunnel.reply(Expect::Body).await.expect("the target's answer").text(), "ok\n");
    assert!(upstream.heads().is_empty(), "no upstream was asked");

    let reply = get(relay.proxy(), &elsewhere.url("/ok"), "").await;
    assert_eq!((reply.status, reply.header("x-outgate-bypass")), (200, None));
    assert_eq!(upstream.heads().len(), 1);
}

#[tokio::test]
async fn what_fails_past_the_upstreams_is_the_targets_fault() {
    let (upstream, refusing) = (FlakyProxy::start(|_, _| Fate::Serves), RefusingPort::reserve());
    let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url(), "--no-proxy", "127.0.0.0/8"]);
    let (reply, _wire) = connect(relay.proxy(), &refusing.address().to_string()).await;
    assert_eq!((reply.status, reply.reason.as_str()), (502, "Bad Gateway (target_refused)"));
    assert_eq!(relay.record(id(&reply)).await["outcome"], "target_refused");
}

#[tokio::test]
async fn the_relay_does_not_ask_itself() {
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url(), "--no-proxy", "127.0.0.0/8"]);
    let (reply, _wire) = connect(relay.proxy(), &relay.proxy().to_string()).await;
    assert_eq!(reply.header("x-proxy-error"), Some("loop_detected"));
}
