//! The last few things of each key, in bounded memory: at most so many of each, of so many keys.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outgate_store::KeyId;

/// Locks, held for a push or a copy.
const SHARDS: usize = 64;
/// Keys per lock: 4,096 in all. Beyond, the key to which nothing has happened for longest is forgotten.
const KEYS_PER_SHARD: usize = 64;

/// The last things of each key, newest last.
pub(crate) struct Recent<T> {
    hasher: RandomState,
    shards: Vec<Mutex<Shard<T>>>,
    each: usize,
}

struct Shard<T> {
    keys: HashMap<KeyId, Row<T>>,
    /// Pushes so far.
    pushes: u64,
}

struct Row<T> {
    things: VecDeque<T>,
    /// The push that was its last.
    last: u64,
}

impl<T: Clone> Recent<T> {
    /// Keeps at most `each` of every key.
    pub(crate) fn new(each: usize) -> Self {
        let shard = || Mutex::new(Shard { keys: HashMap::new(), pushes: 0 });
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| shard()).collect(), each }
    }

    /// Adds one; those that `stands_for` picks are replaced by it.
    pub(crate) fn push(&self, key: &KeyId, thing: T, stands_for: impl Fn(&T) -> bool) {
        let mut shard = self.shard(key);
        shard.pushes += 1;
        let now = shard.pushes;
        if shard.keys.len() >= KEYS_PER_SHARD && !shard.keys.contains_key(key) {
            shard.forget_one();
        }
        let row = shard.keys.entry(key.clone()).or_insert_with(|| Row { things: VecDeque::new(), last: now });
        row.last = now;
        row.things.retain(|known| !stands_for(known));
        if row.things.len() >= self.each {
            row.things.pop_front();
        }
        row.things.push_back(thing);
    }

    /// Those of a key, newest first.
    pub(crate) fn of(&self, key: &KeyId) -> Vec<T> {
        let shard = self.shard(key);
        shard.keys.get(key).map(|row| row.things.iter().rev().cloned().collect()).unwrap_or_default()
    }

    fn shard(&self, key: &KeyId) -> MutexGuard<'_, Shard<T>> {
        let shard = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shard<T> {
    fn forget_one(&mut self) {
        let oldest = self.keys.iter().min_by_key(|(_, row)| row.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.keys.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> KeyId {
        KeyId::parse(&format!("key{number}")).unwrap()
    }

    #[test]
    fn the_last_ones_are_kept_newest_first() {
        let recent = Recent::new(3);
        for number in 0..5 {
            recent.push(&key(1), number, |_| false);
        }
        assert_eq!(recent.of(&key(1)), [4, 3, 2]);
        recent.push(&key(1), 3, |known| *known == 3);
        assert_eq!(recent.of(&key(1)), [3, 4, 2], "one that stands for another takes its place as the newest");
        assert!(recent.of(&key(2)).is_empty());
    }

    #[test]
    fn there_are_never_too_many_keys() {
        let recent = Recent::new(3);
        for number in 0..20_000 {
            recent.push(&key(number), number, |_| false);
            recent.push(&key(0), number, |_| false);
        }
        let keys: usize = recent.shards.iter().map(|shard| shard.lock().unwrap().keys.len()).sum();
        assert!(keys <= SHARDS * KEYS_PER_SHARD, "{keys}");
        assert_eq!(recent.of(&key(0)), [19_999, 19_998, 19_997], "one that is in use is not forgotten");
    }
}
