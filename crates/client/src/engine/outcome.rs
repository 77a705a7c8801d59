//! How an attempt ended, as the shell reports it.

use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Retry, Slug};

use crate::classify::{Provenance, Scope, Verdict, Wait};

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong; none if nothing did.
    pub finding: Option<Finding>,
    /// How much of the request had left for the target.
    pub sent: Sent,
    /// The status of the answer, the proxy's or the target's; none if there was none.
    pub status: Option<u16>,
    /// The answer's header fields, for the log of attempts; [`super::attempt::headers`] makes them fit for it.
    pub headers: Vec<(String, String)>,
    /// The exit that the proxy named, if it did.
    pub exit: Option<String>,
}

/// What an attempt ran into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The fault.
    pub slug: Slug,
    /// Its class: the row's, or what a provider's own rule says.
    pub retry: Retry,
    /// Who said so.
    pub provenance: Provenance,
    /// What it holds.
    pub scope: Scope,
    /// The wait that the answer named, from now on.
    pub wait: Option<Duration>,
    /// The sentence for people, repeated when the same is refused from memory.
    pub why: String,
}

/// How much of a request had left for the target when its attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Nothing: there was no way to the target yet.
    Nothing,
    /// Something, to a proxy that was to forward it or into a tunnel to the target.
    Something,
}

impl Finding {
    /// What a verdict says, for an answer that came at `wall`. A wait that is a date is counted from the answer's own `Date`, if
    /// it has one: the clock that wrote both, and not the one here, knows how far they are apart. None if nothing went wrong.
    pub fn of(verdict: &Verdict, wall: Timestamp, date: Option<Timestamp>) -> Option<Finding> {
        let wait = verdict.wait.map(|wait| match wait {
            Wait::Until(_) => wait.after(date.unwrap_or(wall)),
            Wait::For(_) => wait.after(wall),
        });
        Some(Finding {
            slug: verdict.slug?,
            retry: verdict.retry,
            provenance: verdict.provenance,
            scope: verdict.scope,
            wait,
            why: verdict.sentence(),
        })
    }
}
