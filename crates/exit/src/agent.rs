//! Agent: the life of an exit: connect, serve, come back, drain.

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use http::StatusCode;
use outgate_egress::{Egress, EgressSettings, Guard};
use outgate_link::{
    Goodbye, Hello, Limits, Link, LinkEnd, Welcome,
    shell::{self, HandshakeError},
    upgrade::{self, UpgradeError},
    words::VERSION,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout, timeout_at},
};

use crate::{
    serve::{Outside, serve},
    settings::{Labels, Settings},
    transport::Dialer,
};

/// From dialing to welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// One in use, the others left by draining gateways.
const MOST_LINKS: usize = 4;
/// For the links' last words at shutdown.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What happens to an exit, for a status line and the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Linked.
    Connected {
        /// Its id in the gateway's ledger.
        exit_id: String,
        /// The gateway's name.
        gateway: String,
        /// From dialing to welcome.
        took: Duration,
    },
    /// The gateway is going away; a new link is made while the tunnels of the old one finish.
    GatewayDraining,
    /// The link is over.
    Lost {
        /// Why.
        end: LinkEnd,
        /// Last measured round trip.
        rtt: Option<Duration>,
    },
    /// No link could be made.
    Failed {
        /// Why, and what may help.
        why: String,
    },
    /// The next attempt comes after this wait.
    Retry {
        /// The wait.
        wait: Duration,
    },
}

/// Why [`run`] returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExitEnd {
    /// Shutdown was asked for.
    Shutdown {
        /// Tunnels still open when the grace was over.
        cut: usize,
    },
    /// The gateway said that this exit's token was revoked.
    Revoked {
        /// The gateway's words.
        text: String,
    },
    /// The settings cannot work on this machine.
    Unusable {
        /// Why.
        why: String,
    },
}

impl fmt::Display for ExitEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitEnd::Shutdown { cut: 0 } => write!(f, "shut down; every tunnel had ended"),
            ExitEnd::Shutdown { cut } => write!(f, "shut down; {cut} tunnels were cut"),
            ExitEnd::Revoked { text } => write!(
                f,
                "this exit's token was revoked ({text}); ask the operator to enrol it again (outgate exits enroll) \
                 and start it with the new token"
            ),
            ExitEnd::Unusable { why } => f.write_str(why),
        }
    }
}

/// Stays linked to the gateway until `shutdown` resolves or the token is revoked. Wants a `LocalSet` around it.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> ExitEnd {
    let mut agent = match Agent::new(settings) {
        Ok(agent) => agent,
        Err(why) => return ExitEnd::Unusable { why },
    };
    let mut shutdown = pin!(shutdown);
    let revoked = tokio::select! {
        () = &mut shutdown => None,
        text = agent.stay_linked() => Some(text),
    };
    let cut = agent.wind_up().await;
    match revoked {
        Some(text) => ExitEnd::Revoked { text },
        None => ExitEnd::Shutdown { cut },
    }
}

struct Agent {
    settings: Settings,
    outside: Rc<Outside>,
    /// Every link still alive: the current one and those that a draining gateway left us with.
    links: Vec<Link>,
    /// Their drivers and their tunnels.
    tasks: JoinSet<()>,
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

impl Agent {
    fn new(settings: Settings) -> Result<Agent, String> {
        let dialer = Dialer::new(&settings.gateway, settings.ca_file.as_deref()).map_err(|error| error.to_string())?;
        let egress = Egress::new(EgressSettings {
            dns: settings.dns.clone(),
            guard: Guard::new(settings.allow_targets.clone()),
            connect_timeout: settings.connect_timeout,
            sources: Vec::new(),
            own: Vec::new(),
        })?;
        let outside = Outside { egress, dialer, token: settings.token.clone() };
        Ok(Agent { settings, outside: Rc::new(outside), links: Vec::new(), tasks: JoinSet::new(), failures: 0 })
    }

    /// Returns only when the token is revoked, with the gateway's words.
    async fn stay_linked(&mut self) -> String {
        loop {
            let wait = match self.connect().await {
                Ok(link) => match self.watch(link).await {
                    LinkEnd::Goodbye(why) if why.slug == "revoked" => return why.text,
                    _ => self.back_off(),
                },
                Err(Failure::Revoked(text)) => return text,
                Err(Failure::Refused(why)) => {
                    tracing::error!(%why, "the gateway refuses this exit");
                    self.tell(Event::Failed { why });
                    self.settings.reconnect.refused
                }
                Err(Failure::Transient(why)) => {
                    tracing::warn!(%why, "no link to the gateway");
                    self.tell(Event::Failed { why });
                    self.back_off()
                }
            };
            tracing::info!(?wait, "next attempt");
            self.tell(Event::Retry { wait });
            sleep(wait).await;
        }
    }

    /// Waits for the end of a link, or for the gateway to go away.
    async fn watch(&mut self, link: Link) -> LinkEnd {
        let since = Instant::now();
        let drained = tokio::select! {
            end = link.closed() => Some(end),
            () = link.draining() => None,
        };
        if since.elapsed() >= self.settings.reconnect.stable {
            self.failures = 0;
        }
        let end = match drained {
            Some(end) => end,
            // It may have ended together with its draining.
            None if link.is_closed() => link.closed().await,
            None => {
                tracing::info!("the gateway is draining; making a new link");
                self.tell(Event::GatewayDraining);
                return LinkEnd::Goodbye(Goodbye::new("draining", "the gateway is draining"));
            }
        };
        tracing::warn!(%end, "link lost");
        self.tell(Event::Lost { end: end.clone(), rtt: link.rtt() });
        end
    }

    async fn connect(&mut self) -> Result<Link, Failure> {
        let start = Instant::now();
        let (link, welcome) = timeout(HANDSHAKE, self.handshake())
            .await
            .map_err(|_| Failure::Transient(format!("the gateway did not answer within {} s", HANDSHAKE.as_secs())))??;
        let took = start.elapsed();
        tracing::info!(exit_id = %welcome.exit_id, gateway = %welcome.gateway, ?took, "linked");
        self.tell(Event::Connected { exit_id: welcome.exit_id, gateway: welcome.gateway, took });
        Ok(link)
    }

    async fn handshake(&mut self) -> Result<(Link, Welcome), Failure> {
        let url = self.outside.dialer.url();
        let transient = |error: &dyn fmt::Display| Failure::Transient(error.to_string());
        let mut stream = self.outside.dialer.dial().await.map_err(|error| transient(&error))?;
        let behind =
            upgrade::ask_link(&mut stream, &url.authority(), &url.path, self.outside.token.expose()).await.map_err(|error| {
                match &error {
                    UpgradeError::Refused { status: StatusCode::GONE, text } => Failure::Revoked(text.clone()),
                    UpgradeError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                        Failure::Refused(format!("the gateway {error}; is the token the one from enrolment?"))
                    }
                    UpgradeError::Refused { status: StatusCode::NOT_FOUND, .. } => {
                        Failure::Refused(format!("the gateway {error}; is the URL that of its exit endpoint?"))
                    }
                    UpgradeError::Io(_) | UpgradeError::Malformed(_) | UpgradeError::Refused { .. } => transient(&error),
                }
            })?;
        let hello = hello(&self.settings.labels, &self.settings.agent, self.settings.max_tunnels);
        let limits = Limits { max_tunnels: self.settings.max_tunnels as usize, ..Limits::default() };
        let joined = shell::join(stream, behind, &hello, limits).await.map_err(|error| match error {
            HandshakeError::Goodbye(why) if why.slug == "revoked" => Failure::Revoked(why.text),
            // Until the operator lets it work again; the links that are left go on with what is open.
            HandshakeError::Goodbye(why) if why.slug == "draining" => Failure::Transient(why.text),
            HandshakeError::Goodbye(why) => Failure::Refused(format!("the gateway declined: {}", why.text)),
            HandshakeError::Io(_) | HandshakeError::Protocol(_) => transient(&error),
        })?;
        while self.tasks.try_join_next().is_some() {}
        self.links.retain(|link| !link.is_closed());
        // A gateway that drains every link at once must not make us collect them.
        while self.links.len() >= MOST_LINKS {
            self.links.remove(0).close(Goodbye::new("replaced", "too many links left draining"));
        }
        self.links.push(joined.link.clone());
        let driver = joined.driver;
        self.tasks.spawn_local(async move {
            driver.run().await;
        });
        self.tasks.spawn_local(serve(joined.incoming, Rc::clone(&self.outside)));
        Ok((joined.link, joined.welcome))
    }

    /// Lets open tunnels finish within the grace, ends the links, and says how many tunnels were cut.
    async fn wind_up(&mut self) -> usize {
        for link in &self.links {
            link.drain();
        }
        let deadline = tokio::time::Instant::now() + self.settings.grace;
        let mut cut = 0;
        for link in &self.links {
            if timeout_at(deadline, link.idle()).await.is_err() {
                cut += link.open_tunnels();
            }
        }
        for link in &self.links {
            link.close(Goodbye::new("shutdown", "the exit shuts down"));
        }
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        // What is still running after this is dropped with the agent.
        let _ = timeout(LAST_WORDS, finish).await;
        cut
    }

    /// Exponential with full jitter: a fleet that lost its gateway must not come back as one wave.
    fn back_off(&mut self) -> Duration {
        let bounds = &self.settings.reconnect;
        let ceiling = bounds.least.saturating_mul(1 << self.failures.min(16)).min(bounds.most);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random_fraction())
    }

    fn tell(&self, event: Event) {
        if let Some(on_event) = &self.settings.on_event {
            on_event(&event);
        }
    }
}

fn hello(labels: &Labels, agent: &str, max_tunnels: u32) -> Hello {
    let Labels { pool, country, state, city, asn, name } = labels.clone();
    Hello { version: VERSION, agent: agent.to_owned(), pool, country, state, city, asn, name, max_tunnels }
}

/// In [0, 1). The hasher's keys are random; jitter needs no more than that.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}
