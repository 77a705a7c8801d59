//! What the engine keeps in mind of one request between its attempts. The shell owns it; dropping it forgets it.

use super::ask::Ask;
use super::attempt::Attempt;
use super::now::Moment;

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
        Self { ask, domain, target, attempts: Vec::new(), asked: None, retries: Retries::default() }
    }

    /// What was asked.
    pub fn ask(&self) -> &Ask {
        &self.ask
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
