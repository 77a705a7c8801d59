//! What the engine says: go, wait, or no; and after an attempt: done, again, or enough.

use std::time::Duration;

use outgate_faults::Slug;

use super::now::Moment;
use super::proxy::ProxyId;

/// Whether an attempt may be made now.
#[derive(Debug)]
pub enum Admission {
    /// Make this attempt, then report how it ended.
    Go(Choice),
    /// Not yet: ask again then.
    Wait(Waiting),
    /// No attempt is made; the caller is answered here, with the cause that was seen before.
    Refused(Refusal),
}

/// Why no attempt is made now.
#[derive(Debug)]
pub(super) enum Blocked {
    /// As [`Admission::Wait`].
    Wait(Waiting),
    /// As [`Admission::Refused`].
    Refused(Refusal),
}

impl From<Blocked> for Admission {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Wait(waiting) => Admission::Wait(waiting),
            Blocked::Refused(refusal) => Admission::Refused(refusal),
        }
    }
}

/// One attempt to make.
#[derive(Debug)]
pub struct Choice {
    /// Through which proxy.
    pub proxy: ProxyId,
    /// The session to ask it for: the request's own, or one that the engine made up (`[a-z0-9]{8}`).
    pub session: Option<String>,
    /// Whether a connection from before may be used.
    pub connection: Connection,
    /// The number of this attempt, from 1.
    pub number: u32,
    /// When the shell gives this attempt up.
    pub deadline: Moment,
    /// When a second attempt beside this one may be asked for ([`super::Engine::hedge`]); none unless the rules say so.
    pub hedge_at: Option<Moment>,
    /// To be handed back with the report. One that is dropped counts as an attempt that never ended.
    pub ticket: Ticket,
}

/// Which connection an attempt takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection {
    /// An open one of the same proxy, session and target will do.
    Any,
    /// A new one, all the way: the last broke, or carries an exit that is not wanted again.
    Fresh,
}

/// The proof that an attempt was allowed; what the engine must know to take its report.
#[derive(Debug)]
pub struct Ticket {
    pub(super) serial: u64,
    pub(super) proxy: ProxyId,
    pub(super) session: Option<String>,
    pub(super) began: Moment,
    pub(super) waited: Duration,
}

impl Ticket {
    /// The session that the attempt asked for.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }
}

/// Why an attempt is not made yet, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// When to ask again. Waiters of one limit get different moments, in the order in which they came.
    pub until: Moment,
    /// What is being waited for.
    pub limited: Limited,
}

/// What a wait or refusal holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limited {
    /// The fault that was seen; none for a request's own backoff.
    pub slug: Option<Slug>,
    /// Whose limit it is, in words for people: `account http://gw:8080`, `domain example.com`.
    pub whose: String,
}

/// A refusal without an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What stands in the way.
    pub why: NoAttempt,
    /// The fault that was seen when it was last asked for real; none if none was.
    pub slug: Option<Slug>,
    /// What was said then, or what is to be said now.
    pub cause: String,
    /// When a real attempt is made again; none if only a change of configuration helps.
    pub until: Option<Moment>,
}

/// Why no attempt is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAttempt {
    /// The same was refused a moment ago, and the answer would be the same.
    Remembered,
    /// The target's circuit is open.
    CircuitOpen,
    /// What has to be waited for ends after the request's deadline.
    TooLong,
    /// The request's deadline has passed.
    Deadline,
    /// No proxy is configured that may carry it.
    NoProxy,
}

/// What follows an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This is the answer, good or not the engine's to repeat.
    Done,
    /// Try again: ask for admission at this moment.
    Retry {
        /// When; it may be at once.
        at: Moment,
        /// What shall be different.
        fresh: Fresh,
    },
    /// Another attempt of this request is still on its way: wait for that.
    Pending,
    /// It failed, and no further attempt is made.
    GiveUp(GiveUp),
}

/// What a further attempt changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fresh {
    /// A new connection.
    Connection,
    /// Another exit or session, or else another proxy.
    Exit,
    /// Another proxy with another account.
    Proxy,
}

/// Why no further attempt is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GiveUp {
    /// The fault's class allows no retry.
    Class,
    /// As many as the class allows were made.
    Limit,
    /// Part of the request may have reached the target, and it is not safe to repeat.
    NotRepeatable,
    /// Only another exit could help, and there is none.
    NoOtherExit,
    /// The next attempt could not begin before the deadline.
    Deadline,
    /// All requests together have retried as much as the budget allows.
    Budget,
    /// The target's circuit opened.
    CircuitOpen,
}
