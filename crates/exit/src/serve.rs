//! Serve: the tunnels of one link: take, dial, answer, relay.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use outgate_egress::{Egress, EgressSettings, Guard, Host};
use outgate_faults::{Fault, raise};
use outgate_link::{Asked, Connect, Connected, Incoming, Refusal, upgrade};
use tokio::{net::TcpStream, task::JoinSet, time::timeout_at};

use crate::{
    relay::{Flow, relay},
    settings::{Settings, Token},
    source::Source,
    status::Meter,
    throttle::{Allowance, Throttle},
    transport::{Dialer, Transport},
};

/// How long a target may take when the gateway does not say (SPEC: 15 s for a set-up).
const SET_UP: Duration = Duration::from_secs(15);
/// The gateway's word is taken up to this.
const LONGEST_SET_UP: Duration = Duration::from_secs(60);

/// What every tunnel of this exit needs.
pub(crate) struct Outside {
    /// The way out as it is now: a rotation may change address and resolvers.
    egress: RefCell<Rc<Egress>>,
    pub(crate) dialer: Dialer,
    pub(crate) token: Token,
    pub(crate) meter: Rc<Meter>,
    pub(crate) throttle: Option<Rc<Throttle>>,
    /// Tunnels asked for or open, over all links.
    tunnels: Cell<u32>,
    most_tunnels: u32,
}

impl Outside {
    pub(crate) fn new(settings: &Settings) -> Result<Outside, String> {
        let Settings { gateway, ca_file, proxy, source, .. } = settings;
        let dialer =
            Dialer::new(gateway, ca_file.as_deref(), proxy.clone(), source.clone()).map_err(|error| error.to_string())?;
        Ok(Outside {
            egress: RefCell::new(Rc::new(way_out(settings)?)),
            dialer,
            token: settings.token.clone(),
            meter: Rc::default(),
            throttle: settings.speed.map(Throttle::new),
            tunnels: Cell::new(0),
            most_tunnels: settings.max_tunnels,
        })
    }

    /// Looks again for the address to leave from and for the system's resolvers.
    pub(crate) fn renew(&self, settings: &Settings) -> Result<(), String> {
        *self.egress.borrow_mut() = Rc::new(way_out(settings)?);
        Ok(())
    }
}

fn way_out(settings: &Settings) -> Result<Egress, String> {
    Egress::new(EgressSettings {
        dns: settings.dns.clone(),
        guard: Guard::new(settings.allow_targets.clone()),
        connect_timeout: settings.connect_timeout,
        sources: settings.source.as_ref().map(Source::address).transpose()?.into_iter().collect(),
        own: Vec::new(),
    })
}

/// One tunnel among those the exit may carry.
struct Place<'a>(&'a Cell<u32>);

impl<'a> Place<'a> {
    fn take(outside: &'a Outside) -> Option<Place<'a>> {
        let taken = outside.tunnels.get();
        (taken < outside.most_tunnels).then(|| {
            outside.tunnels.set(taken + 1);
            Place(&outside.tunnels)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves until the link is over and its tunnels have noticed. The link bounds their number.
pub(crate) async fn serve(mut incoming: Incoming, outside: Rc<Outside>) {
    let mut tunnels = JoinSet::new();
    loop {
        tokio::select! {
            asked = incoming.next() => match asked {
                Some(asked) => {
                    tunnels.spawn_local(answer(asked, Rc::clone(&outside)));
                }
                None => break,
            },
            Some(_) = tunnels.join_next(), if !tunnels.is_empty() => {}
        }
    }
    while tunnels.join_next().await.is_some() {}
}

/// One tunnel from question to end.
async fn answer(asked: Asked, outside: Rc<Outside>) {
    let Some(_place) = Place::take(&outside) else {
        return asked.refuse(Refusal::new("exit_refused").with_detail("the exit's tunnel limit is reached"));
    };
    let dialed = tokio::select! {
        // The gateway gave up: so do we.
        () = asked.cancelled() => return,
        dialed = outside.dial(&asked.connect) => dialed,
    };
    let flow = Flow::new(Allowance::new(outside.throttle.as_ref()), Rc::clone(&outside.meter));
    match dialed {
        Ok((Way::Target(stream), connected)) => relay(asked.accept(&connected), stream, Bytes::new(), &flow).await,
        Ok((Way::Echo(stream, behind), connected)) => relay(asked.accept(&connected), *stream, behind, &flow).await,
        Err(fault) => {
            tracing::debug!(
                request_id = %asked.connect.request_id,
                fault = fault.slug().name(),
                detail = fault.detail(),
                "tunnel refused"
            );
            asked.refuse(refusal(&fault));
        }
    }
}

/// Where a tunnel leads.
enum Way {
    Target(TcpStream),
    Echo(Box<Transport>, Bytes),
}

impl Outside {
    async fn dial(&self, connect: &Connect) -> Result<(Way, Connected), Fault> {
        let deadline = Instant::now() + connect.deadline.unwrap_or(SET_UP).min(LONGEST_SET_UP);
        if connect.echo {
            return self.dial_echo(connect, deadline).await;
        }
        let host = Host::parse(&connect.host).map_err(raise::malformed_target)?;
        let egress = Rc::clone(&self.egress.borrow());
        let dialed = egress.dial(&host, connect.port, deadline).await.map_err(|error| error.fault())?;
        let connected = Connected { address: dialed.address, dns: dialed.dns, connect: dialed.connect };
        Ok((Way::Target(dialed.stream), connected))
    }

    /// The gateway's built-in target lives at the gateway: dial back to where the link leads.
    async fn dial_echo(&self, connect: &Connect, deadline: Instant) -> Result<(Way, Connected), Fault> {
        let start = Instant::now();
        let authority = self.dialer.url().authority();
        let authorization = format!("Bearer {}", self.token.expose());
        let port = connect.port.to_string();
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Outgate-Request-Id", connect.request_id.as_str()),
            ("X-Outgate-Target-Port", port.as_str()),
        ];
        let dial = async {
            let mut stream = self.dialer.dial().await.map_err(|error| upgrade::UpgradeError::Io(std::io::Error::other(error)))?;
            let (_, behind) = upgrade::ask(&mut stream, &authority, "/v1/echo", "outgate-echo", &headers).await?;
            Ok::<_, upgrade::UpgradeError>((stream, behind))
        };
        let (stream, behind) = timeout_at(deadline.into(), dial)
            .await
            .map_err(|_| raise::connect_timeout(&connect.host, connect.port, outgate_faults::fact::Seconds(start.elapsed())))?
            .map_err(|error| raise::target_unreachable(&connect.host, connect.port).with_detail(error))?;
        let address = stream.tcp().peer_addr().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), connect.port));
        let connected = Connected { address, dns: Duration::ZERO, connect: start.elapsed() };
        Ok((Way::Echo(Box::new(stream), behind), connected))
    }
}

fn refusal(fault: &Fault) -> Refusal {
    let (slug, facts) = fault.to_wire();
    Refusal { slug: slug.to_owned(), facts, detail: fault.detail().map(str::to_owned) }
}
