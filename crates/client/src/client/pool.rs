//! Connections that are free: a few, for a short time.

use std::time::{Duration, Instant};

use super::exchange::Line;
use crate::engine::ProxyId;

/// The most free connections that are kept.
const MOST: usize = 64;

/// How long one is kept. Proxies and load balancers close idle ones after a minute and more; staying well below it, a request
/// seldom meets a connection that is being closed.
const LONGEST: Duration = Duration::from_secs(20);

/// What a connection can be used for again: the same proxy, session and, in a tunnel, the same target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub(super) proxy: ProxyId,
    pub(super) session: Option<String>,
    /// `https://host:port`; empty for plain requests to the proxy.
    pub(super) origin: String,
}

/// The free connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    lines: Vec<(Key, Line, Instant)>,
}

impl Pool {
    /// A free connection for this, the youngest first.
    pub(super) fn take(&mut self, key: &Key) -> Option<Line> {
        self.lines.retain(|(_, line, since)| since.elapsed() < LONGEST && !line.is_closed());
        // One whose last answer was not read to its end is not ready, and stays until it is or grows old.
        let at = self.lines.iter().rposition(|(kept, line, _)| kept == key && line.is_ready())?;
        Some(self.lines.remove(at).1)
    }

    pub(super) fn put(&mut self, key: Key, line: Line) {
        if self.lines.len() >= MOST {
            self.lines.remove(0);
        }
        self.lines.push((key, line, Instant::now()));
    }
}
