//! Answers on the wire: one segment, exact length, one line, readable fields, whatever the facts contain.

use crate::structured::list;
use crate::{TELLER, example, with_facts};
use outgate_faults::{Answer, Body, Connection, Dialect, Fault, OWN_HEADERS, RateLimit, Slug, Teller, raise};
use std::time::Duration;

/// Splits an answer as a client would and checks its frame.
fn parse(answer: &Answer, connection: Connection) -> (String, Vec<(String, String)>, String) {
    let wire = answer.to_http1(Body::Send, connection);
    assert!(wire.len() <= 1200, "{} bytes: {}", wire.len(), String::from_utf8_lossy(&wire));
    let text = String::from_utf8(wire).expect("an answer is ASCII");
    assert!(text.is_ascii());
    let (head, body) = text.split_once("\r\n\r\n").expect("a blank line");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("a status line").to_owned();
    let fields: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line}"));
            assert!(!line.contains(['\r', '\n', '\0']), "{line}");
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let length: usize = field(&fields, "Content-Length").parse().expect("digits");
    assert_eq!(length, body.len(), "exact Content-Length");
    let line = body.strip_suffix('\n').unwrap_or(body);
    assert!(!line.is_empty() && line.bytes().all(|b| matches!(b, b' '..=b'~')), "one line: {body:?}");
    (status_line, fields, body.to_owned())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let mut values = fields.iter().filter(|(known, _)| known == name);
    let (_, value) = values.next().unwrap_or_else(|| panic!("no {name} in {fields:?}"));
    assert!(values.next().is_none(), "{name} twice");
    value
}

fn dialects() -> impl Iterator<Item = Dialect> {
    Dialect::BUILTIN.iter().map(|name| Dialect::builtin(name).expect("a built-in name"))
}

#[test]
fn every_slug_in_every_dialect() {
    for dialect in dialects() {
        for slug in Slug::ALL {
            let fault = example(*slug);
            let answer = fault.answer(&dialect, &TELLER);
            let (status_line, fields, _) = parse(&answer, Connection::KeepAlive);
            assert_eq!(status_line, format!("HTTP/1.1 {} {}", dialect.status(*slug), dialect.reason(*slug)));
            assert_eq!(field(&fields, "X-Proxy-Error"), slug.name());
            assert_eq!(field(&fields, "X-Outgate-Request-Id"), TELLER.request_id);
            assert_eq!(field(&fields, "Content-Type"), "text/plain");
            assert_eq!(field(&fields, "Date"), TELLER.date);
            assert_eq!(field(&fields, "Connection"), if dialect.closes() { "close" } else { "keep-alive" });
            let members = list(field(&fields, "Proxy-Status")).expect("a list of structured fields");
            let [(hop, parameters)] = members.as_slice() else { panic!("one member: {members:?}") };
            assert_eq!(hop, TELLER.hop);
            let parameter = |key: &str| parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
            assert_eq!(parameter("error"), slug.row().error_type.map(|kind| kind.token()));
            assert_eq!(parameter("details"), Some(fault.sentence().as_str()));
            let challenged = fields.iter().any(|(name, _)| name == "Proxy-Authenticate");
            assert_eq!(challenged, answer.status == 407, "{slug}: a 407 and only a 407 challenges");
            let waits = fields.iter().any(|(name, _)| name == "Retry-After");
            assert_eq!(waits, fault.retry_after().is_some(), "{slug}");
        }
    }
}

#[test]
fn hostile_facts_change_nothing_but_the_words() {
    let hostile = [
        String::new(),
        "a\r\nX-Injected: yes\r\n\r\nbody".to_owned(),
        "\" ; error=none, forged; x=\"".to_owned(),
        r#"\" \\ \"#.to_owned(),
        "{host} {} {modifier?x {} y}".to_owned(),
        "\u{1f980}\u{202e}\u{feff}\u{0}\u{7f}\u{85}".to_owned(),
        "<script>alert(1)</script>".to_owned(),
        "x".repeat(10_000),
        "\"".repeat(10_000),
        "\u{e9}".repeat(10_000),
        "%0d%0aX: y\t\u{b}\u{c}".to_owned(),
    ];
    for value in &hostile {
        let teller = Teller { hop: value, request_id: value, realm: value, date: TELLER.date, docs_url: None };
        for dialect in dialects() {
            for slug in Slug::ALL {
                let fault = with_facts(*slug, |_| value.clone()).with_attempts(3);
                let plain_names = fault.to_wire().0;
                for fault in [fault.clone(), fault.with_found_at(value)] {
                    for teller in [&TELLER, &teller] {
                        let (_, fields, body) = parse(&fault.answer(&dialect, teller), Connection::Close);
                        assert!(!fields.iter().any(|(name, _)| name == "X-Injected"));
                        assert_eq!(field(&fields, "X-Proxy-Error"), plain_names);
                        assert!(!body.trim_end_matches('\n').contains('\n'));
                        let members = list(field(&fields, "Proxy-Status")).unwrap_or_else(|| panic!("{fields:?}"));
                        assert_eq!(members.len(), 1 + usize::from(fault.found_at().is_some()));
                    }
                }
            }
        }
    }
}

#[test]
fn a_fault_found_at_an_exit_names_it_first() {
    let fault = raise::dns_failed("example.com", "SERVFAIL").with_found_at("phone-7").with_attempts(2);
    let answer = fault.answer(&Dialect::outgate(), &TELLER);
    let value = answer.header("proxy-status").expect("always there");
    let text = "the name example.com could not be resolved: SERVFAIL (2 attempts)";
    assert_eq!(value, format!("phone-7; error=dns_error; details=\"{text}\"; rcode=\"SERVFAIL\"; attempts=2, gw-1"));
    assert_eq!(answer.body, format!("{text}\n"));
    let relayed = raise::exit_lost().with_found_at("phone-7").with_relayed_by("gw-2").answer(&Dialect::outgate(), &TELLER);
    let value = relayed.header("proxy-status").expect("always there");
    assert!(value.starts_with("phone-7; error=") && value.ends_with(", gw-2, gw-1"), "{value}");
}

#[test]
fn extra_parameters() {
    let value =
        |fault: Fault| fault.answer(&Dialect::rfc(), &TELLER).header("Proxy-Status").map(str::to_owned).expect("always there");
    assert!(value(raise::dns_not_found("no.example", "NXDOMAIN")).ends_with("; rcode=\"NXDOMAIN\""));
    assert!(
        value(raise::tls_handshake_failed("a.example").with_param("alert-message", "bad \"x\""))
            .ends_with("; alert-message=\"bad 'x'\"")
    );
    assert!(!value(raise::internal().with_param("Not A Key", 1)).contains("Not"));
}

#[test]
fn waits_and_rate_limits() {
    let limit = RateLimit { policy: "basic".to_owned(), quota: 50, window: 1, remaining: 0, reset: 1 };
    let fault = raise::rate_limited(50).with_rate_limit(limit).with_retry_after(Duration::from_millis(1200));
    let answer = fault.answer(&Dialect::outgate(), &TELLER);
    assert_eq!(answer.header("Retry-After"), Some("2"), "rounded up");
    assert_eq!(answer.header("RateLimit-Policy"), Some("\"basic\";q=50;w=1"));
    assert_eq!(answer.header("RateLimit"), Some("\"basic\";r=0;t=1"));
    for name in ["RateLimit", "RateLimit-Policy"] {
        assert!(list(answer.header(name).expect("just seen")).is_some());
    }
    assert_eq!(fault.answer(&Dialect::proxies_fo(), &TELLER).header("RateLimit"), None, "only a 429 has them");
    let zero = raise::draining().with_retry_after(Duration::ZERO).answer(&Dialect::outgate(), &TELLER);
    assert_eq!(zero.header("Retry-After"), Some("1"));
}

#[test]
fn a_challenge_is_well_formed() {
    let answer = raise::credentials_missing().answer(&Dialect::outgate(), &TELLER);
    assert_eq!(answer.header("Proxy-Authenticate"), Some("Basic realm=\"outgate\", charset=\"UTF-8\""));
    assert_eq!(answer.connection(Connection::KeepAlive), Connection::KeepAlive, "the connection stays usable");
}

#[test]
fn head_has_the_length_but_not_the_body() {
    let answer = raise::port_denied(25, "80, 443").answer(&Dialect::outgate(), &TELLER);
    let with = answer.to_http1(Body::Send, Connection::Close);
    let without = answer.to_http1(Body::Omit, Connection::Close);
    assert_eq!(with.len(), without.len() + answer.body.len());
    assert!(with.starts_with(&without) && without.ends_with(b"\r\n\r\n"));
}

#[test]
fn another_body_is_framed_as_exactly() {
    let line = raise::wrong_protocol("TLS", "HTTP/1.1").answer(&Dialect::outgate(), &TELLER);
    let page = line.clone().with_body("text/html; charset=utf-8", "<p>caf\u{e9}".to_owned());
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("Content-Length"), Some("8"), "bytes, not characters");
    let others = |answer: &Answer| -> Vec<_> {
        answer.headers.iter().filter(|(name, _)| !name.starts_with("Content-")).cloned().collect()
    };
    assert_eq!((page.slug, page.status, others(&page)), (line.slug, line.status, others(&line)));
}

#[test]
fn http2_fields_are_lower_case_and_without_connection() {
    let answer = raise::no_exit("country us").answer(&Dialect::outgate(), &TELLER);
    let names: Vec<String> = answer.http2_headers().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| name.bytes().all(|b| !b.is_ascii_uppercase())));
    assert!(!names.iter().any(|name| name == "connection"));
    assert!(names.iter().any(|name| name == "retry-after"));
}

#[test]
fn a_page_is_linked_where_one_is_published() {
    let teller = Teller { docs_url: Some("https://docs.example/errors"), ..TELLER };
    let answer = raise::key_blocked().answer(&Dialect::outgate(), &teller);
    assert_eq!(answer.header("Link"), Some("<https://docs.example/errors#key_blocked>; rel=\"help\""));
}

#[test]
fn our_own_fields_are_all_on_the_list() {
    let answer = raise::internal().answer(&Dialect::outgate(), &TELLER);
    for (name, _) in &answer.headers {
        let ours = name.starts_with("X-") || *name == "Proxy-Status";
        assert_eq!(OWN_HEADERS.contains(name), ours, "{name}");
    }
}
