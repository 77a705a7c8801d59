//! Looks names up: DNS with real TTLs and the reason when there is no answer.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as WireError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver as Hickory, TokioResolver};

/// Addresses of a name that are used: an answer may hold thousands, chosen by whoever owns the name.
const ADDRESSES: usize = 16;
/// Names kept at once; beyond it expired ones go first, then any.
const CACHE_NAMES: usize = 10_000;

/// Where and how long to ask.
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// Servers to ask, in order; none means the system's (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// How long one question may take.
    pub timeout: Duration,
    /// How often a question is asked again after a timeout.
    pub attempts: usize,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(3), attempts: 2 }
    }
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// NXDOMAIN: there is no such name.
    NotFound,
    /// The name exists and has no address.
    NoAddress,
    /// The server answered with another code, given here (`SERVFAIL`, `REFUSED`…), or not in DNS.
    Failed(String),
    /// No server answered in time.
    Timeout,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such name"),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Failed(rcode) => write!(f, "DNS answered {rcode}"),
            Self::Timeout => f.write_str("DNS did not answer in time"),
        }
    }
}

/// A resolver with its own cache. One per event loop: nothing waits for another loop's lock.
pub struct Resolver {
    inner: TokioResolver,
    cache: Mutex<HashMap<String, Cached>>,
}

struct Cached {
    addresses: Arc<[IpAddr]>,
    until: Instant,
}

impl Resolver {
    /// A resolver; fails when the system's configuration can't be read.
    pub fn new(settings: &DnsSettings) -> Result<Self, String> {
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|e| format!("the system's DNS configuration can't be read: {e}"))?
        } else {
            let servers = settings.servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Hickory::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = settings.timeout;
        options.attempts = settings.attempts;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Our own cache answers first; a second one below would only blur the TTLs.
        options.cache_size = 0;
        let inner = builder.build().map_err(|e| format!("the resolver can't start: {e}"))?;
        Ok(Self { inner, cache: Mutex::default() })
    }

    /// The addresses of a name, IPv6 and IPv4 in the order DNS gave them. Cached for the TTL.
    pub async fn lookup(&self, name: &str) -> Result<Arc<[IpAddr]>, DnsError> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let mut fqdn = Name::from_ascii(name).map_err(|_| DnsError::NotFound)?;
        // Fully qualified: the search list of this machine is none of the client's business.
        fqdn.set_fqdn(true);
        let answer = self.inner.lookup_ip(fqdn).await.map_err(reason)?;
        let addresses: Arc<[IpAddr]> = answer.iter().take(ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(DnsError::NoAddress);
        }
        self.keep(name, &addresses, answer.valid_until());
        Ok(addresses)
    }

    /// The addresses of a name that nobody has to be asked for.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        // RFC 6761, section 6.3: localhost is always loopback and never asked of DNS.
        if name == "localhost" || name.ends_with(".localhost") {
            return Some(Arc::new([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
        }
        self.cached(name)
    }

    fn cached(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let cache = self.cache.lock().unwrap_or_else(|e| e.into_inner());
        cache.get(name).filter(|c| c.until > Instant::now()).map(|c| c.addresses.clone())
    }

    fn keep(&self, name: &str, addresses: &Arc<[IpAddr]>, until: Instant) {
        let now = Instant::now();
        if until <= now {
            return;
        }
        let mut cache = self.cache.lock().unwrap_or_else(|e| e.into_inner());
        if cache.len() >= CACHE_NAMES {
            cache.retain(|_, c| c.until > now);
            if cache.len() >= CACHE_NAMES {
                cache.clear();
            }
        }
        cache.insert(name.to_owned(), Cached { addresses: addresses.clone(), until });
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut c| {
            c.port = address.port();
            c
        })
        .collect();
    NameServerConfig::new(address.ip(), true, connections)
}

fn reason(error: NetError) -> DnsError {
    match error {
        NetError::Dns(WireError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DnsError::NotFound,
            ResponseCode::NoError => DnsError::NoAddress,
            code => DnsError::Failed(rcode(code)),
        },
        NetError::Dns(WireError::ResponseCode(ResponseCode::NXDomain)) => DnsError::NotFound,
        NetError::Dns(WireError::ResponseCode(code)) => DnsError::Failed(rcode(code)),
        NetError::Timeout => DnsError::Timeout,
        // The driver's other errors (its enum is open): no server could be reached or understood.
        other => DnsError::Failed(format!("no usable answer ({other})")),
    }
}

/// The mnemonic of IANA's registry of DNS RCODEs.
fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outgate_testkit::dns::{Answer, DnsServer};

    #[tokio::test]
    async fn an_answer_of_any_size_gives_a_few_addresses() {
        let many: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let dns = DnsServer::start(&[("many.example", Answer::ips(&many))]);
        let settings = DnsSettings { servers: vec![dns.address()], ..DnsSettings::default() };
        let resolver = Resolver::new(&settings).unwrap();
        assert_eq!(resolver.lookup("many.example").await.unwrap().len(), ADDRESSES);
    }
}
