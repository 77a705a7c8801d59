//! What the gateway remembers for a key's owner: the last faults of its requests and the sessions it began last.
//!
//! Faults are noted where records are written, once a request is over; sessions when they begin. A request that goes well
//! and begins no session touches nothing here.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Fault, Slug};
use outgate_fleet::Stay;
use outgate_store::own::{Explained, OwnFault, OwnSession};
use outgate_store::{KeyId, PoolName};

use crate::accounts::Accounts;
use crate::fleet::{Fleet, Wanted};
use crate::recent::Recent;
use crate::record::Record;

/// Faults kept of each key.
const FAULTS: usize = 20;
/// Logins with a wrong secret kept of each key. Apart from the others: a stranger's guesses must not push those out.
const REFUSALS: usize = 5;
/// Sessions known by name of each key.
const SESSIONS: usize = 64;

/// Everything remembered.
pub(crate) struct Remembered {
    faults: Recent<OwnFault>,
    refusals: Recent<OwnFault>,
    sessions: Recent<Begun>,
}

/// A session that began: what the fleet knows it by.
#[derive(Clone, PartialEq, Eq)]
struct Begun {
    pool: PoolName,
    wanted: Wanted,
    session: String,
}

/// A request that is over.
pub(crate) struct Over<'a> {
    pub(crate) at: Timestamp,
    pub(crate) request_id: &'a str,
    pub(crate) client: &'a str,
    pub(crate) record: &'a Record,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        Self { faults: Recent::new(FAULTS), refusals: Recent::new(REFUSALS), sessions: Recent::new(SESSIONS) }
    }

    /// Notes what a request of a key met. A key that doesn't exist has nobody who could ask.
    pub(crate) fn note_fault(&self, accounts: &Accounts, over: &Over<'_>, fault: &Fault) {
        let account = over.record.key.as_deref().and_then(|key| accounts.find(key));
        let Some(account) = account else { return };
        let unproven = matches!(fault.slug(), Slug::CredentialsWrong | Slug::AuthThrottled);
        let ring = if unproven { &self.refusals } else { &self.faults };
        ring.push(&account.key.id, own_fault(over, fault), |_| false);
    }

    /// Notes that a session began or moved.
    pub(crate) fn note_session(&self, key: &KeyId, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>) {
        let begun = Begun { pool: pool.clone(), wanted: wanted.clone(), session: stay.session.to_owned() };
        self.sessions.push(key, begun.clone(), |known| *known == begun);
    }

    /// A key's last faults, newest first.
    pub(crate) fn faults(&self, key: &KeyId) -> Vec<OwnFault> {
        let mut faults = self.faults.of(key);
        faults.extend(self.refusals.of(key));
        faults.sort_by_key(|fault| Reverse(fault.at));
        faults
    }

    /// The sessions a key began last that still hold, by pool and name.
    pub(crate) fn sessions(&self, key: &KeyId, fleet: &Fleet) -> Vec<OwnSession> {
        let holding = |begun: Begun| {
            let (exit, left) = fleet.session(key.as_str(), &begun.pool, &begun.wanted, &begun.session)?;
            let Begun { pool, wanted, session } = begun;
            let left = Duration::from_nanos(left);
            Some(OwnSession { session, pool, country: wanted.country, state: wanted.state, city: wanted.city, exit, left })
        };
        let mut sessions: Vec<OwnSession> = self.sessions.of(key).into_iter().filter_map(holding).collect();
        sessions.sort_by(|one, other| (&one.pool, &one.session).cmp(&(&other.pool, &other.session)));
        sessions
    }
}

fn own_fault(over: &Over<'_>, fault: &Fault) -> OwnFault {
    let Over { at, request_id, client, record } = over;
    let row = fault.row();
    OwnFault {
        at: *at,
        request_id: (*request_id).to_owned(),
        protocol: record.protocol,
        method: record.method.clone(),
        target: record.target.clone(),
        client: (*client).to_owned(),
        pool: record.pool.clone(),
        exit: record.exit.clone(),
        session: record.session.clone(),
        status: record.status,
        ended_by: record.ended_by,
        attempts: record.attempts,
        fault: Explained {
            slug: row.name,
            layer: row.layer.name(),
            sentence: fault.sentence(),
            cause: row.cause,
            fix: row.fix,
            retry: row.retry.name(),
            lasting: row.lasting.name(),
            fixer: row.fixer.name(),
        },
    }
}
