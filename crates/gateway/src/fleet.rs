//! The exits: which are enrolled, which are connected, and which one a request leaves through.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use outgate_link::{Goodbye, Link};
use outgate_store::live::ExitStatus;
use outgate_store::{Country, Exit, ExitId, ExitState, Labels, PoolName, SecretHash};

/// Every exit.
#[derive(Default)]
pub(crate) struct Fleet {
    enrolled: RwLock<HashMap<SecretHash, Exit>>,
    online: RwLock<HashMap<PoolName, Vec<Arc<Online>>>>,
}

/// A connected exit's link. An exit with several links is here several times.
pub(crate) struct Online {
    pub(crate) id: ExitId,
    pub(crate) pool: PoolName,
    pub(crate) labels: Labels,
    pub(crate) link: Link,
    pub(crate) agent: String,
    pub(crate) since: Timestamp,
}

/// What an exit must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) country: Option<Country>,
    pub(crate) state: Option<String>,
    pub(crate) city: Option<String>,
    /// Countries the plan keeps to; empty is any.
    pub(crate) countries: Vec<Country>,
    /// The same key and session get the same exit while the fleet stays the same.
    pub(crate) session: Option<String>,
}

impl Fleet {
    pub(crate) fn new(exits: Vec<Exit>) -> Self {
        let enrolled = exits.into_iter().map(|exit| (exit.token, exit)).collect();
        Self { enrolled: RwLock::new(enrolled), online: RwLock::default() }
    }

    /// The exit whose token this is.
    pub(crate) fn recognise(&self, token: &str) -> Option<Exit> {
        let enrolled = self.enrolled.read().unwrap_or_else(PoisonError::into_inner);
        enrolled.get(&SecretHash::of(token.as_bytes())).cloned()
    }

    /// Puts a new or changed exit in force: a revoked one is sent away, a draining one takes no more.
    pub(crate) fn put(&self, exit: Exit) {
        let mut enrolled = self.enrolled.write().unwrap_or_else(PoisonError::into_inner);
        enrolled.retain(|_, known| known.id != exit.id);
        let (id, state) = (exit.id.clone(), exit.state);
        enrolled.insert(exit.token, exit);
        drop(enrolled);
        let online = self.online.read().unwrap_or_else(PoisonError::into_inner);
        for link in online.values().flatten().filter(|o| o.id == id).map(|o| &o.link) {
            tell_state(link, state);
        }
    }

    /// Enters a link that was welcomed.
    pub(crate) fn enter(&self, online: &Arc<Online>) {
        let mut pools = self.online.write().unwrap_or_else(PoisonError::into_inner);
        pools.entry(online.pool.clone()).or_default().push(online.clone());
        drop(pools);
        // A change of state while the exit was being welcomed found no link to tell: tell it now.
        let enrolled = self.enrolled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(exit) = enrolled.values().find(|exit| exit.id == online.id) {
            tell_state(&online.link, exit.state);
        }
    }

    /// Forgets a link that ended.
    pub(crate) fn leave(&self, online: &Arc<Online>) {
        let mut pools = self.online.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(links) = pools.get_mut(&online.pool) {
            links.retain(|o| !Arc::ptr_eq(o, online));
        }
    }

    /// Ends every link, at shutdown.
    pub(crate) fn close(&self) {
        for online in self.online.read().unwrap_or_else(PoisonError::into_inner).values().flatten() {
            online.link.close(Goodbye::new("draining", "the gateway is shutting down"));
        }
    }

    /// An exit of a pool that is what was wanted and not among `tried`. With a session the one that
    /// rendezvous hashing gives, so that it stays while it is there; else the less loaded of two at random.
    pub(crate) fn pick(
        &self,
        pool: &PoolName,
        wanted: &Wanted,
        key: &str,
        tried: &[Arc<Online>],
        random: &mut impl FnMut() -> u64,
    ) -> Option<Arc<Online>> {
        let pools = self.online.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |o: &&Arc<Online>| {
            wanted.fits(&o.labels) && !o.link.is_closed() && !o.link.is_draining() && !tried.iter().any(|t| Arc::ptr_eq(t, o))
        };
        let candidates = pools.get(pool)?.iter().filter(fits);
        if let Some(session) = &wanted.session {
            let hasher = BuildHasherDefault::<DefaultHasher>::default();
            return candidates.max_by_key(|o| hasher.hash_one((key, session, o.id.as_str()))).cloned();
        }
        // Reservoir sampling of two: one pass, nothing collected.
        let mut sample: [Option<&Arc<Online>>; 2] = [None, None];
        for (seen, candidate) in candidates.enumerate() {
            match sample.get_mut(seen) {
                Some(empty) => *empty = Some(candidate),
                None => {
                    let at = random() as usize % (seen + 1);
                    if let Some(place) = sample.get_mut(at) {
                        *place = Some(candidate);
                    }
                }
            }
        }
        if random() & 1 == 1 {
            // Of two that are equally loaded each gets its share.
            sample.reverse();
        }
        sample.into_iter().flatten().min_by_key(|o| o.link.open_tunnels()).cloned()
    }

    /// The connected exits, for the console.
    pub(crate) fn status(&self) -> Vec<ExitStatus> {
        let online = self.online.read().unwrap_or_else(PoisonError::into_inner);
        let mut exits: Vec<ExitStatus> = Vec::new();
        for o in online.values().flatten() {
            let tunnels = o.link.open_tunnels() as u64;
            match exits.iter_mut().find(|e| e.id == o.id) {
                Some(known) => {
                    known.tunnels += tunnels;
                    known.links += 1;
                }
                None => exits.push(ExitStatus {
                    id: o.id.clone(),
                    pool: o.pool.clone(),
                    labels: o.labels.clone(),
                    tunnels,
                    links: 1,
                    rtt: o.link.rtt(),
                    since: o.since,
                    agent: o.agent.clone(),
                }),
            }
        }
        exits
    }
}

fn tell_state(link: &Link, state: ExitState) {
    match state {
        ExitState::Active => {}
        ExitState::Draining => link.drain(),
        ExitState::Revoked => link.close(Goodbye::new("revoked", "this exit was revoked: enroll it again")),
    }
}

impl Wanted {
    fn fits(&self, labels: &Labels) -> bool {
        let same = |wanted: &Option<String>, label: &Option<String>| wanted.is_none() || wanted == label;
        (self.country.is_none() || self.country == labels.country)
            && (self.countries.is_empty() || labels.country.is_some_and(|c| self.countries.contains(&c)))
            && same(&self.state, &labels.state)
            && same(&self.city, &labels.city)
    }

    /// In words, for `no_exit`.
    pub(crate) fn describe(&self, pool: &PoolName) -> String {
        let mut text = format!("pool {pool}");
        let parts =
            [("country", self.country.map(|c| c.to_string())), ("state", self.state.clone()), ("city", self.city.clone())];
        for (name, value) in parts {
            if let Some(value) = value {
                text.push_str(&format!(", {name} {value}"));
            }
        }
        text
    }
}
