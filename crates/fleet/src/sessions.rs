//! Which exit a session keeps to, for its time.
//!
//! A million of them must fit: who a session is, is a hash of 16 bytes with a key of its own, so that nobody can make two
//! meet; where it goes is an exit's number; until when is 4 bytes. 24 bytes each, in shards of which a request locks one.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a request holds one of them for a lookup.
const SHARDS: usize = 64;
/// Nanoseconds of one unit of time here: 32 bits of them last 13 years.
const TICK: u64 = 100_000_000;
/// How long an ended session is still known, in ticks: who comes back gets another exit than before.
const KEPT: u32 = 6_000;
/// When a shard is full, the first to end of so many goes.
const LOOKED_AT: usize = 16;

/// A session's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name([u64; 2]);

/// Where a session goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Binding {
    /// The exit's number.
    pub(crate) exit: u32,
    /// In ticks; 0: rotated.
    until: u32,
}

impl Binding {
    pub(crate) fn holds(self, now: u64) -> bool {
        now / TICK < u64::from(self.until)
    }

    /// Nanoseconds of its time.
    pub(crate) fn left(self, now: u64) -> u64 {
        (u64::from(self.until) * TICK).saturating_sub(now)
    }
}

/// Every session.
pub(crate) struct Sessions {
    keys: [RandomState; 2],
    shards: Vec<Mutex<Shard>>,
    most_per_shard: usize,
}

/// The names are hashes already.
type Map = HashMap<Name, Binding, BuildHasherDefault<First>>;

/// A part of them, locked.
#[derive(Default)]
pub(crate) struct Shard(Map);

impl Sessions {
    /// At most `most` of them are kept.
    pub(crate) fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { keys: [RandomState::new(), RandomState::new()], shards, most_per_shard: most.div_ceil(SHARDS).max(1) }
    }

    /// The name of a session that is told by these parts.
    pub(crate) fn name(&self, parts: impl Hash) -> Name {
        Name([self.keys[0].hash_one(&parts), self.keys[1].hash_one(&parts)])
    }

    /// The shard of a session. Whoever holds it decides alone where the session goes.
    pub(crate) fn shard(&self, name: Name) -> MutexGuard<'_, Shard> {
        // The map takes the low bits of the first half.
        let shard = &self.shards[(name.0[1] % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds a session to an exit for a time.
    pub(crate) fn bind(&self, shard: &mut Shard, name: Name, exit: u32, now: u64, ttl: u64) {
        if shard.0.len() >= self.most_per_shard && !shard.0.contains_key(&name) {
            shard.make_room();
        }
        let until = u32::try_from(now.saturating_add(ttl).div_ceil(TICK)).unwrap_or(u32::MAX);
        shard.0.insert(name, Binding { exit, until });
    }

    /// Forgets those that ended a while ago.
    pub(crate) fn sweep(&self, now: u64) {
        let now = u32::try_from(now / TICK).unwrap_or(u32::MAX);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.0.retain(|_, binding| now < binding.until.max(1).saturating_add(KEPT));
            // A rush that is over gives its memory back.
            if shard.0.len() < shard.0.capacity() / 4 {
                let needed = shard.0.len() * 2;
                shard.0.shrink_to(needed);
            }
        }
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).0.len()).sum()
    }
}

impl Shard {
    pub(crate) fn find(&self, name: Name) -> Option<Binding> {
        self.0.get(&name).copied()
    }

    pub(crate) fn forget(&mut self, name: Name) {
        self.0.remove(&name);
    }

    /// Moves a session to another exit; its time goes on.
    pub(crate) fn move_to(&mut self, name: Name, exit: u32) {
        if let Some(binding) = self.0.get_mut(&name) {
            binding.exit = exit;
        }
    }

    /// Ends a session's time; whether it was there.
    pub(crate) fn rotate(&mut self, name: Name) -> bool {
        self.0.get_mut(&name).map(|binding| binding.until = 0).is_some()
    }

    fn make_room(&mut self) {
        let first = self.0.iter().take(LOOKED_AT).min_by_key(|(_, binding)| binding.until).map(|(name, _)| *name);
        if let Some(first) = first {
            self.0.remove(&first);
        }
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Takes the first eight bytes as they are.
#[derive(Default)]
pub(crate) struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        self.0 = u64::from_le_bytes(first);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn bind(sessions: &Sessions, name: Name, exit: u32, now: u64, ttl: u64) {
        sessions.bind(&mut sessions.shard(name), name, exit, now, ttl);
    }

    #[test]
    fn a_binding_is_small_and_holds_for_its_time() {
        assert_eq!(size_of::<(Name, Binding)>(), 24);
        let sessions = Sessions::new(1_000);
        let name = sessions.name(("key", "pool", "session"));
        assert_ne!(name, sessions.name(("key", "pool", "sessiom")));
        bind(&sessions, name, 7, 5, 10 * MINUTE);
        let binding = sessions.shard(name).find(name).unwrap();
        assert_eq!(binding.exit, 7);
        assert!(binding.holds(10 * MINUTE) && !binding.holds(10 * MINUTE + 2 * TICK));
        assert!(sessions.shard(name).rotate(name));
        assert!(!sessions.shard(name).find(name).unwrap().holds(0));
    }

    #[test]
    fn ended_ones_are_swept_after_a_while() {
        let sessions = Sessions::new(1_000);
        let name = sessions.name("a");
        bind(&sessions, name, 7, 0, MINUTE);
        sessions.sweep(MINUTE + u64::from(KEPT - 1) * TICK);
        assert_eq!(sessions.len(), 1, "who comes back shall get another exit");
        sessions.sweep(MINUTE + u64::from(KEPT) * TICK);
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn there_are_never_too_many() {
        let sessions = Sessions::new(640);
        for n in 0..100_000u32 {
            bind(&sessions, sessions.name(n), n, 0, MINUTE);
        }
        let kept = sessions.len();
        assert!((600..=640).contains(&kept), "{kept}");
        sessions.sweep(100 * MINUTE);
        assert_eq!(sessions.len(), 0);
        let held: usize = sessions.shards.iter().map(|shard| shard.lock().unwrap().0.capacity()).sum();
        assert!(held < 640, "the memory is given back: {held}");
    }
}
