//! One row of the catalogue, and the way from a slug to it.

use crate::axes::{Fixer, Lasting, Layer, Raised, Retry, Seen, SocksReply, Wait};
use crate::template;
use crate::{ErrorType, Slug};
use std::fmt;

/// Everything that is known about a slug in advance.
#[derive(Debug)]
pub struct Row {
    /// The slug that this row describes.
    pub slug: Slug,
    /// Its stable snake_case name: header value, log field, metric label, anchor of its page.
    pub name: &'static str,
    /// The part of the way that owns it.
    pub layer: Layer,
    /// The HTTP status in the default dialect; for the origin layer the status that the target itself typically sent.
    pub status: u16,
    /// The RFC 9209 error type; none for the target's own answers, which are no error of any hop.
    pub error_type: Option<ErrorType>,
    /// Whether and how to try again.
    pub retry: Retry,
    /// Whether waiting alone can end it.
    pub lasting: Lasting,
    /// Who can end it.
    pub fixer: Fixer,
    /// The SOCKS5 reply.
    pub socks: SocksReply,
    /// The wait to name when the fault brings none.
    pub wait: Wait,
    /// Which end can see it.
    pub seen: Seen,
    /// Whether code raises it already.
    pub raised: Raised,
    /// The client's sentence: `{fact}`, or `{fact?text with {} in it}` for text that appears only with a non-empty fact.
    pub sentence: &'static str,
    /// The facts that the sentence may show, in the order of the constructor's arguments.
    pub facts: &'static [&'static str],
    /// A plausible value for each fact, for documentation.
    pub examples: &'static [&'static str],
    /// Extra RFC 9209 parameters: key and template of a string value.
    pub params: &'static [(&'static str, &'static str)],
    /// Why it happens.
    pub cause: &'static str,
    /// What ends it.
    pub fix: &'static str,
}

impl Row {
    /// The sentence with its example facts.
    pub fn example(&self) -> String {
        template::render(self.sentence, |fact| self.position(fact).map_or("", |at| self.examples[at]))
    }

    /// Where `fact` stands among the declared ones.
    pub(crate) fn position(&self, fact: &str) -> Option<usize> {
        self.facts.iter().position(|declared| *declared == fact)
    }
}

impl Slug {
    /// How many slugs there are, for tables indexed by [`Slug::index`].
    pub const COUNT: usize = Slug::ALL.len();

    /// The stable name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The slug with this exact name.
    pub fn parse(name: &str) -> Option<Slug> {
        Slug::ALL.iter().copied().find(|slug| slug.name() == name)
    }

    /// Its place in [`Slug::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
