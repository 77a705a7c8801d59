//! How an attempt ended, as the shell reports it.

use std::time::Duration;

use outgate_faults::{Retry, Slug};

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

/// Who said what went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Provenance {
    /// Nobody: the way to the proxy broke.
    Transport,
    /// The proxy.
    Proxy,
    /// An exit behind it.
    Exit,
    /// The target.
    Origin,
}

/// What a wait or refusal holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// The account at the proxy.
    Account,
    /// This exit, for this domain.
    ExitOnDomain,
    /// The domain, through whichever exit.
    Domain,
    /// The target's host and port.
    Target,
    /// This request alone.
    Request,
}
