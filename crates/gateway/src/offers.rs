//! The cities that the fleet offers: where exits are, or were a moment ago.
//!
//! A city is what exits say it is, so there is no list to check against but this one. What was offered a few minutes ago still
//! is: whoever asks for it then is told that no exit is there (try again), not that there is no such city (never try again).

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use outgate_store::{Country, Labels, PoolName, nearest};

/// How long a city is still offered after its last exit left: longer than a restart of an agent, a modem or its host.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Places remembered. Those with exits are as many as there are exits at most; beyond it those without go.
const CAPACITY: usize = 200_000;

/// Every place with a city, by pool and country.
#[derive(Default)]
pub(crate) struct Offers(RwLock<Known>);

#[derive(Default)]
struct Known {
    pools: HashMap<PoolName, HashMap<Country, Cities>>,
    count: usize,
}

/// The cities of a country by label; one name can be in several states.
type Cities = HashMap<Box<str>, Vec<Offer>>;

/// A city in one state of its country, or in none that is known.
struct Offer {
    state: Option<Box<str>>,
    /// Connections of exits there.
    links: usize,
    /// When the last one left.
    left: u64,
}

impl Offers {
    /// A link came: its city is offered.
    pub(crate) fn arrived(&self, pool: &PoolName, labels: &Labels, nanos: u64) {
        let (Some(country), Some(city)) = (labels.country, &labels.city) else { return };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.count >= CAPACITY {
            known.forget(nanos);
        }
        let Known { pools, count } = &mut *known;
        let cities = pools.entry(pool.clone()).or_default().entry(country).or_default();
        let offers = cities.entry(city.as_str().into()).or_default();
        match offers.iter_mut().find(|offer| offer.state.as_deref() == labels.state.as_deref()) {
            Some(offer) => offer.links += 1,
            None => {
                offers.push(Offer { state: labels.state.as_deref().map(Into::into), links: 1, left: nanos });
                *count += 1;
            }
        }
    }

    /// A link that had arrived is gone.
    pub(crate) fn left(&self, pool: &PoolName, labels: &Labels, nanos: u64) {
        let (Some(country), Some(city)) = (labels.country, &labels.city) else { return };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let cities = known.pools.get_mut(pool).and_then(|countries| countries.get_mut(&country));
        let offers = cities.and_then(|cities| cities.get_mut(city.as_str()));
        for offer in offers.into_iter().flatten().filter(|offer| offer.state.as_deref() == labels.state.as_deref()) {
            offer.links = offer.links.saturating_sub(1);
            offer.left = nanos;
        }
    }

    /// Whether a city is offered, in the state if one is asked for; if not, the one that may have been meant.
    pub(crate) fn check(
        &self,
        pool: &PoolName,
        country: Country,
        state: Option<&str>,
        city: &str,
        nanos: u64,
    ) -> Result<(), Option<String>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let cities = known.pools.get(pool).and_then(|countries| countries.get(&country)).ok_or(None)?;
        let offered = |offers: &[Offer]| {
            let there = |offer: &&Offer| state.is_none_or(|state| offer.state.as_deref() == Some(state));
            offers.iter().filter(there).any(|offer| offer.is_offered(nanos))
        };
        if cities.get(city).is_some_and(|offers| offered(offers)) {
            return Ok(());
        }
        let names = cities.iter().filter(|(_, offers)| offered(offers)).map(|(name, _)| &**name);
        Err(nearest(city, names).map(str::to_owned))
    }
}

impl Offer {
    fn is_offered(&self, nanos: u64) -> bool {
        self.links > 0 || u128::from(nanos.saturating_sub(self.left)) < REMEMBERED.as_nanos()
    }
}

impl Known {
    /// Lets go of what is no longer offered; if that makes no room, of everything without an exit.
    fn forget(&mut self, nanos: u64) {
        for keep in [Offer::is_offered, |offer: &Offer, _| offer.links > 0] {
            for countries in self.pools.values_mut() {
                for cities in countries.values_mut() {
                    cities.retain(|_, offers| {
                        offers.retain(|offer| keep(offer, nanos));
                        !offers.is_empty()
                    });
                }
                countries.retain(|_, cities| !cities.is_empty());
            }
            self.count = self.pools.values().flat_map(HashMap::values).flat_map(HashMap::values).map(Vec::len).sum();
            if self.count < CAPACITY {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn pool(name: &str) -> PoolName {
        PoolName::parse(name).unwrap()
    }

    fn at(country: &str, state: Option<&str>, city: &str) -> Labels {
        Labels {
            country: Country::parse(country).ok(),
            state: state.map(str::to_owned),
            city: Some(city.to_owned()),
            ..Labels::default()
        }
    }

    #[test]
    fn a_city_is_offered_while_an_exit_is_there_and_ten_minutes_longer() {
        let (offers, pool) = (Offers::default(), pool("mobile"));
        let berlin = at("de", Some("be"), "berlin");
        let de = Country::parse("de").unwrap();
        let check = |state, city, minute: u64| offers.check(&pool, de, state, city, minute * MINUTE);
        assert_eq!(check(None, "berlin", 0), Err(None));
        offers.arrived(&pool, &berlin, 0);
        offers.arrived(&pool, &berlin, 0);
        assert_eq!(check(None, "berlin", 500), Ok(()));
        assert_eq!(check(Some("be"), "berlin", 500), Ok(()));
        assert_eq!(check(Some("by"), "berlin", 500), Err(None), "not in that state");
        assert_eq!(check(Some("be"), "berlni", 500), Err(Some("berlin".to_owned())));
        assert_eq!(check(Some("by"), "berlni", 500), Err(None), "nothing is suggested that would be refused");
        let us = Country::parse("us").unwrap();
        assert_eq!(offers.check(&pool, us, None, "berlin", 0), Err(None));
        offers.left(&pool, &berlin, 600 * MINUTE);
        assert_eq!(check(None, "berlin", 700), Ok(()), "one link is still there");
        offers.left(&pool, &berlin, 700 * MINUTE);
        assert_eq!(check(None, "berlin", 709), Ok(()));
        assert_eq!(check(None, "berlin", 711), Err(None));
    }

    #[test]
    fn pools_are_apart_and_exits_without_a_city_offer_none() {
        let offers = Offers::default();
        offers.arrived(&pool("mobile"), &at("de", None, "berlin"), 0);
        offers.arrived(&pool("mobile"), &Labels { country: Country::parse("fr").ok(), ..Labels::default() }, 0);
        let de = Country::parse("de").unwrap();
        assert_eq!(offers.check(&pool("residential"), de, None, "berlin", 0), Err(None));
        assert_eq!(offers.check(&pool("mobile"), de, Some("be"), "berlin", 0), Err(None), "its state is not known");
        assert_eq!(offers.check(&pool("mobile"), de, None, "berlin", 0), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let (offers, pool) = (Offers::default(), pool("mobile"));
        for n in 0..2 * CAPACITY {
            let labels = at("de", None, &format!("city{n}"));
            offers.arrived(&pool, &labels, 0);
            offers.left(&pool, &labels, 0);
        }
        assert!(offers.0.read().unwrap().count <= CAPACITY);
    }
}
