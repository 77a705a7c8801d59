//! `outgate explain --reply`: pastes of a real gateway's answers, and of others'.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::wire::{Expect, Wire};
use serde_json::Value;
use tempfile::TempDir;

use crate::OUTGATE;

fn explain(arguments: &[&str], paste: &[u8]) -> Output {
    let mut child = Command::new(OUTGATE)
        .args(["explain", "--reply", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(paste).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn json(arguments: &[&str], paste: &[u8]) -> Value {
    let output = explain(&[arguments, &["--json"]].concat(), paste);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

#[tokio::test]
async fn a_gateways_own_answer_pasted_raw() {
    let gateway = Quickstart::guarded(OUTGATE).start();
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let user = gateway.user("");
    let login = gateway.credentials(&user).header_line();
    wire.send(format!("CONNECT a.example:25 HTTP/1.1\r\nHost: a\r\n{login}\r\n").as_bytes()).await.expect("it reads");
    let reply = wire.reply(Expect::Tunnel).await.expect("an answer");
    let told = json(&[], &reply.raw);
    assert_eq!(
        (&told["slug"], &told["provenance"], &told["confidence"]),
        (&"port_denied".into(), &"proxy".into(), &"certain".into())
    );
    assert_eq!(told["said"], "port 25 is not allowed (allowed: 80, 443, 8080, 8443)");
    assert_eq!(told["fault"]["slug"], "port_denied");
    let text = String::from_utf8(explain(&[], &reply.raw).stdout).expect("text");
    for words in ["said by", "proxy: the proxy", "because", "X-Proxy-Error says port_denied", "Fix"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

#[test]
fn what_curl_and_others_print() {
    let curl = b"> CONNECT a:443 HTTP/1.1\n> Proxy-Authorization: Basic c2VjcmV0OnNlY3JldA==\n< HTTP/1.1 407 x\n\
                 < X-Error-Description: Access denied: traffic limit reached\n<\n";
    let told = json(&["--proxy", "pr.oxylabs.io:7777"], curl);
    assert_eq!(
        (&told["slug"], &told["provider"], &told["way"]),
        (&"bandwidth_exhausted".into(), &"oxylabs".into(), &"connect".into())
    );
    let text = String::from_utf8(explain(&[], curl).stdout).expect("text");
    assert!(!text.contains("c2VjcmV0"), "what was sent is not repeated");
    let told = json(&["--way", "tunnelled", "--target", "a.example:443"], b"HTTP/2 403\r\nserver: x\r\n\r\n");
    assert_eq!((&told["slug"], &told["provenance"]), (&"target_forbidden".into(), &"origin".into()));
    let told = json(&[], b"curl: (56) CONNECT tunnel failed, response 453");
    assert_eq!(told["slug"], "threads_exceeded");
    let told = json(&[], b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(told["slug"], Value::Null);
}

#[test]
fn a_users_own_provider_and_wrong_usage() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("corp.toml");
    let path = file.to_str().expect("UTF-8");
    let good = "name = \"corp\"\nsource = \"wiki\"\nverified_on = \"2026-03-01\"\n[own]\ncodes = [\"X-Corp\"]\n\
                [[rule]]\ncode = \"E17\"\nslug = \"pool_denied\"\nbasis = \"documented\"\nmeans = \"not your team's\"\n";
    std::fs::write(&file, good).expect("the folder is ours");
    let told = json(&["--provider-file", path], b"HTTP/1.1 418 x\r\nX-Corp: E17\r\n\r\n");
    assert_eq!(
        (&told["slug"], &told["provider"], &told["provider_code"]),
        (&"pool_denied".into(), &"corp".into(), &"E17".into())
    );
    let checked = Command::new(OUTGATE).args(["check", path]).output().expect("the binary runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    std::fs::write(&file, good.replace("pool_denied", "pool_deneid")).expect("the folder is ours");
    for arguments in [vec!["check", path], vec!["explain", "--reply", "-", "--provider-file", path]] {
        let output = Command::new(OUTGATE).args(&arguments).stdin(Stdio::null()).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(":8: rule.slug: 'pool_deneid' is none; did you mean pool_denied?"), "{said}");
    }
    assert_eq!(explain(&["--provider", "nobody"], b"HTTP/1.1 200 OK\n\n").status.code(), Some(2));
    assert_eq!(explain(&[], b"nothing of the kind").status.code(), Some(2));
}
