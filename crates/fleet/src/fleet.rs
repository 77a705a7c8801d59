//! The fleet: links come and go, tunnels are asked for, outcomes are told, checks fall due.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use outgate_store::{Country, ExitId, Labels, PoolName};

use crate::delay::Delay;
use crate::health::{Ailment, Check, Condition, Health, HealthSettings, Outcome};
use crate::inventory::{Hears, Index, Joined, Offered, Remote};
use crate::member::{Lease, Member, Seat};
use crate::sessions::Sessions;
use crate::wanted::Wanted;

/// Of a pool's exits so many are looked at for a due check at a time, and at least a sixteenth of them.
const LOOKED_AT: usize = 256;

/// How a fleet behaves.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// When exits are set aside.
    pub health: HealthSettings,
    /// Sessions remembered at most.
    pub sessions: usize,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { health: HealthSettings::default(), sessions: 1_000_000 }
    }
}

/// Every exit, by pool.
pub struct Fleet<L> {
    pools: HashMap<PoolName, Pool<L>>,
    roll: RwLock<Roll>,
    sessions: Sessions,
    settings: FleetSettings,
    next_link: AtomicU64,
}

struct Pool<L> {
    index: RwLock<Index<L>>,
    delay: Delay,
    /// Where the search for due checks goes on.
    cursor: AtomicUsize,
}

/// The number of each exit that was ever seen: numbers are never given again, so that a session can't meet another exit
/// under its old one's. As many as were ever enrolled.
#[derive(Default)]
struct Roll {
    numbers: HashMap<ExitId, u32>,
    ids: Vec<ExitId>,
}

/// What the operator says of an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Its share against that of others.
    pub weight: u16,
    /// Most tunnels at once; none is no cap.
    pub max_tunnels: Option<u32>,
    /// It takes no new ones.
    pub draining: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { weight: 1, max_tunnels: None, draining: false }
    }
}

/// A link that was just welcomed.
#[derive(Debug)]
pub struct NewLink<'a, L> {
    /// Whose it is.
    pub exit: &'a ExitId,
    /// Where the exit is now. Older links that said otherwise take nothing new from here on.
    pub labels: &'a Labels,
    /// What the operator says.
    pub terms: Terms,
    /// Most tunnels the link carries.
    pub room: u32,
    /// What tunnels are opened with.
    pub handle: L,
}

/// What another gateway says of an exit of its own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Says {
    /// It takes no new tunnels.
    pub draining: bool,
    /// It failed too often: it takes none but those of sessions that keep to it.
    pub aside: bool,
}

/// A link's number, for [`Fleet::leave`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkId(u64);

/// A session that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Stay<'a> {
    /// The key's id.
    pub key: &'a str,
    /// The session's name.
    pub session: &'a str,
    /// How long it lasts from its first use, in nanoseconds.
    pub ttl: u64,
    /// Whether it may never change its exit.
    pub strict: bool,
}

/// An exit for a tunnel.
pub struct Pick<L> {
    /// The right to it.
    pub lease: Lease<L>,
    /// What became of the session, if there is one.
    pub session: Bound,
}

/// A session and its exit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bound {
    /// There is no session.
    No,
    /// It begins here.
    New,
    /// It stays where it was.
    Stays,
    /// It was with this exit.
    Moved(ExitId),
}

/// Why there is no exit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoPick {
    /// None that matches takes a tunnel now.
    NoExit,
    /// A strict session's exit is gone. The session is forgotten: its next use is its first.
    SessionLost,
    /// A strict session's exit carries its most.
    SessionFull(ExitId),
}

/// A connected exit.
#[derive(Clone, Debug)]
pub struct Standing<L> {
    /// Which.
    pub exit: ExitId,
    /// Its pool.
    pub pool: PoolName,
    /// Where it is.
    pub labels: Labels,
    /// Tunnels open and being set up.
    pub load: u32,
    /// How it is.
    pub health: Health,
    /// Its links.
    pub links: Vec<L>,
}

/// An exit with links of its own, as another gateway may be told of it.
#[derive(Clone, Debug)]
pub struct Own<L> {
    /// Whether it takes tunnels.
    pub offered: Offered,
    /// Its pool.
    pub pool: PoolName,
    /// Where it is.
    pub labels: Labels,
    /// Its share against that of others.
    pub weight: u16,
    /// Most tunnels at once; none is no cap.
    pub max_tunnels: Option<u32>,
    /// Its own links.
    pub links: Vec<L>,
}

/// Why there is no lease of an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoLease {
    /// It has no link of its own that takes tunnels.
    Gone,
    /// It carries its most.
    Full,
}

/// How many exits are connected at a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Census {
    /// The pool.
    pub pool: PoolName,
    /// Their country, if they say.
    pub country: Option<Country>,
    /// Their state, if they say.
    pub state: Option<String>,
    /// Their city, if they say.
    pub city: Option<String>,
    /// How many.
    pub exits: u32,
}

/// How many exits of one pool and country are connected and alike, and what they carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strength {
    /// Their country, if they say.
    pub country: Option<Country>,
    /// How they are: what of [`Health`] has no time in it.
    pub condition: Condition,
    /// How many.
    pub exits: u64,
    /// Tunnels open and being set up.
    pub tunnels: u64,
    /// As many may be; none: one of them has no cap.
    pub capacity: Option<u64>,
}

type Whereabouts = (PoolName, Option<Country>, Option<String>, Option<String>);

impl<L> Pool<L> {
    fn read(&self) -> RwLockReadGuard<'_, Index<L>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index<L>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Fleet<L> {
    /// A fleet without exits. There are no other pools than these.
    pub fn new(pools: impl IntoIterator<Item = PoolName>, settings: FleetSettings) -> Self {
        let pool = |name| (name, Pool { index: RwLock::default(), delay: Delay::new(), cursor: AtomicUsize::new(0) });
        Self {
            pools: pools.into_iter().map(pool).collect(),
            roll: RwLock::default(),
            sessions: Sessions::new(settings.sessions),
            settings,
            next_link: AtomicU64::new(0),
        }
    }

    /// The same fleet, which tells `hears` of every exit with links of its own that came, went or changed; see
    /// [`Fleet::own`]. It is called under a lock: it takes a note and returns.
    #[must_use]
    pub fn telling(self, hears: impl Fn(&ExitId) + Send + Sync + 'static) -> Self {
        let hears: Hears = Arc::new(hears);
        self.pools.values().for_each(|pool| pool.write().hears = Some(hears.clone()));
        self
    }

    /// Enters a link; `None` if there is no such pool. An exit has as many as it likes.
    pub fn enter(&self, pool: &PoolName, link: NewLink<'_, L>, now: u64) -> Option<LinkId> {
        self.join(pool, link, None, now)
    }

    /// Enters a way to an exit over another gateway, and what that says of it: it is used when the exit has no link of its own
    /// with room, and never checked from here.
    pub fn enter_remote(&self, pool: &PoolName, link: NewLink<'_, L>, says: Says, now: u64) -> Option<LinkId> {
        self.join(pool, link, Some(says), now)
    }

    fn join(&self, pool: &PoolName, link: NewLink<'_, L>, says: Option<Says>, now: u64) -> Option<LinkId> {
        let (name, pool) = self.pools.get_key_value(pool)?;
        let number = self.number(link.exit);
        let id = LinkId(self.next_link.fetch_add(1, Relaxed));
        let seat =
            Seat { number: id.0, open: AtomicU32::new(0), room: link.room, lost: AtomicBool::new(false), handle: link.handle };
        let mut index = pool.write();
        let at = index.entry(link.exit, || Member::new(link.exit.clone(), name.clone(), number));
        if says.is_none() {
            index.locate(at, Some(link.labels));
        }
        let entry = &mut index.entries[at as usize];
        if !entry.links.iter().any(Joined::is_own) {
            // It has just shown that it is there. Spread, so that a fleet that arrives at once is not checked at once.
            let spread = self.settings.health.check_interval / 32 * u64::from(16 + number % 16);
            entry.member.check_at.store(now.saturating_add(spread), Relaxed);
        }
        entry.member.agree(link.terms);
        entry.draining = link.terms.draining;
        let remote = says.map(|says| Remote { labels: link.labels.clone(), aside: says.aside, astray: false });
        let draining = says.is_some_and(|says| says.draining);
        entry.links.push(Joined { seat: Arc::new(seat), draining, remote });
        if says.is_some() {
            index.locate(at, None);
        }
        index.settle(at);
        self.keep_half(&mut index, now);
        Some(id)
    }

    /// Forgets a link that ended.
    pub fn leave(&self, pool: &PoolName, exit: &ExitId, link: LinkId, now: u64) {
        self.change_links(pool, exit, now, |links| links.retain(|joined| joined.seat.number != link.0));
    }

    /// Gives a link no new tunnels: one of its ends asked for that.
    pub fn drain(&self, pool: &PoolName, exit: &ExitId, link: LinkId, now: u64) {
        self.change_links(pool, exit, now, |links| {
            for joined in links.iter_mut().filter(|joined| joined.seat.number == link.0) {
                joined.draining = true;
            }
        });
    }

    /// Puts in force what the other gateway says of its exit now.
    pub fn stand(&self, pool: &PoolName, exit: &ExitId, link: LinkId, says: Says, now: u64) {
        self.change_links(pool, exit, now, |links| {
            for joined in links.iter_mut().filter(|joined| joined.seat.number == link.0) {
                joined.draining = says.draining;
                joined.remote.iter_mut().for_each(|remote| remote.aside = says.aside);
            }
        });
    }

    fn change_links(&self, pool: &PoolName, exit: &ExitId, now: u64, change: impl FnOnce(&mut Vec<Joined<L>>)) {
        let Some(pool) = self.pools.get(pool) else { return };
        let mut index = pool.write();
        let Some(at) = index.by_id.get(exit).copied() else { return };
        change(&mut index.entries[at as usize].links);
        index.locate(at, None);
        index.settle(at);
        index.forget_if_gone(at, now);
        self.keep_half(&mut index, now);
    }

    /// Puts the operator's terms for an exit in force.
    pub fn agree(&self, exit: &ExitId, terms: Terms, now: u64) {
        for pool in self.pools.values() {
            let mut index = pool.write();
            let Some(at) = index.by_id.get(exit).copied() else { continue };
            let entry = &mut index.entries[at as usize];
            entry.member.agree(terms);
            entry.draining = terms.draining;
            index.settle(at);
            index.tell(at);
            self.keep_half(&mut index, now);
        }
    }

    /// A lease of this very exit over a link of its own, ejected or not, within its cap: for another gateway's tunnel.
    ///
    /// # Errors
    /// It has none that takes tunnels, or carries its most.
    pub fn lease(&self, exit: &ExitId) -> Result<Lease<L>, NoLease> {
        let mut none = NoLease::Gone;
        for pool in self.pools.values() {
            let index = pool.read();
            let entry = index.by_id.get(exit).map(|at| &index.entries[*at as usize]).filter(|entry| !entry.draining);
            if let Some((entry, seat)) = entry.and_then(|entry| Some((entry, entry.own_link()?))) {
                match Lease::take(&entry.member, seat) {
                    Some(lease) => return Ok(lease),
                    None => none = NoLease::Full,
                }
            }
        }
        Err(none)
    }

    /// An exit of the pool that is what was wanted and not one of `avoid`.
    ///
    /// # Errors
    /// There is none; the error says what kind of none.
    pub fn pick(
        &self,
        pool: &PoolName,
        wanted: &Wanted,
        stay: Option<&Stay<'_>>,
        avoid: &[ExitId],
        now: u64,
        random: &mut impl FnMut() -> u64,
    ) -> Result<Pick<L>, NoPick> {
        let (name, pool) = self.pools.get_key_value(pool).ok_or(NoPick::NoExit)?;
        match stay {
            Some(stay) => self.pick_bound(name, pool, wanted, stay, avoid, now, random),
            None => {
                let lease = pool.read().draw(wanted, avoid, now, &self.settings.health, random);
                lease.map(|lease| Pick { lease, session: Bound::No }).ok_or(NoPick::NoExit)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the second half of `pick`, which needs all that it was given")]
    fn pick_bound(
        &self,
        pool_name: &PoolName,
        pool: &Pool<L>,
        wanted: &Wanted,
        stay: &Stay<'_>,
        avoid: &[ExitId],
        now: u64,
        random: &mut impl FnMut() -> u64,
    ) -> Result<Pick<L>, NoPick> {
        let name = self.sessions.name(identity(stay.key, pool_name, wanted, stay.session));
        // Held until the session is bound: two first requests at once get the same exit.
        let mut shard = self.sessions.shard(name);
        let index = pool.read();
        let mut draw = |avoid: &[ExitId]| index.draw(wanted, avoid, now, &self.settings.health, random);
        let known = shard.find(name);
        let Some(binding) = known.filter(|binding| binding.holds(now)) else {
            // Its time is over, or it was rotated: another exit than before, if there is one.
            let before = known.and_then(|binding| self.id(binding.exit));
            let other = before.and_then(|before| draw(&[avoid, &[before]].concat()));
            let lease = other.or_else(|| draw(avoid)).ok_or(NoPick::NoExit)?;
            self.sessions.bind(&mut shard, name, lease.member.number, now, stay.ttl);
            return Ok(Pick { lease, session: Bound::New });
        };
        let entry = index.by_number.get(&binding.exit).map(|at| &index.entries[*at as usize]);
        // Ejected or not: it may have failed others, and it is the one that this session is known by.
        let entry = entry.filter(|entry| entry.is_there() && wanted.fits(&entry.labels));
        match entry {
            Some(entry) if !avoid.contains(&entry.member.id) => {
                if let Some(lease) = entry.best_link().and_then(|seat| Lease::take(&entry.member, seat)) {
                    return Ok(Pick { lease, session: Bound::Stays });
                }
                if stay.strict {
                    return Err(NoPick::SessionFull(entry.member.id.clone()));
                }
            }
            Some(_) if stay.strict => return Err(NoPick::NoExit),
            None if stay.strict => {
                shard.forget(name);
                return Err(NoPick::SessionLost);
            }
            Some(_) | None => {}
        }
        let lease = draw(avoid).ok_or(NoPick::NoExit)?;
        if lease.member.number == binding.exit {
            return Ok(Pick { lease, session: Bound::Stays });
        }
        shard.move_to(name, lease.member.number);
        let session = self.id(binding.exit).map_or(Bound::New, Bound::Moved);
        Ok(Pick { lease, session })
    }

    /// Moves a session to the exit that served it, when several were asked for a request of it. Its time goes on.
    pub fn stay_with(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, exit: &ExitId) {
        let name = self.sessions.name(identity(stay.key, pool, wanted, stay.session));
        let number = self.number(exit);
        self.sessions.shard(name).move_to(name, number);
    }

    /// Whether a session is with an exit, connected or not.
    pub fn is_bound(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, now: u64) -> bool {
        let name = self.sessions.name(identity(stay.key, pool, wanted, stay.session));
        self.sessions.shard(name).find(name).is_some_and(|binding| binding.holds(now))
    }

    /// Binds a session to an exit, connected or not, from now on for its ttl.
    pub fn bind(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, exit: &ExitId, now: u64) {
        let name = self.sessions.name(identity(stay.key, pool, wanted, stay.session));
        let number = self.number(exit);
        self.sessions.bind(&mut self.sessions.shard(name), name, number, now, stay.ttl);
    }

    /// Whether a session is still with this exit: neither moved, nor rotated, nor over.
    pub fn is_with(&self, pool: &PoolName, wanted: &Wanted, stay: &Stay<'_>, exit: &ExitId, now: u64) -> bool {
        let name = self.sessions.name(identity(stay.key, pool, wanted, stay.session));
        let binding = self.sessions.shard(name).find(name);
        binding.is_some_and(|binding| binding.holds(now) && binding.exit == self.number(exit))
    }

    /// Ends a session's time: its next use gets another exit, where there is one. Whether there was such a session.
    pub fn rotate(&self, key: &str, pool: &PoolName, wanted: &Wanted, session: &str, now: u64) -> bool {
        let name = self.sessions.name(identity(key, pool, wanted, session));
        let mut shard = self.sessions.shard(name);
        shard.find(name).is_some_and(|binding| binding.holds(now)) && shard.rotate(name)
    }

    /// The exit that a session is with, and how many nanoseconds of its time are left; `None` when there is none that holds.
    pub fn session(&self, key: &str, pool: &PoolName, wanted: &Wanted, session: &str, now: u64) -> Option<(ExitId, u64)> {
        let name = self.sessions.name(identity(key, pool, wanted, session));
        let binding = self.sessions.shard(name).find(name).filter(|binding| binding.holds(now))?;
        Some((self.id(binding.exit)?, binding.left(now)))
    }

    /// Tells what became of a set-up.
    pub fn report(&self, lease: &Lease<L>, outcome: Outcome, now: u64) {
        let (member, health) = (&lease.member, &self.settings.health);
        match outcome {
            Outcome::Opened(took) => {
                member.succeeded(now);
                if let Some(pool) = self.pools.get(&member.pool) {
                    pool.delay.learn(took);
                }
            }
            Outcome::Delivered => member.proved(now, health),
            Outcome::Mute => member.suspect(now),
            Outcome::Failed(Ailment::Lost) if lease.seat.lost.swap(true, Relaxed) => {}
            Outcome::Failed(why) => {
                if let Some(why) = member.failed(why, now, health) {
                    self.eject(member, why, now);
                }
            }
        }
    }

    /// How long to wait for an answer in this pool before another exit is asked too, in nanoseconds.
    pub fn delay(&self, pool: &PoolName) -> u64 {
        self.pools.get(pool).map_or(u64::MAX, |pool| pool.delay.nanos())
    }

    /// The checks that are due, `most` of them at most.
    pub fn due(&self, now: u64, most: usize) -> Vec<Check<L>> {
        let mut due = Vec::new();
        for pool in self.pools.values() {
            let index = pool.read();
            let begin = |at: u32| {
                let entry = index.entries.get(at as usize).filter(|entry| entry.is_there())?;
                // What another gateway holds it looks after itself.
                let seat = entry.own_link()?;
                let is_due = match entry.record.ejected {
                    Some((_, until)) => until <= now,
                    None => entry.member.check_at.load(Relaxed) <= now,
                };
                let lease = || Some(Lease::take_beyond(&entry.member, seat));
                if is_due { Check::begin(lease, &entry.member) } else { None }
            };
            due.extend(index.ejected.iter().filter_map(|at| begin(*at)).take(most.saturating_sub(due.len())));
            let slots = index.entries.capacity();
            let looked_at = LOOKED_AT.max(slots / 16).min(slots);
            let from = pool.cursor.fetch_add(looked_at, Relaxed);
            for at in (from..from + looked_at).map(|at| (at % slots.max(1)) as u32) {
                if due.len() >= most {
                    break;
                }
                due.extend(begin(at));
            }
        }
        due
    }

    /// Lets back the exits of other gateways whose time out is over: no check from here could tell how they are.
    pub fn let_back_remote(&self, now: u64) {
        for pool in self.pools.values() {
            let back = |index: &Index<L>| -> Vec<u32> {
                let over = |at: &&u32| {
                    let entry = index.entries.get(**at as usize);
                    entry.is_some_and(|entry| {
                        entry.is_there()
                            && entry.own_link().is_none()
                            && entry.record.ejected.is_some_and(|(_, until)| until <= now)
                    })
                };
                index.ejected.iter().filter(over).copied().collect()
            };
            if back(&pool.read()).is_empty() {
                continue;
            }
            let mut index = pool.write();
            for at in back(&index) {
                let entry = &mut index.entries[at as usize];
                let member = entry.member.clone();
                entry.record.let_back(&member, now);
                index.settle(at);
            }
        }
    }

    /// Tells how a check went: whether it succeeded.
    pub fn checked(&self, check: Check<L>, succeeded: bool, now: u64) {
        let (member, health) = (&check.lease.member, &self.settings.health);
        let Some(pool) = self.pools.get(&member.pool) else { return };
        let ejected = {
            let mut index = pool.write();
            let at = index.by_id.get(&member.id).copied().filter(|at| index.ejected.contains(at));
            if let Some(at) = at {
                let entry = &mut index.entries[at as usize];
                match succeeded {
                    true => entry.record.let_back(member, now),
                    false => entry.record.eject(member, Ailment::Check, now, health),
                }
                index.settle(at);
                self.keep_half(&mut index, now);
            }
            at.is_some()
        };
        match (ejected, succeeded) {
            (false, false) if member.failed_check(now, health) => self.eject(member, Ailment::Check, now),
            (_, false) => {}
            (_, true) => member.proved(now, health),
        }
    }

    fn eject(&self, member: &Arc<Member>, why: Ailment, now: u64) {
        let Some(pool) = self.pools.get(&member.pool) else { return };
        let mut index = pool.write();
        let Some(at) = index.by_id.get(&member.id).copied() else { return };
        let there = index.entries[at as usize].is_there();
        // When half of a pool fails, it is not the exits that are outliers.
        let (out, all) = (index.there - index.usable + 1, index.there + usize::from(!there));
        if index.ejected.contains(&at) || out * 2 > all {
            return;
        }
        let entry = &mut index.entries[at as usize];
        entry.record.eject(member, why, now, &self.settings.health);
        index.settle(at);
    }

    /// When well ones left, so that more than half of the rest is set aside, those closest to their return come back.
    fn keep_half(&self, index: &mut Index<L>, now: u64) {
        while (index.there - index.usable) * 2 > index.there {
            let returns = |at: &u32| {
                let entry = index.entries.get(*at as usize).filter(|entry| entry.is_there())?;
                entry.record.ejected.map(|(_, until)| (until, *at))
            };
            let Some((_, at)) = index.ejected.iter().filter_map(returns).min() else { return };
            let entry = &mut index.entries[at as usize];
            let member = entry.member.clone();
            entry.record.let_back(&member, now);
            index.settle(at);
        }
    }

    /// Forgets what nobody needs any more; called every few seconds.
    pub fn sweep(&self, now: u64) {
        self.sessions.sweep(now);
        for pool in self.pools.values() {
            let mut index = pool.write();
            let gone: Vec<u32> = index
                .entries
                .iter()
                .filter(|(_, entry)| entry.links.is_empty())
                .filter_map(|(at, entry)| {
                    // Set aside and never back: after the longest time out and the time to be forgiven it starts anew.
                    let longest = self.settings.health.eject_most.saturating_mul(2);
                    let over = entry.record.ejected.is_some_and(|(_, until)| now.saturating_sub(until) > longest);
                    (over || entry.record.is_clean(now)).then_some(at as u32)
                })
                .collect();
            for at in gone {
                index.forget(at);
            }
        }
    }

    /// How many exits are connected, by pool and place, in order.
    pub fn census(&self) -> Vec<Census> {
        let mut places: BTreeMap<Whereabouts, u32> = BTreeMap::new();
        for (name, pool) in &self.pools {
            for (_, entry) in pool.read().entries.iter().filter(|(_, entry)| !entry.links.is_empty()) {
                let labels = &entry.labels;
                *places.entry((name.clone(), labels.country, labels.state.clone(), labels.city.clone())).or_default() += 1;
            }
        }
        let row = |((pool, country, state, city), exits)| Census { pool, country, state, city, exits };
        places.into_iter().map(row).collect()
    }

    /// What every pool has, its exits taken together by country and condition, in order.
    pub fn strength(&self, now: u64) -> Vec<(PoolName, Vec<Strength>)> {
        let of = |pool: &Pool<L>| {
            let mut alike: BTreeMap<(Option<Country>, Condition), Strength> = BTreeMap::new();
            for (_, entry) in pool.read().entries.iter().filter(|(_, entry)| !entry.links.is_empty()) {
                let condition = entry.member.health(&entry.record, now, &self.settings.health).condition();
                let country = entry.labels.country;
                let strength = alike.entry((country, condition)).or_insert(Strength {
                    country,
                    condition,
                    exits: 0,
                    tunnels: 0,
                    capacity: Some(0),
                });
                let cap = entry.member.cap.load(Relaxed);
                strength.exits += 1;
                strength.tunnels += u64::from(entry.member.load.load(Relaxed));
                strength.capacity = strength.capacity.filter(|_| cap != u32::MAX).map(|sum| sum + u64::from(cap));
            }
            alike.into_values().collect()
        };
        let mut pools: Vec<_> = self.pools.iter().map(|(name, pool)| (name.clone(), of(pool))).collect();
        pools.sort_by(|(one, _), (other, _)| one.cmp(other));
        pools
    }

    /// Sessions that are remembered, the ended ones of the last minutes included.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn number(&self, exit: &ExitId) -> u32 {
        let known = self.roll.read().unwrap_or_else(PoisonError::into_inner).numbers.get(exit).copied();
        known.unwrap_or_else(|| {
            let mut roll = self.roll.write().unwrap_or_else(PoisonError::into_inner);
            let Roll { numbers, ids } = &mut *roll;
            *numbers.entry(exit.clone()).or_insert_with(|| {
                ids.push(exit.clone());
                (ids.len() - 1) as u32
            })
        })
    }

    fn id(&self, number: u32) -> Option<ExitId> {
        self.roll.read().unwrap_or_else(PoisonError::into_inner).ids.get(number as usize).cloned()
    }

    #[cfg(test)]
    pub(crate) fn audit(&self) {
        for pool in self.pools.values() {
            let index = pool.read();
            index.audit();
            let set_aside = index.entries.iter().filter(|(_, entry)| entry.is_there() && entry.record.ejected.is_some());
            assert!(set_aside.count() * 2 <= index.there, "more than half are set aside");
        }
    }

    #[cfg(test)]
    pub(crate) fn places(&self, pool: &PoolName) -> (usize, usize) {
        self.pools[pool].read().sizes()
    }
}

impl<L: Clone> Fleet<L> {
    /// What another gateway may be told of an exit; `None` when it has no link of its own.
    pub fn own(&self, exit: &ExitId) -> Option<Own<L>> {
        self.pools.values().find_map(|pool| {
            let index = pool.read();
            let entry = index.by_id.get(exit).map(|at| &index.entries[*at as usize])?;
            let links = entry.links.iter().filter(|joined| joined.is_own()).map(|joined| joined.seat.handle.clone());
            let cap = entry.member.cap.load(Relaxed);
            Some(Own {
                offered: Some(entry.offered()).filter(|offered| *offered != Offered::No)?,
                pool: entry.member.pool.clone(),
                labels: entry.labels.clone(),
                weight: entry.member.weight.load(Relaxed) as u16,
                max_tunnels: (cap != u32::MAX).then_some(cap),
                links: links.collect(),
            })
        })
    }

    /// The exits that have links of their own.
    pub fn own_exits(&self) -> Vec<ExitId> {
        let mut exits = Vec::new();
        for pool in self.pools.values() {
            let index = pool.read();
            let own = index.entries.iter().filter(|(_, entry)| entry.offered() != Offered::No);
            exits.extend(own.map(|(_, entry)| entry.member.id.clone()));
        }
        exits
    }

    /// The links of an exit, in whatever pools it is.
    pub fn links(&self, exit: &ExitId) -> Vec<L> {
        let mut links = Vec::new();
        for pool in self.pools.values() {
            let index = pool.read();
            let entry = index.by_id.get(exit).map(|at| &index.entries[*at as usize]);
            links.extend(entry.into_iter().flat_map(|entry| &entry.links).map(|joined| joined.seat.handle.clone()));
        }
        links
    }

    /// The connected exits.
    pub fn status(&self, now: u64) -> Vec<Standing<L>> {
        let mut exits = Vec::new();
        for pool in self.pools.values() {
            for (_, entry) in pool.read().entries.iter().filter(|(_, entry)| !entry.links.is_empty()) {
                exits.push(Standing {
                    exit: entry.member.id.clone(),
                    pool: entry.member.pool.clone(),
                    labels: entry.labels.clone(),
                    load: entry.member.load.load(Relaxed),
                    health: entry.member.health(&entry.record, now, &self.settings.health),
                    links: entry.links.iter().map(|joined| joined.seat.handle.clone()).collect(),
                });
            }
        }
        exits
    }
}

impl Member {
    fn agree(&self, terms: Terms) {
        self.weight.store(u32::from(terms.weight.max(1)), Relaxed);
        self.cap.store(terms.max_tunnels.unwrap_or(u32::MAX), Relaxed);
    }
}

/// What makes two sessions the same.
fn identity<'a>(key: &'a str, pool: &'a PoolName, wanted: &'a Wanted, session: &'a str) -> impl std::hash::Hash + 'a {
    (key, pool.as_str(), wanted.country, wanted.state.as_deref(), wanted.city.as_deref(), session)
}
