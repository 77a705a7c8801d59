//! A map that stays small: what ended is forgotten first, then what ends soonest.

use std::collections::BTreeMap;

use super::now::Moment;

/// Something that is worth nothing after a while.
pub(super) trait Ends {
    /// When it can be forgotten without anybody noticing.
    fn ends(&self) -> Moment;
}

/// At most so many of them. Ordered, so that the same calls always give the same decisions.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    map: BTreeMap<K, V>,
    most: usize,
}

impl<K: Ord + Clone, V: Ends> Kept<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { map: BTreeMap::new(), most: most.max(1) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn find(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(super) fn find_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// Forgets all whose keys are these.
    pub(super) fn forget(&mut self, these: impl Fn(&K) -> bool) {
        self.map.retain(|key, _| !these(key));
    }

    /// The one with this key, made if need be.
    pub(super) fn enter(&mut self, now: Moment, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.map.len() >= self.most && !self.map.contains_key(&key) {
            self.shrink(now);
        }
        self.map.entry(key).or_insert_with(make)
    }

    /// Makes room: a sixteenth at once, so that a flood of new keys does not look through all of them for each.
    fn shrink(&mut self, now: Moment) {
        self.map.retain(|_, value| value.ends() > now);
        if self.map.len() < self.most {
            return;
        }
        let mut ends: Vec<_> = self.map.iter().map(|(key, value)| (value.ends(), key.clone())).collect();
        ends.sort_unstable();
        for (_, key) in ends.into_iter().take(self.most / 16 + 1) {
            self.map.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ends, Kept, Moment};

    impl Ends for u64 {
        fn ends(&self) -> Moment {
            Moment::from_secs(*self)
        }
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_room_and_what_lasts_stays() {
        let mut kept: Kept<u64, u64> = Kept::new(100);
        kept.enter(Moment::ZERO, 0, || 1_000_000);
        for key in 1..10_000 {
            kept.enter(Moment::from_secs(5), key, || 10 + key % 3);
            assert!(kept.len() <= 100);
        }
        assert_eq!(kept.find(&0), Some(&1_000_000));
    }
}
