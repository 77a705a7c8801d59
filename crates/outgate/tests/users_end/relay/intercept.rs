//! TLS that is opened on this machine, for programs that can't handle a target's own 403, 429 and 503.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::origin::Origin;
use outgate_testkit::relay_process::RelayProcess;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Expect, Wire};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{connect, id};
use crate::OUTGATE;

/// A program that believes the relay's authority.
fn believing(relay: &RelayProcess) -> Arc<ClientConfig> {
    let certificate = CertificateDer::from_pem_file(relay.data().join("relay-ca.pem")).expect("the authority's certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate of an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn relay(upstream: &FlakyProxy, targets: &Ca, hosts: &str) -> RelayProcess {
    let text = format!(
        "data = \"{{data}}\"\n[[upstream]]\nurl = \"{}\"\n[intercept]\nhosts = [\"{hosts}\"]\n[targets]\nca = \"{}\"\n\
         [retry]\nbackoff_first = \"10ms\"\nbackoff_longest = \"50ms\"\n",
        upstream.url(),
        targets.pem_path().display()
    );
    RelayProcess::configured(OUTGATE, &text)
}

fn answer(status: &str) -> Vec<Step> {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nyes");
    vec![Step::ReadHead, Step::Write(text.into_bytes()), Step::Close]
}

#[tokio::test]
async fn a_targets_503_inside_tls_is_tried_again() {
    let ca = Ca::new();
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let (busy, fine) = (answer("503 Service Unavailable"), answer("200 OK"));
    let tls = ca.server(&["127.0.0.1"], Validity::Current, &[]);
    let target = Script::start_each_tls(vec![busy, fine], tls);
    let relay = relay(&upstream, &ca, "127.0.0.1");
    let (reply, tunnel) = connect(relay.proxy(), &target.address().to_string()).await;
    assert_eq!(reply.status, 200);
    let mut inside = tunnel.tls("127.0.0.1", believing(&relay)).await.expect("TLS in the target's name");
    inside.send(b"GET /page?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("taken");
    let reply = inside.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-outgate-attempts")), (200, "yes", Some("2")), "{reply:?}");
    let record = relay.record(id(&reply)).await;
    assert_eq!((&record["method"], &record["tries"][0]["outcome"]), (&"GET".into(), &"target_unavailable".into()), "{record}");
    let asked = String::from_utf8(target.received().concat()).expect("ASCII");
    assert!(asked.starts_with("GET /page?x=1 HTTP/1.1\r\n"), "{asked}");
}

#[tokio::test]
async fn only_what_is_named_is_opened() {
    let ca = Ca::new();
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let target = Origin::start_tls(ca.server(&["127.0.0.1"], Validity::Current, &[]));
    let relay = relay(&upstream, &ca, "other.example");
    let (_, tunnel) = connect(relay.proxy(), &target.address().to_string()).await;
    let mut inside = tunnel.tls("127.0.0.1", ca.client(&[])).await.expect("the target's own TLS");
    inside.send(b"GET /ok HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("taken");
    let reply = inside.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.text().as_str(), reply.header("via")), ("ok\n", None), "nobody looked into it");
}

#[tokio::test]
async fn a_target_that_shows_a_bad_certificate_is_not_believed_for_the_program() {
    let ca = Ca::new();
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let target = Origin::start_tls(ca.server(&["127.0.0.1"], Validity::Expired, &[]));
    let relay = relay(&upstream, &ca, "127.0.0.1");
    let (_, tunnel) = connect(relay.proxy(), &target.address().to_string()).await;
    let mut inside = tunnel.tls("127.0.0.1", believing(&relay)).await.expect("TLS in the target's name");
    inside.send(b"GET /ok HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("taken");
    let reply = inside.reply(Expect::Body).await.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some("tls_certificate_invalid")), "{reply:?}");
    assert!(reply.text().contains("expired"), "{}", reply.text());
    assert!(target.received().is_empty(), "nothing was sent to it");
}

#[tokio::test]
async fn the_authority_is_kept_and_its_key_is_the_owners() {
    let ca = Ca::new();
    let upstream = FlakyProxy::start(|_, _| Fate::Serves);
    let relay = relay(&upstream, &ca, "127.0.0.1");
    let mode = |name: &str| std::fs::metadata(relay.data().join(name)).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode("relay-ca-key.pem"), mode("relay-ca.pem") & 0o077), (0o600, 0o044));
    let before = std::fs::read(relay.data().join("relay-ca.pem")).expect("the certificate");
    // A second relay with the same files has the same authority.
    let text = format!(
        "data = \"{}\"\n[[upstream]]\nurl = \"{}\"\n[intercept]\nhosts = [\"127.0.0.1\"]\n",
        relay.data().display(),
        upstream.url()
    );
    let again = RelayProcess::configured(OUTGATE, &text);
    assert_eq!(std::fs::read(relay.data().join("relay-ca.pem")).expect("the certificate"), before);
    let (_, tunnel) = connect(again.proxy(), "127.0.0.1:9").await;
    tunnel.tls("127.0.0.1", believing(&relay)).await.map(|_| ()).expect("a certificate of the same authority");
    assert!(Wire::connect(again.proxy()).await.is_ok());
}
