//! A fault that has happened: its slug, the facts a client may see, and what only the operator may see.

use crate::axes::Wait;
use crate::proxy_status::is_key;
use crate::{Row, Slug, fact, template};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::Duration;

/// The most bytes of a sentence.
const LONGEST_SENTENCE: usize = 300;
/// The most bytes of the operator's detail.
const LONGEST_DETAIL: usize = 2000;
/// The most bytes of a hop's name.
pub(crate) const LONGEST_NAME: usize = 64;

/// One fault. It is a single pointer, so that `Result<T, Fault>` costs nothing on the way of success.
///
/// `Debug` and `Display` show slug and sentence, never the detail.
#[derive(Clone)]
#[must_use = "a fault that nobody tells is a client that nobody answers"]
pub struct Fault(Box<Inner>);

#[derive(Clone)]
struct Inner {
    slug: Slug,
    /// In the order of `Row::facts`, and as many.
    facts: Vec<String>,
    /// The sentence of whoever found it, in place of the row's.
    said: Option<String>,
    retry_after: Option<Duration>,
    detail: Option<String>,
    found_at: Option<String>,
    relayed_by: Option<String>,
    attempts: u16,
    params: Vec<(&'static str, String)>,
    rate_limit: Option<RateLimit>,
}

/// The numbers of the `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The policy's name, mostly the plan's.
    pub policy: String,
    /// Requests allowed per window.
    pub quota: u64,
    /// The window, in seconds.
    pub window: u64,
    /// Requests left.
    pub remaining: u64,
    /// Seconds until there are more.
    pub reset: u64,
}

impl Fault {
    /// Only the constructors in `raise` and `from_wire` call it: the facts are harmless and as many as declared.
    pub(crate) fn raise(slug: Slug, facts: Vec<String>) -> Fault {
        debug_assert_eq!(facts.len(), slug.row().facts.len());
        Fault(Box::new(Inner {
            slug,
            facts,
            said: None,
            retry_after: None,
            detail: None,
            found_at: None,
            relayed_by: None,
            attempts: 1,
            params: Vec::new(),
            rate_limit: None,
        }))
    }

    /// Rebuilds a fault that another hop sent. `None` for a slug this version does not know. Facts that the row does not
    /// declare are dropped, missing ones are empty, and all are made harmless again: the other hop is not trusted.
    pub fn from_wire(slug: &str, facts: &[(String, String)]) -> Option<Fault> {
        let slug = Slug::parse(slug)?;
        let value = |name: &&str| facts.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value);
        Some(Fault::raise(slug, slug.row().facts.iter().map(|name| fact::render(value(name))).collect()))
    }

    /// What to send to another hop: [`Fault::from_wire`] takes it back. The detail is not part of it.
    pub fn to_wire(&self) -> (&'static str, Vec<(String, String)>) {
        (self.slug().name(), self.facts().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// What happened.
    pub fn slug(&self) -> Slug {
        self.0.slug
    }

    /// Everything that is known about it in advance.
    pub fn row(&self) -> &'static Row {
        self.0.slug.row()
    }

    /// The client's sentence: one line of printable ASCII.
    pub fn sentence(&self) -> String {
        match &self.0.said {
            Some(said) => said.clone(),
            None => self.fill(self.row().sentence),
        }
    }

    /// A fault that another hop told in words of its own: those stand in place of the row's sentence, made harmless. Its facts
    /// are not known and empty.
    pub fn told_by_another(slug: Slug, said: impl Display) -> Fault {
        let mut fault = Fault::raise(slug, vec![String::new(); slug.row().facts.len()]);
        fault.0.said = Some(fact::bounded(said, LONGEST_SENTENCE));
        fault
    }

    /// The sentence, and how many attempts it took if there were several.
    pub fn told(&self) -> String {
        match self.0.attempts {
            0 | 1 => self.sentence(),
            attempts => format!("{} ({attempts} attempts)", self.sentence()),
        }
    }

    /// A template with this fault's facts.
    pub(crate) fn fill(&self, template: &str) -> String {
        fact_line(template::render(template, |name| self.fact(name).unwrap_or("")))
    }

    /// The declared facts and their values.
    pub fn facts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.row().facts.iter().copied().zip(self.0.facts.iter().map(String::as_str))
    }

    /// The value of one declared fact.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.row().position(name).map(|at| self.0.facts[at].as_str())
    }

    /// How long to wait before a retry: what was set, else what the row knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after.or_else(|| match self.row().wait {
            Wait::Unknown => None,
            Wait::Seconds(seconds) => Some(Duration::from_secs(seconds.into())),
            Wait::Fact(name) => self.fact(name)?.parse().ok().map(Duration::from_secs),
        })
    }

    /// Names the wait.
    pub fn with_retry_after(mut self, wait: Duration) -> Fault {
        self.0.retry_after = Some(wait);
        self
    }

    /// What only the operator's log may show.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Adds what only the operator's log may show, for instance the chain of errors underneath. Never a secret.
    pub fn with_detail(mut self, detail: impl Display) -> Fault {
        let mut text = detail.to_string();
        cut(&mut text, LONGEST_DETAIL);
        self.0.detail = Some(text);
        self
    }

    /// The exit that found the fault; none if this hop did.
    pub fn found_at(&self) -> Option<&str> {
        self.0.found_at.as_deref()
    }

    /// Names the exit that found the fault: it stands in front of this hop in `Proxy-Status`.
    pub fn with_found_at(mut self, exit: impl Display) -> Fault {
        self.0.found_at = Some(fact::bounded(exit, LONGEST_NAME));
        self
    }

    /// The gateway between this hop and the exit, if there is one.
    pub fn relayed_by(&self) -> Option<&str> {
        self.0.relayed_by.as_deref()
    }

    /// Names the gateway between this hop and the exit that found the fault: in `Proxy-Status` it stands between the two.
    pub fn with_relayed_by(mut self, gateway: impl Display) -> Fault {
        self.0.relayed_by = Some(fact::bounded(gateway, LONGEST_NAME));
        self
    }

    /// How many attempts were made before this fault was told; 1 unless set.
    pub fn attempts(&self) -> u16 {
        self.0.attempts
    }

    /// Says how many attempts were made: with more than one the client is told.
    pub fn with_attempts(mut self, attempts: u16) -> Fault {
        self.0.attempts = attempts;
        self
    }

    /// The extra RFC 9209 parameters, the row's own first.
    pub fn params(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let declared = self.row().params.iter().map(|(key, value)| (*key, Cow::Owned(self.fill(value))));
        declared.chain(self.0.params.iter().map(|(key, value)| (*key, Cow::Borrowed(value.as_str()))))
    }

    /// Adds an extra RFC 9209 parameter with a string value. A key that is none in structured fields is dropped.
    pub fn with_param(mut self, key: &'static str, value: impl Display) -> Fault {
        if is_key(key) {
            self.0.params.retain(|(known, _)| *known != key);
            self.0.params.push((key, fact::render(value)));
        }
        self
    }

    /// The numbers for the `RateLimit` fields.
    pub fn rate_limit(&self) -> Option<&RateLimit> {
        self.0.rate_limit.as_ref()
    }

    /// Adds the numbers for the `RateLimit` fields, which a 429 then carries.
    pub fn with_rate_limit(mut self, limit: RateLimit) -> Fault {
        self.0.rate_limit = Some(limit);
        self
    }
}

/// Facts are harmless one by one; this bounds the whole line.
fn fact_line(mut line: String) -> String {
    if line.len() > LONGEST_SENTENCE {
        cut(&mut line, LONGEST_SENTENCE - 3);
        line.push_str("...");
    }
    line
}

/// Keeps at most `longest` bytes, whole characters only.
fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.slug(), self.told())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

impl std::error::Error for Fault {}
