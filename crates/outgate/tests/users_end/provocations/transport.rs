//! The way to the proxy: no answer of a proxy ever comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outgate_client::classify::Confidence::{Certain, Likely};
use outgate_client::classify::Provenance::Transport;
use outgate_client::classify::Verdict;
use outgate_client::connect::{Target, Trust, Upstream, open};
use outgate_client::providers::Providers;
use outgate_faults::Slug;
use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::dead::{BlackHole, RefusingPort};
use outgate_testkit::patience::HANG;
use outgate_testkit::script::{self, Script, Step};

use super::expected;

/// Asks the proxy at this URL for a tunnel, which it does not get.
async fn ask(upstream: &Upstream, within: Duration) -> Verdict {
    let target = Target::new("target.example", 443);
    let failed = open(upstream, &target, &[], Instant::now() + within).await.expect_err("there is no proxy");
    failed.verdict(upstream.scheme(), &upstream.authority(), "target.example:443", Providers::builtin())
}

fn at(scheme: &str, address: SocketAddr) -> Upstream {
    Upstream::parse(&format!("{scheme}://user:secret@{address}")).expect("a good URL")
}

#[tokio::test]
async fn nothing_to_connect_to() {
    let upstream = Upstream::parse("http://no-such-proxy.invalid:8080").expect("a good URL");
    let verdict = ask(&upstream, HANG).await;
    let sentence = "the proxy's name in no-such-proxy.invalid:8080 could not be resolved";
    expected(Slug::ProxyDnsFailed, Transport, Certain, sentence).check(&verdict);

    let closed = RefusingPort::reserve();
    let verdict = ask(&at("http", closed.address()), HANG).await;
    let sentence = format!("the proxy {} refused the connection", closed.address());
    expected(Slug::ProxyRefused, Transport, Certain, sentence).check(&verdict);

    // No route ever leads to all hosts of this network.
    let verdict = ask(&at("http", "255.255.255.255:8080".parse().expect("an address")), HANG).await;
    let sentence = "there is no route to the proxy 255.255.255.255:8080";
    expected(Slug::ProxyUnreachable, Transport, Certain, sentence).check(&verdict);

    let silent = BlackHole::open();
    let verdict = ask(&at("http", silent.address()), Duration::from_millis(300)).await;
    let sentence = format!("the proxy {} did not answer within 0.3 s", silent.address());
    expected(Slug::ProxyTimeout, Transport, Certain, sentence).check(&verdict);
}

#[tokio::test]
async fn one_that_takes_the_connection_and_fails() {
    let resets = Script::start(script::reset_before_response());
    let verdict = ask(&at("http", resets.address()), HANG).await;
    let reset = |address: SocketAddr| format!("the connection to the proxy {address} was reset");
    expected(Slug::ProxyReset, Transport, Certain, reset(resets.address())).check(&verdict);

    let closes = Script::start(script::close_before_response());
    let verdict = ask(&at("http", closes.address()), HANG).await;
    expected(Slug::ProxyReset, Transport, Likely, reset(closes.address())).check(&verdict);
    assert!(verdict.fits.contains(&Slug::ProxyNotAProxy), "ports of other protocols close, too");

    let stalls = Script::start(script::silence());
    let verdict = ask(&at("http", stalls.address()), Duration::from_millis(300)).await;
    assert_eq!((verdict.slug, verdict.confidence), (Some(Slug::ProxyTimeout), Likely));
    assert!(verdict.fits.contains(&Slug::ExitTimeout), "it may be waiting for its exit");
}

#[tokio::test]
async fn tls_with_the_proxy_itself() {
    // `https://` to a port that speaks in clear.
    let clear = Script::start(vec![Step::ReadExactly(5), Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close]);
    let verdict = ask(&at("https", clear.address()), HANG).await;
    let failed = |address: SocketAddr, what: &str| format!("TLS with the proxy {address} failed: {what}");
    let sentence = failed(clear.address(), "the other side does not speak TLS");
    expected(Slug::ProxyTlsFailed, Transport, Certain, sentence).check(&verdict);

    let ca = Ca::new();
    let rows = [
        (Trust::system(), Validity::Current, "the proxy's certificate: unknown issuer"),
        (Trust::given(ca.client(&[]).as_ref().clone()), Validity::Expired, "the proxy's certificate: expired"),
    ];
    for (trust, validity, what) in rows {
        let proxy = Script::start_tls(vec![Step::Stall], ca.server(&["127.0.0.1"], validity, &[]));
        let verdict = ask(&at("https", proxy.address()).with_trust(trust), HANG).await;
        expected(Slug::ProxyTlsFailed, Transport, Certain, failed(proxy.address(), what)).check(&verdict);
    }
}

#[tokio::test]
async fn something_that_is_no_proxy() {
    let rows = [
        ("http", "SSH-2.0-OpenSSH_9.2\r\n".as_bytes(), Certain),
        ("http", &[5, 0xff], Certain),
        ("http", b"\x15\x03\x01\x00\x02\x02\x46", Certain),
        ("socks5h", b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", Certain),
        ("http", b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n\r\n", Likely),
        ("http", b"HTTP/1.1 405 Not Allowed\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n", Likely),
    ];
    for (scheme, says, confidence) in rows {
        let step = if scheme == "http" { Step::ReadHead } else { Step::ReadExactly(3) };
        let server = Script::start(vec![step, Step::Write(says.to_vec()), Step::Close]);
        let verdict = ask(&at(scheme, server.address()), HANG).await;
        let sentence = format!("{} does not answer like a proxy", server.address());
        expected(Slug::ProxyNotAProxy, Transport, confidence, sentence).check(&verdict);
    }
}
