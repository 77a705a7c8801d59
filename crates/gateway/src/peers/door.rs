//! The door for other gateways: takes their links, and enters the exits they offer into the fleet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_fleet::{LinkId, Says};
use outgate_link::upgrade::{link_answer, read_request};
use outgate_link::{Goodbye, Limits, Link, News, Offer, Standing, Welcome, shell};
use outgate_store::{Country, ExitId, Labels, PoolName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::PATH;
use crate::core::Core;
use crate::exit_door::turn_away;
use crate::fleet::{Holder, Online};

/// From the connection to a welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Exits that one gateway may offer: as many as a fleet is made for.
const MOST: usize = 100_000;
/// Exits entered or withdrawn before others of the event loop get a turn.
const AT_ONCE: usize = 512;

/// The life of one connection to the door.
pub(crate) async fn admit_peer(core: Rc<Core>, io: TcpStream, from: SocketAddr) {
    let Some(tls) = core.settings().cluster.as_ref().map(|cluster| TlsAcceptor::from(cluster.server.clone())) else { return };
    let refused = |why: &str| tracing::warn!(%from, why, "a connection to the door for gateways was refused");
    match timeout(HANDSHAKE, tls.accept(io)).await {
        Ok(Ok(stream)) => {
            if let Err(why) = converse(&core, stream, from).await {
                refused(&why);
            }
        }
        Ok(Err(error)) => refused(&format!("no TLS with a certificate of this cluster's authority: {error}")),
        Err(_) => refused("the TLS handshake took too long"),
    }
}

async fn converse(core: &Rc<Core>, mut io: impl AsyncRead + AsyncWrite + Unpin, from: SocketAddr) -> Result<(), String> {
    let asked = timeout(HANDSHAKE, read_request(&mut io)).await.map_err(|_| "no request came")?;
    let (request, behind) = asked.map_err(|error| error.to_string())?;
    let answer = match request.uri().path() {
        PATH => link_answer(&request).map_err(|why| ("400 Bad Request", why)),
        _ => Err(("404 Not Found", "this is the door for other gateways: /v1/peer")),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err((status, why)) => {
            turn_away(io, status, why).await;
            return Err(why.to_owned());
        }
    };
    let settings = core.settings();
    let welcomed = async {
        io.write_all(&answer).await.map_err(|error| error.to_string())?;
        let pending = shell::accept(io, behind).await.map_err(|error| error.to_string())?;
        let hello = pending.hello();
        let no = match hello.gateway.as_deref() {
            None | Some("") => Some(Goodbye::new("malformed", "exits dial in at the door for exits")),
            Some(name) if name == settings.name => {
                Some(Goodbye::new("same_name", "this gateway has the same name: is it dialing itself? Names differ in a cluster"))
            }
            Some(_) => None,
        };
        if let Some(goodbye) = no {
            let why = goodbye.text.clone();
            pending.goodbye(goodbye).await.map_err(|error| error.to_string())?;
            return Err(why);
        }
        let gateway: Arc<str> = hello.gateway.as_deref().unwrap_or_default().chars().take(64).collect::<String>().into();
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let welcome = Welcome {
            exit_id: gateway.to_string(),
            gateway: settings.name.clone(),
            heartbeat_ms: ms(settings.timeouts.heartbeat),
            dead_ms: ms(settings.timeouts.dead),
        };
        // Each is told once, and may change while the rest is on its way.
        let limits = Limits { max_tunnels: settings.limits.tunnels_per_link, offers: 2 * MOST, ..Limits::default() };
        let (link, driver) = pending.welcome(&welcome, limits).await.map_err(|error| error.to_string())?;
        Ok((gateway, link, driver))
    };
    let (gateway, link, driver) = timeout(HANDSHAKE, welcomed).await.map_err(|_| "no proper hello came")??;
    drop(settings);
    tracing::info!(%from, %gateway, "gateway linked; its exits are on offer");
    let mut taken = Taken { core: core.clone(), gateway: gateway.clone(), link: link.clone(), exits: HashMap::new() };
    let taking = async {
        if let Err(why) = taken.take_in().await {
            tracing::warn!(%from, %gateway, why, "a gateway is let go");
            link.close(Goodbye::new("malformed", why));
        }
        taken
    };
    // Both end with the link.
    let (end, mut taken) = tokio::join!(driver.run(), taking);
    let exits = taken.exits.len();
    taken.withdraw_all().await;
    tracing::info!(%from, %gateway, %end, exits, "gateway gone, and its exits with it");
    Ok(())
}

/// The exits that one gateway offers.
struct Taken {
    core: Rc<Core>,
    gateway: Arc<str>,
    link: Link,
    exits: HashMap<ExitId, (Arc<Online>, LinkId)>,
}

impl Taken {
    /// Takes in what is told until the link is over.
    async fn take_in(&mut self) -> Result<(), String> {
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

    async fn withdraw_all(&mut self) {
        let exits: Vec<ExitId> = self.exits.keys().cloned().collect();
        for exits in exits.chunks(AT_ONCE) {
            exits.iter().for_each(|exit| self.withdraw(exit));
            yield_now().await;
        }
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
