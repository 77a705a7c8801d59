//! A bounded queue of what is exported one by one, and the task that sends it in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::environment::{Batches, Encoding};
use crate::post::{Post, Undelivered};

/// How often a batch is tried before it is given up. What comes meanwhile waits in the queue, and then is dropped.
const TRIES: u32 = 5;
/// The first wait between two tries; each further one is twice as long.
const WAIT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How much did not get there.
pub(crate) type Dropped = Arc<AtomicU64>;

/// Puts something into the queue, from wherever.
#[derive(Debug)]
pub(crate) struct Intake<T> {
    sender: Sender<T>,
    dropped: Dropped,
}

impl<T> Intake<T> {
    /// Never waits: without room it is dropped and counted.
    pub(crate) fn put(&self, item: T) {
        if self.sender.try_send(item).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The queue's other end, with the way to the collector.
pub(crate) struct Outlet<T> {
    receiver: Receiver<T>,
    batches: Batches,
    post: Post,
    dropped: Dropped,
    what: &'static str,
}

/// A queue; `what` goes through it is for the operator's log.
pub(crate) fn queue<T>(what: &'static str, batches: Batches, post: Post, dropped: Dropped) -> (Intake<T>, Outlet<T>) {
    let (sender, receiver) = channel(batches.queue);
    (Intake { sender, dropped: dropped.clone() }, Outlet { receiver, batches, post, dropped, what })
}

impl<T> Outlet<T> {
    /// Sends until it is told to end, then what waits.
    pub(crate) async fn run(mut self, mut ended: watch::Receiver<bool>, message: impl Fn(Vec<T>, Encoding) -> Bytes) {
        while let Some(batch) = self.batch(&mut ended).await {
            let count = batch.len() as u64;
            let message = message(batch, self.post.encoding());
            if !deliver(&mut self.post, message, self.what).await {
                self.dropped.fetch_add(count, Relaxed);
            }
        }
    }

    /// Some, as soon as they are many or one has waited long enough.
    async fn batch(&mut self, ended: &mut watch::Receiver<bool>) -> Option<Vec<T>> {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            first = self.receiver.recv() => batch.push(first?),
            // Whoever told it is gone, or said so: nothing more is taken.
            _ = ended.wait_for(|ended| *ended) => self.receiver.close(),
        }
        let until = Instant::now() + self.batches.delay;
        while batch.len() < self.batches.size {
            tokio::select! {
                biased;
                next = self.receiver.recv() => match next {
                    Some(item) => batch.push(item),
                    None => break,
                },
                () = sleep_until(until) => break,
                _ = ended.wait_for(|ended| *ended) => self.receiver.close(),
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Sends one message, several times if need be; tells whether it arrived.
pub(crate) async fn deliver(post: &mut Post, message: Bytes, what: &str) -> bool {
    let mut wait = WAIT;
    for tried in 1..=TRIES {
        match post.send(message.clone()).await {
            Ok(()) => {
                if tried > 1 {
                    tracing::info!(what, "the collector takes telemetry again");
                }
                return true;
            }
            Err(undelivered) => {
                let asked = match &undelivered {
                    Undelivered::Later(_, asked) if tried < TRIES => *asked,
                    _ => {
                        tracing::warn!(what, error = %undelivered, tried, "telemetry was not exported and is dropped");
                        return false;
                    }
                };
                if tried == 1 {
                    tracing::warn!(what, error = %undelivered, "telemetry is not exported; trying again");
                }
                sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
    false
}
