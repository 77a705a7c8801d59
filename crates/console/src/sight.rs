//! What the pages look at beside the desk: the watch over the gateway, how it stands, and where it listens.

use std::sync::{Arc, Mutex, PoisonError};

use outgate_meter::Gauges;
use outgate_signals::Watch;

/// What a gateway lets its pages see. Share it as `Arc<Sight>`.
pub struct Sight {
    /// The gateway's name.
    pub name: String,
    /// Signals, incidents, history. Whoever drives it holds the lock for microseconds.
    pub watch: Arc<Mutex<Watch>>,
    /// How the gateway stands right now.
    pub gauges: Box<dyn Fn() -> Gauges + Send + Sync>,
    /// URLs that clients can use as their proxy, without credentials: `http://127.0.0.1:8080`.
    pub proxies: Vec<String>,
}

impl Sight {
    /// Looks into the watch.
    pub(crate) fn watch<T>(&self, look: impl FnOnce(&Watch) -> T) -> T {
        look(&self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
