//! The rows against the specification's tables, typed here a second time.

use crate::example;
use outgate_faults::{Fault, Fixer, Lasting, Layer, Raised, Retry, Seen, Slug, raise, socks5_reply};
use std::collections::HashSet;
use std::time::Duration;

/// Slug, layer, status, RFC 9209 error, retry, SOCKS5 reply.
#[rustfmt::skip] // one line for each row
const GOLDEN: &[(&str, &str, u16, &str, &str, u8)] = &[
    ("malformed_request", "client", 400, "http_request_error", "never", 1),
    ("malformed_target", "client", 400, "http_request_error", "never", 1),
    ("request_timeout", "client", 408, "http_request_error", "never", 1),
    ("uri_too_long", "client", 414, "http_request_error", "never", 1),
    ("expectation_failed", "client", 417, "http_request_error", "never", 1),
    ("header_too_large", "client", 431, "http_request_error", "never", 1),
    ("method_unsupported", "client", 501, "http_request_error", "never", 7),
    ("version_unsupported", "client", 505, "http_request_error", "never", 1),
    ("wrong_protocol", "client", 400, "http_request_error", "fix", 1),
    ("client_tls_failed", "client", 400, "tls_protocol_error", "fix", 1),
    ("https_needs_connect", "client", 400, "http_request_error", "fix", 1),
    ("credentials_missing", "auth", 407, "http_request_denied", "fix", 2),
    ("credentials_malformed", "auth", 407, "http_request_denied", "fix", 2),
    ("credentials_wrong", "auth", 407, "http_request_denied", "fix", 2),
    ("key_expired", "auth", 407, "http_request_denied", "fix", 2),
    ("key_revoked", "auth", 407, "http_request_denied", "fix", 2),
    ("key_suspended", "auth", 407, "http_request_denied", "fix", 2),
    ("source_denied", "auth", 407, "http_request_denied", "fix", 2),
    ("auth_throttled", "auth", 429, "http_request_denied", "backoff", 2),
    ("key_blocked", "policy", 403, "http_request_denied", "never", 2),
    ("port_denied", "policy", 403, "http_request_denied", "never", 2),
    ("target_private", "policy", 403, "destination_ip_prohibited", "never", 2),
    ("target_metadata", "policy", 403, "destination_ip_prohibited", "never", 2),
    ("target_denied", "policy", 403, "http_request_denied", "never", 2),
    ("pool_denied", "policy", 403, "http_request_denied", "never", 2),
    ("country_denied", "policy", 403, "http_request_denied", "never", 2),
    ("bandwidth_exhausted", "plan", 402, "http_request_denied", "never", 2),
    ("rate_limited", "plan", 429, "http_request_denied", "backoff", 2),
    ("threads_exceeded", "plan", 453, "connection_limit_reached", "backoff", 2),
    ("modifier_unknown", "targeting", 454, "http_request_error", "never", 2),
    ("modifier_repeated", "targeting", 454, "http_request_error", "never", 2),
    ("country_invalid", "targeting", 454, "http_request_error", "never", 2),
    ("state_invalid", "targeting", 454, "http_request_error", "never", 2),
    ("city_invalid", "targeting", 454, "http_request_error", "never", 2),
    ("session_invalid", "targeting", 454, "http_request_error", "never", 2),
    ("targeting_unsupported", "targeting", 454, "http_request_error", "never", 2),
    ("ttl_invalid", "targeting", 455, "http_request_error", "never", 2),
    ("internal", "gateway", 500, "proxy_internal_error", "now", 1),
    ("overloaded", "gateway", 503, "connection_limit_reached", "backoff", 1),
    ("draining", "gateway", 503, "proxy_internal_response", "backoff", 1),
    ("ledger_unavailable", "gateway", 503, "proxy_internal_response", "backoff", 1),
    ("loop_detected", "gateway", 502, "proxy_loop_detected", "never", 2),
    ("no_exit", "exit", 502, "destination_unavailable", "backoff", 4),
    ("exit_lost", "exit", 502, "connection_terminated", "now", 4),
    ("exit_refused", "exit", 502, "connection_terminated", "now", 4),
    ("session_lost", "exit", 502, "connection_terminated", "now", 4),
    ("exit_timeout", "exit", 504, "connection_timeout", "backoff", 4),
    ("dns_not_found", "target", 502, "dns_error", "never", 4),
    ("dns_failed", "target", 502, "dns_error", "backoff", 4),
    ("dns_timeout", "target", 504, "dns_timeout", "backoff", 4),
    ("target_refused", "target", 502, "connection_refused", "now", 5),
    ("target_unreachable", "target", 502, "destination_ip_unroutable", "now", 3),
    ("target_reset", "target", 502, "connection_terminated", "now", 5),
    ("connect_timeout", "target", 504, "connection_timeout", "backoff", 4),
    ("response_timeout", "target", 504, "http_response_timeout", "backoff", 4),
    ("response_incomplete", "target", 502, "http_response_incomplete", "now", 1),
    ("response_malformed", "target", 502, "http_protocol_error", "now", 1),
    ("response_header_too_large", "target", 502, "http_response_header_section_size", "now", 1),
    ("upgrade_failed", "target", 502, "http_upgrade_failed", "now", 1),
    ("tls_handshake_failed", "target", 502, "tls_protocol_error", "now", 1),
    ("tls_certificate_invalid", "target", 502, "tls_certificate_error", "abort", 1),
    ("proxy_dns_failed", "transport", 502, "dns_error", "fix", 1),
    ("proxy_refused", "transport", 502, "connection_refused", "fix", 5),
    ("proxy_unreachable", "transport", 502, "destination_ip_unroutable", "backoff", 3),
    ("proxy_timeout", "transport", 504, "connection_timeout", "backoff", 4),
    ("proxy_reset", "transport", 502, "connection_terminated", "now", 1),
    ("proxy_tls_failed", "transport", 502, "tls_protocol_error", "fix", 1),
    ("proxy_not_a_proxy", "transport", 502, "http_protocol_error", "fix", 1),
    ("target_unauthorized", "origin", 401, "", "fix", 1),
    ("target_forbidden", "origin", 403, "", "rotate", 1),
    ("target_challenged", "origin", 403, "", "rotate", 1),
    ("target_rate_limited", "origin", 429, "", "backoff", 1),
    ("target_unavailable", "origin", 503, "", "backoff", 1),
    ("target_gateway_error", "origin", 502, "", "now", 1),
    ("target_error", "origin", 500, "", "now", 1),
];

#[test]
fn rows_are_the_specification() {
    assert_eq!(Slug::COUNT, GOLDEN.len());
    for (slug, golden) in Slug::ALL.iter().zip(GOLDEN) {
        let row = slug.row();
        let error = row.error_type.map_or("", |kind| kind.token());
        let real = (row.name, row.layer.name(), row.status, error, row.retry.name(), socks5_reply(*slug));
        assert_eq!(real, *golden);
    }
}

#[test]
fn names_are_unique_snake_case_and_lead_back() {
    let mut seen = HashSet::new();
    for (at, slug) in Slug::ALL.iter().enumerate() {
        let name = slug.name();
        assert!(seen.insert(name), "{name} twice");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(!name.starts_with('_') && !name.ends_with('_') && !name.contains("__"), "{name}");
        let variant: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        assert_eq!(format!("{slug:?}"), variant, "the variant is the name in camel case");
        assert_eq!(Slug::parse(name), Some(*slug));
        assert_eq!((slug.index(), slug.row().slug), (at, *slug));
    }
    assert_eq!(Slug::parse("no_such_slug"), None);
}

#[test]
fn sentences_use_exactly_the_declared_facts() {
    for slug in Slug::ALL {
        let row = slug.row();
        assert_eq!(row.facts.len(), row.examples.len(), "{slug}");
        // Written without the crate's own template code: every `{` opens a name.
        let used: HashSet<&str> = row
            .sentence
            .split('{')
            .skip(1)
            .map(|rest| &rest[..rest.find(['}', '?']).expect("a brace that closes")])
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(used, row.facts.iter().copied().collect::<HashSet<_>>(), "{slug}");
        let sentence = example(*slug).sentence();
        assert_eq!(sentence, row.example());
        for value in row.examples {
            assert!(sentence.contains(value), "{slug}: {sentence} lacks {value}");
        }
        assert!(!sentence.contains(['{', '}']), "{slug}: {sentence}");
        assert!(sentence.len() < 160 && !sentence.ends_with('.'), "{slug}: {sentence}");
    }
}

#[test]
fn every_page_is_written() {
    for slug in Slug::ALL {
        let row = slug.row();
        for (what, text) in [("cause", row.cause), ("fix", row.fix)] {
            assert!(text.len() >= 60 && text.ends_with('.') && text.is_ascii(), "{slug}: {what} is too thin: {text}");
        }
    }
}

#[test]
fn axes_agree_with_each_other() {
    for slug in Slug::ALL {
        let row = slug.row();
        // A gateway carries TLS with the target and takes no part in it.
        let tls = matches!(slug, Slug::TlsHandshakeFailed | Slug::TlsCertificateInvalid);
        let users_end = matches!(row.layer, Layer::Transport | Layer::Origin) || tls;
        assert_eq!(row.seen == Seen::UserEnd, users_end, "{slug}");
        assert_eq!(row.error_type.is_none(), row.layer == Layer::Origin, "{slug}");
        if row.retry == Retry::Backoff {
            assert_eq!(row.lasting, Lasting::Temporary, "{slug}: waiting is advised, so it must be able to pass");
        }
        if row.fixer == Fixer::Nobody {
            assert_eq!(row.lasting, Lasting::Temporary, "{slug}: nobody, for ever");
        }
    }
}

#[test]
fn what_is_not_raised_yet_is_known() {
    let themes =
        |theme| -> Vec<&str> { Slug::ALL.iter().filter(|s| s.row().raised == Raised::NotYet(theme)).map(|s| s.name()).collect() };
    assert_eq!(themes("safety net"), ["internal"]);
    let not_yet = Slug::ALL.iter().filter(|slug| slug.row().raised != Raised::Yes).count();
    assert_eq!(not_yet, 1, "no other theme");
}

#[test]
fn sentences_of_the_specification() {
    let cases = [
        (raise::port_denied(25, "80, 443, 8080, 8443"), "port 25 is not allowed (allowed: 80, 443, 8080, 8443)"),
        (raise::modifier_unknown("contry", "country"), r#"unknown modifier "contry": did you mean "country"?"#),
        (raise::modifier_unknown("xyzzy", ""), r#"unknown modifier "xyzzy""#),
        (
            raise::country_invalid("uk", "gb"),
            r#"'uk' is not a country code (ISO 3166-1 alpha-2, such as us or de): did you mean "gb"?"#,
        ),
        (raise::state_invalid("zz", "us", ""), "'zz' is not a subdivision of us (ISO 3166-2)"),
        (
            raise::city_invalid("berlni", "de", "berlin"),
            r#"no city 'berlni' is offered in de (city-ran takes any): did you mean "berlin"?"#,
        ),
        (
            raise::target_private("10.0.0.5", "private network (RFC 1918)"),
            "10.0.0.5 is not a public address: private network (RFC 1918)",
        ),
        (raise::no_exit(""), "no exit is connected"),
        (raise::no_exit("country us"), "no exit is connected for country us"),
        (raise::bandwidth_exhausted("10 GB", ""), "the plan's 10 GB of bandwidth are used up"),
        (raise::dns_failed("example.com", "SERVFAIL"), "the name example.com could not be resolved: SERVFAIL"),
        (raise::exit_timeout(15).with_attempts(3), "no exit opened the tunnel within 15 s"),
    ];
    for (fault, sentence) in cases {
        assert_eq!(fault.sentence(), sentence);
    }
    assert_eq!(raise::exit_timeout(15).with_attempts(3).told(), "no exit opened the tunnel within 15 s (3 attempts)");
}

#[test]
fn a_fault_is_one_pointer_and_keeps_its_detail_to_itself() {
    assert_eq!(size_of::<Result<(), Fault>>(), size_of::<usize>());
    assert_eq!(size_of::<Slug>(), 1);
    let fault = raise::internal().with_detail("secret-path /srv/x");
    assert_eq!(fault.detail(), Some("secret-path /srv/x"));
    assert!(!format!("{fault} {fault:?}").contains("secret-path"));
    assert_eq!(format!("{fault}"), "internal: internal error of the proxy");
}

#[test]
fn waits_come_from_the_fault_or_its_row() {
    let seconds = |fault: Fault| fault.retry_after().map(|wait| wait.as_secs());
    assert_eq!(seconds(raise::auth_throttled(30)), Some(30));
    assert_eq!(seconds(raise::no_exit("pool residential")), Some(5));
    assert_eq!(seconds(raise::bandwidth_exhausted("1 GB", "tomorrow")), None);
    assert_eq!(
        seconds(raise::bandwidth_exhausted("1 GB", "tomorrow").with_retry_after(Duration::from_secs(86_400))),
        Some(86_400)
    );
    for slug in Slug::ALL.iter().filter(|slug| slug.row().seen == Seen::Gateway) {
        // SPEC: wherever a wait is known: 429, 503, 453 and no_exit always know one.
        if matches!(slug.row().status, 429 | 453 | 503) || *slug == Slug::NoExit {
            assert!(example(*slug).retry_after().is_some(), "{slug}");
        }
    }
}

#[test]
fn retry_limits() {
    let limits: Vec<u8> = Retry::ALL.iter().map(|retry| retry.limit()).collect();
    assert_eq!(limits, [0, 1, 3, 3, 3, 0]);
}

#[test]
fn the_wire_keeps_what_is_declared_and_trusts_nothing() {
    let fault = raise::target_refused("example.com", 8443);
    let (slug, facts) = fault.to_wire();
    let back = Fault::from_wire(slug, &facts).expect("a known slug");
    assert_eq!(back.sentence(), fault.sentence());
    let hostile = [("host".to_owned(), "a\r\nX: y".to_owned()), ("secret".to_owned(), "s".to_owned())];
    let back = Fault::from_wire("dns_timeout", &hostile).expect("a known slug");
    assert_eq!(back.facts().collect::<Vec<_>>(), [("host", "a??X: y")]);
    assert!(Fault::from_wire("made_up", &[]).is_none());
    assert_eq!(Fault::from_wire("port_denied", &[]).expect("a known slug").sentence(), "port  is not allowed (allowed: )");
}
