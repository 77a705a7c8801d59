//! Catches up with a ledger that was changed by somebody else: another gateway beside this one, or a restored backup.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outgate_store::{Change, Key, KeyState, PlanName, Snapshot};

use crate::desk::{Book, Desk, DeskError, Turn};

/// How long everything may take to be read: a million keys from a busy server.
const WHOLE: Duration = Duration::from_secs(60);

/// How much differed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Resynced {
    /// Plans that were new, changed or gone.
    pub plans: usize,
    /// Keys that were.
    pub keys: usize,
    /// Exits that were.
    pub exits: usize,
}

impl Resynced {
    /// Whether the ledger holds what was known.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Resynced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [(self.plans, "plan"), (self.keys, "key"), (self.exits, "exit")];
        let parts = counted.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" })).collect();
        f.write_str(&parts.join(", "))
    }
}

impl Desk {
    /// Reads plans, keys and exits again and puts what differs in force, as if it had been changed here. A key or exit that is
    /// no longer there counts as revoked. Usage is not touched: this gateway knows better what it has metered.
    ///
    /// # Errors
    /// The ledger can't be read; nothing was changed.
    pub async fn resync(&self) -> Result<Resynced, DeskError> {
        // No change of our own may come between the reading and the comparison: it would be undone.
        let turn = self.changing().await;
        self.start_over(&turn).await
    }

    /// As [`Self::resync`], for whoever has the right to change something.
    pub(crate) async fn start_over(&self, _turn: &Turn<'_>) -> Result<Resynced, DeskError> {
        let whole = tokio::time::timeout(WHOLE, self.store.load(self.now())).await;
        let slow = |_| DeskError::Refused(format!("it was not read within {} s", WHOLE.as_secs()));
        let snapshot = whole.map_err(slow)??;
        let changes = differences(&self.book(), &snapshot);
        let mut resynced = Resynced::default();
        for change in changes {
            match &change {
                Change::PutPlan(_) | Change::RemovePlan(_) => resynced.plans += 1,
                Change::PutKey(_) => resynced.keys += 1,
                Change::PutExit(_) | Change::RemoveExit(_) => resynced.exits += 1,
            }
            self.tell(change);
        }
        self.seen.store(snapshot.change, Ordering::Relaxed);
        Ok(resynced)
    }
}

/// What makes the book what the snapshot is: plans before the keys on them, and gone only after.
fn differences(book: &Book, snapshot: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    let plans = snapshot.plans.iter().filter(|plan| book.plans.get(&plan.name).is_none_or(|known| **known != **plan));
    changes.extend(plans.cloned().map(Change::PutPlan));
    let keys = snapshot.keys.iter().filter(|key| book.keys.get(&key.id) != Some(key));
    changes.extend(keys.cloned().map(Change::PutKey));
    let exits = snapshot.exits.iter().filter(|exit| book.exits.get(&exit.id) != Some(exit));
    changes.extend(exits.cloned().map(Change::PutExit));

    let there: HashSet<_> = snapshot.keys.iter().map(|key| &key.id).collect();
    let gone: Vec<&Key> = book.keys.values().filter(|key| !there.contains(&key.id)).collect();
    let revoked = gone.iter().filter(|key| key.state != KeyState::Revoked);
    changes.extend(revoked.map(|key| Change::PutKey(Key { state: KeyState::Revoked, ..(*key).clone() })));
    let there: HashSet<_> = snapshot.exits.iter().map(|exit| &exit.id).collect();
    changes.extend(book.exits.keys().filter(|id| !there.contains(id)).cloned().map(Change::RemoveExit));
    let there: HashSet<_> = snapshot.plans.iter().map(|plan| &plan.name).collect();
    // A key that is gone from the ledger still needs its plan here.
    let free = |name: &PlanName| !there.contains(name) && !gone.iter().any(|key| key.plan == *name);
    changes.extend(book.plans.keys().filter(|name| free(name)).cloned().map(Change::RemovePlan));
    changes
}
