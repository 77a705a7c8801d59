//! TLS with the target inside a tunnel: only its two ends see what fails.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use outgate_client::classify::{Breakage, Confidence, Evidence, Phase, Provenance, Verdict, Way, classify};
use outgate_client::providers::Providers;
use outgate_faults::Slug;
use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::HANG;
use outgate_testkit::script::{Script, Step};

use super::expected;
use crate::OUTGATE;

/// An open tunnel.
fn tunnel(gateway: &GatewayProcess, target: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.proxy()).expect("the gateway listens");
    stream.set_read_timeout(Some(HANG)).expect("a connected socket");
    let user = gateway.user("");
    let login = gateway.credentials(&user).header_line();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n").as_bytes()).expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// What comes of TLS with the target as `name`.
fn handshake(gateway: &GatewayProcess, target: SocketAddr, name: &'static str, config: &Arc<rustls::ClientConfig>) -> Verdict {
    let mut stream = tunnel(gateway, target);
    let name = rustls::pki_types::ServerName::try_from(name).expect("a name");
    let mut tls = rustls::ClientConnection::new(Arc::clone(config), name).expect("a good configuration");
    let error = tls.complete_io(&mut stream).expect_err("the handshake fails");
    let breakage = Breakage::of(Phase::TargetTls, &error);
    let (proxy, target) = (gateway.proxy().to_string(), "site.example:443");
    classify(&Evidence { breakage: Some(&breakage), ..Evidence::of(Way::Tunnelled, &proxy, target) }, Providers::builtin())
}

#[test]
fn certificates_that_are_not_believed() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (ca, other) = (Ca::new(), Ca::new());
    let rows = [
        // Somebody in between who calls himself as the authority that is trusted.
        (&other, Validity::Current, "site.example", "a bad signature"),
        (&ca, Validity::Expired, "site.example", "expired"),
        (&ca, Validity::Current, "elsewhere.example", "for another name"),
    ];
    for (issuer, validity, name, what) in rows {
        let origin = Script::start_tls(vec![Step::Stall], issuer.server(&[name], validity, &[]));
        let verdict = handshake(&gateway, origin.address(), "site.example", &ca.client(&[]));
        let sentence = format!("the certificate of site.example is not valid: {what}");
        expected(Slug::TlsCertificateInvalid, Provenance::Origin, Confidence::Certain, sentence).check(&verdict);
    }
}

#[test]
fn targets_that_speak_no_tls_or_leave() {
    let gateway = Quickstart::new(OUTGATE).start();
    let ca = Ca::new();
    let rows = [
        (vec![Step::ReadExactly(5), Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close], Confidence::Certain),
        (vec![Step::ReadExactly(5), Step::Reset], Confidence::Likely),
        (vec![Step::ReadExactly(5), Step::Close], Confidence::Likely),
    ];
    for (steps, confidence) in rows {
        let origin = Script::start(steps);
        let verdict = handshake(&gateway, origin.address(), "site.example", &ca.client(&[]));
        let sentence = "the TLS handshake with site.example failed";
        expected(Slug::TlsHandshakeFailed, Provenance::Origin, confidence, sentence).check(&verdict);
    }
}
