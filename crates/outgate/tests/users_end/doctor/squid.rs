//! Squid, broken in eight ways.

use outgate_testkit::foreign_proxy::ForeignProxy;
use outgate_testkit::script::{Script, Step};

use super::Ward;

const OPEN: &str = "http_access allow all";
/// `me` with the password `s3cret`, as htpasswd writes it in clear.
const LOGIN: &str = "auth_param basic program /usr/lib/squid/basic_fake_auth\nacl known proxy_auth REQUIRED\n";

#[test]
fn a_healthy_one() {
    let ward = Ward::new();
    let squid = ForeignProxy::squid(OPEN);
    let visit = ward.examine(&format!("http://{}", squid.address()), &[]);
    visit.says("healthy").mentions("answers like a proxy");
    assert_eq!(visit.report["samples"]["failed"], 0);
    assert!(visit.report["timings"].as_array().is_some_and(|timings| timings.len() >= 4), "{:#}", visit.report);
}

#[test]
fn broken_in_eight_ways() {
    let ward = Ward::new();
    let at = |squid: &ForeignProxy| format!("http://{}", squid.address());

    // 1. It wants a login, and none is given; or it stands in the wrong place.
    let login = ForeignProxy::squid(&format!("{LOGIN}http_access allow known"));
    ward.examine(&at(&login), &[]).says("credentials_missing you").in_step(2);
    let misplaced = ward.target().replace("https://", "https://me:s3cret@");
    ward.examine(&at(&login), &["--target", &misplaced]).says("credentials_on_target you").in_step(2).hides("s3cret");
    ward.examine(&format!("http://me:s3cret@{}", login.address()), &[]).says("healthy").hides("s3cret");
    drop(login);

    // 2. Everything from here is denied.
    let closed = ForeignProxy::squid("http_access deny all");
    ward.examine(&at(&closed), &[]).says("source_denied account").in_step(2).mentions("127.0.0.1");
    drop(closed);

    // 3. The target is denied, the neutral one is not.
    let banned = ForeignProxy::squid(&format!("acl banned dstdomain 127.0.0.1\nhttp_access deny banned\n{OPEN}"));
    let target = ward.target().replace("localhost", "127.0.0.1");
    ward.examine(&at(&banned), &["--target", &target]).says("target_denied operator").in_step(4);
    drop(banned);

    // 4. Its port is denied.
    let ports =
        ForeignProxy::squid(&format!("acl tls port 443\nacl CONNECT method CONNECT\nhttp_access deny CONNECT !tls\n{OPEN}"));
    ward.examine(&at(&ports), &[]).says("port_denied operator").in_step(4).mentions(&ward.target_port().to_string());
    drop(ports);

    // 5. Its resolver is gone.
    let nameless = ForeignProxy::squid(&format!("dns_nameservers 127.0.0.1\nhosts_file none\ndns_timeout 1 seconds\n{OPEN}"));
    let visit = ward.examine(&at(&nameless), &[]);
    let name = visit.report["verdict"]["diagnosis"]["name"].as_str().unwrap_or_default();
    assert!(["dns_failed", "dns_timeout", "dns_not_found"].contains(&name), "{:#}", visit.report);
    assert_eq!(visit.report["verdict"]["diagnosis"]["whose"], "operator", "{:#}", visit.report);
    drop(nameless);

    // 6. Its parent is gone: it works, and reaches nothing.
    let dead = outgate_testkit::dead::RefusingPort::reserve();
    let parent =
        format!("cache_peer 127.0.0.1 parent {} 0 no-query default\nnever_direct allow all\n{OPEN}", dead.address().port());
    let orphan = ForeignProxy::squid(&parent);
    ward.examine(&at(&orphan), &[]).says("no_way_out operator").in_step(3);
    drop(orphan);

    // 7. It takes connections and answers nothing.
    let mut squid = ForeignProxy::squid(OPEN);
    squid.freeze();
    ward.examine(&at(&squid), &["--timeout", "1s"]).says("proxy_timeout operator").in_step(1);

    // 8. It is gone. Where something else listens at a proxy's usual port of this machine, that is what the doctor points at.
    squid.kill();
    ward.examine(&at(&squid), &[]).says_one_of(&["proxy_refused you", "wrong_port you"]).in_step(1);
}

#[test]
fn a_name_that_leads_elsewhere() {
    // One port at two addresses: this machine's `localhost`, and what the proxy's hosts file makes of it.
    let ward = Ward::new();
    let port = ward.neutral.address().port();
    let elsewhere = Script::start_at(
        format!("127.0.0.2:{port}").parse().expect("an address"),
        vec![Step::ReadHead, Step::Write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec()), Step::Close],
    );
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 localhost\n").expect("the folder is ours");
    let squid = ForeignProxy::squid(&format!("hosts_file {}\n{OPEN}", hosts.display()));
    let (target, neutral) = (ward.neutral(), ward.neutral().replace("localhost", "127.0.0.1"));
    let visit = ward.examine(&format!("http://{}", squid.address()), &["--target", &target, "--neutral", &neutral]);
    visit.says("dns_differs operator").in_step(4).mentions("127.0.0.1");
    assert!(elsewhere.connections() > 0, "the proxy went there");
}

#[test]
fn a_wrong_scheme() {
    let ward = Ward::new();
    let squid = ForeignProxy::squid(OPEN);
    for scheme in ["https", "socks5", "socks5h"] {
        let visit = ward.examine(&format!("{scheme}://{}", squid.address()), &[]);
        visit.says("wrong_scheme you").in_step(1).mentions(&format!("Write http://{}", squid.address()));
    }
}
