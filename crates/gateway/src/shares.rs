//! A key's limits when several gateways serve it: each uses parts of them that are its own for a while.
//!
//! - [`lot`]: a key's part here, in atomics: a set-up whose part suffices asks nobody
//! - [`sync`]: the one task that talks to whoever keeps what is shared, a batch of everybody's asks at a time
//! - [`round`]: what a batch asks for a key, and what becomes of the answers
//! - [`stay`]: sessions that are with the same exit at every gateway
//!
//! Together is how gateways are while that works. Alone, each enforces its share of every limit by itself: so at the start,
//! when nothing answers, and for a moment after what is shared was lost, until everybody told what they use.

pub(crate) mod lot;
mod round;
pub(crate) mod stay;
pub(crate) mod sync;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_store::live::SharingState;
use outgate_store::shared::{Peer, RateGrant, SessionAnswer, SessionAsk, SessionName};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::accounts::{Account, Live};
use crate::admit::Thread;

/// The longest an answer is waited for: well beyond what the task that asks takes, unless it has ended.
const ANSWER: Duration = Duration::from_secs(1);
/// Changed sessions remembered until they are used again here.
const MOST_CHANGED: usize = 65_536;

/// What the event loops and the task that syncs tell each other.
#[derive(Debug)]
pub(crate) struct Shares {
    together: AtomicBool,
    /// The share of a gateway alone, as configured.
    fixed: Option<f64>,
    /// How many gateways there were when they were last counted.
    gateways: AtomicU32,
    pending: Mutex<Pending>,
    wake: Notify,
    peers: Mutex<Arc<Vec<Peer>>>,
    alone: Mutex<Option<(Timestamp, String)>>,
    changed: Mutex<Changed>,
    any_changed: AtomicUsize,
    pub(crate) epoch: Instant,
}

/// What waits for the next batch.
#[derive(Debug, Default)]
struct Pending {
    keys: Vec<Arc<Live>>,
    waiters: Vec<Waiter>,
    sessions: Vec<(SessionAsk, Option<oneshot::Sender<SessionAnswer>>)>,
}

/// A set-up that can't go on with what is here.
#[derive(Debug)]
struct Waiter {
    account: Arc<Account>,
    lacks: Lacks,
    tell: oneshot::Sender<Granted>,
}

/// What a set-up lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lacks {
    pub(crate) bytes: bool,
    pub(crate) token: bool,
    pub(crate) slot: bool,
}

/// What it got of what it lacked.
#[derive(Debug)]
pub(crate) struct Granted {
    /// Why it got no token, if it needed one.
    pub(crate) no_token: Option<RateGrant>,
    /// The thread, if it needed one and there was one.
    pub(crate) thread: Option<Thread>,
}

/// Sessions that were moved or ended somewhere, oldest first.
#[derive(Debug, Default)]
struct Changed {
    order: VecDeque<SessionName>,
    names: HashSet<SessionName>,
}

impl Shares {
    pub(crate) fn new(fixed: Option<f64>, epoch: Instant) -> Self {
        Self {
            together: AtomicBool::new(false),
            fixed,
            gateways: AtomicU32::new(1),
            pending: Mutex::default(),
            wake: Notify::new(),
            peers: Mutex::default(),
            alone: Mutex::new(Some((Timestamp::now(), "nothing was shared yet".into()))),
            changed: Mutex::default(),
            any_changed: AtomicUsize::new(0),
            epoch,
        }
    }

    /// Whether what is shared can be had.
    pub(crate) fn together(&self) -> bool {
        self.together.load(Relaxed)
    }

    /// The part of every limit that this gateway enforces alone.
    pub(crate) fn share(&self) -> f64 {
        self.fixed.unwrap_or_else(|| 1.0 / f64::from(self.gateways.load(Relaxed).max(1)))
    }

    /// The part of a limit that this gateway enforces alone; one at least, or a small plan could do nothing.
    pub(crate) fn part(&self, limit: u32) -> u32 {
        ((f64::from(limit) * self.share()) as u32).max(1)
    }

    /// The gateways that are there, this one included.
    pub(crate) fn peers(&self) -> Arc<Vec<Peer>> {
        locked(&self.peers).clone()
    }

    /// How it stands, for whoever watches.
    pub(crate) fn state(&self) -> SharingState {
        match &*locked(&self.alone) {
            None => SharingState::Together { gateways: self.gateways.load(Relaxed) },
            Some((since, why)) => SharingState::Alone { since: *since, why: why.clone(), share: self.share() },
        }
    }

    /// Has the next batch look at a key.
    pub(crate) fn note(&self, live: &Arc<Live>) {
        locked(&self.pending).keys.push(live.clone());
        self.wake.notify_one();
    }

    /// Asks for what a set-up lacks. `None`: this gateway is alone.
    pub(crate) async fn ask(&self, account: Arc<Account>, lacks: Lacks) -> Option<Granted> {
        let (tell, told) = oneshot::channel();
        locked(&self.pending).waiters.push(Waiter { account, lacks, tell });
        self.wake.notify_one();
        timeout(ANSWER, told).await.ok()?.ok()
    }

    /// Asks where a session is. `None`: this gateway is alone.
    async fn ask_session(&self, ask: SessionAsk) -> Option<SessionAnswer> {
        let (tell, told) = oneshot::channel();
        locked(&self.pending).sessions.push((ask, Some(tell)));
        self.wake.notify_one();
        timeout(ANSWER, told).await.ok()?.ok()
    }

    /// Tells what became of a session, without waiting.
    pub(crate) fn tell_session(&self, ask: SessionAsk) {
        if self.together() {
            locked(&self.pending).sessions.push((ask, None));
            self.wake.notify_one();
        }
    }

    fn take_pending(&self) -> Pending {
        std::mem::take(&mut *locked(&self.pending))
    }

    /// Remembers sessions that were changed somewhere.
    fn hear(&self, names: &[SessionName]) {
        if names.is_empty() {
            return;
        }
        let mut changed = locked(&self.changed);
        for name in names {
            if changed.names.insert(*name) {
                changed.order.push_back(*name);
            }
        }
        while changed.order.len() > MOST_CHANGED {
            if let Some(oldest) = changed.order.pop_front() {
                changed.names.remove(&oldest);
            }
        }
        self.any_changed.store(changed.names.len(), Relaxed);
    }

    /// Whether a session was changed somewhere since it was last asked for here; told once.
    fn was_changed(&self, name: impl FnOnce() -> SessionName) -> bool {
        if self.any_changed.load(Relaxed) == 0 {
            return false;
        }
        let mut changed = locked(&self.changed);
        let found = changed.names.remove(&name());
        self.any_changed.store(changed.names.len(), Relaxed);
        found
    }

    /// Counts the gateways.
    fn meet(&self, peers: Vec<Peer>) {
        self.gateways.store(u32::try_from(peers.len()).unwrap_or(u32::MAX).max(1), Relaxed);
        let mut known = locked(&self.peers);
        if **known != peers {
            *known = Arc::new(peers);
        }
    }

    /// From here on together.
    fn join(&self) {
        self.together.store(true, Relaxed);
        *locked(&self.alone) = None;
    }

    /// From here on alone.
    fn part_ways(&self, why: &str) {
        self.together.store(false, Relaxed);
        let mut alone = locked(&self.alone);
        let since = alone.take().map_or_else(Timestamp::now, |(since, _)| since);
        *alone = Some((since, why.to_owned()));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
