//! The thread a throw-away server runs on, ended by dropping its handle.

use std::future::Future;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// A current-thread event loop on a thread of its own. Dropping it stops every task there and waits for the thread.
#[derive(Debug)]
pub(crate) struct ServerThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Runs `serve` on its own thread until dropped; `serve` starts its tasks with `tokio::spawn`.
    pub(crate) fn run<F>(name: &str, serve: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let runtime: Runtime =
            Builder::new_current_thread().enable_all().build().expect("the test machine can make an event loop");
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve() => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("the test machine can start a thread");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        // Dropping the sender is the signal; the runtime then drops its tasks, and with them every socket.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has told so on stderr; panicking again while dropping would abort the test run.
            drop(thread.join());
        }
    }
}
