//! An operator's own dialect: what it changes, what it inherits, what is refused.

use crate::TELLER;
use outgate_faults::{Dialect, DialectSpec, FaultSpec, ReasonStyle, Slug, raise};

fn spec() -> DialectSpec {
    DialectSpec {
        name: "house".to_owned(),
        base: Dialect::outgate(),
        reason: None,
        close: None,
        statuses: vec![],
        faults: vec![],
    }
}

fn fault(slug: Slug) -> FaultSpec {
    FaultSpec { slug, status: None, body: None, reason: None }
}

#[test]
fn changes_what_it_names_and_inherits_the_rest() {
    let dialect = Dialect::custom(DialectSpec {
        reason: Some(ReasonStyle::Plain),
        close: Some(true),
        statuses: vec![(453, 429), (454, 422)],
        faults: vec![
            FaultSpec { body: Some("closed port {port}".to_owned()), ..fault(Slug::PortDenied) },
            FaultSpec { status: Some(490), reason: Some("Pool Empty".to_owned()), ..fault(Slug::NoExit) },
        ],
        ..spec()
    })
    .expect("a sound dialect");
    assert_eq!(dialect.name(), "house");
    assert_eq!(dialect.status(Slug::ThreadsExceeded), 429);
    assert_eq!(dialect.reason(Slug::ThreadsExceeded), "Too Many Requests");
    assert_eq!((dialect.status(Slug::NoExit), dialect.reason(Slug::NoExit)), (490, "Pool Empty".to_owned()));
    assert_eq!(dialect.status(Slug::Internal), 500);
    let answer = raise::port_denied(25, "80").answer(&dialect, &TELLER);
    assert_eq!((answer.status, answer.body.as_str(), answer.close), (403, "closed port 25\n", true));
    assert_eq!(answer.header("X-Proxy-Error"), Some("port_denied"), "provenance stays in every dialect");
}

#[test]
fn mappings_do_not_chain() {
    let dialect = Dialect::custom(DialectSpec { statuses: vec![(453, 429), (429, 503)], ..spec() }).expect("a sound dialect");
    assert_eq!((dialect.status(Slug::ThreadsExceeded), dialect.status(Slug::RateLimited)), (429, 503));
}

#[test]
fn all_problems_in_one_run() {
    let problems = Dialect::custom(DialectSpec {
        name: "RFC!".to_owned(),
        statuses: vec![(453, 200), (499, 400)],
        faults: vec![
            FaultSpec { status: Some(302), ..fault(Slug::Internal) },
            FaultSpec { body: Some("{secret}".to_owned()), ..fault(Slug::PortDenied) },
            FaultSpec { body: Some("two\nlines".to_owned()), ..fault(Slug::PortDenied) },
            FaultSpec { reason: Some(" ".to_owned()), ..fault(Slug::NoExit) },
        ],
        ..spec()
    })
    .expect_err("nothing about it is right");
    assert_eq!(problems.len(), 7, "{problems:#?}");
    assert!(problems.iter().any(|p| p == "port_denied: no fact 'secret' (facts: port, allowed)"), "{problems:#?}");
    let taken = Dialect::custom(DialectSpec { name: "rfc".to_owned(), ..spec() }).expect_err("a built-in name");
    assert_eq!(taken, ["'rfc' is a built-in dialect"]);
}
