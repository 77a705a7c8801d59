//! A thread with an event loop of its own, on which the connections live and every job runs to its end.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use outgate_store::{StoreError, StoreFuture};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::feed;
use crate::pool::Pool;
use crate::server::ServerUrl;
use crate::tls::Tls;

/// Jobs that wait to be begun; a caller beyond that waits itself.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(Rc<Pool>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The handle. Dropping it lets the thread finish the jobs it was given, close the connections and end.
pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// `changed` hears of every change from outside.
    pub(crate) fn spawn(url: ServerUrl, tls: Tls, changed: Arc<Notify>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, work(Pool::new(url, tls), changed, queue));
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the thread. Once queued it will run, even if the returned future is dropped.
    pub(crate) fn run<T, W>(&self, work: W) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        W: AsyncFnOnce(Rc<Pool>) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move {
            let ended = || StoreError::Refused("the store's thread has ended".into());
            let jobs = self.jobs.as_ref().ok_or_else(ended)?;
            let (tell, told) = oneshot::channel();
            let job: Job = Box::new(move |pool| {
                Box::pin(async move {
                    // Nobody waiting any more is the caller's decision, not a failure.
                    let _ = tell.send(work(pool).await);
                })
            });
            jobs.send(job).await.map_err(|_| ended())?;
            told.await.unwrap_or_else(|_| Err(StoreError::Unclear("the store's thread ended while at work".into())))
        })
    }
}

async fn work(pool: Rc<Pool>, changed: Arc<Notify>, mut queue: mpsc::Receiver<Job>) {
    let listener = tokio::task::spawn_local(feed::listen(pool.clone(), changed));
    let mut begun = JoinSet::new();
    while let Some(job) = queue.recv().await {
        begun.spawn_local(job(pool.clone()));
        // What has ended is forgotten; what is under way has a deadline of its own.
        while begun.try_join_next().is_some() {}
    }
    while begun.join_next().await.is_some() {}
    listener.abort();
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
