//! Which records are wanted.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use outgate_faults::Layer;

use crate::read::Glance;
use crate::record::Record;

/// Which records are wanted. Every condition that is set must hold; the empty filter wants all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Requests that began then or later.
    pub since: Option<Timestamp>,
    /// Requests that began before.
    pub until: Option<Timestamp>,
    /// One of these outcomes: slugs or `ok`. Empty: any.
    pub outcomes: Vec<String>,
    /// Only what did not end well.
    pub failed: bool,
    /// The layer of what went wrong.
    pub layer: Option<Layer>,
    /// The status that the client got.
    pub status: Option<StatusRange>,
    /// The key's id.
    pub key: Option<String>,
    /// The target: a host with any port, `host:port`, or `*.example.com` for all hosts below.
    pub target: Option<String>,
    /// The exit's id.
    pub exit: Option<String>,
    /// The exit's country.
    pub country: Option<String>,
    /// The pool.
    pub pool: Option<String>,
    /// The session's name.
    pub session: Option<String>,
    /// The client's address.
    pub client: Option<String>,
    /// What took at least so many milliseconds in all.
    pub slower_than_ms: Option<f64>,
}

/// Statuses: `502`, `5xx` or `500-504`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl Filter {
    /// Whether a record is wanted.
    pub fn wants(&self, record: &Record) -> bool {
        self.wants_glance(&Glance::of(record))
    }

    pub(crate) fn wants_glance(&self, glance: &Glance<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        let outcome = glance.outcome.as_ref();
        (self.outcomes.is_empty() || self.outcomes.iter().any(|wanted| wanted == outcome))
            && !(self.failed && outcome == "ok")
            && self.layer.is_none_or(|layer| glance.layer.as_deref() == Some(layer.name()))
            && self.status.is_none_or(|range| glance.status.is_some_and(|status| range.contains(status)))
            && is(&self.key, glance.key.as_deref())
            && is(&self.exit, glance.exit.as_deref())
            && is(&self.country, glance.country.as_deref())
            && is(&self.pool, glance.pool.as_deref())
            && is(&self.session, glance.session.as_deref())
            && is(&self.client, Some(glance.client.as_ref()))
            && self.target.as_deref().is_none_or(|wanted| leads_to(glance.target.as_ref(), wanted))
            && self.slower_than_ms.is_none_or(|least| glance.ms.total >= least)
            && self.holds_at(glance)
    }

    fn holds_at(&self, glance: &Glance<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = glance.time.parse::<Timestamp>() else { return false };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// Whether a target is what was asked for.
fn leads_to(target: &str, wanted: &str) -> bool {
    let host = host_of(target);
    match wanted.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')),
        None => host == wanted || target == wanted,
    }
}

/// A target without its port.
pub(crate) fn host_of(target: &str) -> &str {
    target.rsplit_once(':').map_or(target, |(host, _)| host)
}

impl StatusRange {
    /// Whether a status is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WHAT: &str = "a status such as 502, a class such as 5xx or a range such as 500-504";
        let one = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status)).ok_or(WHAT);
        if let Some(class) = text.strip_suffix("xx") {
            let from = one(&format!("{class}00"))?;
            return Ok(Self { from, to: from + 99 });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let range = Self { from: one(from)?, to: one(to)? };
        if range.from <= range.to { Ok(range) } else { Err(WHAT) }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        if from == to { write!(f, "{from}") } else { write!(f, "{from}-{to}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_written_three_ways() {
        let range = |from, to| Ok(StatusRange { from, to });
        for (text, expected) in [("502", range(502, 502)), ("5xx", range(500, 599)), ("500-504", range(500, 504))] {
            assert_eq!(text.parse::<StatusRange>(), expected, "{text}");
        }
        for text in ["", "5", "6xx", "xx", "0xx", "504-500", "5xx-6xx", "99", "600", "five"] {
            assert!(text.parse::<StatusRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_a_host_with_any_port_one_with_a_port_or_all_below() {
        for (target, wanted, expected) in [
            ("example.com:443", "example.com", true),
            ("example.com:443", "example.com:443", true),
            ("example.com:443", "example.com:80", false),
            ("www.example.com:443", "example.com", false),
            ("www.example.com:443", "*.example.com", true),
            ("a.b.example.com:443", "*.example.com", true),
            ("example.com:443", "*.example.com", false),
            ("badexample.com:443", "*.example.com", false),
            ("[2001:db8::1]:443", "[2001:db8::1]", true),
        ] {
            assert_eq!(leads_to(target, wanted), expected, "{target} {wanted}");
        }
    }
}
