//! Outgate's own gateway: it names its faults, and the doctor passes them on.

use outgate_testkit::dead::RefusingPort;
use outgate_testkit::dns::{Answer, DnsServer};
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::script::{Script, Step};
use serde_json::json;

use super::Ward;
use crate::OUTGATE;

#[test]
fn a_gateway_that_is_well_and_keys_that_are_not() {
    let ward = Ward::new();
    let gateway = Quickstart::new(OUTGATE).start();
    let url = |user: &str, secret: &str| format!("http://{user}:{secret}@{}", gateway.proxy());
    let (key, secret) = (gateway.told("key_id"), gateway.told("secret"));

    let visit = ward.examine(&url(key, secret), &[]);
    visit.says("healthy").hides(secret);
    ward.examine(&url(&format!("{key}-contry-us"), secret), &[]).says("modifier_unknown you").mentions("contry");
    ward.examine(&url(key, "wrong"), &[]).says("credentials_wrong you").in_step(2);
    // The samples name the exit.
    let visit = ward.examine(&url(&format!("{key}-pool-residential"), secret), &[]);
    visit.says("healthy");
    assert!(visit.report["samples"]["exits"].as_array().is_some_and(|exits| exits.len() == 1), "{:#}", visit.report);

    let _told = gateway.admin(&["keys", "suspend", key]);
    ward.examine(&url(key, secret), &[]).says("key_suspended account").in_step(2);
}

#[test]
fn what_its_policy_refuses() {
    let ward = Ward::new();
    let gateway = Quickstart::guarded(OUTGATE).args(["--allow-target", "127.0.0.0/8"]).start();
    let (key, secret) = (gateway.told("key_id"), gateway.told("secret"));
    let url = format!("http://{key}:{secret}@{}", gateway.proxy());
    let visit = ward.examine(&url, &["--neutral", "http://echo.outgate/"]);
    visit.says("port_denied operator").in_step(4).mentions(&ward.target_port().to_string());
}

#[test]
fn targets_that_fail_both_ways_and_only_through_it() {
    let ward = Ward::new();
    let dns = DnsServer::start(&[("gone.test", Answer::NxDomain { ttl: 60 }), ("sick.test", Answer::ServFail)]);
    let gateway = Quickstart::new(OUTGATE).dns(dns.address()).start();
    let url = format!("http://{}:{}@{}", gateway.told("key_id"), gateway.told("secret"), gateway.proxy());
    let examine = |target: &str| ward.examine(&url, &["--target", target, "--neutral", "http://echo.outgate/"]);

    let dead = RefusingPort::reserve();
    examine(&format!("http://{}/", dead.address())).says("target_refused target").in_step(4);
    examine(&format!("https://{}/", dead.address())).says("target_refused target").in_step(4);
    examine("https://gone.test/").says("dns_not_found target").in_step(4);
    examine("http://sick.test/").says("dns_failed target").in_step(4);
    examine(&ward.neutral.url("/status/403")).says("target_forbidden target").in_step(4);

    // The first one who comes is let in, which is the doctor past the proxy; later ones come through it.
    let answer = |text: &str| vec![Step::ReadHead, Step::Write(text.as_bytes().to_vec()), Step::Close];
    let fine = answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "target_forbidden target"),
        ("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", "target_rate_limited you"),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "target_unavailable target"),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "target_error target"),
        ("HTTP/1.1 40", "response_incomplete operator"),
    ];
    for (bad, expected) in cases {
        let site = Script::start_each(vec![fine.clone(), answer(bad)]);
        let target = format!("http://{}/", site.address());
        examine(&target).says(expected).in_step(4).mentions("request id");
    }
}

#[test]
fn another_address_and_another_protocol() {
    let ward = Ward::new();
    let gateway = Quickstart::new(OUTGATE).start();
    let (key, secret) = (gateway.told("key_id"), gateway.told("secret"));
    let socks = |secret: &str| format!("socks5h://{key}:{secret}@{}", gateway.proxy());
    ward.examine(&socks(secret), &[]).says("healthy").hides(secret);
    ward.examine(&socks("wrong"), &[]).says("credentials_wrong you").in_step(2);

    // A key for other addresses: the gateway says which one it saw.
    let made = gateway.api("POST", "/v1/keys", &json!({ "allow_ips": ["192.0.2.0/24"] }));
    let (key, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("a secret"));
    let visit = ward.examine(&format!("http://{key}:{secret}@{}", gateway.proxy()), &[]);
    visit.says("source_denied account").in_step(2).mentions("127.0.0.1").hides(secret);
}
