//! mitmproxy, broken in six ways; it opens TLS, so that its authority is the question.

use outgate_testkit::foreign_proxy::ForeignProxy;

use super::Ward;

/// What every mitmproxy here needs to get at a target of this test.
fn believing(ward: &Ward) -> String {
    format!("ssl_verify_upstream_trusted_ca={}", ward.ca.pem_path().display())
}

/// A file with the test's authority and mitmproxy's own: a client that wants its TLS opened.
fn both_authorities(ward: &Ward, proxy: &ForeignProxy) -> (tempfile::TempDir, String) {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let file = folder.path().join("both.pem");
    let mut pem = std::fs::read_to_string(ward.ca.pem_path()).expect("the CA's file");
    pem.push_str(&std::fs::read_to_string(proxy.folder().join("mitmproxy-ca-cert.pem")).expect("mitmproxy's authority"));
    std::fs::write(&file, pem).expect("the folder is ours");
    let path = file.to_str().expect("temporary paths are UTF-8").to_owned();
    (folder, path)
}

#[test]
fn an_authority_that_nobody_believes() {
    let ward = Ward::new();
    let proxy = ForeignProxy::mitmproxy(&["--set", &believing(&ward)], None);
    let url = format!("http://{}", proxy.address());
    // 1. Its certificates, to a client that does not want it.
    ward.examine(&url, &[]).says("intercepted operator").in_step(4).mentions("mitmproxy");
    // And to one that does.
    let (_folder, ca) = both_authorities(&ward, &proxy);
    ward.examine(&url, &["--ca", &ca]).says("healthy");
    // 2. Asked in SOCKS5.
    ward.examine(&format!("socks5h://{}", proxy.address()), &[]).says("wrong_scheme you").in_step(1);
}

#[test]
fn a_login_and_what_the_url_does_to_it() {
    let ward = Ward::new();
    let options = ["--set", &believing(&ward), "--set", "proxyauth=me:s3@cr#et"];
    let proxy = ForeignProxy::mitmproxy(&options, None);
    let (_folder, ca) = both_authorities(&ward, &proxy);
    let ca = ["--ca", ca.as_str()];
    let at = |login: &str| format!("http://{login}@{}", proxy.address());
    // 3. Wrong, not encoded, and encoded twice.
    ward.examine(&at("me:wrong"), &ca).says("credentials_wrong you").in_step(2);
    ward.examine(&at("me:s3%40cr%23et"), &ca).says("healthy").hides("s3@cr").hides("s3%40");
    ward.examine(&at("me:s3@cr#et"), &ca).says("unencoded_credentials you").in_step(1).hides("s3@cr").hides("cr#et");
    ward.examine(&at("me:s3%2540cr%2523et"), &ca).says("encoded_twice you").in_step(2).hides("s3@cr");
}

#[test]
fn ways_out_that_fail() {
    let ward = Ward::new();
    let (believing, dead) = (believing(&ward), outgate_testkit::dead::RefusingPort::reserve());
    let at = |proxy: &ForeignProxy| format!("http://{}", proxy.address());

    // 4. A parent that is gone.
    let parent = format!("upstream:http://{}", dead.address());
    let proxy = ForeignProxy::mitmproxy(&["--mode", &parent, "--set", &believing], None);
    ward.examine(&at(&proxy), &[]).says("no_way_out operator").in_step(3);
    drop(proxy);

    // 5. Every third request ends with a reset: one look would see a healthy proxy, or a dead one.
    let flaky = "\
from mitmproxy import http

class Flaky:
    seen = 0

    def request(self, flow):
        if flow.request.pretty_host.endswith('.invalid'):
            return
        Flaky.seen += 1
        if Flaky.seen % 3 == 2:
            flow.response = http.Response.make(502, b'no luck', {'Via': '1.1 flaky', 'Proxy-Status': 'flaky; error=connection_terminated'})

addons = [Flaky()]
";
    let proxy = ForeignProxy::mitmproxy(&["--set", &believing], Some(flaky));
    let clear = ward.neutral();
    let visit = ward.examine(&at(&proxy), &["--target", &clear, "--samples", "12"]);
    visit.says("intermittent operator").in_step(5);
    assert_eq!(visit.report["samples"]["failed"], 4, "{:#}", visit.report);

    // 6. Somebody who answers every request with a page to log in at.
    drop(proxy);
    let portal = "\
from mitmproxy import http

class Portal:
    def request(self, flow):
        flow.response = http.Response.make(302, b'', {'Location': 'http://portal.hotel.example/login'})

    def http_connect(self, flow):
        flow.response = http.Response.make(302, b'', {'Location': 'http://portal.hotel.example/login'})

addons = [Portal()]
";
    let proxy = ForeignProxy::mitmproxy(&[], Some(portal));
    ward.examine(&at(&proxy), &[]).says("captive_portal your_network").in_step(1);
}
