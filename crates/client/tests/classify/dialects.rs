//! Every fault that a gateway tells, in every dialect, as much of it as clients of each kind show.
//!
//! Which faults a view can't tell apart is computed from what is sent, not from the classifier: two faults are in one class if
//! the view shows the same of both. The classifier must name one of the class, with all of the class among its `fits`, and
//! where a class has one fault, that one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use outgate_client::classify::{Confidence, Evidence, Fields, Provenance, SocksSaid, Verdict, Way, classify};
use outgate_client::providers::Providers;
use outgate_faults::{Answer, Dialect, Fault, Seen, Slug, Teller, socks5_reply};

/// What a client shows of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All of it.
    All,
    /// Status and reason phrase, as most command lines print.
    Reason,
    /// Status and body.
    Body,
    /// The status alone, as most libraries have it.
    Status,
}

const VIEWS: [View; 4] = [View::All, View::Reason, View::Body, View::Status];

/// The faults that a gateway tells.
fn told() -> Vec<Slug> {
    let slugs: Vec<Slug> = Slug::ALL.iter().copied().filter(|slug| slug.row().seen == Seen::Gateway).collect();
    assert!(slugs.len() > 55, "{}", slugs.len());
    slugs
}

fn example(slug: Slug) -> Fault {
    let row = slug.row();
    let facts: Vec<_> =
        row.facts.iter().zip(row.examples).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fault::from_wire(slug.name(), &facts).expect("a known slug")
}

fn answer(slug: Slug, dialect: &Dialect, exit: Option<&str>) -> Answer {
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    let teller = Teller { hop: "gw-1", request_id: "r-1", realm: "outgate", date, docs_url: None };
    let fault = example(slug);
    let fault = exit.map(|exit| fault.clone().with_found_at(exit)).unwrap_or(fault);
    fault.answer(dialect, &teller)
}

/// The verdict on an answer, as far as the view shows it; the listener's dialect is known.
fn verdict(answer: &Answer, dialect: &str, view: View, way: Way) -> Verdict {
    let headers: Vec<_> = answer.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let providers = Providers::builtin();
    let mut evidence = Evidence::of(way, "192.0.2.1:8080", "a.example:443");
    evidence.status = Some(answer.status);
    evidence.provider = providers.named(dialect);
    assert!(evidence.provider.is_some(), "{dialect}");
    if matches!(view, View::All | View::Reason) {
        evidence.reason = Some(&answer.reason);
    }
    if view == View::All {
        evidence.headers = Fields::List(&headers);
    }
    if matches!(view, View::All | View::Body) {
        evidence.body = Some(answer.body.as_bytes());
    }
    classify(&evidence, providers)
}

/// What the view shows of a fault, with facts taken out: two of the same can't be told apart.
fn shown(slug: Slug, dialect: &Dialect, view: View) -> String {
    let status = dialect.status(slug);
    match view {
        View::All => slug.name().to_owned(),
        View::Reason => format!("{status} {}", dialect.reason(slug)),
        View::Body => match dialect.fixed_body(slug) {
            Some(body) => format!("{status} {body}"),
            None => format!("{status} {}", slug.row().sentence),
        },
        View::Status => status.to_string(),
    }
}

/// The classes of a view, by what it shows.
fn classes(dialect: &Dialect, view: View) -> BTreeMap<String, Vec<Slug>> {
    let mut classes: BTreeMap<String, Vec<Slug>> = BTreeMap::new();
    for slug in told() {
        classes.entry(shown(slug, dialect, view)).or_default().push(slug);
    }
    classes
}

#[test]
fn every_fault_in_every_dialect_and_view() {
    for name in Dialect::BUILTIN {
        let dialect = Dialect::builtin(name).expect("a built-in one");
        for view in VIEWS {
            for (sign, class) in classes(&dialect, view) {
                for slug in &class {
                    let verdict = verdict(&answer(*slug, &dialect, None), name, view, Way::Connect);
                    let named = verdict.slug.unwrap_or_else(|| panic!("{name} {view:?} {sign}: nothing wrong?"));
                    assert!(class.contains(&named), "{name} {view:?}: {slug} is named {named} ({})", verdict.why);
                    for other in &class {
                        assert!(verdict.fits.contains(other), "{name} {view:?} {sign}: {other} is not in {:?}", verdict.fits);
                    }
                    assert_eq!(verdict.provenance, Provenance::Proxy, "{name} {view:?} {slug}");
                    if view == View::All {
                        assert_eq!((named, verdict.confidence, verdict.fits.len()), (*slug, Confidence::Certain, 1));
                    }
                    if class.len() == 1 {
                        assert_eq!(named, *slug, "{name} {view:?}");
                    }
                }
            }
        }
    }
}

/// A forwarded request has the same answers, and the exit that found a fault is named.
#[test]
fn forwarded_and_found_by_an_exit() {
    for name in Dialect::BUILTIN {
        let dialect = Dialect::builtin(name).expect("a built-in one");
        for slug in told() {
            let by_exit = verdict(&answer(slug, &dialect, Some("exit-7")), name, View::All, Way::Forwarded);
            assert_eq!((by_exit.slug, by_exit.provenance), (Some(slug), Provenance::Exit), "{name}");
            assert_eq!(by_exit.exit.as_deref(), Some("exit-7"));
            assert_eq!(by_exit.request_id.as_deref(), Some("r-1"));
            let tunnelled = verdict(&answer(slug, &dialect, None), name, View::All, Way::Tunnelled);
            assert!(matches!(tunnelled.provenance, Provenance::Origin), "a target that forges {slug} through a tunnel");
        }
    }
}

/// SOCKS5 has one byte.
#[test]
fn every_fault_by_its_socks_reply() {
    for slug in told() {
        let mut evidence = Evidence::of(Way::Socks, "192.0.2.1:1080", "a.example:443");
        evidence.socks = Some(SocksSaid::Reply(socks5_reply(slug)));
        let verdict = classify(&evidence, Providers::builtin());
        assert!(verdict.fits.contains(&slug), "{slug}: {:?}", verdict.fits);
    }
}

/// The classes with more than one fault, for the documentation.
pub(crate) fn table() -> String {
    let mut text = String::from("| dialect | shown | faults told apart | classes of several |\n|---|---|---:|---|\n");
    for name in Dialect::BUILTIN {
        let dialect = Dialect::builtin(name).expect("a built-in one");
        for view in VIEWS {
            let classes = classes(&dialect, view);
            let single = classes.values().filter(|class| class.len() == 1).count();
            let several: Vec<String> = classes
                .iter()
                .filter(|(_, class)| class.len() > 1)
                .map(|(sign, class)| {
                    let sign = sign.split(' ').next().unwrap_or_default();
                    format!("{sign}: {}", class.iter().map(|slug| slug.name()).collect::<Vec<_>>().join(", "))
                })
                .collect();
            let shown = match view {
                View::All => "everything",
                View::Reason => "status, reason",
                View::Body => "status, body",
                View::Status => "status",
            };
            let several = if several.is_empty() { "none".to_owned() } else { several.join("; ") };
            let _ = writeln!(text, "| {name} | {shown} | {single} of {} | {several} |", told().len());
        }
    }
    let mut bytes: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for slug in told() {
        bytes.entry(socks5_reply(slug)).or_default().push(slug.name());
    }
    let several: Vec<String> = bytes.iter().map(|(byte, names)| format!("{byte:02x}: {}", names.join(", "))).collect();
    let single = bytes.values().filter(|names| names.len() == 1).count();
    let _ = writeln!(text, "| any | SOCKS5 reply | {single} of {} | {} |", told().len(), several.join("; "));
    text
}
