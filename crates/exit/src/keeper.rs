//! Keeper: the life of one link: connect, wait for its end, come back.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    rc::Rc,
    time::{Duration, Instant},
};

use http::StatusCode;
use outgate_link::{
    Hello, Limits, Link, LinkEnd, Welcome,
    shell::{self, HandshakeError},
    upgrade::{self, UpgradeError},
    words::VERSION,
};
use tokio::time::{sleep, timeout};

use crate::{
    agent::{Agent, Event},
    settings::Labels,
    transport::DialError,
};

/// From dialing to welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Keeps one link up.
pub(crate) struct Keeper {
    agent: Rc<Agent>,
    /// From 1.
    number: u32,
    failures: u32,
}

/// Why there is no link.
enum Failure {
    /// The same attempt may work later.
    Transient(String),
    /// It works only after somebody changed something.
    Refused(String),
    Revoked(String),
}

/// What a link's keeper does next.
enum Next {
    /// A new link at once, beside the old one.
    Renew,
    /// A new link after a while.
    BackOff,
    /// Nothing: the token was revoked.
    GiveUp(String),
}

impl Keeper {
    pub(crate) fn new(agent: Rc<Agent>, number: u32) -> Keeper {
        Keeper { agent, number, failures: 0 }
    }

    /// Returns only when the token is revoked, with the gateway's words.
    pub(crate) async fn stay_linked(mut self) -> String {
        loop {
            // While no link is up one of them is enough to find out when the gateway is back, and to say why not.
            if self.number > 1 {
                self.agent.any_link().await;
            }
            let wait = match self.connect().await {
                Ok(link) => match self.watch(link).await {
                    Next::GiveUp(text) => return text,
                    Next::Renew => continue,
                    Next::BackOff => self.back_off(),
                },
                Err(Failure::Revoked(text)) => return text,
                Err(Failure::Refused(why)) => {
                    tracing::error!(%why, link = self.number, "the gateway refuses this exit");
                    self.tell(Event::Failed { link: self.number, why });
                    self.agent.settings.reconnect.refused
                }
                Err(Failure::Transient(why)) => {
                    tracing::warn!(%why, link = self.number, "no link to the gateway");
                    self.tell(Event::Failed { link: self.number, why });
                    self.back_off()
                }
            };
            tracing::info!(?wait, link = self.number, "next attempt");
            self.tell(Event::Retry { link: self.number, wait });
            sleep(wait).await;
        }
    }

    /// Waits for the end of a link, for the gateway to go away, or for this exit to change its address.
    async fn watch(&mut self, link: Link) -> Next {
        let since = Instant::now();
        let before = self.agent.addresses_changed.get();
        let end = tokio::select! {
            end = link.closed() => Some(end),
            () = link.draining() => None,
            () = self.agent.address_change(before) => {
                // Over the old address it is dead, or soon will be; what still goes through it may finish.
                self.agent.leave(link);
                self.failures = 0;
                return Next::Renew;
            }
        };
        if since.elapsed() >= self.agent.settings.reconnect.stable {
            self.failures = 0;
        }
        let end = match end {
            Some(end) => end,
            // It may have ended together with its draining.
            None if link.is_closed() => link.closed().await,
            None => {
                tracing::info!(link = self.number, "the gateway is draining; making a new link");
                self.tell(Event::GatewayDraining { link: self.number });
                return Next::BackOff;
            }
        };
        tracing::warn!(%end, link = self.number, "link lost");
        self.tell(Event::Lost { link: self.number, end: end.clone(), rtt: link.rtt() });
        match end {
            LinkEnd::Goodbye(why) if why.slug == "revoked" => Next::GiveUp(why.text),
            _ => Next::BackOff,
        }
    }

    async fn connect(&mut self) -> Result<Link, Failure> {
        let start = Instant::now();
        let (link, welcome) = timeout(HANDSHAKE, self.handshake())
            .await
            .map_err(|_| Failure::Transient(format!("the gateway did not answer within {} s", HANDSHAKE.as_secs())))??;
        let took = start.elapsed();
        tracing::info!(exit_id = %welcome.exit_id, gateway = %welcome.gateway, link = self.number, ?took, "linked");
        self.agent.linked(&welcome);
        self.tell(Event::Connected { link: self.number, exit_id: welcome.exit_id, gateway: welcome.gateway, took });
        Ok(link)
    }

    async fn handshake(&mut self) -> Result<(Link, Welcome), Failure> {
        let outside = &self.agent.outside;
        let url = outside.dialer.url();
        let mut stream = outside.dialer.dial().await.map_err(|error: DialError| match error.needs_change() {
            true => Failure::Refused(error.to_string()),
            false => Failure::Transient(error.to_string()),
        })?;
        let asked = upgrade::ask_link(&mut stream, &url.authority(), &url.path, outside.token.expose()).await;
        let behind = asked.map_err(|error| match &error {
            UpgradeError::Refused { status: StatusCode::GONE, text } => Failure::Revoked(text.clone()),
            UpgradeError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                Failure::Refused(format!("the gateway {error}; is the token the one from enrolment?"))
            }
            UpgradeError::Refused { status: StatusCode::NOT_FOUND, .. } => {
                Failure::Refused(format!("the gateway {error}; is the URL that of its exit endpoint?"))
            }
            UpgradeError::Tls => Failure::Refused("what answers there speaks TLS: the URL must begin with wss://".to_owned()),
            UpgradeError::Io(_) | UpgradeError::Malformed(_) | UpgradeError::Refused { .. } => {
                Failure::Transient(error.to_string())
            }
        })?;
        let hello = self.hello();
        let limits = Limits { max_tunnels: self.agent.settings.max_tunnels as usize, ..Limits::default() };
        let joined = shell::join(stream, behind, &hello, limits).await.map_err(|error| match error {
            HandshakeError::Goodbye(why) if why.slug == "revoked" => Failure::Revoked(why.text),
            // Until the operator lets it work again; the links that are left go on with what is open.
            HandshakeError::Goodbye(why) if why.slug == "draining" => Failure::Transient(why.text),
            HandshakeError::Goodbye(why) => Failure::Refused(format!("the gateway declined: {}", why.text)),
            HandshakeError::Io(_) | HandshakeError::Protocol(_) => Failure::Transient(error.to_string()),
        })?;
        let (link, welcome) = (joined.link.clone(), joined.welcome.clone());
        self.agent.carry(joined);
        Ok((link, welcome))
    }

    fn hello(&self) -> Hello {
        let settings = &self.agent.settings;
        let Labels { pool, country, state, city, asn, name } = settings.labels.clone();
        let rotate = settings.rotate.as_ref();
        Hello {
            version: VERSION,
            agent: settings.agent.clone(),
            pool,
            country,
            state,
            city,
            asn,
            name,
            max_tunnels: settings.max_tunnels,
            tunnels_in_all: Some(settings.max_tunnels),
            rotate_ms: rotate.map(|rotate| u32::try_from(rotate.timeout.as_millis()).unwrap_or(u32::MAX)),
            rotated: self.agent.last_rotated(),
            gateway: None,
        }
    }

    /// Exponential with full jitter: a fleet that lost its gateway must not come back as one wave.
    fn back_off(&mut self) -> Duration {
        let bounds = &self.agent.settings.reconnect;
        let ceiling = bounds.least.saturating_mul(1 << self.failures.min(16)).min(bounds.most);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random_fraction())
    }

    fn tell(&self, event: Event) {
        self.agent.tell(&event);
    }
}

/// In [0, 1). The hasher's keys are random; jitter needs no more than that.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}
