//! What a gateway is told at start and by a reload, checked: real durations, addresses and names, nothing optional that is required.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use outgate_egress::{DnsSettings, Guard, Host};
use outgate_faults::Dialect;
use outgate_records::write::Keep;
use outgate_store::shared::Shared;
use outgate_store::{PoolKind, PoolName};

pub use crate::geo::Geo;
pub use crate::head::HeadLimits;
pub use crate::policy::Policy;
use crate::trace::Tracer;

/// Everything.
#[derive(Clone)]
pub struct Settings {
    /// This gateway's name in Via and Proxy-Status; a request that carries it already is a loop.
    pub name: String,
    /// Event loops, one thread each.
    pub workers: usize,
    /// Where clients come in.
    pub listeners: Vec<ListenerSettings>,
    /// Where exits dial in.
    pub exits: Option<ExitDoorSettings>,
    /// The other gateways; none is a gateway on its own.
    pub cluster: Option<ClusterSettings>,
    /// Ports and rules.
    pub policy: Policy,
    /// How exits are tried, checked and set aside.
    pub fleet: FleetRules,
    /// How long sessions keep to an exit, and what becomes of them without it.
    pub sessions: SessionRules,
    /// The pools there are; `direct` is one of them.
    pub pools: Vec<PoolSettings>,
    /// The pool of a request that names none.
    pub default_pool: PoolName,
    /// Bounds.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// DNS of the gateway's own exits.
    pub dns: DnsSettings,
    /// Addresses the gateway itself may connect to.
    pub guard: Guard,
    /// The gateway's own source addresses, used in turn.
    pub sources: Vec<IpAddr>,
    /// Databases that say where an exit's address is; none leaves it to the operator and the exit.
    pub geo: Option<Arc<Geo>>,
    /// With whom the keys' limits are shared; none when this gateway serves its keys alone.
    pub sharing: Option<Sharing>,
    /// Whether what requests do is counted, for metrics, signals and pages.
    pub counting: Counting,
    /// Who is told of every request that ended, beside the records.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// The records; none writes none.
    pub records: Option<RecordSettings>,
    /// The file for usage that the ledger doesn't take; none keeps that in memory.
    pub journal: Option<PathBuf>,
    /// The certificate of `https://echo.outgate/`.
    pub echo: Option<Arc<rustls::ServerConfig>>,
}

impl Settings {
    /// These settings, but for what only a start can change: that stays as it is in `present`.
    pub(crate) fn reloaded_over(self, present: &Self) -> Self {
        let exits =
            present.exits.clone().map(|door| ExitDoorSettings { tls: self.exits.map_or(door.tls, |new| new.tls), ..door });
        let cluster = match (self.cluster, &present.cluster) {
            (Some(new), Some(present)) => Some(ClusterSettings { address: present.address, ..new }),
            (_, present) => present.clone(),
        };
        Self {
            name: present.name.clone(),
            workers: present.workers,
            exits,
            cluster,
            pools: present.pools.clone(),
            sharing: present.sharing.clone(),
            default_pool: present.default_pool.clone(),
            counting: present.counting,
            tracer: present.tracer.clone(),
            records: present.records.clone(),
            journal: present.journal.clone(),
            echo: present.echo.clone(),
            ..self
        }
    }
}

/// With whom a gateway shares the limits of its keys.
#[derive(Clone)]
pub struct Sharing {
    /// Who keeps what is shared.
    pub keeper: Arc<dyn Shared>,
    /// The part of every limit that this gateway enforces when it can't be had; none is an equal part for each gateway that was
    /// there last.
    pub share: Option<f64>,
}

/// Whether something is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// It is.
    #[default]
    On,
    /// It is not.
    Off,
}

/// Where records are written and how long they are kept.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Their folder.
    pub folder: PathBuf,
    /// How long and how much.
    pub keep: Keep,
}

/// A door for clients.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// How faults are spelled here.
    pub dialect: Dialect,
    /// What is spoken here.
    pub protocols: Protocols,
    /// TLS to the proxy (`https://` in its URL); none is plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Networks of load balancers in front. Connections from there must begin with a PROXY protocol header, which says who the
    /// client is; from elsewhere none is read.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether the service manager keeps its socket for this gateway's successor; the gateway finds out itself.
    pub activated: bool,
}

/// The protocols of a listener, told apart by a connection's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1, and over TLS HTTP/2.
    pub http: bool,
    /// SOCKS5.
    pub socks5: bool,
}

impl Protocols {
    /// What a client may speak here, in words.
    pub(crate) fn expected(self) -> &'static str {
        match (self.http, self.socks5) {
            (true, true) => "HTTP/1.1 or SOCKS5",
            (false, true) => "SOCKS5",
            (_, false) => "HTTP/1.1",
        }
    }
}

impl Default for Protocols {
    /// Both.
    fn default() -> Self {
        Self { http: true, socks5: true }
    }
}

impl ListenerSettings {
    /// A plain listener.
    pub fn plain(address: SocketAddr, dialect: Dialect) -> Self {
        Self { address, dialect, protocols: Protocols::default(), tls: None, proxy_protocol_from: Vec::new(), activated: false }
    }

    /// Whether a connection from this address comes through a load balancer.
    pub(crate) fn is_behind(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from.iter().any(|net| net.contains(&peer))
    }
}

/// The door for exits.
#[derive(Clone)]
pub struct ExitDoorSettings {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS (`wss://`); none is plain (`ws://`).
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// How gateways share their exits. Both ends of each link show a certificate of the same authority.
#[derive(Clone)]
pub struct ClusterSettings {
    /// Where other gateways dial in; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS towards those that dial in: it requires their certificate.
    pub server: Arc<rustls::ServerConfig>,
    /// TLS towards those that are dialed: it shows this gateway's certificate.
    pub client: Arc<rustls::ClientConfig>,
    /// The gateways that are offered this one's exits.
    pub peers: Vec<PeerAddress>,
    /// Where the others reach this one's door, told to all that share limits with it, which are its peers then.
    pub advertise: Option<PeerAddress>,
}

/// Where another gateway's door is. Its certificate must name the host.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for PeerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
        let named = parts.filter(|(host, port)| *port > 0 && Host::parse(host).is_ok());
        let address = named.map(|(host, port)| Self { host: host.to_owned(), port });
        address.ok_or("a host and a port, such as \"example.com:443\"")
    }
}

/// A pool.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Its name in modifiers, plans and records.
    pub name: PoolName,
    /// Its kind.
    pub kind: PoolKind,
    /// Whether it accepts country, state and city.
    pub targeting: bool,
}

/// Bounds of the gateway itself; over them a client gets `overloaded` or a fault of the client's layer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Request heads.
    pub head: HeadLimits,
    /// A target's response head, in bytes.
    pub response_head: usize,
    /// Client connections open at once.
    pub connections: usize,
    /// Connections open at once from one address, or one IPv6 /64; clients' and exits' each for themselves.
    pub connections_per_source: usize,
    /// Connections of exits open at once: links, those that want to be one, and echoes.
    pub exit_connections: usize,
    /// Requests and tunnels in flight at once.
    pub tunnels: usize,
    /// Memory the process may hold before new work is refused.
    pub memory: MemoryBound,
    /// Requests and tunnels at once through one exit link.
    pub tunnels_per_link: usize,
}

/// How much memory the process may hold before new work is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryBound {
    /// Nine tenths of what its control group may hold, or the machine has.
    Available,
    /// So many bytes.
    Bytes(u64),
    /// As much as it takes.
    Off,
}

/// How exits are tried, checked and set aside.
#[derive(Clone, Debug)]
pub struct FleetRules {
    /// Exits tried for a request at most.
    pub attempts: u16,
    /// What active checks connect to; none is the built-in echo target.
    pub check: Option<(String, u16)>,
    /// An exit that delivered nothing for this long is checked.
    pub check_interval: Duration,
    /// Failures in a row that set an exit aside.
    pub eject_after: u32,
    /// The first time out; it doubles with each in a row.
    pub eject_for: Duration,
    /// The longest time out.
    pub eject_most: Duration,
    /// How long an exit that was let back takes less than its share.
    pub slow_start: Duration,
    /// How long after a start requests wait for exits that have not dialled in again.
    pub gather: Duration,
}

/// How sessions keep to an exit.
#[derive(Clone, Debug)]
pub struct SessionRules {
    /// How long one lasts from its first use when it does not say.
    pub ttl: Duration,
    /// The shortest that can be asked for, in minutes.
    pub ttl_min: u32,
    /// The longest that can be asked for, in minutes.
    pub ttl_max: u32,
    /// Whether a session is lost with its exit, instead of moving to another.
    pub strict: bool,
    /// Sessions remembered at most.
    pub most: usize,
}

/// How long things may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From a request's first byte to the end of its head; as long, each, for what may lie before it: a PROXY protocol header,
    /// a TLS handshake, an HTTP/2 preface, a SOCKS5 negotiation.
    pub head: Duration,
    /// Between requests of a kept connection, and before the first byte.
    pub keep_alive: Duration,
    /// From the end of the head to a connected target: DNS, connecting, exits, all attempts.
    pub setup: Duration,
    /// Connecting to a target, DNS excluded.
    pub connect: Duration,
    /// From the request to the first byte of the target's answer.
    pub response: Duration,
    /// No byte either way in a tunnel or an exchange.
    pub idle: Duration,
    /// How long a closing connection may take to read its last answer.
    pub linger: Duration,
    /// How long open tunnels may go on after a shutdown was asked for.
    pub drain: Duration,
    /// Between pings on an exit's link.
    pub heartbeat: Duration,
    /// Silence after which an exit is dead.
    pub dead: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            response_head: 64 * 1024,
            connections: 65_536,
            connections_per_source: 16_384,
            exit_connections: 65_536,
            tunnels: 65_536,
            memory: MemoryBound::Available,
            tunnels_per_link: 4_096,
        }
    }
}

impl Default for FleetRules {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            attempts: 4,
            check: None,
            check_interval: s(30),
            eject_after: 3,
            eject_for: s(10),
            eject_most: s(300),
            slow_start: s(60),
            gather: s(5),
        }
    }
}

impl Default for SessionRules {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(600), ttl_min: 1, ttl_max: 1440, strict: false, most: 1_000_000 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            head: s(15),
            keep_alive: s(90),
            setup: s(15),
            connect: s(10),
            response: s(60),
            idle: s(600),
            linger: s(2),
            drain: s(30),
            heartbeat: s(3),
            dead: s(9),
        }
    }
}
