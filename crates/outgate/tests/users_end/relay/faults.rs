//! What a program is told when it can't be helped, and what is not asked again.

use outgate_testkit::dead::RefusingPort;
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::relay_process::RelayProcess;
use outgate_testkit::socks::{self, Said};
use outgate_testkit::wire::{Ending, Expect, Wire};

use super::{ask, connect, get, id};
use crate::OUTGATE;

#[tokio::test]
async fn what_the_gateway_refuses_is_named_through_the_relay() {
    let gateway = Quickstart::new(OUTGATE).start();
    let relay = RelayProcess::start(OUTGATE, ["--upstream", gateway.told("proxy_url")]);
    let (reply, _wire) = connect(relay.proxy(), "127.0.0.1:25").await;
    assert_eq!(
        (reply.status, reply.reason.as_str(), reply.header("x-proxy-error")),
        (403, "Forbidden (port_denied)", Some("port_denied"))
    );
    assert!(reply.text().contains("port 25 is not allowed"), "{}", reply.text());
    let hops = reply.header("proxy-status").expect("the hops");
    let (gateway_said, relay_said) = hops.rsplit_once(", ").expect("two hops");
    assert!(gateway_said.contains("error=http_request_denied") && relay_said.ends_with("received-status=403"), "{hops}");
    let record = relay.record(id(&reply)).await;
    assert_eq!((&record["outcome"], &record["layer"], &record["attempts"]), (&"port_denied".into(), &"policy".into(), &1.into()));
    // The gateway's own id is in the operator's text, so that both records are found.
    let asked = outgate_testkit::patience::until("the gateway's record", || gateway.records().pop()).await;
    assert!(
        record["detail"].as_str().is_some_and(|detail| detail.contains(asked["request_id"].as_str().unwrap_or("?"))),
        "{record}"
    );
}

#[tokio::test]
async fn a_wrong_login_is_asked_once_and_answered_from_memory() {
    let gateway = Quickstart::new(OUTGATE).start();
    let secret = "not-the-secret-at-all";
    let relay = RelayProcess::start(
        OUTGATE,
        ["--upstream".to_owned(), format!("http://{}:{secret}@{}", gateway.user(""), gateway.proxy())],
    );
    let first = get(relay.proxy(), "http://echo.outgate/", "").await;
    assert_eq!((first.status, first.header("x-proxy-error")), (502, Some("credentials_wrong")), "{first:?}");
    assert_eq!(first.header("proxy-authenticate"), None, "no program is to ask its user for a password");
    for _ in 0..5 {
        let again = get(relay.proxy(), "http://echo.outgate/", "").await;
        assert_eq!((again.status, again.header("x-proxy-error")), (502, Some("credentials_wrong")));
        assert!(again.text().contains("answered from memory; asked again in"), "{}", again.text());
        assert!(again.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok_and(|wait| (1..=60).contains(&wait))));
        assert_eq!(relay.record(id(&again)).await["attempts"], 0);
    }
    let (status, _wire) = ask(relay.proxy(), "GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n", Expect::Body).await;
    let status: serde_json::Value = serde_json::from_slice(&status.body).expect("JSON");
    assert_eq!(status["upstreams"][0]["attempts"], 1, "the gateway was not asked again: {status}");
    assert!(relay.records().iter().all(|record| !record.to_string().contains(secret)));
}

#[tokio::test]
async fn transport_faults_are_named_in_every_protocol() {
    let (refusing, gone) = (RefusingPort::reserve(), "no-such-proxy.invalid");
    let cases =
        [(format!("http://{}", refusing.address()), "proxy_refused", 5), (format!("http://{gone}:8080"), "proxy_dns_failed", 4)];
    for (upstream, slug, byte) in cases {
        let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream]);
        let (reply, _wire) = connect(relay.proxy(), "target.example:443").await;
        assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some(slug)), "{reply:?}");
        let hops = reply.header("proxy-status").expect("this hop");
        assert!(hops.starts_with("relay-") && hops.contains("error="), "{hops}");
        let reply = get(relay.proxy(), "http://target.example/", "").await;
        assert_eq!(reply.header("x-proxy-error"), Some(slug));
        let request = socks::request(socks::CONNECT, "target.example", 443);
        let (said, _wire) = socks::ask(relay.proxy(), None, &request).await.expect("a reply");
        assert!(matches!(said, Said::Reply(found) if found == byte || found == 1), "{slug}: {said:?}");
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_does_not_look_complete() {
    let origin = Origin::start();
    let upstream = FlakyProxy::start(|_, _| Fate::CutsAfter(5000));
    let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url()]);
    // HTTP/1.0 has nothing but the end of the connection to say that a body without a length is complete.
    let mut wire = Wire::connect(relay.proxy()).await.expect("the relay listens");
    wire.send(format!("GET {} HTTP/1.0\r\n\r\n", origin.url("/until-close/100000")).as_bytes()).await.expect("taken");
    let mut seen = Vec::new();
    let ending = wire.drain(|bytes| seen.extend_from_slice(bytes)).await.expect("an ending");
    assert!(!seen.is_empty() && seen.len() < 100_000);
    assert_eq!(ending, Ending::Reset, "a FIN would say that all of it came");
    let record = outgate_testkit::patience::until("its record", || relay.records().pop()).await;
    assert_eq!(record["ended_by"], "target_lost", "{record}");
}

#[tokio::test]
async fn who_may_not_use_the_relay_is_told_so() {
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let text = format!("clients = [\"127.0.0.9\"]\n[[upstream]]\nurl = \"{}\"\n", upstream.url());
    let relay = RelayProcess::configured(OUTGATE, &text.replace("127.0.0.9", "127.0.0.9/32"));
    let reply = get(relay.proxy(), "http://target.example/", "").await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (403, Some("source_denied")));
    let mut wire = Wire::connect_from("127.0.0.9".parse().expect("an address"), relay.proxy()).await.expect("the relay listens");
    wire.send(b"GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("taken");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200);
    assert!(upstream.heads().is_empty());
}

#[tokio::test]
async fn what_is_not_for_a_proxy_is_explained() {
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let relay = RelayProcess::start(OUTGATE, ["--upstream", &upstream.url()]);
    let reply = get(relay.proxy(), "https://target.example/", "").await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (400, Some("https_needs_connect")));
    let mut wire = Wire::connect(relay.proxy()).await.expect("the relay listens");
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00").await.expect("taken");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!(reply.header("x-proxy-error"), Some("wrong_protocol"));
}
