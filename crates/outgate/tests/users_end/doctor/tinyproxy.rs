//! Tinyproxy, broken in six ways.

use outgate_testkit::foreign_proxy::ForeignProxy;

use super::Ward;

#[test]
fn broken_in_six_ways() {
    let ward = Ward::new();
    let at = |proxy: &ForeignProxy| format!("http://{}", proxy.address());

    // 1. A wrong password, which it answers with 401, as if the target had. And with the right one it works.
    let login = ForeignProxy::tinyproxy("BasicAuth me s3cret");
    ward.examine(&format!("http://me:wr0ng@{}", login.address()), &[]).says("credentials_wrong you").in_step(2).hides("wr0ng");
    ward.examine(&format!("http://me:s3cret@{}", login.address()), &[]).says("healthy").hides("s3cret");
    // 2. None at all.
    ward.examine(&at(&login), &[]).says("credentials_missing you").in_step(2);
    drop(login);

    // 3. An allowlist without this machine.
    let closed = ForeignProxy::tinyproxy("Allow 192.0.2.1");
    ward.examine(&at(&closed), &[]).says("source_denied account").in_step(2).mentions("127.0.0.1");
    drop(closed);

    // 4. CONNECT to 443 only.
    let ports = ForeignProxy::tinyproxy("ConnectPort 443");
    ward.examine(&at(&ports), &[]).says("port_denied operator").in_step(4);
    drop(ports);

    // 5. A filter that has the target.
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let filter = folder.path().join("filter");
    std::fs::write(&filter, "^127\\.0\\.0\\.1$\n").expect("the folder is ours");
    let filtered = ForeignProxy::tinyproxy(&format!("Filter \"{}\"\nFilterExtended On", filter.display()));
    let target = ward.target().replace("localhost", "127.0.0.1");
    ward.examine(&at(&filtered), &["--target", &target]).says("target_denied operator").in_step(4);
    // The same for a target in clear, where the proxy's answer and the target's look alike.
    let clear = ward.neutral().replace("localhost", "127.0.0.1");
    ward.examine(&at(&filtered), &["--target", &clear]).says("target_denied operator").in_step(4);
    drop(filtered);

    // 6. A parent that is gone.
    let dead = outgate_testkit::dead::RefusingPort::reserve();
    let orphan = ForeignProxy::tinyproxy(&format!("Upstream http {}", dead.address()));
    ward.examine(&at(&orphan), &[]).says("no_way_out operator").in_step(3);
    drop(orphan);
}
