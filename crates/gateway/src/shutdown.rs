//! The end of a gateway: what is open may finish, the rest is cut and counted, nobody who was let in is left without an answer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use outgate_faults::raise;
use tokio::sync::{mpsc, watch};

use crate::gateway::{Command, Gateway, Running};
use crate::listen::Closing;

/// How often a gateway that drains looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);
/// For those that were cut or came last to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whether a gateway is about to end.
#[derive(Default)]
pub(crate) struct Drain {
    begun: AtomicBool,
    /// For connections that wait for something else.
    told: watch::Sender<bool>,
}

/// Tells a connection when the gateway begins to drain.
pub(crate) struct DrainNotice(watch::Receiver<bool>);

impl Drain {
    /// Whether it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// Tells when it begins.
    pub(crate) fn notice(&self) -> DrainNotice {
        DrainNotice(self.told.subscribe())
    }

    fn begin(&self) {
        self.begun.store(true, Relaxed);
        self.told.send_replace(true);
    }
}

impl DrainNotice {
    /// Ready once it has begun.
    pub(crate) async fn begun(&mut self) {
        // An error is a gateway that is gone.
        let _gone = self.0.wait_for(|draining| *draining).await;
    }
}

impl Running {
    /// Drains and stops: new work is refused, what is open may finish until the deadline, usage and
    /// records are written. Returns how many requests were cut.
    ///
    /// Where a listener is the service manager's, nothing is refused there: who connects from now on waits for the successor, and
    /// whoever is connected is served once more.
    pub async fn shut_down(mut self, deadline: Duration) -> usize {
        let gateway = self.gateway.clone();
        gateway.drain.begin();
        // The other gateways are told before one of them finds out.
        gateway.peers.drain();
        let until = Instant::now() + deadline;
        if gateway.entrances.lock().await.are_activated() {
            gateway.ask_all(|tell| Command::CloseDoors(Closing::HandedOn, tell)).await;
            gateway.is_done(Command::CountBusy, until).await;
        } else {
            gateway.is_done(Command::Count, until).await;
        }
        let cut = gateway.ask_all(|tell| Command::CutAll(raise::draining(), tell)).await + gateway.peers.relayed();
        gateway.peers.close();
        // Whoever waits at our own doors is let in to be told why not, and those that were cut write their records.
        gateway.ask_all(|tell| Command::CloseDoors(Closing::All, tell)).await;
        gateway.is_done(Command::CountBusy, Instant::now() + FAREWELL).await;
        gateway.fleet.close();
        for sender in gateway.event_loops() {
            let _ended = sender.send(Command::Stop).await;
        }
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
        if let Some(syncing) = self.syncing.take() {
            syncing.end();
        }
        drop(self.stop_settling.take());
        if let Some(settler) = self.settler.take() {
            let _panicked = settler.join();
        }
        if let Some(writer) = &gateway.writer {
            writer.close();
        }
        cut
    }
}

impl Gateway {
    /// Waits until there is nothing left of what is counted, or until then.
    async fn is_done(&self, count: impl Fn(mpsc::Sender<usize>) -> Command, until: Instant) {
        while self.ask_all(&count).await + self.peers.relayed() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }
}
