//! The other gateways: each is dialed, offered the exits that are linked here, and asks for tunnels through them.
//!
//! There is a link per ordered pair: whoever holds exits dials (`dial`) and plays the exit's part on it. So the exits of A are
//! told by A's link to B (`offering`), entered at B as ways over another gateway (`door`, `taken`), and a tunnel that B asks for
//! is joined at A to one over the exit's own link (`serve`, `relay`). Only own exits are offered: nothing is passed on, so
//! nothing goes in circles. What is admitted, metered and recorded is so where the client is.

mod changes;
mod dial;
mod door;
mod offering;
mod relay;
mod serve;
mod taken;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use outgate_link::{Goodbye, Link};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use crate::core::Core;
use crate::settings::{PeerAddress, Settings};

pub(crate) use changes::Changes;
pub(crate) use door::admit_peer;

/// Where the door of each gateway takes links of others.
const PATH: &str = "/v1/peer";

/// Whom this gateway is linked to, and what goes through it for them.
pub(crate) struct Peers {
    lists: Mutex<Lists>,
    addresses: watch::Sender<Arc<[PeerAddress]>>,
    /// Spreads the peers over the event loops.
    hasher: RandomState,
    /// The links that this gateway's exits are offered over.
    links: Mutex<HashMap<u64, Link>>,
    next: AtomicU64,
    /// Tunnels of other gateways under way here.
    relayed: AtomicUsize,
}

/// Where the addresses come from.
#[derive(Default)]
struct Lists {
    configured: Vec<PeerAddress>,
    /// Who of those that share limits with this gateway says where its door is.
    met: Vec<PeerAddress>,
}

/// A link that is up; forgotten when this drops.
struct Up<'a> {
    peers: &'a Peers,
    number: u64,
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.peers.lock().remove(&self.number);
    }
}

/// A tunnel of another gateway; counted until it drops.
struct Relayed<'a>(&'a AtomicUsize);

impl Drop for Relayed<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Peers {
    pub(crate) fn new(settings: &Settings) -> Self {
        let configured = settings.cluster.as_ref().map(|cluster| cluster.peers.clone()).unwrap_or_default();
        Self {
            addresses: watch::Sender::new(configured.clone().into()),
            lists: Mutex::new(Lists { configured, met: Vec::new() }),
            hasher: RandomState::new(),
            links: Mutex::default(),
            next: AtomicU64::new(0),
            relayed: AtomicUsize::new(0),
        }
    }

    /// Puts another configured list in force. One that is no longer in any is not dialed again; a link that is up goes on,
    /// because a list that came out too short must not cut anybody's tunnels.
    pub(crate) fn put(&self, peers: Vec<PeerAddress>) {
        self.change(|lists| lists.configured = peers);
    }

    /// Takes over whom this gateway shares limits with.
    pub(crate) fn meet(&self, peers: Vec<PeerAddress>) {
        self.change(|lists| lists.met = peers);
    }

    fn change(&self, change: impl FnOnce(&mut Lists)) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut lists);
        let mut all = lists.configured.clone();
        all.extend(lists.met.iter().filter(|peer| !lists.configured.contains(peer)).cloned());
        self.addresses.send_if_modified(|now| {
            let differs = **now != *all;
            if differs {
                *now = all.into();
            }
            differs
        });
    }

    fn wants(&self, peer: &PeerAddress) -> bool {
        self.addresses.borrow().contains(peer)
    }

    /// Tunnels of other gateways that go through exits of this one now.
    pub(crate) fn relayed(&self) -> usize {
        self.relayed.load(Relaxed)
    }

    /// Asks the others for no new tunnels.
    pub(crate) fn drain(&self) {
        self.lock().values().for_each(Link::drain);
    }

    /// Ends every link over which this gateway's exits are used.
    pub(crate) fn close(&self) {
        for link in self.lock().values() {
            link.close(Goodbye::new("draining", "the gateway is shutting down"));
        }
    }

    /// Remembers a link that is up.
    fn up(&self, link: &Link) -> Up<'_> {
        let number = self.next.fetch_add(1, Relaxed);
        self.lock().insert(number, link.clone());
        Up { peers: self, number }
    }

    fn begin_relaying(&self) -> Relayed<'_> {
        self.relayed.fetch_add(1, Relaxed);
        Relayed(&self.relayed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps this event loop's share of the peers linked until the loop ends.
pub(crate) async fn keep_linked(core: Rc<Core>, number: usize) {
    let peers = &core.gateway.peers;
    let loops = core.settings().workers.max(1) as u64;
    let mut addresses = peers.addresses.subscribe();
    let mut kept: HashMap<PeerAddress, JoinHandle<()>> = HashMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        kept.retain(|_, task| !task.is_finished());
        for peer in wanted.iter().filter(|peer| peers.hasher.hash_one(peer) % loops == number as u64) {
            let task = || spawn_local(dial::keep_link(core.clone(), peer.clone()));
            kept.entry(peer.clone()).or_insert_with(task);
        }
        if addresses.changed().await.is_err() {
            return;
        }
    }
}
