//! Outgate's own gateway: it names its faults, and the doctor passes them on.

use outgate_testkit::gateway_process::Quickstart;

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
