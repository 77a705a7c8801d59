//! What needs no proxy at all: URLs that name none, servers that are none, and what the command prints.

use std::net::Ipv4Addr;
use std::process::Command;

use outgate_testkit::dead::RefusingPort;
use outgate_testkit::origin::Origin;
use outgate_testkit::script::{Script, Step};

use super::Ward;
use crate::OUTGATE;

/// An address of this machine's where nothing listens: the doctor also looks at a proxy's usual ports, and somebody may have one
/// on 127.0.0.1.
const ALONE: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

#[test]
fn urls_that_name_no_proxy() {
    let ward = Ward::new();
    let none = &["--samples", "0"];
    ward.examine("http://me:s3c/ret", none).says("unreadable_url you").in_step(1).hides("s3c").hides("ret\"");
    ward.examine("ftp://127.0.0.1:1", none).says("unreadable_url you");
    ward.examine("http://no-such-host.invalid:8080", none).says("proxy_dns_failed you").in_step(1);
    let refusing = RefusingPort::reserve_at(ALONE);
    ward.examine(&format!("http://{}", refusing.address()), none).says("proxy_refused you").in_step(1);
}

#[test]
fn servers_that_are_no_proxy() {
    let ward = Ward::new();
    let site = Origin::start();
    ward.examine(&format!("http://{}", site.address()), &[]).says("not_a_proxy you").in_step(1);
    let ssh = Script::start(vec![Step::Write(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), Step::Stall]);
    ward.examine(&format!("http://{}", ssh.address()), &[]).says("not_a_proxy you").mentions("SSH");
    // A TLS port, asked in clear.
    let tls = ward.target.address();
    ward.examine(&format!("http://{tls}"), &[]).says("wrong_scheme you").mentions("Write https://");
}

#[test]
fn wrong_usage_is_code_2() {
    let cases: &[&[&str]] = &[
        &["doctor"],
        &["doctor", "--proxy", "http://h:1", "--target", "ftp://x/"],
        &["doctor", "--proxy", "http://h:1", "--samples", "-1"],
        &["doctor", "--proxy", "http://h:1", "--ca", "/nowhere.pem"],
    ];
    for arguments in cases {
        let output = Command::new(OUTGATE).args(*arguments).env_remove("OUTGATE_DOCTOR_PROXY").output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn plain_text_when_piped() {
    let refusing = RefusingPort::reserve_at(ALONE);
    let url = format!("http://me:s3cret@{}", refusing.address());
    let output = Command::new(OUTGATE)
        .args(["doctor", "--proxy", &url, "--neutral", "http://127.0.0.1:1/", "--timeout", "2s"])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains('\x1b') && !text.contains('\r') && !text.contains("s3cret"), "{text:?}");
    for line in ["1 Reach the proxy", "  BAD  connection", "Verdict broken: proxy_refused", "outgate explain proxy_refused"] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}
