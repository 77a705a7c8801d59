//! A connection through any proxy, with everything that it said on the way.
//!
//! HTTP clients hide the answer to a failed CONNECT: most show its status, some its reason, hardly any its header fields or
//! body. Here nothing is lost: [`open`] gives a [`Tunnel`] with the [`Reply`] that opened it, or a [`Failed`] with the answer
//! or the [`Breakage`], the address that was reached and how long each step took.
//!
//! - [`Upstream`] and [`Target`]: where to
//! - [`open`]: a tunnel through a proxy; [`reach`]: a connection to a proxy, for plain requests; [`direct`]: to a target, past any proxy
//! - [`Trust`]: whose certificates are believed
//!
//! Nothing here repeats anything, and nothing decides what an answer means: that is `engine`'s and `classify`'s.

mod http;
mod reach;
mod reply;
mod socks;
mod stream;
mod trust;
mod upstream;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::classify::{Breakage, Evidence, SocksSaid, Verdict, Way, classify};
use crate::providers::Providers;

pub use http::basic;
pub use reach::Reached;
pub use reply::{ConnectReply, LONGEST_BODY};
pub use stream::Stream;
pub use trust::{BadRoots, Trust};
pub use upstream::{BadUpstream, Credentials, Scheme, Target, Upstream};

/// How long each step took; `None` for one that was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The lookup of the proxy's name.
    pub dns: Option<Duration>,
    /// The TCP connection to the proxy, all its addresses included.
    pub tcp: Option<Duration>,
    /// The TLS handshake with the proxy.
    pub tls: Option<Duration>,
    /// From CONNECT or the SOCKS5 greeting to its final answer.
    pub handshake: Option<Duration>,
}

impl Timings {
    /// All steps together.
    pub fn total(&self) -> Duration {
        [self.dns, self.tcp, self.tls, self.handshake].into_iter().flatten().sum()
    }
}

/// What opened a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer to CONNECT.
    Http(ConnectReply),
    /// SOCKS5's reply 0, which says nothing more.
    Socks,
}

impl Reply {
    /// The answer to CONNECT, if it was one.
    pub fn http(&self) -> Option<&ConnectReply> {
        match self {
            Self::Http(reply) => Some(reply),
            Self::Socks => None,
        }
    }
}

/// An open tunnel: from here its bytes are the target's.
#[derive(Debug)]
pub struct Tunnel {
    /// The bytes.
    pub stream: Stream,
    /// What the proxy said.
    pub reply: Reply,
    /// The proxy's address.
    pub address: SocketAddr,
    /// How long each step took.
    pub timings: Timings,
}

/// A SOCKS5 server's no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocksRefusal {
    /// It takes no way of logging in that was offered.
    Method,
    /// The login failed with this status (RFC 1929, section 2).
    Login(u8),
    /// The request failed with this reply byte (RFC 1928, section 6).
    Reply(u8),
    /// User name or password don't fit the protocol; nothing was sent.
    TooLong,
}

/// Why there is no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no answer to look at.
    Broken(Breakage),
    /// The proxy answered CONNECT with something else than 2xx.
    Refused(ConnectReply),
    /// The proxy refused in SOCKS5.
    Socks(SocksRefusal),
    /// The target's name could not be looked up here, as `socks5` (without `h`) has it.
    TargetName(Breakage),
}

/// What broke, and what the system or the TLS library said of it.
struct Broken {
    breakage: Breakage,
    detail: String,
}

impl Broken {
    fn new(breakage: Breakage, detail: impl fmt::Display) -> Self {
        Self { breakage, detail: detail.to_string() }
    }
}

/// No tunnel, and everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub why: Why,
    /// For people and logs: what the system, the TLS library or the proxy said. No secrets of ours.
    pub detail: String,
    /// The address that was reached or tried last, if it got so far.
    pub address: Option<SocketAddr>,
    /// How long each step took, the failed one included.
    pub timings: Timings,
}

impl Failed {
    /// What it came to. `proxy` is the upstream's [`Upstream::authority`], `target` the [`Target`]'s text.
    pub fn verdict(&self, scheme: Scheme, proxy: &str, target: &str, providers: &Providers) -> Verdict {
        classify(&self.evidence(scheme, proxy, target), providers)
    }

    /// What there is to classify, for who adds to it first.
    pub fn evidence<'a>(&'a self, scheme: Scheme, proxy: &'a str, target: &'a str) -> Evidence<'a> {
        let way = if scheme.is_socks() { Way::Socks } else { Way::Connect };
        let evidence = Evidence::of(way, proxy, target);
        match &self.why {
            Why::Broken(breakage) => Evidence { breakage: Some(breakage), ..evidence },
            // It was this machine's resolver that was asked for the target, so no proxy's doing.
            Why::TargetName(breakage) => Evidence { breakage: Some(breakage), way: Way::Direct, ..evidence },
            Why::Refused(reply) => reply.evidence(evidence),
            Why::Socks(SocksRefusal::Method) => Evidence { socks: Some(SocksSaid::NoMethod), ..evidence },
            Why::Socks(SocksRefusal::TooLong) => Evidence { socks: Some(SocksSaid::TooLong), ..evidence },
            Why::Socks(SocksRefusal::Login(status)) => Evidence { socks: Some(SocksSaid::Login(*status)), ..evidence },
            Why::Socks(SocksRefusal::Reply(byte)) => Evidence { socks: Some(SocksSaid::Reply(*byte)), ..evidence },
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Broken(breakage) => write!(f, "{}: {}", breakage.phase.name(), self.detail),
            Why::Refused(_) => write!(f, "the proxy answered {}", self.detail),
            Why::Socks(_) => write!(f, "the proxy refused: {}", self.detail),
            Why::TargetName(_) => write!(f, "the target's name: {}", self.detail),
        }
    }
}

impl std::error::Error for Failed {}

/// Connects to a proxy, TLS included: for plain requests, and to see how far one gets.
///
/// # Errors
/// Whatever broke before `deadline`.
pub async fn reach(upstream: &Upstream, deadline: Instant) -> Result<Reached, Failed> {
    let trust = (upstream.scheme() == Scheme::Https).then(|| upstream.trust());
    reach::reach(upstream.host(), upstream.port(), trust, deadline).await
}

/// Connects to a target in clear, past any proxy: timings and breakage are the target's.
///
/// # Errors
/// Whatever broke before `deadline`.
pub async fn direct(target: &Target, deadline: Instant) -> Result<Reached, Failed> {
    reach::reach(target.host(), target.port(), None, deadline).await
}

/// Opens a tunnel through a proxy. `headers` are added to a CONNECT, those that no header line takes are left out; SOCKS5
/// has no room for any.
///
/// # Errors
/// What the proxy answered instead, or what broke, before `deadline`.
pub async fn open(upstream: &Upstream, target: &Target, headers: &[(&str, &str)], deadline: Instant) -> Result<Tunnel, Failed> {
    let reached = reach(upstream, deadline).await?;
    open_over(reached, upstream, target, headers, deadline).await
}

/// Opens a tunnel over a connection that [`reach`] made.
///
/// # Errors
/// As [`open`].
pub async fn open_over(
    reached: Reached,
    upstream: &Upstream,
    target: &Target,
    headers: &[(&str, &str)],
    deadline: Instant,
) -> Result<Tunnel, Failed> {
    let Reached { mut stream, address, mut timings } = reached;
    let begun = Instant::now();
    let answered = if upstream.scheme().is_socks() {
        socks::connect(&mut stream, upstream.scheme(), target, upstream.credentials(), deadline).await.map(|()| Reply::Socks)
    } else {
        match http::connect(&mut stream, target, upstream.credentials(), headers, deadline).await {
            Ok(reply) if reply.is_success() => Ok(Reply::Http(reply)),
            Ok(reply) => {
                let detail = format!("{} {}", reply.status, reply.reason);
                Err((Why::Refused(reply), detail))
            }
            Err(Broken { breakage, detail }) => Err((Why::Broken(breakage), detail)),
        }
    };
    timings.handshake = Some(begun.elapsed());
    match answered {
        Ok(reply) => Ok(Tunnel { stream, reply, address, timings }),
        Err((why, detail)) => Err(Failed { why, detail, address: Some(address), timings }),
    }
}
