//! Whole examinations against scripted proxies: what no proxy of Debian's can be made to do.

mod faults;
mod network;

use std::sync::Arc;
use std::time::Duration;

use outgate_doctor::checks::Check;
use outgate_doctor::{Case, Finding, OWN_NAMES, Progress, Report, Site, examine, roots};

/// Nobody watches.
struct Silent;

impl Progress for Silent {
    fn begins(&mut self, _: Check) {}
    fn found(&mut self, _: &Finding) {}
    fn sampled(&mut self, _: u32, _: u32) {}
}

/// A case whose targets are on this machine.
fn case(proxy: &str, neutral: &str) -> Case {
    Case {
        proxy: proxy.to_owned(),
        target: None,
        neutral: site(neutral),
        samples: 0,
        interval: Duration::ZERO,
        limit: Duration::from_secs(5),
        roots: Arc::new(rustls::RootCertStore::empty()),
        other_ports: Vec::new(),
        now: jiff::Timestamp::now,
    }
}

fn site(url: &str) -> Site {
    Site::read(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// The name of the verdict, if there is one, and everything else.
async fn verdict(case: &Case) -> (Option<&'static str>, Report) {
    let report = examine(case, &mut Silent).await;
    (report.verdict.diagnosis.as_ref().map(|diagnosis| diagnosis.name), report)
}

#[test]
fn roots_are_read_or_refused() {
    assert!(roots(Some(b"no certificate")).is_err());
    assert!(roots(None).is_ok());
}

#[test]
fn every_name_is_documented_and_no_slug() {
    let docs = include_str!("../../../../docs/doctor.md");
    assert!(OWN_NAMES.len() >= 20, "{OWN_NAMES:?}");
    for name in OWN_NAMES {
        assert!(docs.contains(&format!("| `{name}` |")), "{name} is not in docs/doctor.md");
        assert!(outgate_faults::Slug::parse(name).is_none(), "{name} is a slug, too");
    }
}
