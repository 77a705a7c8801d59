//! What other gateways changed in a ledger that several share: taken over here before anything is decided on it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use outgate_store::{Change, Changes, StoreError};

use crate::desk::{Desk, DeskError, Turn};
use crate::resync::Resynced;

/// More changes than this at once are read with everything else: a whole look is then the cheaper one.
const FOLLOWED_AT_ONCE: usize = 10_000;

/// How long a change waits to learn what others did before it. One that was decided on an old sight is refused by the
/// store, so nothing is lost by not waiting longer.
const LOOK: Duration = Duration::from_secs(1);

/// What following found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Followed {
    /// So many things had been changed.
    Changes(usize),
    /// Too many to be told one by one: the whole ledger was compared.
    Whole(Resynced),
}

impl Desk {
    /// Resolves when there may be something to [follow](Self::follow).
    pub async fn changed(&self) {
        self.store.changed().await;
    }

    /// Takes over what was changed through other gateways since the last time.
    ///
    /// # Errors
    /// The ledger can't be read; nothing was taken over.
    pub async fn follow(&self) -> Result<Followed, DeskError> {
        let turn = self.changing().await;
        match self.catch_up(&turn).await? {
            Some(count) => Ok(Followed::Changes(count)),
            None => self.start_over(&turn).await.map(Followed::Whole),
        }
    }

    /// The right to change something, with as fresh a sight as the store gives now.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let turn = self.changing().await;
        // Without an answer the sight is an old one, and the store refuses what it would overwrite unseen.
        let _old_sight = tokio::time::timeout(LOOK, self.catch_up(&turn)).await;
        turn
    }

    /// How many things had been changed; none if they are too many.
    async fn catch_up(&self, _turn: &Turn<'_>) -> Result<Option<usize>, StoreError> {
        let Some(Changes { upto, changes }) = self.store.changes_after(self.seen(), FOLLOWED_AT_ONCE).await? else {
            return Ok(None);
        };
        let news: Vec<Change> = changes.into_iter().filter(|change| !self.knows(change)).collect();
        let count = news.len();
        news.into_iter().for_each(|change| self.tell(change));
        self.seen.store(upto, Ordering::Relaxed);
        Ok(Some(count))
    }

    /// The number of the last change in the book.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether the book says so already: one's own changes come back, too.
    fn knows(&self, change: &Change) -> bool {
        let book = self.book();
        match change {
            Change::PutPlan(plan) => book.plans.get(&plan.name).is_some_and(|known| **known == *plan),
            Change::PutKey(key) => book.keys.get(&key.id) == Some(key),
            Change::PutExit(exit) => book.exits.get(&exit.id) == Some(exit),
            Change::RemovePlan(name) => !book.plans.contains_key(name),
            Change::RemoveExit(id) => !book.exits.contains_key(id),
        }
    }
}
