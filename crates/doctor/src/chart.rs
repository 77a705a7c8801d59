//! What is asked of the doctor, and what has been found out so far.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_client::connect::{Scheme, Upstream};
use outgate_faults::Slug;
use rustls::RootCertStore;

use crate::exchange::{Exchange, Means};
use crate::proxy_url::{self, ProxyUrl};
use crate::samples::Sampling;
use crate::site::Site;

/// What is asked of the doctor.
#[derive(Clone, Debug)]
pub struct Case {
    /// The proxy's URL as somebody wrote it. Secret.
    pub proxy: String,
    /// The real target, if there is one.
    pub target: Option<Site>,
    /// A target that answers everybody.
    pub neutral: Site,
    /// How many requests look for intermittency.
    pub samples: u32,
    /// How long to wait between two of them.
    pub interval: Duration,
    /// How long one request may take.
    pub limit: Duration,
    /// Whom this machine believes: see [`crate::roots`].
    pub roots: Arc<RootCertStore>,
    /// Ports where a proxy that is not at its port may be instead.
    pub other_ports: Vec<u16>,
    /// The time of day.
    pub now: fn() -> Timestamp,
}

/// Ports that proxies are mostly given: squid and tinyproxy, web proxies, SOCKS, polipo and privoxy.
pub const USUAL_PORTS: &[u16] = &[3128, 8080, 1080, 8888, 8118, 8443];

/// What has been found out so far. A check writes what later ones look at; they can't rely on it, because it may have failed.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) case: &'a Case,
    pub(crate) means: Means,
    /// The URL, once it is read.
    pub(crate) url: Option<ProxyUrl>,
    /// The addresses of the proxy's name.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The one that took a connection.
    pub(crate) address: Option<SocketAddr>,
    /// The lookup of the proxy's name.
    pub(crate) dns: Option<Duration>,
    /// The first request to the proxy: without credentials, for a name that can't exist.
    pub(crate) hello: Option<Exchange>,
    /// The neutral target past the proxy.
    pub(crate) neutral_direct: Option<Exchange>,
    /// And through it.
    pub(crate) neutral: Option<Exchange>,
    /// The real target past the proxy.
    pub(crate) target_direct: Option<Exchange>,
    /// And through it.
    pub(crate) target: Option<Exchange>,
    /// What the classifier called a failure of the goal, and what experiments showed it to be.
    pub(crate) refined: Option<(Slug, Slug)>,
    /// What sampling showed.
    pub(crate) sampling: Option<Sampling>,
}

impl<'a> Chart<'a> {
    pub(crate) fn new(case: &'a Case) -> Chart<'a> {
        Chart {
            case,
            means: Means { roots: Arc::clone(&case.roots), limit: case.limit, now: case.now },
            url: None,
            addresses: Vec::new(),
            address: None,
            dns: None,
            hello: None,
            neutral_direct: None,
            neutral: None,
            target_direct: None,
            target: None,
            refined: None,
            sampling: None,
        }
    }

    /// The proxy with its credentials.
    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        self.url.as_ref().map(|url| &url.upstream)
    }

    /// The proxy without them; a SOCKS5 proxy resolves names itself, so that nothing depends on this machine's resolver.
    pub(crate) fn anonymous(&self) -> Option<Upstream> {
        let upstream = self.upstream()?;
        let scheme = if upstream.scheme().is_socks() { Scheme::Socks5h } else { upstream.scheme() };
        Upstream::parse(&format!("{}://{}", scheme.name(), upstream.authority())).ok()
    }

    /// `HOST:PORT` of the proxy, for sentences.
    pub(crate) fn proxy(&self) -> String {
        self.upstream().map(Upstream::authority).unwrap_or_default()
    }

    /// The proxy's URL as it may be shown.
    pub(crate) fn shown(&self) -> String {
        match self.upstream() {
            Some(upstream) => proxy_url::shown(upstream),
            None => "a URL that can't be read".to_owned(),
        }
    }

    /// What samples ask for: the real target, or the neutral one.
    pub(crate) fn goal(&self) -> &'a Site {
        self.case.target.as_ref().unwrap_or(&self.case.neutral)
    }

    /// The request whose times are shown: to the goal, if one was made.
    pub(crate) fn timed(&self) -> (Option<&Exchange>, Option<&Exchange>) {
        match self.case.target {
            Some(_) => (self.target_direct.as_ref(), self.target.as_ref()),
            None => (self.neutral_direct.as_ref(), self.neutral.as_ref()),
        }
    }
}
