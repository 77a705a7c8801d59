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

/// Authenticates a request. Whatever is wrong with a key is told only to who knows its secret.
pub(crate) fn identify(
    accounts: &Accounts,
    throttle: &Throttle,
    authorization: Option<&str>,
    source: IpAddr,
    nanos: u64,
) -> Result<Caller, (Fault, Option<String>)> {
    let Some(value) = authorization else { return Err((raise::credentials_missing(), None)) };
    let claim = Claim::parse(value).map_err(|fault| (fault, None))?;
    let id = claim.key.as_str();
    let told = |fault: Fault| (fault, Some(id.to_owned()));
    if let Err(wait) = throttle.check(source, id, nanos) {
        return Err(told(raise::auth_throttled(wait.as_secs() + 1)));
    }
    let account = accounts.find(id);
    let now = Timestamp::now();
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
        return Err(told(raise::credentials_wrong()));
    };
    standing(&account, source, now).map_err(told)?;
    Ok(Caller { account, modifiers: claim.modifiers })
}

/// Whether the source alone is proof: the key says so, and the address is on its allowlist.
fn by_source(account: &Account, source: IpAddr) -> bool {
    let key = &account.key;
    key.proof == Proof::Source && !key.allow_ips.is_empty() && key.allows_source(source)
}

/// The key's state, from the most final reason to the most fleeting.
fn standing(account: &Account, source: IpAddr, now: Timestamp) -> Result<(), Fault> {
    let key = &account.key;
    match &key.state {
        KeyState::Revoked => return Err(raise::key_revoked()),
        KeyState::Blocked { why } => return Err(raise::key_blocked().with_detail(why)),
        KeyState::Suspended => return Err(raise::key_suspended()),
        KeyState::Active => {}
    }
    if let Some(at) = key.expires.filter(|_| key.expired(now)) {
        return Err(raise::key_expired(at.strftime("%Y-%m-%d %H:%M UTC")));
    }
    if !key.allows_source(source) {
        return Err(raise::source_denied(source.to_canonical()));
    }
    Ok(())
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
