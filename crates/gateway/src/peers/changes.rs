//! Exits linked here that came, went or changed, noted for each link that tells of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use outgate_store::ExitId;
use tokio::sync::Notify;

/// Notes changes for everybody who watches.
#[derive(Default)]
pub(crate) struct Changes(RwLock<Vec<Weak<Watch>>>);

/// What has changed since the last look. Each exit is in it once, however often it changed.
#[derive(Default)]
pub(crate) struct Watch {
    changed: Mutex<HashSet<ExitId>>,
    noted: Notify,
}

impl Changes {
    /// Notes an exit for everybody who watches.
    pub(crate) fn note(&self, exit: &ExitId) {
        for watch in self.0.read().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            watch.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(exit.clone());
            watch.noted.notify_one();
        }
    }

    /// Begins to watch.
    pub(super) fn watch(&self) -> Arc<Watch> {
        let watch = Arc::<Watch>::default();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&watch));
        watch
    }
}

impl Watch {
    /// Waits until something has changed.
    pub(super) async fn changed(&self) -> HashSet<ExitId> {
        loop {
            let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
            if !changed.is_empty() {
                return changed;
            }
            self.noted.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn exit(name: &str) -> ExitId {
        ExitId::parse(name).unwrap()
    }

    fn poll(watch: &Watch) -> Poll<HashSet<ExitId>> {
        pin!(watch.changed()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn every_watch_hears_of_each_exit_once() {
        let changes = Changes::default();
        changes.note(&exit("e0"));
        let (first, second) = (changes.watch(), changes.watch());
        for name in ["e1", "e2", "e1"] {
            changes.note(&exit(name));
        }
        let both = HashSet::from([exit("e1"), exit("e2")]);
        assert_eq!(poll(&first), Poll::Ready(both.clone()));
        assert_eq!(poll(&first), Poll::Pending, "once, and nothing of before it began");
        changes.note(&exit("e1"));
        assert_eq!(poll(&first), Poll::Ready(HashSet::from([exit("e1")])), "again when it changes again");
        assert_eq!(poll(&second), Poll::Ready(both));
        drop((first, second));
        let _third = changes.watch();
        assert_eq!(changes.0.read().unwrap().len(), 1, "whoever is gone is forgotten");
    }
}
