//! Dante, which speaks SOCKS5 and nothing else, broken in seven ways.

use outgate_testkit::foreign_proxy::ForeignProxy;
use outgate_testkit::origin::Origin;

use super::Ward;

const OPEN: &str = "clientmethod: none\nsocksmethod: none\nclient pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n";
const PASS: &str = "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n";

#[test]
fn broken_in_seven_ways() {
    let ward = Ward::new();
    let at = |scheme: &str, proxy: &ForeignProxy| format!("{scheme}://{}", proxy.address());

    // 1. Asked in HTTP, in clear and in TLS. Asked in SOCKS5 it works.
    let dante = ForeignProxy::dante(&format!("{OPEN}{PASS}"));
    ward.examine(&at("http", &dante), &[]).says("wrong_scheme you").in_step(1).mentions("Write socks5h://");
    ward.examine(&at("https", &dante), &[]).says("wrong_scheme you").in_step(1);
    ward.examine(&at("socks5h", &dante), &[]).says("healthy");
    ward.examine(&at("socks5", &dante), &[]).says("healthy");

    // 2. A target that is gone, past the proxy as well.
    let dead = outgate_testkit::dead::RefusingPort::reserve();
    let gone = format!("https://{}/", dead.address());
    ward.examine(&at("socks5h", &dante), &["--target", &gone]).says("target_refused target").in_step(4);
    dante.freeze();
    // 3. It answers nothing any more.
    ward.examine(&at("socks5h", &dante), &["--timeout", "1s"]).says("proxy_timeout operator").in_step(1);
    drop(dante);

    // 4. A login that it does not take, and none.
    let login = "clientmethod: none\nsocksmethod: username\nclient pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n";
    let dante = ForeignProxy::dante(&format!("{login}{PASS}"));
    let wrong = format!("socks5h://nobody-of-that-name:wr0ng@{}", dante.address());
    ward.examine(&wrong, &[]).says("credentials_wrong you").in_step(2).hides("wr0ng");
    ward.examine(&at("socks5h", &dante), &[]).says("credentials_missing you").in_step(2);
    drop(dante);

    // 5. This machine is not on its list: it closes without a word.
    let closed = "clientmethod: none\nsocksmethod: none\nclient block { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n";
    let dante = ForeignProxy::dante(&format!("{closed}{PASS}"));
    ward.examine(&at("socks5h", &dante), &[]).says("source_denied account").mentions("127.0.0.1");
    drop(dante);

    // 6. A rule against the target's port.
    let rule = format!("socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 port = {} }}\n", ward.target_port());
    let dante = ForeignProxy::dante(&format!("{OPEN}{rule}{PASS}"));
    ward.examine(&at("socks5h", &dante), &[]).says("port_denied operator").in_step(4);
    drop(dante);

    // 7. A rule against the target.
    let elsewhere = Origin::start_at("127.0.0.2:0".parse().expect("an address"));
    let rule = "socks block { from: 0.0.0.0/0 to: 127.0.0.2/32 }\n";
    let dante = ForeignProxy::dante(&format!("{OPEN}{rule}{PASS}"));
    let target = elsewhere.url("/ok");
    let target = target.replace("127.0.0.1", "127.0.0.2");
    ward.examine(&at("socks5h", &dante), &["--target", &target]).says("target_denied operator").in_step(4);
}
