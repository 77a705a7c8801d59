//! Why there is no answer: the fault, who told it, what was tried, and what the proxy really said.

use std::fmt;

use outgate_faults::Slug;

use super::exchange::breakage_of;
use crate::classify::{Breakage, Phase, Provenance, Verdict};
use crate::connect::ConnectReply;
use crate::engine::{Attempt, GiveUp, Moment, Refusal};

/// A request that got no answer of the target's.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    why: Why,
    sentence: String,
    verdict: Option<Verdict>,
    reply: Option<ConnectReply>,
    attempts: Vec<Attempt>,
}

/// What kind of end it was.
#[derive(Clone, Debug)]
pub enum Why {
    /// The last attempt failed, and no further one is made.
    Failed(GiveUp),
    /// No attempt was made: see [`Refusal::why`].
    Refused(Refusal),
    /// The answer's body broke off after its head was handed over.
    BrokeOff(Breakage),
    /// The answer's body is longer than the caller wants; carries the limit in bytes.
    TooLong(usize),
    /// The request itself can't be sent: no host in its URL, another scheme than http and https.
    BadRequest,
}

impl Error {
    pub(super) fn failed(why: GiveUp, verdict: Verdict, reply: Option<ConnectReply>, attempts: Vec<Attempt>) -> Error {
        let sentence = verdict.sentence();
        Error::new(Why::Failed(why), sentence, Some(verdict), reply, attempts)
    }

    pub(super) fn refused(refusal: Refusal, last: Option<(Verdict, Option<ConnectReply>)>, attempts: Vec<Attempt>) -> Error {
        let sentence = refusal.cause.clone();
        let (verdict, reply) = last.map_or((None, None), |(verdict, reply)| (Some(verdict), reply));
        Error::new(Why::Refused(refusal), sentence, verdict, reply, attempts)
    }

    pub(super) fn in_body(error: &hyper::Error, attempts: Vec<Attempt>) -> Error {
        let breakage = Breakage { phase: Phase::Body, ..breakage_of(error) };
        let sentence = "the answer broke off before its end".to_owned();
        Error::new(Why::BrokeOff(breakage), sentence, None, None, attempts)
    }

    pub(super) fn too_long(most: usize, attempts: Vec<Attempt>) -> Error {
        Error::new(Why::TooLong(most), format!("the answer is longer than {most} bytes"), None, None, attempts)
    }

    pub(super) fn bad_request(sentence: &str) -> Error {
        Error::new(Why::BadRequest, sentence.to_owned(), None, None, Vec::new())
    }

    fn new(why: Why, sentence: String, verdict: Option<Verdict>, reply: Option<ConnectReply>, attempts: Vec<Attempt>) -> Error {
        Error(Box::new(Inner { why, sentence, verdict, reply, attempts }))
    }

    /// What kind of end it was.
    pub fn why(&self) -> &Why {
        &self.0.why
    }

    /// The fault of the catalogue: `outgate explain SLUG` has its page.
    pub fn slug(&self) -> Option<Slug> {
        match &self.0.why {
            Why::Refused(refusal) => refusal.slug,
            _ => self.0.verdict.as_ref().and_then(|verdict| verdict.slug),
        }
    }

    /// Who told it, if an attempt was made.
    pub fn provenance(&self) -> Option<Provenance> {
        self.0.verdict.as_ref().map(|verdict| verdict.provenance)
    }

    /// All that was made of the last attempt.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.0.verdict.as_ref()
    }

    /// What the proxy answered, with the header fields and the body that other clients hide.
    pub fn reply(&self) -> Option<&ConnectReply> {
        self.0.reply.as_ref()
    }

    /// Every attempt.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// When asking again makes sense, on the client's clock, if that is known.
    pub fn until(&self) -> Option<Moment> {
        match &self.0.why {
            Why::Refused(refusal) => refusal.until,
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slug() {
            Some(slug) => write!(f, "{} ({slug}", self.0.sentence)?,
            None => return f.write_str(&self.0.sentence),
        }
        match self.0.attempts.len() {
            0 => f.write_str(", not asked again)"),
            1 => f.write_str(", 1 attempt)"),
            many => write!(f, ", {many} attempts)"),
        }
    }
}

impl std::error::Error for Error {}
