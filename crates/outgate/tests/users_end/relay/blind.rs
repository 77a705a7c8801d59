//! Every fault that a gateway can tell, told to the relay: its record and its answer name it.

use outgate_faults::{Body, Connection, Dialect, Fault, Layer, Seen, Slug, Teller};
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::relay_process::RelayProcess;

use super::{connect, get, id};
use crate::OUTGATE;

/// The answer of a gateway, with the example facts of the catalogue.
fn answer(slug: Slug, dialect: &Dialect) -> Vec<u8> {
    let row = slug.row();
    let facts: Vec<_> =
        row.facts.iter().zip(row.examples).map(|(fact, value)| ((*fact).to_owned(), (*value).to_owned())).collect();
    let fault = Fault::from_wire(slug.name(), &facts).expect("a slug of the catalogue");
    let teller =
        Teller { hop: "gw-1", request_id: "r1", realm: "outgate", date: "Sat, 21 Nov 2026 12:00:00 GMT", docs_url: None };
    fault.answer(dialect, &teller).to_http1(Body::Send, Connection::Close)
}

#[tokio::test]
async fn every_fault_of_a_gateway_is_named_by_the_relay() {
    let told = |slug: &&Slug| slug.row().seen != Seen::UserEnd && slug.row().layer != Layer::Origin;
    let slugs: Vec<Slug> = Slug::ALL.iter().filter(told).copied().collect();
    assert!(slugs.len() > 45, "{}", slugs.len());
    for (number, slug) in slugs.into_iter().enumerate() {
        // The two dialects in which each cause has its name; in turn, because a relay is started for each slug.
        let dialect = if number.is_multiple_of(2) { Dialect::outgate() } else { Dialect::rfc() };
        let bytes = answer(slug, &dialect);
        let upstream = FlakyProxy::start(move |_, _| Fate::Answers(bytes.clone()));
        let text = format!(
            "[retry]\nattempts = 1\ndeadline = \"2s\"\n[[upstream]]\nurl = \"http://user:pass@{}\"\n",
            upstream.address()
        );
        let relay = RelayProcess::configured(OUTGATE, &text);
        let (tunnel, _wire) = connect(relay.proxy(), "one.example:443").await;
        let plain = get(relay.proxy(), "http://two.example/", "").await;
        for reply in [tunnel, plain] {
            assert_eq!(reply.header("x-proxy-error"), Some(slug.name()), "{reply:?}");
            assert!(reply.reason.ends_with(&format!("({slug})")), "{reply:?}");
            let record = relay.record(id(&reply)).await;
            assert_eq!(
                (&record["outcome"], &record["layer"]),
                (&slug.name().into(), &slug.row().layer.name().into()),
                "{record}"
            );
        }
    }
}
