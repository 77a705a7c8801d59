//! Where slow begins: the risk indicators that operators' guides agree on.

use std::time::Duration;

/// A phase of a request whose time is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The proxy's name at one's own resolver.
    Dns,
    /// The TCP handshake with the proxy.
    Tcp,
    /// The TLS handshake with the proxy.
    ProxyTls,
    /// From the CONNECT (or the SOCKS greeting) to the tunnel.
    Connect,
    /// The TLS handshake with the target, through the tunnel.
    TargetTls,
    /// From the request to the first byte of its answer.
    FirstByte,
    /// All of it.
    Total,
}

impl Phase {
    /// Every phase, in the order they happen.
    pub const ALL: [Phase; 7] =
        [Phase::Dns, Phase::Tcp, Phase::ProxyTls, Phase::Connect, Phase::TargetTls, Phase::FirstByte, Phase::Total];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Dns => "dns",
            Phase::Tcp => "tcp",
            Phase::ProxyTls => "proxy_tls",
            Phase::Connect => "connect",
            Phase::TargetTls => "target_tls",
            Phase::FirstByte => "first_byte",
            Phase::Total => "total",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Dns => "resolve the proxy",
            Phase::Tcp => "connect to the proxy",
            Phase::ProxyTls => "TLS with the proxy",
            Phase::Connect => "tunnel set up",
            Phase::TargetTls => "TLS with the target",
            Phase::FirstByte => "first byte",
            Phase::Total => "whole request",
        }
    }

    /// From where on it is slow, if anybody says so.
    pub fn limit(self) -> Option<Duration> {
        match self {
            Phase::Dns => Some(DNS),
            Phase::ProxyTls | Phase::TargetTls => Some(TLS_HANDSHAKE),
            Phase::Total => Some(MEAN_RESPONSE),
            Phase::Tcp | Phase::Connect | Phase::FirstByte => None,
        }
    }
}

/// A resolution that takes longer makes network errors likely.
pub const DNS: Duration = Duration::from_millis(200);
/// A handshake that takes longer times out under load.
pub const TLS_HANDSHAKE: Duration = Duration::from_millis(500);
/// Above this mean, 504 becomes likely.
pub const MEAN_RESPONSE: Duration = Duration::from_secs(2);
/// Above this 99th percentile, timeouts cascade.
pub const P99_RESPONSE: Duration = Duration::from_secs(5);
/// Clocks that differ by less are nobody's trouble: `Date` has whole seconds, and answers travel.
pub const CLOCK_REMARK: Duration = Duration::from_secs(30);
/// A clock that is off by more breaks certificates, tokens and `Retry-After` dates.
pub const CLOCK_WRONG: Duration = Duration::from_secs(300);
