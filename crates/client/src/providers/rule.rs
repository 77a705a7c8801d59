//! A rule: what a provider sends, and what that means.

use std::time::Duration;

use outgate_faults::{Retry, Slug};

use crate::classify::{Confidence, Provenance, Scope, Way};
use crate::providers::under;

/// What a rule's knowledge rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Basis {
    /// The provider's own public documentation.
    Documented,
    /// Seen by us, of the program itself.
    Seen,
    /// Public code and reports of third parties.
    Community,
    /// General knowledge that nobody confirmed.
    Unconfirmed,
}

impl Basis {
    /// Every basis, best first.
    pub const ALL: &'static [Basis] = &[Basis::Documented, Basis::Seen, Basis::Community, Basis::Unconfirmed];

    /// The word in the files.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Documented => "documented",
            Basis::Seen => "seen",
            Basis::Community => "community",
            Basis::Unconfirmed => "unconfirmed",
        }
    }

    /// The basis with this name.
    pub fn parse(name: &str) -> Option<Basis> {
        Basis::ALL.iter().copied().find(|basis| basis.name() == name)
    }

    /// How sure a verdict is that rests on it.
    pub fn confidence(self) -> Confidence {
        match self {
            Basis::Documented | Basis::Seen => Confidence::Documented,
            Basis::Community => Confidence::Likely,
            Basis::Unconfirmed => Confidence::Guess,
        }
    }
}

/// What a provider sends, and what that means. Of the conditions each that is given must hold, by any of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) codes: Vec<String>,
    pub(super) texts: Vec<String>,
    pub(super) statuses: Vec<u16>,
    pub(super) at: Vec<String>,
    pub(super) ways: Vec<Way>,
    pub(super) slug: Slug,
    pub(super) others: Vec<Slug>,
    pub(super) retry: Option<Retry>,
    pub(super) scope: Option<Scope>,
    pub(super) provenance: Option<Provenance>,
    pub(super) wait: Option<Duration>,
    pub(super) basis: Basis,
    pub(super) source: Option<String>,
    pub(super) means: String,
}

impl Rule {
    /// The fault.
    pub fn slug(&self) -> Slug {
        self.slug
    }

    /// What else it may stand for, by the provider's own word.
    pub fn others(&self) -> &[Slug] {
        &self.others
    }

    /// How to retry, if not as the fault's row says.
    pub fn retry(&self) -> Option<Retry> {
        self.retry
    }

    /// What it holds, if not what the fault holds.
    pub fn scope(&self) -> Option<Scope> {
        self.scope
    }

    /// Who told it, if not the proxy.
    pub fn provenance(&self) -> Option<Provenance> {
        self.provenance
    }

    /// The wait that the provider asks for in its documentation.
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// What it rests on.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// Where it comes from, if not from the provider's source.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// What the provider says that it means, in few words.
    pub fn means(&self) -> &str {
        &self.means
    }

    /// What it looks at, in one line.
    pub fn sign(&self) -> String {
        let mut signs = Vec::new();
        if !self.statuses.is_empty() {
            signs.push(self.statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "));
        }
        signs.extend((!self.codes.is_empty()).then(|| format!("code {}", self.codes.join(" or "))));
        signs.extend((!self.texts.is_empty()).then(|| format!("text \"{}\"", self.texts.join("\" or \""))));
        signs.extend((!self.at.is_empty()).then(|| format!("at {}", self.at.join(" or "))));
        signs.extend((!self.ways.is_empty()).then(|| self.ways.iter().map(|way| way.name()).collect::<Vec<_>>().join(" or ")));
        signs.join(", ")
    }

    /// Whether another rule looks at the same, so that one of the two would never be asked.
    pub(super) fn looks_like(&self, other: &Rule) -> bool {
        self.codes == other.codes
            && self.texts == other.texts
            && self.statuses == other.statuses
            && self.at == other.at
            && self.ways == other.ways
    }

    fn code(&self, code: &str) -> Code {
        let names = |code: &str| self.codes.iter().any(|known| known == code);
        match code.split_whitespace().next() {
            _ if names(code) => Code::Whole,
            Some(word) if names(word) => Code::Word,
            _ => Code::Other,
        }
    }

    fn fits(&self, sent: &Sent<'_>) -> Option<Weight> {
        let any = |given: bool, holds: bool| !given || holds;
        let code = sent.code.map_or(Code::Other, |code| self.code(&plain_code(code)));
        let text = !self.texts.is_empty() && self.texts.iter().any(|known| sent.text.contains(known.as_str()));
        let status = sent.status.is_some_and(|status| self.statuses.contains(&status));
        let at = self.at.iter().any(|zone| sent.host == ANYWHERE || under(sent.host, zone));
        let way = self.ways.contains(&sent.way);
        let fits = any(!self.codes.is_empty(), code > Code::Other)
            && any(!self.texts.is_empty(), text)
            && any(!self.statuses.is_empty(), status)
            && any(!self.at.is_empty(), at)
            && any(!self.ways.is_empty(), way);
        fits.then_some((code, text, status, at, way))
    }
}

/// How much of what was sent a rule looks at, and what weighs more: a code, a text, a status, where, how.
type Weight = (Code, bool, bool, bool, bool);

/// How much of a code a rule names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Code {
    /// Another one, or none.
    Other,
    /// Its first word: some write a number behind it.
    Word,
    /// All of it.
    Whole,
}

/// A code as rules write it: lower case, with underscores.
pub(super) fn plain_code(code: &str) -> String {
    code.trim().to_ascii_lowercase().replace('-', "_")
}

/// What a provider sent, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its code.
    pub code: Option<&'a str>,
    /// All its words in lower case: fields, reason, body.
    pub text: &'a str,
    /// The status.
    pub status: Option<u16>,
    /// The proxy's host in lower case.
    pub host: &'a str,
    /// How it was asked.
    pub way: Way,
}

/// A rule that fits.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Whether it looked at words or a code of the provider's, not at the status alone.
    pub by_words: bool,
}

/// A host that fits every rule.
const ANYWHERE: &str = "*";

/// What those rules say that fit at some host.
pub(super) fn elsewhere(rules: &[Rule], sent: &Sent<'_>) -> Vec<Slug> {
    let sent = Sent { host: ANYWHERE, ..*sent };
    rules.iter().filter(|rule| !rule.at.is_empty() && rule.fits(&sent).is_some()).map(|rule| rule.slug).collect()
}

/// What those rules say that look for words or a code besides the status: where neither was seen, it may have been one of them.
pub(super) fn unseen(rules: &[Rule], sent: &Sent<'_>) -> Vec<Slug> {
    if sent.code.is_some() || !sent.text.trim().is_empty() {
        return Vec::new();
    }
    let worded = |rule: &&Rule| !rule.texts.is_empty() || !rule.codes.is_empty();
    let here = |rule: &&Rule| rule.at.is_empty() || rule.at.iter().any(|zone| under(sent.host, zone));
    let same = |rule: &&Rule| sent.status.is_some_and(|status| rule.statuses.contains(&status));
    rules.iter().filter(|rule| worded(rule) && here(rule) && same(rule)).map(|rule| rule.slug).collect()
}

/// The rule that fits best; of equals the first.
pub(super) fn best<'a>(rules: &'a [Rule], sent: &Sent<'_>) -> Option<Matched<'a>> {
    let mut best: Option<(Weight, &Rule)> = None;
    for rule in rules {
        if let Some(weight) = rule.fits(sent)
            && best.is_none_or(|(heaviest, _)| weight > heaviest)
        {
            best = Some((weight, rule));
        }
    }
    best.map(|((code, text, ..), rule)| Matched { rule, by_words: code > Code::Other || text })
}
