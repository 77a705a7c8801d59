//! A thread that owns a connection and works off a bounded queue of jobs.

use std::io;
use std::thread::JoinHandle;

use outgate_store::{StoreError, StoreFuture};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait; a caller beyond that waits itself.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The handle. Dropping it lets the thread finish the jobs it was given, close the connection and end.
pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn spawn(name: &str, mut connection: Connection) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the thread. Once queued it will run, even if the returned future is dropped.
    pub(crate) fn run<T, W>(&self, work: W) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move {
            let ended = || StoreError::Refused("the store's thread has ended".into());
            let jobs = self.jobs.as_ref().ok_or_else(ended)?;
            let (tell, told) = oneshot::channel();
            let job: Job = Box::new(move |connection| {
                // Nobody waiting any more is the caller's decision, not a failure.
                let _ = tell.send(work(connection));
            });
            jobs.send(job).await.map_err(|_| ended())?;
            told.await.unwrap_or_else(|_| Err(StoreError::Unclear("the store's thread ended while at work".into())))
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was printed when it happened; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}
