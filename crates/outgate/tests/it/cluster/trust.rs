//! Who is let in at the door for gateways: both ends show a certificate of the cluster's authority, and nothing else counts.

use outgate_link::{Goodbye, Hello, Limits, Link, LinkEnd, News, Offer, shell, upgrade};
use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::patience::{until, within};
use outgate_testkit::wire::{Expect, Wire};
use tempfile::TempDir;

use super::{Cluster, Papers, door, exits_in, member};

/// What the door's gateway says of the last one it refused.
fn refusals(cluster: &mut Cluster) -> usize {
    cluster.gateways[0].daemon().stderr().matches("the door for gateways was refused").count()
}

#[tokio::test]
async fn only_certificates_of_the_clusters_authority_count() {
    let mut cluster = Cluster::start(1).await;
    let (other, doors) = (Ca::new(), vec![cluster.doors[0].address().to_string()]);
    let rows = [
        ("another authority's", &other, Validity::Current, None, "it refuses this gateway's certificate"),
        ("an expired one", &cluster.ca, Validity::Expired, None, "it refuses this gateway's certificate"),
        ("the door's is not trusted", &cluster.ca, Validity::Current, Some(&other), "its certificate is not trusted"),
    ]
    .map(|(what, of, validity, trusts, told)| {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let papers = Papers { of, validity, trusts: trusts.unwrap_or(&cluster.ca) };
        (what, member("gw9", &papers, &folder, &doors), told, folder)
    });
    for (what, quickstart, told, _folder) in rows {
        let before = refusals(&mut cluster);
        let mut stranger = quickstart.start();
        stranger.daemon().line(what, |line| line.contains(told).then_some(()));
        until("the door to say so", || (refusals(&mut cluster) > before).then_some(())).await;
        assert_eq!(exits_in(&cluster.gateways[0], "residential"), 1, "{what}");
    }
}

#[tokio::test]
async fn names_differ() {
    let mut cluster = Cluster::start(1).await;
    let folder = TempDir::new().expect("the machine has a temporary folder");
    let papers = Papers { of: &cluster.ca, validity: Validity::Current, trusts: &cluster.ca };
    let doors = vec![cluster.doors[0].address().to_string()];
    let mut twin = member("gw0", &papers, &folder, &doors).start();
    twin.daemon().line("why not", |line| line.contains("has the same name").then_some(()));
    until("the door to say so", || (refusals(&mut cluster) > 0).then_some(())).await;
}

#[tokio::test]
async fn whoever_is_no_gateway_is_turned_away() {
    let mut cluster = Cluster::start(1).await;
    let at = door(&cluster.gateways[0]);
    let token = cluster.gateways[0].told("exit_token").to_owned();

    // HTTP in clear.
    let before = refusals(&mut cluster);
    let mut wire = Wire::connect(at).await.expect("it listens");
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
    let (answer, _) = wire.ending().await.expect("an end");
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    until("the door to say so", || (refusals(&mut cluster) > before).then_some(())).await;

    // TLS without a certificate: the handshake ends, at the latest when it is first used.
    let before = refusals(&mut cluster);
    let wire = Wire::connect(at).await.expect("it listens");
    if let Ok(mut wire) = wire.tls("127.0.0.1", cluster.ca.client(&[])).await {
        let asked = wire.send(format!("GET /v1/link HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n").as_bytes()).await;
        assert!(asked.is_err() || wire.reply(Expect::Body).await.is_err(), "an exit's token opens nothing here");
    }
    until("the door to say so", || (refusals(&mut cluster) > before).then_some(())).await;

    // With a certificate, but no gateway.
    for (path, status) in [("/v1/link", 404), ("/", 404), ("/v1/peer", 400)] {
        let before = refusals(&mut cluster);
        let wire = Wire::connect(at).await.expect("it listens");
        let mut wire = wire.tls("127.0.0.1", cluster.ca.known_client()).await.expect("the certificate is good");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        wire.send(request.as_bytes()).await.expect("open");
        assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, status, "{path}");
        until("the door to say so", || (refusals(&mut cluster) > before).then_some(())).await;
    }

    // The other way round: a gateway's certificate is nothing at the door for exits.
    assert_eq!(exits_in(&cluster.gateways[0], "residential"), 1);
}

/// A link to the door as another gateway makes one.
async fn link_as(cluster: &Cluster, name: &str) -> Link {
    let wire = Wire::connect(door(&cluster.gateways[0])).await.expect("it listens");
    let wire = wire.tls("127.0.0.1", cluster.ca.known_client()).await.expect("the certificate is good");
    let (mut io, _) = wire.into_parts();
    let behind = upgrade::ask_known_link(&mut io, "gw0", "/v1/peer").await.expect("the door is open");
    let hello = Hello { version: 1, agent: "fake".into(), max_tunnels: 16, gateway: Some(name.into()), ..Hello::default() };
    let joined = shell::join(io, behind, &hello, Limits::default()).await.expect("it is welcomed");
    tokio::spawn(joined.driver.run());
    joined.link
}

#[tokio::test]
async fn a_gateway_that_breaks_the_protocol_is_let_go() {
    let cluster = Cluster::start(1).await;
    let offer = |exit: &str, pool: &str| Offer { exit: exit.into(), pool: pool.into(), weight: 1, ..Offer::default() };
    let link = link_as(&cluster, "gw1").await;
    for (exit, pool) in [("e1", "mobile"), ("e2", "mobile"), ("e3", "nowhere")] {
        assert!(link.tell(&News::Offer(offer(exit, pool))).await);
    }
    cluster.sees(0, "mobile", 2).await;
    assert!(link.tell(&News::Withdraw("e2".into())).await);
    cluster.sees(0, "mobile", 1).await;
    let rows = [
        News::Offer(offer("no id", "mobile")),
        News::Offer(offer("e4", "no pool")),
        News::Offer(Offer { country: Some("atlantis".into()), ..offer("e4", "mobile") }),
        News::Offer(Offer { since: i64::MAX, ..offer("e4", "mobile") }),
        News::Withdraw("no id".into()),
    ];
    for news in rows {
        let bad = link_as(&cluster, "gw2").await;
        assert!(bad.tell(&news).await);
        let end = within("the end", bad.closed()).await;
        assert!(matches!(&end, LinkEnd::Goodbye(why) if why.slug == "malformed"), "{news:?}: {end:?}");
    }
    assert_eq!(exits_in(&cluster.gateways[0], "mobile"), 1, "another one's offers stay");
    link.close(Goodbye::new("done", "the test is over"));
    cluster.sees(0, "mobile", 0).await;
}
