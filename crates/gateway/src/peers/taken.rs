//! The exits that one other gateway offers, as members of the fleet for as long as its link is up.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use outgate_fleet::{LinkId, Says};
use outgate_link::{Link, News, Offer, Standing};
use outgate_store::{Country, ExitId, Labels, PoolName};
use tokio::task::yield_now;

use crate::core::Core;
use crate::fleet::{Holder, Online};

/// Exits that one gateway may offer: as many as a fleet is made for.
pub(super) const MOST: usize = 100_000;
/// Exits entered or withdrawn before others of the event loop get a turn.
const AT_ONCE: usize = 512;

/// The exits that one gateway offers.
pub(super) struct Taken {
    core: Rc<Core>,
    gateway: Arc<str>,
    link: Link,
    exits: HashMap<ExitId, (Arc<Online>, LinkId)>,
}

impl Taken {
    /// None yet of those that come over this link.
    pub(super) fn new(core: Rc<Core>, gateway: Arc<str>, link: Link) -> Self {
        Self { core, gateway, link, exits: HashMap::new() }
    }

    /// Takes in what is told until the link is over.
    ///
    /// # Errors
    /// What no well-built gateway tells; the link must end.
    pub(super) async fn take_in(&mut self) -> Result<(), String> {
        let link = self.link.clone();
        let mut drained = false;
        loop {
            let news = tokio::select! {
                news = link.news() => news,
                () = link.draining(), if !drained => {
                    drained = true;
                    self.drain_all();
                    continue;
                }
            };
            let Some(news) = news else { return Ok(()) };
            for (count, news) in news.into_iter().enumerate() {
                match news {
                    News::Offer(offer) => self.offered(offer, drained)?,
                    News::Withdraw(exit) => {
                        let exit = ExitId::parse(&exit).map_err(|error| error.to_string())?;
                        self.withdraw(&exit);
                    }
                }
                if count % AT_ONCE == AT_ONCE - 1 {
                    yield_now().await;
                }
            }
        }
    }

    fn offered(&mut self, offer: Offer, drained: bool) -> Result<(), String> {
        let fleet = &self.core.gateway.fleet;
        let says = Says { draining: drained || offer.standing == Standing::Draining, aside: offer.standing == Standing::Aside };
        let online = self.online(offer)?;
        let known = self.exits.get(&online.id);
        if let Some((known, link)) = known.filter(|(known, _)| known.is_like(&online)) {
            fleet.stand(known, *link, says);
            return Ok(());
        }
        if known.is_none() && self.exits.len() >= MOST {
            return Err(format!("more than {MOST} exits are offered"));
        }
        let online = Arc::new(online);
        // The new way first, so that no session finds its exit gone in between.
        let entered = fleet.enter_remote(&online, says);
        self.withdraw(&online.id);
        match entered {
            Some(link) => {
                self.core.gateway.offers.arrived(&online.pool, &online.labels, self.core.nanos());
                self.exits.insert(online.id.clone(), (online, link));
            }
            None => tracing::debug!(exit = %online.id, pool = %online.pool, "an exit is offered for a pool that is not here"),
        }
        Ok(())
    }

    fn online(&self, offer: Offer) -> Result<Online, String> {
        let country = offer.country.as_deref().map(Country::parse).transpose().map_err(|error| error.to_string())?;
        let since = Timestamp::from_second(offer.since).map_err(|error| error.to_string())?;
        Ok(Online {
            id: ExitId::parse(&offer.exit).map_err(|error| error.to_string())?,
            pool: PoolName::parse(&offer.pool).map_err(|error| error.to_string())?,
            labels: Labels { country, state: offer.state, city: offer.city, asn: offer.asn, carrier: offer.carrier },
            link: self.link.clone(),
            holder: Some(Holder { gateway: self.gateway.clone(), weight: offer.weight.max(1) }),
            agent: offer.agent,
            since,
            tunnels_in_all: offer.max_tunnels,
            rotates: None,
        })
    }

    fn withdraw(&mut self, exit: &ExitId) {
        if let Some((online, link)) = self.exits.remove(exit) {
            self.core.gateway.fleet.leave(&online, link);
            self.core.gateway.offers.left(&online.pool, &online.labels, self.core.nanos());
        }
    }

    fn drain_all(&self) {
        tracing::info!(gateway = %self.gateway, exits = self.exits.len(), "the gateway is draining");
        for (online, link) in self.exits.values() {
            self.core.gateway.fleet.drain(online, *link);
        }
    }

    /// Takes all of them out of the fleet; how many there were.
    pub(super) async fn withdraw_all(&mut self) -> usize {
        let exits: Vec<ExitId> = self.exits.keys().cloned().collect();
        for exits in exits.chunks(AT_ONCE) {
            exits.iter().for_each(|exit| self.withdraw(exit));
            yield_now().await;
        }
        exits.len()
    }
}

impl Online {
    /// Whether only the standing may have changed.
    fn is_like(&self, other: &Online) -> bool {
        self.pool == other.pool
            && self.labels == other.labels
            && self.holder == other.holder
            && self.tunnels_in_all == other.tunnels_in_all
            && self.since == other.since
            && self.agent == other.agent
    }
}
