//! What `open` makes of proxies, honest and not: their bytes are scripted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::dead::{BlackHole, RefusingPort};
use outgate_testkit::patience::HANG;
use outgate_testkit::script::{Script, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Credentials, Failed, Reply, SocksRefusal, Target, Trust, Tunnel, Upstream, Why, direct, open, reach};
use crate::classify::{Breakage, Foreign, Manner, Phase};

fn upstream(scheme: &str, address: SocketAddr) -> Upstream {
    Upstream::parse(&format!("{scheme}://user:pass@{address}")).expect("a test's URL")
}

fn target() -> Target {
    Target::new("Target.Example", 443)
}

fn soon() -> Instant {
    Instant::now() + HANG
}

/// One CONNECT to a proxy that answers this.
async fn answered(reply: &[u8]) -> Result<Tunnel, Failed> {
    let proxy = Script::start(vec![Step::ReadHead, Step::Write(reply.to_vec()), Step::Stall]);
    open(&upstream("http", proxy.address()), &target(), &[], soon()).await
}

fn refusal(outcome: Result<Tunnel, Failed>) -> super::ConnectReply {
    match outcome.map(|tunnel| tunnel.reply) {
        Err(Failed { why: Why::Refused(reply), .. }) => reply,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn breakage(outcome: Result<Tunnel, Failed>) -> Breakage {
    match outcome.map(|tunnel| tunnel.reply) {
        Err(Failed { why: Why::Broken(breakage), .. }) => breakage,
        other => panic!("expected a breakage, got {other:?}"),
    }
}

#[tokio::test]
async fn connect_says_who_and_where_to_and_nothing_that_was_not_asked_for() {
    let proxy = Script::start(vec![Step::ReadHead, Step::Write(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Stall]);
    let headers = [("X-Extra", "1"), ("X-Smuggled", "a\r\nX-Evil: 1"), ("bad name", "x")];
    let tunnel = open(&upstream("http", proxy.address()), &target(), &headers, soon()).await.expect("a tunnel");
    assert_eq!(tunnel.address, proxy.address());
    assert!(tunnel.timings.tcp.is_some() && tunnel.timings.handshake.is_some() && tunnel.timings.dns.is_none());
    let sent = String::from_utf8(proxy.received().concat()).expect("ASCII");
    assert_eq!(
        sent,
        "CONNECT target.example:443 HTTP/1.1\r\nHost: target.example:443\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\nX-Extra: 1\r\n\r\n"
    );
}

#[tokio::test]
async fn bytes_behind_the_head_belong_to_the_target() {
    let mut tunnel = answered(b"HTTP/1.1 200 OK\r\nX-Exit: e1\r\n\r\n220 mail.example").await.expect("a tunnel");
    let Reply::Http(reply) = &tunnel.reply else { panic!("an answer to CONNECT") };
    assert_eq!(reply.header("x-exit"), Some("e1"));
    let mut greeting = [0; 16];
    tunnel.stream.read_exact(&mut greeting).await.expect("the target's bytes");
    assert_eq!(&greeting, b"220 mail.example");
}

#[tokio::test]
async fn refusals_keep_status_reason_fields_and_body() {
    let reply =
        refusal(answered(b"HTTP/1.1 453 Exceeded threads limit\r\nX-B: 2\r\nx-a: 1\r\nContent-Length: 4\r\n\r\nfull!").await);
    assert_eq!((reply.status, reply.reason.as_str()), (453, "Exceeded threads limit"));
    assert_eq!(reply.headers[..2], [("X-B".to_owned(), "2".to_owned()), ("x-a".to_owned(), "1".to_owned())]);
    assert_eq!(reply.body, b"full", "as long as it says");
    assert!(reply.oddities.is_empty());

    let chunked = b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nno ex\r\n2;x=y\r\nit\r\n0\r\n\r\n";
    assert_eq!(refusal(answered(chunked).await).body, b"no exit");
}

#[tokio::test]
async fn what_strict_parsers_refuse_is_read_and_named() {
    // (the answer, its status, its reason, what is odd about it)
    let cases: [(&[u8], u16, &str, &[&str]); 7] = [
        (b"HTTP/1.1 407\r\n\r\n", 407, "", &[]),
        (b"HTTP/1.0 407 Proxy Auth\n\n", 407, "Proxy Auth", &[]),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 403 No\r\n\r\n", 403, "No", &[]),
        (b"HTTP/1.1 502 X\r\nProxy Connection: close\r\n\r\n", 502, "X", &["a header is named \"Proxy Connection\""]),
        (b"HTTP/1.1 502 X\r\nnonsense\r\n\r\n", 502, "X", &["a header line without a colon: \"nonsense\""]),
        (b"HTTP/1.1 502 X\r\nA: b\r\n c\r\n\r\n", 502, "X", &["a folded header line"]),
        (b"HTTP/2 592 X\r\n\r\n", 592, "X", &["the answer says HTTP/2"]),
    ];
    for (bytes, status, reason, oddities) in cases {
        let reply = refusal(answered(bytes).await);
        assert_eq!((reply.status, reply.reason.as_str()), (status, reason), "{}", bytes.escape_ascii());
        assert_eq!(reply.oddities, oddities, "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn other_protocols_are_named() {
    let cases: [(&[u8], Foreign); 5] = [
        (b"\x15\x03\x01\x00\x02\x02\x46", Foreign::Tls),
        (b"\x05\xff", Foreign::Socks5),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Foreign::Ssh),
        (b"220 mail.example ESMTP\r\n", Foreign::Greeting),
        (b"what do you want?\n", Foreign::Unknown),
    ];
    for (bytes, spoken) in cases {
        assert_eq!(
            breakage(answered(bytes).await),
            Breakage::new(Phase::Ask, Manner::Foreign(spoken)),
            "{}",
            bytes.escape_ascii()
        );
    }
    let web_server =
        Script::start(vec![Step::ReadExactly(4), Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Stall]);
    let outcome = open(&upstream("socks5h", web_server.address()), &target(), &[], soon()).await;
    assert_eq!(breakage(outcome).manner, Manner::Foreign(Foreign::Http));
}

#[tokio::test]
async fn a_connection_breaks_in_a_step_and_in_a_manner() {
    let closing = Script::start(vec![Step::ReadHead, Step::Close]);
    let half = Script::start(vec![Step::ReadHead, Step::Write(b"HTTP/1.1 200".to_vec()), Step::Close]);
    let resetting = Script::start(vec![Step::ReadHead, Step::Reset]);
    let clear = Script::start(vec![Step::ReadExactly(1), Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close]);
    let refusing = RefusingPort::reserve();
    let cases = [
        ("http", closing.address(), Phase::Ask, "Closed"),
        ("http", half.address(), Phase::Ask, "Closed"),
        ("http", resetting.address(), Phase::Ask, "Reset"),
        ("http", refusing.address(), Phase::Tcp, "Refused"),
        ("https", clear.address(), Phase::Tls, "TlsProtocol"),
    ];
    for (scheme, address, phase, manner) in cases {
        let found = breakage(open(&upstream(scheme, address), &target(), &[], soon()).await);
        assert_eq!(found.phase, phase, "{scheme} {manner}: {found:?}");
        assert!(format!("{:?}", found.manner).starts_with(manner), "{manner}: {found:?}");
    }
    let nowhere = Upstream::parse("http://no-such-name.invalid:1").expect("a URL");
    let found = breakage(open(&nowhere, &target(), &[], soon()).await);
    assert_eq!((found.phase, found.manner), (Phase::Dns, Manner::NotFound));
}

#[tokio::test]
async fn the_deadline_holds_for_every_step() {
    let hole = BlackHole::open();
    let silent = Script::start(vec![Step::ReadHead, Step::Stall]);
    let cases = [
        ("http", hole.address(), Phase::Tcp),
        ("https", silent.address(), Phase::Tls),
        ("http", silent.address(), Phase::Ask),
        ("socks5h", silent.address(), Phase::Ask),
    ];
    for (scheme, address, phase) in cases {
        let deadline = Instant::now() + Duration::from_millis(50);
        let found = breakage(open(&upstream(scheme, address), &target(), &[], deadline).await);
        assert_eq!(found.phase, phase, "{scheme}");
        assert!(matches!(found.manner, Manner::TimedOut(_)), "{scheme}: {found:?}");
    }
}

#[tokio::test]
async fn a_body_that_was_announced_and_forgotten_is_not_waited_for_long() {
    let reply = refusal(answered(b"HTTP/1.1 403 No\r\nContent-Length: 1000\r\n\r\nport 25").await);
    assert_eq!(reply.body, b"port 25");
}

#[tokio::test]
async fn tls_proxies_are_judged_by_the_given_roots() {
    let ca = Ca::new();
    let ok = vec![Step::ReadHead, Step::Write(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Stall];
    let good = Script::start_tls(ok.clone(), ca.server(&["127.0.0.1"], Validity::Current, &[]));
    let expired = Script::start_tls(ok.clone(), ca.server(&["127.0.0.1"], Validity::Expired, &[]));
    let other = Script::start_tls(ok, ca.server(&["other.example"], Validity::Current, &[]));
    let pem = std::fs::read(ca.pem_path()).expect("the CA's file");
    let trust = Trust::system_and(&pem).expect("roots");
    let through = async |script: &Script, trust: &Trust| {
        open(&upstream("https", script.address()).with_trust(trust.clone()), &target(), &[], soon()).await
    };
    let tunnel = through(&good, &trust).await.expect("a tunnel");
    assert!(tunnel.timings.tls.is_some());
    assert!(tunnel.stream.session().and_then(|session| session.peer_certificates()).is_some());
    let cases =
        [(&good, Trust::system(), "unknown issuer"), (&expired, trust.clone(), "expired"), (&other, trust, "for another name")];
    for (script, trust, why) in cases {
        let found = breakage(through(script, &trust).await);
        assert_eq!(found, Breakage::new(Phase::Tls, Manner::Certificate(why.to_owned())));
    }
    assert!(Trust::system_and(b"no certificate").is_err());
}

/// A SOCKS5 server that chooses `method`, then writes each answer after reading as much as its question has.
fn socks_script(method: u8, rest: &[(usize, &[u8])]) -> Script {
    let mut steps = vec![Step::ReadExactly(4), Step::Write(vec![5, method])];
    for (question, answer) in rest {
        steps.extend([Step::ReadExactly(*question), Step::Write(answer.to_vec())]);
    }
    steps.push(Step::Stall);
    Script::start(steps)
}

const LOGIN: usize = 3 + 4 + 4;
const REQUEST: usize = 7 + 14;

#[tokio::test]
async fn socks_leaves_the_name_to_the_proxy_and_keeps_every_refusal() {
    let bound_name: &[u8] = &[5, 0, 0, 3, 2, b'h', b'i', 0, 1];
    let proxy = socks_script(2, &[(LOGIN, &[1, 0]), (REQUEST, &[bound_name, b"hello"].concat())]);
    let mut tunnel = open(&upstream("socks5h", proxy.address()), &target(), &[], soon()).await.expect("a tunnel");
    assert_eq!(tunnel.reply, Reply::Socks);
    let mut hello = [0; 5];
    tunnel.stream.read_exact(&mut hello).await.expect("the target's bytes");
    assert_eq!(&hello, b"hello");
    assert!(proxy.received().concat().ends_with(b"\x05\x01\x00\x03\x0etarget.example\x01\xbb"));

    let refused = |byte| [5, byte, 0, 1, 0, 0, 0, 0, 0, 0];
    let cases: [(Script, SocksRefusal); 4] = [
        (socks_script(0xff, &[]), SocksRefusal::Method),
        (socks_script(2, &[(LOGIN, &[1, 1])]), SocksRefusal::Login(1)),
        (socks_script(2, &[(LOGIN, &[1, 0]), (REQUEST, &refused(5))]), SocksRefusal::Reply(5)),
        (socks_script(0, &[(REQUEST, &refused(2))]), SocksRefusal::Reply(2)),
    ];
    for (proxy, refusal) in cases {
        let outcome = open(&upstream("socks5h", proxy.address()), &target(), &[], soon()).await;
        assert_eq!(outcome.map(|t| t.reply).map_err(|failed| failed.why), Err(Why::Socks(refusal)));
    }
}

#[tokio::test]
async fn socks5_without_h_looks_the_name_up_here() {
    let proxy = socks_script(0, &[(10, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])]);
    let local = upstream("socks5", proxy.address());
    open(&local, &Target::new("127.0.0.9", 80), &[], soon()).await.expect("a tunnel");
    assert!(proxy.received().concat().ends_with(&[5, 1, 0, 1, 127, 0, 0, 9, 0, 80]));
    let outcome = open(&local, &Target::new("no-such-name.invalid", 80), &[], soon()).await;
    assert!(matches!(outcome.map(|t| t.reply), Err(Failed { why: Why::TargetName(_), .. })));
}

#[tokio::test]
async fn a_login_that_does_not_fit_is_not_sent() {
    let proxy = Script::start(vec![Step::ReadExactly(4), Step::Stall]);
    let long = upstream("socks5h", proxy.address()).with_credentials(Some(Credentials::new("u".repeat(256), "p")));
    let outcome = open(&long, &target(), &[], soon()).await;
    assert_eq!(outcome.map(|t| t.reply).map_err(|failed| failed.why), Err(Why::Socks(SocksRefusal::TooLong)));
    assert!(proxy.received().concat().is_empty());
}

#[tokio::test]
async fn plain_connections_for_plain_requests() {
    let origin = Script::start(vec![Step::ReadExactly(4), Step::Write(b"pong".to_vec()), Step::Stall]);
    for direct_or_proxy in [true, false] {
        let mut reached = if direct_or_proxy {
            direct(&Target::new("127.0.0.1", origin.address().port()), soon()).await
        } else {
            reach(&upstream("http", origin.address()), soon()).await
        }
        .expect("a connection");
        reached.stream.write_all(b"ping").await.expect("taken");
        let mut pong = [0; 4];
        reached.stream.read_exact(&mut pong).await.expect("answered");
        assert_eq!(&pong, b"pong");
    }
}

#[test]
fn failures_can_be_shared_between_tasks() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Failed>();
    shared::<Tunnel>();
    shared::<Arc<Upstream>>();
}
