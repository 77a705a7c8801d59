//! What a key may ask about itself, as a running gateway tells it to the console.

use std::time::Duration;

use jiff::Timestamp;

use crate::country::Country;
use crate::id::{ExitId, KeyId, PoolName};

/// What credentials are shown for: each takes no more than it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To use the gateway: the key must be in good standing.
    Use,
    /// To read about the key itself: also one that is suspended, blocked or expired may, to see that it is. Not one that is
    /// revoked, nor from an address that is not on its allowlist.
    Read,
    /// To give the key another secret: the present secret itself, not one in its grace and not an address alone.
    Rotate,
}

/// A fault that a request of a key met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnFault {
    /// When the request began.
    pub at: Timestamp,
    /// The request's id.
    pub request_id: String,
    /// What the client spoke: `http`, `https`, `h2`, `socks5`.
    pub protocol: &'static str,
    /// Its method; empty if none could be read.
    pub method: String,
    /// `host:port`; empty if none could be read.
    pub target: String,
    /// The client's address.
    pub client: String,
    /// The pool it went through.
    pub pool: Option<String>,
    /// The exit it left through.
    pub exit: Option<String>,
    /// Its session.
    pub session: Option<String>,
    /// The status the client got, if it got one.
    pub status: Option<u16>,
    /// Who ended a tunnel that was open: `target_lost`, `cut`.
    pub ended_by: Option<&'static str>,
    /// Exits or connections tried.
    pub attempts: u16,
    /// The fault.
    pub fault: Explained,
}

/// A fault in the words of the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// Its slug.
    pub slug: &'static str,
    /// Its layer.
    pub layer: &'static str,
    /// What the client was told, or would have been where the protocol could not carry it.
    pub sentence: String,
    /// Why it happens.
    pub cause: &'static str,
    /// What ends it.
    pub fix: &'static str,
    /// Its retry class.
    pub retry: &'static str,
    /// `temporary` or `structural`.
    pub lasting: &'static str,
    /// Who can fix it.
    pub fixer: &'static str,
}

/// A sticky session of a key whose time has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnSession {
    /// Its name.
    pub session: String,
    /// Its pool.
    pub pool: PoolName,
    /// The country its user name asks for.
    pub country: Option<Country>,
    /// The state its user name asks for.
    pub state: Option<String>,
    /// The city its user name asks for.
    pub city: Option<String>,
    /// The exit it is with.
    pub exit: ExitId,
    /// How much of its time is left.
    pub left: Duration,
}

/// What a gateway remembers for the keys.
pub trait Remembers: Send + Sync {
    /// The last faults of a key's requests, newest first. The gateway keeps a bounded number of them in memory.
    fn own_faults(&self, key: &KeyId) -> Vec<OwnFault>;
    /// The sessions a key began last that still hold, by pool and name. A bounded number is known by name.
    fn own_sessions(&self, key: &KeyId) -> Vec<OwnSession>;
}
