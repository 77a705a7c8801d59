//! When keys end, of those that do: so that who ends now is found without a look at all keys.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use outgate_store::KeyId;

/// The ends to come.
#[derive(Default)]
pub(crate) struct Ends(Mutex<BTreeSet<(Timestamp, KeyId)>>);

impl Ends {
    /// Puts a key's end in the place of the one before.
    pub(crate) fn put(&self, key: &KeyId, before: Option<Timestamp>, end: Option<Timestamp>) {
        if before == end {
            return;
        }
        let mut ends = self.ends();
        if let Some(before) = before {
            ends.remove(&(before, key.clone()));
        }
        ends.extend(end.map(|at| (at, key.clone())));
    }

    /// The keys that have ended since the last call.
    pub(crate) fn take(&self, now: Timestamp) -> Vec<KeyId> {
        let mut ends = self.ends();
        let mut ended = Vec::new();
        while ends.first().is_some_and(|(at, _)| *at <= now) {
            ended.extend(ends.pop_first().map(|(_, key)| key));
        }
        ended
    }

    fn ends(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, KeyId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_told_once_and_only_the_newest_of_a_key() {
        let (at, key) = (|second| Timestamp::from_second(second).unwrap(), |id| KeyId::parse(id).unwrap());
        let ends = Ends::default();
        ends.put(&key("aaaa"), None, Some(at(10)));
        ends.put(&key("bbbb"), None, Some(at(20)));
        ends.put(&key("cccc"), None, Some(at(30)));
        ends.put(&key("aaaa"), Some(at(10)), Some(at(25)));
        ends.put(&key("cccc"), Some(at(30)), None);
        for (now, ended) in [(19, vec![]), (20, vec![key("bbbb")]), (24, vec![]), (40, vec![key("aaaa")]), (50, vec![])] {
            assert_eq!(ends.take(at(now)), ended, "at {now}");
        }
    }
}
