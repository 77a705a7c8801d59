//! Slows down guessing: failed logins per source address, and per source and key id.
//!
//! Two buckets, because many users share one address: a client that keeps sending one wrong secret
//! locks out its own key id from there, and nobody else behind the same address; a source that tries
//! many ids is refused altogether. A login that is refused here is not checked, so guessing learns
//! nothing from it, and it does not count again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{Gcra, Pace};

/// Sources and pairs remembered; beyond it those that are at rest go, then all.
const CAPACITY: usize = 50_000;

/// What stands for the operator's token where a key's id would: no key's id has a blank.
pub(crate) const ADMIN: &str = "admin token";

/// A source network, and a key id for the bucket of the pair.
type Bucket = (IpAddr, Option<Box<str>>);

/// The failures of every source.
pub(crate) struct Throttle {
    pair: Pace,
    source: Pace,
    buckets: Mutex<HashMap<Bucket, Gcra>>,
    /// How many buckets there are: with none, as nearly always, nobody takes the lock.
    count: AtomicUsize,
}

impl Throttle {
    /// Per source and key id ten failures at once, then one in ten seconds; per source a hundred at once, then one a second.
    pub(crate) fn new() -> Self {
        let pair = Pace::new(1, 10).slowed(10);
        Self { pair, source: Pace::new(1, 100), buckets: Mutex::default(), count: AtomicUsize::new(0) }
    }

    /// Whether a login may be checked now; if not, how long to wait.
    pub(crate) fn check(&self, source: IpAddr, id: &str, nanos: u64) -> Result<(), Duration> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        for (name, pace) in [(Some(id.into()), self.pair), (None, self.source)] {
            if let Some(bucket) = buckets.get(&(source, name))
                && bucket.remaining(pace, nanos) == 0
            {
                return Err(bucket.wait(pace, nanos));
            }
        }
        Ok(())
    }

    /// Counts a failed login.
    pub(crate) fn failed(&self, source: IpAddr, id: &str, nanos: u64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        if buckets.len() >= CAPACITY {
            buckets.retain(|(_, name), bucket| !bucket.at_rest(if name.is_some() { self.pair } else { self.source }, nanos));
            if buckets.len() >= CAPACITY {
                buckets.clear();
            }
        }
        for (name, pace) in [(Some(id.into()), self.pair), (None, self.source)] {
            let _full_is_full = buckets.entry((source, name)).or_default().take(pace, nanos);
        }
        self.count.store(buckets.len(), Ordering::Relaxed);
    }
}

/// One household or host: an IPv4 address, or an IPv6 /64.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn one_bad_client_locks_out_its_own_key_only() {
        let throttle = Throttle::new();
        let office = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..10 {
            assert_eq!(throttle.check(office, "abcd", SECOND), Ok(()));
            throttle.failed(office, "abcd", SECOND);
        }
        let wait = throttle.check(office, "abcd", SECOND).unwrap_err();
        assert!(wait <= Duration::from_secs(10) && wait > Duration::from_secs(8), "{wait:?}");
        assert_eq!(throttle.check(office, "efgh", SECOND), Ok(()));
        assert_eq!(throttle.check(IpAddr::from([192, 0, 2, 2]), "abcd", SECOND), Ok(()));
        assert_eq!(throttle.check(office, "abcd", 12 * SECOND), Ok(()));
    }

    #[test]
    fn a_source_that_tries_many_ids_is_stopped() {
        let throttle = Throttle::new();
        let six = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..100 {
            throttle.failed(six("2001:db8::1"), &format!("id{n}"), SECOND);
        }
        assert!(throttle.check(six("2001:db8::2"), "fresh", SECOND).is_err(), "the same /64");
        assert!(throttle.check(six("2001:db8:0:1::2"), "fresh", SECOND).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new();
        for n in 0..200_000u32 {
            throttle.failed(IpAddr::from(n.to_be_bytes()), "x", SECOND);
        }
        assert!(throttle.buckets.lock().unwrap().len() <= CAPACITY + 2);
    }
}
