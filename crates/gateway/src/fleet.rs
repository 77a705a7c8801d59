//! The exits: which are enrolled, which are connected, and which one a request leaves through.
//!
//! Who is there, who is well and who takes the next tunnel is decided in `outgate_fleet`; here it meets tokens, links and
//! the clock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use outgate_fleet::{
    Check, FleetSettings, Health, HealthSettings, LinkId, NewLink, NoLease, NoPick, Outcome, Own, Pick, Says, Stay, Terms,
};
use outgate_link::{Goodbye, Link};
use outgate_store::live::{ExitHealth, ExitStatus};
use outgate_store::{Exit, ExitId, ExitState, Labels, PoolName, SecretHash};

pub(crate) use outgate_fleet::Wanted;

use crate::peers::Changes;
use crate::settings::Settings;

/// A right to a tunnel through an exit; it counts as the exit's load until it drops.
pub(crate) type Lease = outgate_fleet::Lease<Arc<Online>>;

/// Every exit.
pub(crate) struct Fleet {
    enrolled: RwLock<Enrolled>,
    exits: outgate_fleet::Fleet<Arc<Online>>,
    /// The exits with links here that come, go or change.
    pub(crate) changes: Arc<Changes>,
    epoch: Instant,
    /// The exits that were enrolled before the start and have not dialled in since, counted by the pool that the operator says.
    awaited: Mutex<Awaited>,
}

#[derive(Default)]
struct Awaited {
    exits: HashMap<ExitId, Option<PoolName>>,
    by_pool: HashMap<Option<PoolName>, usize>,
}

/// The exits that the ledger knows.
#[derive(Default)]
struct Enrolled {
    by_token: HashMap<SecretHash, Exit>,
    tokens: HashMap<ExitId, SecretHash>,
    /// Those that get no tunnels for now, because their address is being changed.
    resting: HashSet<ExitId>,
}

/// A connected exit's link, or the way to it over another gateway. An exit with several has several of these.
pub(crate) struct Online {
    pub(crate) id: ExitId,
    pub(crate) pool: PoolName,
    pub(crate) labels: Labels,
    /// Its own, or that of the gateway which holds it.
    pub(crate) link: Link,
    /// The gateway that holds it; none is this one.
    pub(crate) holder: Option<Holder>,
    pub(crate) agent: String,
    pub(crate) since: Timestamp,
    /// Most tunnels the exit carries over all its links, as it says.
    pub(crate) tunnels_in_all: Option<u32>,
    /// How long it may take to change its address; `None`: it can't.
    pub(crate) rotates: Option<Duration>,
}

/// Another gateway that an exit is linked to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) gateway: Arc<str>,
    /// The exit's share of the traffic, as that gateway's ledger has it.
    pub(crate) weight: u16,
}

impl Online {
    /// Whether the exit is linked to this gateway.
    pub(crate) fn is_own(&self) -> bool {
        self.holder.is_none()
    }
}

impl Fleet {
    /// The enrolled exits, none of them connected.
    pub(crate) fn new(settings: &Settings, exits: Vec<Exit>, epoch: Instant) -> Self {
        let mut enrolled = Enrolled::default();
        let mut awaited = Awaited::default();
        exits.iter().filter(|exit| exit.state == ExitState::Active).for_each(|exit| awaited.expect(exit));
        exits.into_iter().for_each(|exit| enrolled.put(exit));
        let rules = &settings.fleet;
        let health = HealthSettings {
            eject_after: rules.eject_after,
            eject_for: nanos(rules.eject_for),
            eject_most: nanos(rules.eject_most),
            slow_start: nanos(rules.slow_start),
            check_interval: nanos(rules.check_interval),
        };
        let pools = settings.pools.iter().map(|pool| pool.name.clone());
        let changes = Arc::<Changes>::default();
        let hears = changes.clone();
        let exits = outgate_fleet::Fleet::new(pools, FleetSettings { health, sessions: settings.sessions.most });
        let exits = exits.telling(move |exit| hears.note(exit));
        Self { enrolled: RwLock::new(enrolled), exits, changes, epoch, awaited: Mutex::new(awaited) }
    }

    /// The exit whose token this is.
    pub(crate) fn recognise(&self, token: &str) -> Option<Exit> {
        let enrolled = self.enrolled.read().unwrap_or_else(PoisonError::into_inner);
        enrolled.by_token.get(&SecretHash::of(token.as_bytes())).cloned()
    }

    /// Puts a new or changed exit in force: a revoked one is sent away, a draining one takes no more.
    pub(crate) fn put(&self, exit: Exit) {
        let (id, state) = (exit.id.clone(), exit.state);
        if state != ExitState::Active {
            self.awaited().forget(&id);
        }
        self.enrolled.write().unwrap_or_else(PoisonError::into_inner).put(exit);
        self.agree(&id);
        for online in self.exits.links(&id).into_iter().filter(|online| online.is_own()) {
            tell_state(&online.link, state);
        }
    }

    /// Whether an exit that may be of this pool has not dialled in since the start, `gather` ago at most.
    pub(crate) fn gathers(&self, pool: &PoolName, gather: Duration) -> bool {
        self.epoch.elapsed() < gather && self.awaited().may_be_of(pool)
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a link that was welcomed. `None`: its pool is gone.
    pub(crate) fn enter(&self, online: &Arc<Online>) -> Option<LinkId> {
        let id = self.exits.enter(&online.pool, self.new_link(online), self.now())?;
        self.awaited().forget(&online.id);
        // A change while the exit was being welcomed found no link to tell: tell it now.
        self.agree(&online.id);
        let enrolled = self.enrolled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = enrolled.find(&online.id).map(|exit| exit.state) {
            tell_state(&online.link, state);
        }
        Some(id)
    }

    /// Enters a way over another gateway. `None`: there is no such pool here.
    pub(crate) fn enter_remote(&self, online: &Arc<Online>, says: Says) -> Option<LinkId> {
        let id = self.exits.enter_remote(&online.pool, self.new_link(online), says, self.now())?;
        self.awaited().forget(&online.id);
        self.agree(&online.id);
        Some(id)
    }

    /// Puts in force what another gateway says of its exit now.
    pub(crate) fn stand(&self, online: &Online, link: LinkId, says: Says) {
        self.exits.stand(&online.pool, &online.id, link, says, self.now());
    }

    fn new_link<'a>(&self, online: &'a Arc<Online>) -> NewLink<'a, Arc<Online>> {
        NewLink {
            exit: &online.id,
            labels: &online.labels,
            terms: self.terms(&online.id, std::slice::from_ref(online)),
            room: u32::try_from(online.link.max_tunnels()).unwrap_or(u32::MAX),
            handle: online.clone(),
        }
    }

    /// An exit with links here, as another gateway may be told of it.
    pub(crate) fn own(&self, exit: &ExitId) -> Option<Own<Arc<Online>>> {
        self.exits.own(exit)
    }

    /// The exits with links here.
    pub(crate) fn own_exits(&self) -> Vec<ExitId> {
        self.exits.own_exits()
    }

    /// A right to a tunnel through this very exit, over a link of its own.
    pub(crate) fn lease(&self, exit: &ExitId) -> Result<Lease, NoLease> {
        self.exits.lease(exit)
    }

    /// Gives an exit no new tunnels for a while, or again.
    pub(crate) fn rest(&self, id: &ExitId, rests: bool) {
        let mut enrolled = self.enrolled.write().unwrap_or_else(PoisonError::into_inner);
        if rests {
            enrolled.resting.insert(id.clone());
        } else {
            enrolled.resting.remove(id);
        }
        drop(enrolled);
        self.agree(id);
    }

    /// The links of an exit.
    pub(crate) fn links(&self, id: &ExitId) -> Vec<Arc<Online>> {
        self.exits.links(id)
    }

    fn agree(&self, id: &ExitId) {
        self.exits.agree(id, self.terms(id, &self.exits.links(id)), self.now());
    }

    /// What an exit is given: what the operator says, within what it says itself over its links.
    fn terms(&self, id: &ExitId, links: &[Arc<Online>]) -> Terms {
        let enrolled = self.enrolled.read().unwrap_or_else(PoisonError::into_inner);
        let elsewhere = || links.iter().find_map(|online| online.holder.as_ref());
        // A ledger of its own does not know the other gateways' exits.
        let told = || elsewhere().map(|holder| Terms { weight: holder.weight, ..Terms::default() });
        let mut terms = enrolled.find(id).map(terms).or_else(told).unwrap_or_default();
        let own = links.iter().filter_map(|online| online.tunnels_in_all).min();
        terms.max_tunnels = terms.max_tunnels.into_iter().chain(own).min();
        terms.draining |= enrolled.resting.contains(id);
        terms
    }

    /// Forgets a link that ended.
    pub(crate) fn leave(&self, online: &Online, link: LinkId) {
        self.exits.leave(&online.pool, &online.id, link, self.now());
    }

    /// Gives a link no new tunnels, as one of its ends asked.
    pub(crate) fn drain(&self, online: &Online, link: LinkId) {
        self.exits.drain(&online.pool, &online.id, link, self.now());
    }

    /// Ends every link, at shutdown.
    pub(crate) fn close(&self) {
        for online in self.exits.status(self.now()).into_iter().flat_map(|standing| standing.links) {
            online.link.close(Goodbye::new("draining", "the gateway is shutting down"));
        }
    }

    /// An exit of a pool that is what was wanted and not among `tried`.
    pub(crate) fn pick(
        &self,
        pool: &PoolName,
        wanted: &Wanted,
        stay: Option<&Stay<'_>>,
        tried: &[ExitId],
        random: &mut impl FnMut() -> u64,
    ) -> Result<Pick<Arc<Online>>, NoPick> {
        self.exits.pick(pool, wanted, stay, tried, self.now(), random)
    }

    /// Binds a session to the exit that served it.
    pub(crate) fn stay_with(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, exit: &ExitId) {
        self.exits.stay_with(pool, wanted, stay, exit);
    }

    /// Whether a session is with an exit, connected or not.
    pub(crate) fn is_bound(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>) -> bool {
        self.exits.is_bound(pool, wanted, stay, self.now())
    }

    /// Binds a session to an exit, connected or not.
    pub(crate) fn bind(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, exit: &ExitId) {
        self.exits.bind(pool, wanted, stay, exit, self.now());
    }

    /// Whether a session is still with this exit.
    pub(crate) fn is_with(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, exit: &ExitId) -> bool {
        self.exits.is_with(pool, wanted, stay, exit, self.now())
    }

    /// Ends a session's time; whether there was one.
    pub(crate) fn rotate(&self, key: &str, pool: &PoolName, wanted: &Wanted, session: &str) -> bool {
        self.exits.rotate(key, pool, wanted, session, self.now())
    }

    /// The exit that a session is with, and how many nanoseconds of its time are left.
    pub(crate) fn session(&self, key: &str, pool: &PoolName, wanted: &Wanted, session: &str) -> Option<(ExitId, u64)> {
        self.exits.session(key, pool, wanted, session, self.now())
    }

    /// How many exits are connected, by pool and place, in order.
    pub(crate) fn census(&self) -> Vec<outgate_fleet::Census> {
        self.exits.census()
    }

    /// Tells what became of a set-up.
    pub(crate) fn report(&self, lease: &Lease, outcome: Outcome) {
        self.exits.report(lease, outcome, self.now());
    }

    /// How long to wait for an answer in this pool before another exit is asked too.
    pub(crate) fn delay(&self, pool: &PoolName) -> Duration {
        Duration::from_nanos(self.exits.delay(pool))
    }

    /// The active checks that are due.
    pub(crate) fn due(&self, most: usize) -> Vec<Check<Arc<Online>>> {
        self.exits.due(self.now(), most)
    }

    /// Tells how a check went.
    pub(crate) fn checked(&self, check: Check<Arc<Online>>, succeeded: bool) {
        self.exits.checked(check, succeeded, self.now());
    }

    /// Lets back the exits of other gateways whose time out is over.
    pub(crate) fn let_back_remote(&self) {
        self.exits.let_back_remote(self.now());
    }

    /// Forgets what nobody needs any more.
    pub(crate) fn sweep(&self) {
        self.exits.sweep(self.now());
    }

    /// What every pool has, by country and condition.
    pub(crate) fn strength(&self) -> Vec<(PoolName, Vec<outgate_fleet::Strength>)> {
        self.exits.strength(self.now())
    }

    /// The connected exits, for the console.
    pub(crate) fn status(&self) -> Vec<ExitStatus> {
        let (now, nanos) = (Timestamp::now(), self.now());
        let at = |then: u64| now + SignedDuration::from_nanos((i128::from(then) - i128::from(nanos)) as i64);
        let status = |standing: outgate_fleet::Standing<Arc<Online>>| {
            let oldest = standing.links.iter().min_by_key(|online| online.since)?;
            let own = || standing.links.iter().filter(|online| online.is_own());
            let holder = standing.links.iter().find_map(|online| online.holder.as_ref()).filter(|_| own().next().is_none());
            Some(ExitStatus {
                tunnels: match holder {
                    None => own().map(|online| online.link.open_tunnels() as u64).sum(),
                    Some(_) => standing.load.into(),
                },
                links: standing.links.len() as u64,
                rtt: own().filter_map(|online| online.link.rtt()).min(),
                gateway: holder.map(|holder| holder.gateway.to_string()),
                since: oldest.since,
                agent: oldest.agent.clone(),
                health: match standing.health {
                    Health::Healthy => ExitHealth::Healthy,
                    Health::SlowStart { until, .. } => ExitHealth::SlowStart { until: at(until) },
                    Health::Ejected { why, until } => ExitHealth::Ejected { why: why.describe(), until: at(until) },
                },
                id: standing.exit,
                pool: standing.pool,
                labels: standing.labels,
            })
        };
        self.exits.status(nanos).into_iter().filter_map(status).collect()
    }

    fn now(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }
}

impl Awaited {
    fn expect(&mut self, exit: &Exit) {
        *self.by_pool.entry(exit.pool.clone()).or_default() += 1;
        self.exits.insert(exit.id.clone(), exit.pool.clone());
    }

    fn forget(&mut self, id: &ExitId) {
        let Some(pool) = self.exits.remove(id) else { return };
        if let Some(count) = self.by_pool.get_mut(&pool) {
            *count -= 1;
        }
    }

    fn may_be_of(&self, pool: &PoolName) -> bool {
        let of = |pool: &Option<PoolName>| self.by_pool.get(pool).is_some_and(|count| *count > 0);
        of(&None) || of(&Some(pool.clone()))
    }
}

impl Enrolled {
    fn put(&mut self, exit: Exit) {
        if let Some(before) = self.tokens.insert(exit.id.clone(), exit.token) {
            self.by_token.remove(&before);
        }
        self.by_token.insert(exit.token, exit);
    }

    fn find(&self, id: &ExitId) -> Option<&Exit> {
        self.by_token.get(self.tokens.get(id)?)
    }
}

fn terms(exit: &Exit) -> Terms {
    Terms { weight: exit.weight, max_tunnels: exit.max_tunnels, draining: exit.state != ExitState::Active }
}

fn tell_state(link: &Link, state: ExitState) {
    match state {
        ExitState::Active => {}
        ExitState::Draining => link.drain(),
        ExitState::Revoked => link.close(Goodbye::new("revoked", "this exit was revoked: enroll it again")),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A place in words, for `no_exit`.
pub(crate) fn describe(wanted: &Wanted, pool: &PoolName) -> String {
    let mut text = format!("pool {pool}");
    let parts =
        [("country", wanted.country.map(|c| c.to_string())), ("state", wanted.state.clone()), ("city", wanted.city.clone())];
    for (name, value) in parts {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    text
}
