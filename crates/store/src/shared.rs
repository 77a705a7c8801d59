//! What gateways that serve the same keys share while they run: the contract of whoever keeps it for them.
//!
//! Nothing here has to last: what is lost is begun again from what the gateways know and from the ledger. One call is one
//! round trip, whatever it asks for.
//!
//! Two rules make unclear answers harmless. Threads and bytes are *levels*: a member says what it uses and up to where it
//! would like to go, and is told up to where it may, so that an ask may be repeated, and one whose answer was lost is
//! corrected by the next. Tokens of a rate are taken: those of a lost answer are nobody's. Either way too little is
//! used, never too much.

pub mod conformance;
pub mod memory;
pub mod unreliable;

use std::time::Duration;

use crate::contract::StoreFuture;
use crate::id::{ExitId, KeyId};

/// What a group of gateways shares. Object-safe; share it as `Arc<dyn Shared>`.
///
/// [`StoreError::Refused`](crate::StoreError::Refused) says that nothing happened;
/// [`StoreError::Unclear`](crate::StoreError::Unclear), and a future that was dropped, that any part of it may have.
pub trait Shared: Send + Sync {
    /// Asks for all of this at once. Every list of the answers is as long and in the order of its asks.
    fn ask(&self, asks: Asks) -> StoreFuture<'_, Answers>;
}

/// What one gateway asks for at a time.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Asks {
    /// The gateway from its start to its end; when it is started again it is another member.
    pub member: String,
    /// Grows with every call of the member, so that one that was overtaken changes no level.
    pub turn: u64,
    /// Says that the member is there.
    pub presence: Option<Presence>,
    /// Tokens of keys' rates.
    pub rates: Vec<RateAsk>,
    /// Levels of keys' threads.
    pub threads: Vec<ThreadsAsk>,
    /// Levels of keys' bytes.
    pub bytes: Vec<BytesAsk>,
    /// Sessions and their exits.
    pub sessions: Vec<SessionAsk>,
}

/// The answers to [`Asks`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Answers {
    /// Who is there, when the asker said that it is.
    pub company: Option<Company>,
    /// Tokens.
    pub rates: Vec<RateGrant>,
    /// Levels of threads.
    pub threads: Vec<u32>,
    /// Levels of bytes.
    pub bytes: Vec<BytesGrant>,
    /// Where the sessions are.
    pub sessions: Vec<SessionAnswer>,
}

/// Says that a member is there, or goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It is there, and gone when it has not said so again for so long.
    Here {
        /// Who it is to others.
        peer: Peer,
        /// Until when it counts as there.
        lasts: Duration,
        /// Exits that dialled in since it said so last.
        arrived: Vec<ExitId>,
        /// Exits that left.
        left: Vec<ExitId>,
        /// Whose holders it would like to know.
        seeks: Vec<ExitId>,
        /// Up to which [`Company::news`] it has heard of changed sessions.
        heard: u64,
    },
    /// It goes: its threads are free, its exits nobody's.
    Leaving,
}

/// A gateway to the others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where other gateways reach it; none when they can't.
    pub door: Option<String>,
}

/// Who is there.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Company {
    /// How long ago what is shared was begun. Young, it may not have heard yet from everybody what they use.
    pub age: Duration,
    /// The members, the asker included, by name.
    pub peers: Vec<Peer>,
    /// How many exits it is known to hold; not as many as it has: it should tell of all again.
    pub exits: u64,
    /// The names of the gateways that hold each of the exits that were sought.
    pub holders: Vec<Vec<String>>,
    /// Sessions that were moved or ended, by whomever, after `heard`: the newest [`CHANGES_KEPT`] at most.
    pub changed: Vec<SessionName>,
    /// The number of the newest of them.
    pub news: u64,
}

/// Asks for tokens of a key's rate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateAsk {
    /// Whose.
    pub key: KeyId,
    /// Tokens a second; not 0.
    pub rate: u32,
    /// Tokens at once; not 0.
    pub burst: u32,
    /// As many as there are, up to so many.
    pub want: u32,
}

/// Tokens that are the asker's now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateGrant {
    /// How many.
    pub granted: u32,
    /// How many more there are.
    pub remaining: u32,
    /// How long until there is one; zero while there are.
    pub wait: Duration,
}

/// Asks for threads of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadsAsk {
    /// Whose.
    pub key: KeyId,
    /// Most of all members together.
    pub limit: u32,
    /// Open at the asker: these count, whatever the limit.
    pub used: u32,
    /// Up to where it would like to go; below what it had gives back. Not below `used`.
    pub want: u32,
}

/// Asks for bytes of a key's period. The levels of a member count from its start or the period's, whichever was later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BytesAsk {
    /// Whose.
    pub key: KeyId,
    /// The period's first and last second (Unix time, the end excluded).
    pub period: (i64, i64),
    /// Most of all members together.
    pub limit: u64,
    /// What the asker knows, for when nobody else does.
    pub known: Known,
    /// What the asker has used: this counts, whatever the limit.
    pub used: u64,
    /// Up to where it would like to go; below what it had gives back. Not below `used`.
    pub want: u64,
}

/// What a member knows of a key's period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// The ledger's sum when it began.
    Ledger(u64),
    /// The last answer.
    Told(BytesGrant),
}

/// A level of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BytesGrant {
    /// Up to where the asker may go.
    pub level: u64,
    /// What all members have used in the period or may still use by their levels.
    pub total: u64,
}

/// A session as every gateway names it: a hash of the key, the pool, the place and the session's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionName(pub u128);

/// Asks where a session is, or says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionAsk {
    /// Binds it to this exit for so long, unless it is bound already.
    Bind(SessionName, ExitId, Duration),
    /// Binds it to the second exit if it is with the first; its time goes on.
    Move(SessionName, ExitId, ExitId),
    /// Ends its time.
    End(SessionName),
}

/// Where a session is after an ask.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SessionAnswer {
    /// Its exit; for [`SessionAsk::End`] the one that it was with.
    pub exit: Option<ExitId>,
    /// What is left of its time.
    pub left: Duration,
}

/// How many changes of sessions are kept for whoever has not heard of them yet.
pub const CHANGES_KEPT: usize = 4096;

/// The level that a member gets: what it uses, whatever the limit, and what it wants within what others leave.
pub(crate) fn level(used: u64, want: u64, limit: u64, others: u64) -> u64 {
    used.max(want.min(limit.saturating_sub(others)))
}
