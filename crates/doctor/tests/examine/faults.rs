//! Every fault that a gateway of Outgate's can answer, in every dialect: the doctor names it.

use outgate_faults::{Body, Connection, Dialect, Fault, Seen, Slug, Teller};
use outgate_testkit::origin::Origin;
use outgate_testkit::script::{Script, Step};

use super::{case, verdict};

#[tokio::test]
async fn every_fault_of_every_dialect_is_named() {
    let origin = Origin::start();
    let mut examined = 0;
    let mut wrong = Vec::new();
    for dialect in Dialect::BUILTIN.iter().filter_map(|name| Dialect::builtin(name)) {
        for slug in Slug::ALL.iter().copied().filter(|slug| slug.row().seen == Seen::Gateway) {
            let row = slug.row();
            let facts: Vec<(String, String)> =
                row.facts.iter().zip(row.examples).map(|(fact, example)| ((*fact).to_owned(), (*example).to_owned())).collect();
            let fault = Fault::from_wire(slug.name(), &facts).expect("the catalogue's own examples");
            let teller = Teller {
                hop: "gw1",
                request_id: "0123456789abcdef",
                realm: "outgate",
                date: "Sat, 21 Nov 2026 18:00:00 GMT",
                docs_url: None,
            };
            let answer = fault.answer(&dialect, &teller).to_http1(Body::Send, Connection::Close);
            // Whatever it is asked, it answers so: to the first request, without credentials, too.
            let proxy = Script::start(vec![Step::ReadHead, Step::Write(answer), Step::Close]);
            let (name, report) = verdict(&case(&format!("http://k:s@{}", proxy.address()), &origin.url("/ok"))).await;
            examined += 1;
            let fault = report.verdict.diagnosis.as_ref().and_then(|diagnosis| diagnosis.fault);
            if fault != Some(slug) || name != Some(slug.name()) {
                wrong.push(format!("{} in {}: {name:?} {fault:?}", slug, dialect.name()));
            }
        }
    }
    assert!(examined > 200, "{examined}");
    assert!(wrong.is_empty(), "{} of {examined}:\n{}", wrong.len(), wrong.join("\n"));
}
