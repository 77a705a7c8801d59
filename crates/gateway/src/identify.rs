//! Finds out who is asking: credentials to account, then whether the account may be used from here.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use outgate_faults::{Fault, raise};
use outgate_store::{KeyState, Proof, SecretHash};

use crate::accounts::{Account, Accounts};
use crate::credentials::{Claim, Modifiers};
use crate::throttle::Throttle;

/// Somebody who proved to be the owner of a key in good standing.
pub(crate) struct Caller {
    pub(crate) account: Arc<Account>,
    pub(crate) modifiers: Modifiers,
}

/// What a connection proved last. The same words prove it again for as long as nothing about the key has changed.
pub(crate) struct Login {
    authorization: String,
    account: Arc<Account>,
    modifiers: Modifiers,
}

impl Login {
    /// Whether these words were accepted for the account as it is now. Told only to the connection that said them before.
    fn holds(&self, authorization: &str, accounts: &Accounts) -> bool {
        let key = &self.account.key;
        self.authorization == authorization
            // A secret in its grace ends by the clock.
            && key.old_secret.is_none()
            && accounts.find(key.id.as_str()).is_some_and(|account| Arc::ptr_eq(&account, &self.account))
    }
}

/// Authenticates a request. Whatever is wrong with a key is told only to who knows its secret.
pub(crate) fn identify(
    accounts: &Accounts,
    throttle: &Throttle,
    login: &mut Option<Login>,
    authorization: Option<&str>,
    source: IpAddr,
    nanos: u64,
) -> Result<Caller, (Fault, Option<String>)> {
    let Some(value) = authorization else { return prove(accounts, throttle, None, source, nanos) };
    if let Some(login) = login.as_ref().filter(|login| login.holds(value, accounts)) {
        let (account, modifiers) = (login.account.clone(), login.modifiers.clone());
        standing(&account, source, Timestamp::now()).map_err(|fault| (fault, Some(account.key.id.to_string())))?;
        return Ok(Caller { account, modifiers });
    }
    let claim = Claim::parse(value).map_err(|fault| (fault, None))?;
    let caller = prove(accounts, throttle, Some(claim), source, nanos)?;
    let (account, modifiers) = (caller.account.clone(), caller.modifiers.clone());
    *login = Some(Login { authorization: value.to_owned(), account, modifiers });
    Ok(caller)
}

/// Finds whether a claim is true; without one, whether the source address alone says who it is.
pub(crate) fn prove(
    accounts: &Accounts,
    throttle: &Throttle,
    claim: Option<Claim>,
    source: IpAddr,
    nanos: u64,
) -> Result<Caller, (Fault, Option<String>)> {
    let now = Timestamp::now();
    let Some(claim) = claim else {
        let account = accounts.find_by_source(source).ok_or((raise::credentials_missing(), None))?;
        standing(&account, source, now).map_err(|fault| (fault, Some(account.key.id.to_string())))?;
        return Ok(Caller { account, modifiers: Modifiers::default() });
    };
    let id = claim.key.to_string();
    let caller = verify(accounts, throttle, claim, source, nanos, now)?;
    standing(&caller.account, source, now).map_err(|fault| (fault, Some(id)))?;
    Ok(caller)
}

/// Finds whether a claim is true, whatever may be wrong with the key.
pub(crate) fn verify(
    accounts: &Accounts,
    throttle: &Throttle,
    claim: Claim,
    source: IpAddr,
    nanos: u64,
    now: Timestamp,
) -> Result<Caller, (Fault, Option<String>)> {
    let id = claim.key.as_str();
    let told = |fault: Fault| (fault, Some(id.to_owned()));
    if let Err(wait) = throttle.check(source, id, nanos) {
        return Err(told(raise::auth_throttled(wait.as_secs() + 1)));
    }
    let account = accounts.find(id);
    let proven = match &account {
        Some(account) => account.key.verify(&claim.secret, now) || by_source(account, source),
        None => {
            // As much work as for a key that exists, so that time tells nothing.
            std::hint::black_box(SecretHash::of(&claim.secret));
            false
        }
    };
    let Some(account) = account.filter(|_| proven) else {
        throttle.failed(source, id, nanos);
        // Whether there is such a key is not said by it.
        return Err(told(match claim.secret.is_empty() {
            true => raise::credentials_malformed("the password is empty, it is the key's secret"),
            false => raise::credentials_wrong(),
        }));
    };
    Ok(Caller { account, modifiers: claim.modifiers })
}

/// Whether the source alone is proof: the key says so, and the address is on its allowlist.
fn by_source(account: &Account, source: IpAddr) -> bool {
    let key = &account.key;
    key.proof == Proof::Source && !key.allow_ips.is_empty() && key.allows_source(source)
}

/// Whether a key's owner may still read about it from here: that it may not be used for now is worth reading.
pub(crate) fn may_read(account: &Account, source: IpAddr) -> Result<(), Fault> {
    let key = &account.key;
    match key.state {
        KeyState::Revoked => Err(raise::key_revoked()),
        KeyState::Blocked { .. } | KeyState::Suspended | KeyState::Active if key.allows_source(source) => Ok(()),
        KeyState::Blocked { .. } | KeyState::Suspended | KeyState::Active => Err(raise::source_denied(source.to_canonical())),
    }
}

/// The key's state, from the most final reason to the most fleeting.
pub(crate) fn standing(account: &Account, source: IpAddr, now: Timestamp) -> Result<(), Fault> {
    let key = &account.key;
    match &key.state {
        KeyState::Revoked => return Err(raise::key_revoked()),
        KeyState::Blocked { why } => return Err(raise::key_blocked().with_detail(why)),
        KeyState::Suspended => return Err(raise::key_suspended()),
        KeyState::Active => {}
    }
    if let Some(at) = key.expires.filter(|_| key.expired(now)) {
        return Err(expired(at));
    }
    if !key.allows_source(source) {
        return Err(raise::source_denied(source.to_canonical()));
    }
    Ok(())
}

/// What the requests of a key are refused with, and its live tunnels cut with, from its end on.
pub(crate) fn expired(at: Timestamp) -> Fault {
    raise::key_expired(at.strftime("%Y-%m-%d %H:%M UTC"))
}

/// What the live tunnels of a key that lost its standing are cut with; none while it may go on.
pub(crate) fn loss_of_standing(state: &KeyState) -> Option<Fault> {
    match state {
        KeyState::Active => None,
        KeyState::Revoked => Some(raise::key_revoked()),
        KeyState::Blocked { why } => Some(raise::key_blocked().with_detail(why)),
        KeyState::Suspended => Some(raise::key_suspended()),
    }
}
