//! Sessions that are with the same exit at every gateway.
//!
//! The fleet's own table stays the cache: whoever keeps what is shared is asked at a session's first use here, and again after
//! it was moved or ended somewhere else.

use outgate_fleet::Stay;
use outgate_store::shared::{SessionAnswer, SessionAsk, SessionName};
use outgate_store::{ExitId, PoolName};
use ring::digest::{Context, SHA256};

use crate::fleet::{Fleet, Wanted};
use crate::shares::Shares;

/// A session as this gateway asks for it.
pub(crate) struct Staying<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) pool: &'a PoolName,
    pub(crate) wanted: &'a Wanted,
    pub(crate) stay: &'a Stay<'a>,
}

/// What was found out about a session before its request picks an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It begins with this request.
    First,
    /// It was used before, or nobody could be asked.
    Further,
}

impl Staying<'_> {
    /// Finds out which exit the session is with, if that isn't known here, and binds it if it is with none.
    pub(crate) async fn agree(&self, shares: &Shares, random: &mut impl FnMut() -> u64) -> Use {
        let Self { fleet, pool, wanted, stay } = *self;
        let name = || name(stay.key, pool, wanted, stay.session);
        let known = fleet.is_bound(pool, wanted, stay);
        if !shares.together() || (known && !shares.was_changed(name)) {
            return Use::Further;
        }
        // If it was ended, it is to go somewhere else than before; if it was only moved, the answer says where it is.
        fleet.rotate(stay.key, pool, wanted, stay.session);
        // Where it would go from here; binds it here too.
        let Ok(candidate) = fleet.pick(pool, wanted, Some(stay), &[], random).map(|pick| pick.lease.exit().clone()) else {
            return Use::Further;
        };
        let name = name();
        let ttl = std::time::Duration::from_nanos(stay.ttl);
        match shares.ask_session(SessionAsk::Bind(name, candidate.clone(), ttl)).await {
            Some(SessionAnswer { exit: Some(exit), left }) if exit != candidate => {
                let ttl = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
                fleet.bind(pool, wanted, &Stay { ttl, ..*stay }, &exit);
                Use::Further
            }
            Some(_) => Use::First,
            None => Use::Further,
        }
    }

    /// Tells the others that the session went from one exit to another.
    pub(crate) fn moved(&self, shares: &Shares, from: &ExitId, to: &ExitId) {
        let name = name(self.stay.key, self.pool, self.wanted, self.stay.session);
        shares.tell_session(SessionAsk::Move(name, from.clone(), to.clone()));
    }
}

/// Tells the others that a session's time is over.
pub(crate) fn ended(shares: &Shares, key: &str, pool: &PoolName, wanted: &Wanted, session: &str) {
    shares.tell_session(SessionAsk::End(name(key, pool, wanted, session)));
}

/// A session's name among gateways: half of a SHA-256, so that nobody can make two meet.
fn name(key: &str, pool: &PoolName, wanted: &Wanted, session: &str) -> SessionName {
    let country = wanted.country.map(|country| country.to_string());
    let parts =
        [Some(key), Some(pool.as_str()), country.as_deref(), wanted.state.as_deref(), wanted.city.as_deref(), Some(session)];
    let mut hash = Context::new(&SHA256);
    for part in parts {
        // A length before each, so that no two lists of parts are one text; no part is as long as what stands for none.
        let length = part.map_or(u32::MAX, |part| part.len() as u32);
        hash.update(&length.to_be_bytes());
        hash.update(part.unwrap_or_default().as_bytes());
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finish().as_ref()[..16]);
    SessionName(u128::from_be_bytes(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_where_sessions_do() {
        let pool = |name: &str| PoolName::parse(name).unwrap();
        let city = |city: &str| Wanted { city: Some(city.into()), ..Wanted::default() };
        let names = [
            name("key", &pool("mobile"), &Wanted::default(), "a"),
            name("key", &pool("mobile"), &Wanted::default(), "b"),
            name("key", &pool("isp"), &Wanted::default(), "a"),
            name("kez", &pool("mobile"), &Wanted::default(), "a"),
            name("key", &pool("mobile"), &city("a"), ""),
            name("key", &pool("mobile"), &city(""), "a"),
        ];
        for (at, one) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(one), "{at}");
        }
        assert_eq!(names[0], name("key", &pool("mobile"), &Wanted::default(), "a"), "the same at every gateway");
    }
}
