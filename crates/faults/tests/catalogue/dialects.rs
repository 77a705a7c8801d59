//! The built-in dialects, row by row against the two published error contracts and the registry of statuses.

use crate::{TELLER, example};
use outgate_faults::{Body, Connection, Dialect, Seen, Slug, page_for_status, raise, standard_phrase};
use std::collections::BTreeSet;

/// The statuses a dialect uses for what the gateway says itself.
fn statuses(dialect: &Dialect) -> BTreeSet<u16> {
    Slug::ALL.iter().filter(|slug| slug.row().seen == Seen::Gateway).map(|slug| dialect.status(*slug)).collect()
}

fn slugs(names: &[&str]) -> Vec<Slug> {
    names.iter().map(|name| Slug::parse(name).unwrap_or_else(|| panic!("no slug {name}"))).collect()
}

#[test]
fn atlasvpn_uses_exactly_the_documented_statuses() {
    assert_eq!(statuses(&Dialect::atlasvpn()), BTreeSet::from([400, 402, 403, 407, 429, 502, 504]));
}

#[test]
fn atlasvpn_row_by_row() {
    let rows: &[(u16, &[&str])] = &[
        (400, &["malformed_request", "malformed_target"]),
        (402, &["bandwidth_exhausted"]),
        (403, &["port_denied", "target_private", "target_metadata", "key_blocked"]),
        (407, &["credentials_missing", "credentials_malformed", "credentials_wrong", "key_revoked", "key_suspended"]),
        (429, &["rate_limited"]),
        (502, &["no_exit"]),
        (504, &["exit_timeout"]),
    ];
    let dialect = Dialect::atlasvpn();
    for (status, names) in rows {
        for slug in slugs(names) {
            let answer = example(slug).answer(&dialect, &TELLER);
            assert_eq!(answer.status, *status, "{slug}");
            assert_eq!(answer.reason, standard_phrase(*status), "{slug}: standard reasons only");
            assert_eq!(answer.connection(Connection::KeepAlive), Connection::Close, "{slug}");
            let body = if *status == 407 { "Invalid or expired access token".to_owned() } else { example(slug).sentence() };
            assert_eq!(answer.body, body, "{slug}: 403 names the specific reason, 407 never does");
        }
    }
    for slug in Slug::ALL.iter().filter(|slug| dialect.status(**slug) == 407) {
        assert_eq!(dialect.fixed_body(*slug), Some("Invalid or expired access token"), "{slug}");
    }
}

#[test]
fn atlasvpn_407_on_the_wire() {
    let wire = raise::credentials_wrong().answer(&Dialect::atlasvpn(), &TELLER).to_http1(Body::Send, Connection::KeepAlive);
    let text = String::from_utf8(wire).expect("ASCII");
    assert!(text.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"), "{text}");
    // The document says 28; its body has 31 bytes, and an exact length is what it must mean.
    assert!(text.contains("\r\nContent-Type: text/plain\r\nContent-Length: 31\r\nConnection: close\r\n\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nInvalid or expired access token"), "{text}");
}

#[test]
fn atlasvpn_keeps_the_retry_advice() {
    // What the document has clients retry, a retry can change; what it forbids to retry, none can.
    let dialect = Dialect::atlasvpn();
    for slug in Slug::ALL.iter().filter(|slug| slug.row().seen == Seen::Gateway) {
        let retried = matches!(dialect.status(*slug), 429 | 502 | 504);
        let exceptions = [Slug::DnsNotFound, Slug::TlsCertificateInvalid]; // the document has no status for a target at fault
        if !exceptions.contains(slug) {
            assert_eq!(retried, slug.row().retry.limit() == 3, "{slug}");
        }
    }
}

#[test]
fn proxies_fo_uses_exactly_the_documented_statuses() {
    assert_eq!(statuses(&Dialect::proxies_fo()), BTreeSet::from([400, 407, 417, 452, 453, 454, 455, 500, 502, 503]));
}

#[test]
fn proxies_fo_row_by_row() {
    let login = Some("Incorrect username or password");
    let rows: &[(u16, &str, Option<&str>, &[&str])] = &[
        (400, "Bad Request", None, &["malformed_request", "malformed_target"]),
        (
            407,
            "Proxy Authentication Required",
            login,
            &["credentials_missing", "credentials_wrong", "modifier_unknown", "modifier_repeated", "pool_denied"],
        ),
        (407, "Proxy Authentication Required", login, &["key_expired", "key_revoked", "key_suspended", "source_denied"]),
        (417, "Expectation Failed", None, &["expectation_failed"]),
        (452, "Bandwidth Exceeded", Some("exceeded bandwidth limit"), &["bandwidth_exhausted"]),
        (453, "Thread Limit Exceeded", Some("exceeded threads limit"), &["threads_exceeded"]),
        (454, "Invalid Country Code", Some("invalid country code"), &["country_invalid"]),
        (454, "Invalid State Code", Some("invalid state code"), &["state_invalid"]),
        (454, "Invalid City Code", Some("invalid city code"), &["city_invalid"]),
        (455, "Invalid TTL", Some("invalid ttl"), &["ttl_invalid"]),
        (
            502,
            "Bad Gateway",
            None,
            &["dns_not_found", "dns_failed", "target_refused", "connect_timeout", "exit_timeout", "no_exit"],
        ),
        (500, "Internal Server Error", None, &["internal"]),
        (503, "Service Unavailable", None, &["overloaded", "draining", "ledger_unavailable", "rate_limited"]),
    ];
    let dialect = Dialect::proxies_fo();
    for (status, reason, body, names) in rows {
        for slug in slugs(names) {
            let answer = example(slug).answer(&dialect, &TELLER);
            let expected = body.map_or_else(|| example(slug).sentence(), str::to_owned);
            assert_eq!((answer.status, answer.reason.as_str(), answer.body), (*status, *reason, expected), "{slug}");
        }
    }
    assert_eq!(example(Slug::RateLimited).answer(&dialect, &TELLER).header("retry-after"), Some("1"));
}

#[test]
fn proxies_fo_never_has_a_policy_denial_retried() {
    let dialect = Dialect::proxies_fo();
    let exceptions = [Slug::DnsNotFound, Slug::TlsCertificateInvalid]; // "502: could be DNS failure"
    for slug in Slug::ALL.iter().filter(|slug| slug.row().seen == Seen::Gateway) {
        if slug.row().retry.limit() < 3 && !exceptions.contains(slug) {
            assert!(dialect.status(*slug) < 500, "{slug} would be retried");
        }
    }
}

#[test]
fn rfc_uses_registered_statuses_only() {
    let registered = [400, 403, 407, 408, 414, 417, 429, 431, 500, 501, 502, 503, 504, 505];
    assert_eq!(statuses(&Dialect::rfc()), BTreeSet::from(registered));
    for (name, status) in [("threads_exceeded", 429), ("city_invalid", 400), ("ttl_invalid", 400), ("bandwidth_exhausted", 403)] {
        let slug = slugs(&[name])[0];
        assert_eq!(Dialect::rfc().status(slug), status);
        assert!(Dialect::rfc().reason(slug).ends_with(&format!("({name})")));
    }
}

#[test]
fn the_default_shows_the_slug_in_the_reason() {
    let dialect = Dialect::outgate();
    assert_eq!(dialect.reason(Slug::PortDenied), "Forbidden (port_denied)");
    assert_eq!(dialect.reason(Slug::ThreadsExceeded), "Thread Limit Exceeded (threads_exceeded)");
    assert_eq!(dialect.reason(Slug::TtlInvalid), "Invalid TTL (ttl_invalid)");
    assert_eq!(raise::key_revoked().answer(&dialect, &TELLER).body, "this key is revoked\n");
}

#[test]
fn every_dialect_says_every_slug_fit_to_print() {
    for name in Dialect::BUILTIN {
        let dialect = Dialect::builtin(name).expect("a built-in name");
        assert_eq!(dialect.name(), *name);
        for slug in Slug::ALL {
            let reason = dialect.reason(*slug);
            assert!(!reason.is_empty() && reason.bytes().all(|b| matches!(b, b' '..=b'~')), "{name} {slug}: {reason:?}");
            assert!((400..=599).contains(&dialect.status(*slug)), "{name} {slug}");
            if slug.row().seen == Seen::UserEnd && slug.row().error_type.is_none() {
                assert_eq!(dialect.status(*slug), slug.row().status, "{name} {slug}: a target's answer passes unchanged");
            }
        }
    }
    assert!(Dialect::builtin("nope").is_none());
}

#[test]
fn a_status_leads_to_its_slugs() {
    assert_eq!(page_for_status(455, &Dialect::outgate()), [Slug::TtlInvalid]);
    assert_eq!(page_for_status(452, &Dialect::proxies_fo()), [Slug::BandwidthExhausted]);
    assert_eq!(page_for_status(452, &Dialect::outgate()), []);
    assert!(page_for_status(403, &Dialect::outgate()).contains(&Slug::TargetForbidden));
}
