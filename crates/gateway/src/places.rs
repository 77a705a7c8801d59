//! Places for connections: so many in all, so many from one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use outgate_faults::{Fault, raise};
use outgate_meter::Room;

use crate::gauges::room;
use crate::throttle::network;

/// The places of one kind of connection.
#[derive(Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    most: usize,
    most_per_source: usize,
    all: usize,
    /// By address, or IPv6 /64.
    by_source: HashMap<IpAddr, usize>,
}

/// A taken place; free again when it drops.
pub(crate) struct Place {
    places: Arc<Places>,
    source: Option<IpAddr>,
}

impl Places {
    /// So many in all, so many from one source.
    pub(crate) fn new(most: usize, most_per_source: usize) -> Self {
        let places = Self::default();
        places.bound(most, most_per_source);
        places
    }

    /// Sets the bounds. Who has a place keeps it.
    pub(crate) fn bound(&self, most: usize, most_per_source: usize) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (taken.most, taken.most_per_source) = (most, most_per_source);
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// How many are taken of how many.
    pub(crate) fn room(&self) -> Room {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        room(taken.all, taken.most)
    }

    /// Takes a place for an address, or for one that is not known yet; or tells which bound is reached.
    pub(crate) fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Place, Fault> {
        {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if taken.all >= taken.most {
                return Err(raise::overloaded("too many connections"));
            }
            taken.all += 1;
        }
        let mut place = Place { places: self.clone(), source: None };
        if let Some(source) = source {
            place.belongs_to(source)?;
        }
        Ok(place)
    }
}

impl Place {
    /// Counts it for an address, or tells that this one has as many as it may.
    pub(crate) fn belongs_to(&mut self, source: IpAddr) -> Result<(), Fault> {
        let source = network(source);
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = taken.most_per_source;
        let from_source = taken.by_source.entry(source).or_default();
        if *from_source >= most {
            return Err(raise::overloaded("too many connections from this address"));
        }
        *from_source += 1;
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(source) = self.source else { return };
        if let Some(count) = taken.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_source() {
        let places = Arc::new(Places::new(3, 2));
        let ip = |n| Some(IpAddr::from([192, 0, 2, n]));
        let first = places.take(ip(1)).unwrap();
        let _second = places.take(ip(1)).unwrap();
        assert!(places.take(ip(1)).is_err());
        let _third = places.take(ip(2)).unwrap();
        assert!(places.take(ip(3)).is_err());
        drop(first);
        assert!(places.take(ip(3)).is_ok());
    }

    #[test]
    fn a_64_is_one_source_and_a_mapped_address_the_one_it_stands_for() {
        let places = Arc::new(Places::new(100, 1));
        let cases = [
            ("2001:db8::1", true),
            ("2001:db8::ffff:2", false),
            ("2001:db8:0:1::1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
        ];
        let mut held = Vec::new();
        for (source, expected) in cases {
            let place = places.take(Some(source.parse().unwrap()));
            assert_eq!(place.is_ok(), expected, "{source}");
            held.extend(place);
        }
        assert_eq!(places.taken(), 4, "who was refused left nothing behind");
        drop(held);
        assert!(places.taken() == 0 && places.0.lock().unwrap().by_source.is_empty());
    }
}
