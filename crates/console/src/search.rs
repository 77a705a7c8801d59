//! Looks into the gateway's records for whoever asks the console, a few at a time, behind everything else that runs.

use std::io;
use std::time::{Duration, Instant};

use outgate_records::read::give_way;
use outgate_records::{Filter, Found, Record, Records, Stream};
use tokio::sync::{Semaphore, oneshot};

use crate::problem::Problem;

/// Searches at a time; each has a thread of its own. More wait.
const AT_ONCE: usize = 2;
/// How long one may take: whoever asks has gone away by then, and `outgate logs` reads faster.
const PATIENCE: Duration = Duration::from_secs(20);

/// What records there are to look into.
pub struct Search {
    records: Option<Records>,
    turns: Semaphore,
}

impl Search {
    /// Looks into these records; none are written without.
    pub fn new(records: Option<Records>) -> Self {
        Self { records: records.map(|records| records.with_threads(1)), turns: Semaphore::new(AT_ONCE) }
    }

    /// The record of a request.
    pub(crate) async fn find(&self, id: String) -> Result<Option<Found>, Problem> {
        self.run(move |records| records.find(&id)).await
    }

    /// The newest records that are wanted, newest first.
    pub(crate) async fn newest(&self, stream: Stream, filter: Filter, limit: usize) -> Result<Vec<Record>, Problem> {
        self.run(move |records| records.newest(stream, &filter, limit)).await
    }

    async fn run<T: Send + 'static>(&self, search: impl FnOnce(Records) -> io::Result<T> + Send + 'static) -> Result<T, Problem> {
        let off = || Problem::not_found("this gateway writes no records: records.enabled is false in its configuration");
        let records = self.records.clone().ok_or_else(off)?;
        let Ok(_turn) = self.turns.acquire().await else { return Err(Problem::internal()) };
        let (tell, told) = oneshot::channel();
        let work = move || {
            give_way();
            // Whoever asked may have gone.
            let _unheard = tell.send(search(records.until(Instant::now() + PATIENCE)));
        };
        let started = std::thread::Builder::new().name("records-search".into()).spawn(work);
        match (started, told.await) {
            (Ok(_), Ok(Ok(found))) => Ok(found),
            (Ok(_), Ok(Err(error))) if error.kind() == io::ErrorKind::TimedOut => Err(Problem::search_too_long(PATIENCE)),
            (Ok(_), Ok(Err(error))) => {
                tracing::warn!(%error, "the records can't be read");
                Err(Problem::internal())
            }
            (Err(_), _) | (_, Err(_)) => Err(Problem::internal()),
        }
    }
}
