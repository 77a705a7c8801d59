//! What users of the gateway may ask it beside the proxy: where exits are, and for another exit for a session of theirs.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_faults::{Fault, Layer, Slug, raise};
use outgate_store::live::{Denied, DeniedWhy, Place, PoolPlaces, RotatedSession, SessionAt};
use outgate_store::own::{OwnFault, OwnSession, Purpose, Remembers};
use outgate_store::{KeyId, SecretHash};

use crate::choose::{self, check_session};
use crate::credentials::Claim;
use crate::fleet::{Wanted, describe};
use crate::gateway::Gateway;
use crate::identify::{Caller, may_read, standing, verify};
use crate::shares::stay;

/// How old a count of the fleet may be: counting looks at every exit, and anybody with a key may ask.
const FRESH: Duration = Duration::from_secs(1);

/// The last count of the fleet.
#[derive(Default)]
pub(crate) struct Counted(Mutex<Option<(Instant, Arc<Vec<PoolPlaces>>)>>);

impl Gateway {
    /// Every pool and the places of its exits.
    pub(crate) fn count_exits(&self) -> Arc<Vec<PoolPlaces>> {
        let mut counted = self.counted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, places)) = &*counted
            && at.elapsed() < FRESH
        {
            return places.clone();
        }
        let settings = self.settings();
        let pools = settings.pools.iter();
        let mut all: Vec<PoolPlaces> = pools
            .map(|pool| PoolPlaces { pool: pool.name.clone(), kind: pool.kind, targeting: pool.targeting, places: Vec::new() })
            .collect();
        all.sort_by(|one, other| one.pool.cmp(&other.pool));
        for outgate_fleet::Census { pool, country, state, city, exits } in self.fleet.census() {
            if let Some(of) = all.iter_mut().find(|of| of.pool == pool) {
                of.places.push(Place { country, state, city, exits });
            }
        }
        let all = Arc::new(all);
        *counted = Some((Instant::now(), all.clone()));
        all
    }

    /// Whoever has these credentials, exactly as at the proxy; but here they must be shown.
    pub(crate) fn own_caller(&self, authorization: Option<&str>, source: IpAddr, purpose: Purpose) -> Result<Caller, Denied> {
        let claim = authorization.ok_or_else(raise::credentials_missing).and_then(Claim::parse).map_err(denied)?;
        let (nanos, now) = (self.epoch.elapsed().as_nanos() as u64, Timestamp::now());
        let shown = SecretHash::of(&claim.secret);
        let caller = verify(&self.accounts, &self.throttle, claim, source, nanos, now).map_err(|(fault, _)| denied(fault))?;
        let key = &caller.account.key;
        match purpose {
            Purpose::Read => may_read(&caller.account, source).map_err(denied)?,
            Purpose::Use => standing(&caller.account, source, now).map_err(denied)?,
            Purpose::Rotate => {
                standing(&caller.account, source, now).map_err(denied)?;
                if key.secret != shown {
                    // An address may have been proof enough to get here: then this is where guesses end.
                    self.throttle.failed(source, key.id.as_str(), nanos);
                    let sentence = "only the present secret can be rotated: not one in its grace, nor by an address alone";
                    return Err(Denied { sentence: sentence.to_owned(), ..denied(raise::credentials_wrong()) });
                }
            }
        }
        Ok(caller)
    }

    /// Ends the time of a session of the caller's. The user name may carry the same modifiers as at the proxy; what `at` says
    /// stands against them.
    pub(crate) fn rotate_own(&self, caller: Caller, at: &SessionAt) -> Result<RotatedSession, Fault> {
        let Caller { account, mut modifiers } = caller;
        modifiers.well_formed()?;
        check_session(&at.session)?;
        let said = [
            (&at.pool, &mut modifiers.pool),
            (&at.country, &mut modifiers.country),
            (&at.state, &mut modifiers.state),
            (&at.city, &mut modifiers.city),
        ];
        for (said, modifier) in said {
            if said.is_some() {
                modifier.clone_from(said);
            }
        }
        let plan = &account.plan;
        let settings = self.settings();
        let name = modifiers.pool.as_deref().unwrap_or(settings.default_pool.as_str());
        let pool = settings.pools.iter().find(|pool| pool.name.as_str() == name);
        let pool = pool.filter(|pool| plan.pools.is_empty() || plan.pools.contains(&pool.name));
        let pool = pool.ok_or_else(|| raise::pool_denied(name))?;
        let nanos = self.epoch.elapsed().as_nanos() as u64;
        let choose::Place { country, state, city } = choose::place(pool, &modifiers, &self.offers, nanos)?;
        let wanted = Wanted { country, state, city, countries: plan.countries.clone() };
        let found = self.fleet.rotate(account.key.id.as_str(), &pool.name, &wanted, &at.session);
        if let Some(shares) = &self.shares {
            stay::ended(shares, account.key.id.as_str(), &pool.name, &wanted, &at.session);
        }
        Ok(RotatedSession { key: account.key.id.clone(), place: describe(&wanted, &pool.name), found })
    }
}

impl Remembers for Gateway {
    fn own_faults(&self, key: &KeyId) -> Vec<OwnFault> {
        self.remembered.faults(key)
    }

    fn own_sessions(&self, key: &KeyId) -> Vec<OwnSession> {
        self.remembered.sessions(key, &self.fleet)
    }
}

/// A fault in the words of somebody else's API.
pub(crate) fn denied(fault: Fault) -> Denied {
    let row = fault.row();
    let why = match (fault.slug(), row.layer) {
        (Slug::AuthThrottled, _) => DeniedWhy::Throttled(fault.retry_after().unwrap_or(Duration::from_secs(1))),
        (_, Layer::Auth) => DeniedWhy::Credentials,
        (_, Layer::Policy | Layer::Plan) => DeniedWhy::Forbidden,
        _ => DeniedWhy::Invalid,
    };
    Denied { slug: fault.slug().name(), sentence: fault.sentence(), why }
}
