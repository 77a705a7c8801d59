//! Threads that each run many exits, as the agent wants a thread to itself or to share with its like.

use std::future::Future;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

type Start = Box<dyn FnOnce() + Send>;

/// One thread with an event loop. Dropping it drops every task there, and with them their sockets.
pub(crate) struct Crew {
    starts: Option<mpsc::UnboundedSender<Start>>,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    pub(crate) fn muster(number: usize) -> Self {
        let (starts, mut started) = mpsc::unbounded_channel::<Start>();
        let thread = std::thread::Builder::new()
            .name(format!("exits-{number}"))
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().expect("the machine can make an event loop");
                LocalSet::new().block_on(&runtime, async {
                    while let Some(start) = started.recv().await {
                        start();
                    }
                });
            })
            .expect("the machine can start a thread");
        Self { starts: Some(starts), thread: Some(thread) }
    }

    /// Runs what `task` makes there; the future need not be `Send`.
    pub(crate) fn run<F: Future<Output = ()> + 'static>(&self, task: impl FnOnce() -> F + Send + 'static) {
        let start: Start = Box::new(move || {
            spawn_local(task());
        });
        if let Some(starts) = &self.starts {
            // The thread ends only when this is dropped, or by a panic that it has told.
            drop(starts.send(start));
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        drop(self.starts.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
