//! What the engine keeps in mind of one request between its attempts. The shell owns it; dropping it forgets it.

use super::ask::Ask;
use super::attempt::Attempt;
use std::collections::BTreeMap;

use outgate_faults::Slug;

use super::now::Moment;
use super::proxy::ProxyId;
use super::whose::Whose;

/// One request on its way through its attempts.
#[derive(Debug)]
pub struct Request {
    pub(super) ask: Ask,
    pub(super) domain: String,
    pub(super) target: String,
    pub(super) attempts: Vec<Attempt>,
    /// When it first asked to be admitted for the attempt to come: what it waited is logged.
    pub(super) asked: Option<Moment>,
    /// Retries made, by class.
    pub(super) retries: Retries,
    /// When it first asked at all.
    pub(super) begun: Option<Moment>,
    /// Its places in the queues of limits: one who waits for two does not lose the one while it waits for the other.
    pub(super) places: BTreeMap<Whose, Moment>,
    /// Attempts that are on their way: more than one only while it is hedged.
    pub(super) flying: u32,
    /// Proxies that failed it: others go first.
    pub(super) failed: Vec<ProxyId>,
    /// Made-up sessions that failed it: not taken again.
    pub(super) spent: Vec<String>,
    /// Exits that its target refused.
    pub(super) banned: Vec<Whose>,
    /// What its last attempt blames the domain for.
    pub(super) blamed: Option<Slug>,
    /// Whether its end was counted.
    pub(super) counted: bool,
}

/// Retries that one request has had.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Retries {
    pub(super) now: u8,
    pub(super) backoff: u8,
    pub(super) rotate: u8,
    pub(super) fix: u8,
}

impl Request {
    /// Begins a request. Nothing is counted until it asks to be admitted.
    pub fn new(ask: Ask) -> Self {
        let (domain, target) = (ask.domain(), ask.target());
        Self {
            ask,
            domain,
            target,
            attempts: Vec::new(),
            asked: None,
            retries: Retries::default(),
            begun: None,
            places: BTreeMap::new(),
            flying: 0,
            failed: Vec::new(),
            spent: Vec::new(),
            banned: Vec::new(),
            blamed: None,
            counted: false,
        }
    }

    /// What was asked.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// The number of the next attempt to end or begin.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The attempts so far, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The attempts, when it has ended.
    pub fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }
}
