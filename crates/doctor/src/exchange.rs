//! One request and all that can be known of it: how far it came, what was answered, how long each phase took.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_client::classify::{Breakage, Evidence, Fields, Manner, Phase as At, SocksSaid, Verdict, Way, classify};
use outgate_client::connect::{self, ConnectReply, Reply, Scheme, SocksRefusal, Stream, Trust, Upstream, Why};
use outgate_client::providers::Providers;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use crate::answer;
use crate::look::{Look, Shown};
use crate::site::{Security, Site};
use crate::thresholds::Phase;

/// What the doctor says it is, to proxies and targets.
const USER_AGENT: &str = concat!("outgate-doctor/", env!("CARGO_PKG_VERSION"));

/// A request's way and what came of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// How it was put; `None` is a direct request, past any proxy.
    pub(crate) way: Option<Way>,
    /// When it began.
    pub(crate) at: Timestamp,
    /// How long each phase took.
    pub(crate) times: Vec<(Phase, Duration)>,
    /// One's own address on the connection that was made.
    pub(crate) own: Option<IpAddr>,
    /// The address that was connected to.
    pub(crate) peer: Option<SocketAddr>,
    /// The answer that opened the tunnel.
    pub(crate) opened: Option<ConnectReply>,
    /// The certificate that was shown for the target.
    pub(crate) shown: Option<Shown>,
    /// How it ended.
    pub(crate) ended: Ended,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With an answer, the target's or, to a forwarded request, perhaps the proxy's.
    Answered(ConnectReply),
    /// With a refusal of the tunnel.
    Refused(ConnectReply),
    /// With a refusal in SOCKS5.
    Socks(SocksRefusal),
    /// Without an answer.
    Broken(Breakage),
    /// Before anything was asked: `socks5://` looks the target's name up on this machine, which can't.
    TargetName(Box<connect::Failed>),
}

/// What every request needs.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// Whom this machine believes.
    pub(crate) roots: Arc<RootCertStore>,
    /// How long one request may take.
    pub(crate) limit: Duration,
    /// The time of day.
    pub(crate) now: fn() -> Timestamp,
}

impl Means {
    /// The same with less patience.
    pub(crate) fn hurried(&self, limit: Duration) -> Means {
        Means { limit: self.limit.min(limit), ..self.clone() }
    }
}

impl Exchange {
    /// Whether an answer came and it is no error.
    pub(crate) fn is_good(&self) -> bool {
        matches!(&self.ended, Ended::Answered(reply) if reply.status < 400)
    }

    /// The answer to look at: the target's or the refusal.
    pub(crate) fn reply(&self) -> Option<&ConnectReply> {
        match &self.ended {
            Ended::Answered(reply) | Ended::Refused(reply) => Some(reply),
            Ended::Socks(_) | Ended::Broken(_) | Ended::TargetName(_) => None,
        }
    }

    /// Every field that a proxy wrote for the client, with the answer that opened a tunnel first.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let opened = self.opened.as_ref().and_then(|reply| reply.header(name));
        opened.or_else(|| self.reply().and_then(|reply| reply.header(name)))
    }

    /// How long a phase took.
    pub(crate) fn time(&self, phase: Phase) -> Option<Duration> {
        self.times.iter().find(|(known, _)| *known == phase).map(|(_, time)| *time)
    }

    /// What the classifier makes of it; a direct request's answer is the target's, whatever it says.
    pub(crate) fn verdict(&self, proxy: &str, site: &Site) -> Verdict {
        let target = site.target.to_string();
        let mut evidence = Evidence::of(self.way.unwrap_or(Way::Tunnelled), proxy, &target);
        match &self.ended {
            Ended::Answered(reply) | Ended::Refused(reply) => {
                evidence.status = Some(reply.status);
                evidence.reason = Some(&reply.reason);
                evidence.headers = Fields::from(reply.headers.as_slice());
                evidence.body = Some(&reply.body);
            }
            Ended::Socks(refusal) => evidence.socks = Some(socks_said(*refusal)),
            Ended::Broken(breakage) => evidence.breakage = Some(breakage),
            Ended::TargetName(failed) => return failed.verdict(Scheme::Socks5, proxy, &target, Providers::builtin()),
        }
        classify(&evidence, Providers::builtin())
    }

    /// The same where it is known from elsewhere that the proxy itself said it.
    pub(crate) fn verdict_of_proxy(&self, proxy: &str, site: &Site) -> Verdict {
        let target = site.target.to_string();
        let mut evidence = Evidence::of(Way::Connect, proxy, &target);
        if let Some(reply) = self.reply() {
            evidence.status = Some(reply.status);
            evidence.reason = Some(&reply.reason);
            evidence.headers = Fields::from(reply.headers.as_slice());
            evidence.body = Some(&reply.body);
            return classify(&evidence, Providers::builtin());
        }
        self.verdict(proxy, site)
    }

    /// How it ended, in a few words.
    pub(crate) fn words(&self) -> String {
        match &self.ended {
            Ended::Answered(reply) => format!("answered {} {}", reply.status, reply.reason).trim_end().to_owned(),
            Ended::Refused(reply) => format!("the tunnel was refused: {} {}", reply.status, reply.reason).trim_end().to_owned(),
            Ended::Socks(refusal) => format!("SOCKS5 refused: {refusal}"),
            Ended::Broken(breakage) => broken(breakage),
            Ended::TargetName(_) => "was not asked for: its name can't be resolved on this machine".to_owned(),
        }
    }
}

/// A breakage in words that a person can follow.
pub(crate) fn broken(breakage: &Breakage) -> String {
    let when = match breakage.phase {
        At::Dns => "looking up the name",
        At::Tcp => "connecting",
        At::Tls => "in the TLS handshake with the proxy",
        At::Ask => "waiting for the answer",
        At::Body => "in the middle of the answer",
        At::TargetTls => "in the TLS handshake with the target",
        At::Tunnel => "in the open tunnel",
    };
    let what = match &breakage.manner {
        Manner::NotFound => "no such name".to_owned(),
        Manner::Refused => "refused".to_owned(),
        Manner::Unreachable => "no route".to_owned(),
        Manner::TimedOut(after) if after.is_zero() => "no answer".to_owned(),
        Manner::TimedOut(after) => format!("no answer within {} s", after.as_secs_f64()),
        Manner::Reset => "the connection was reset".to_owned(),
        Manner::Closed => "the connection was closed".to_owned(),
        Manner::Certificate(what) => format!("certificate: {what}"),
        Manner::TlsProtocol(what) => what.clone(),
        Manner::Foreign(foreign) => format!("{} came instead of an answer", foreign.name()),
        Manner::Other(what) => what.clone(),
    };
    format!("{what} ({when})")
}

fn socks_said(refusal: SocksRefusal) -> SocksSaid {
    match refusal {
        SocksRefusal::Method => SocksSaid::NoMethod,
        SocksRefusal::Login(status) => SocksSaid::Login(status),
        SocksRefusal::Reply(byte) => SocksSaid::Reply(byte),
        // What can't be said is as good as refused.
        SocksRefusal::TooLong => SocksSaid::Login(1),
    }
}

/// Asks `site` past any proxy.
pub(crate) async fn direct(site: &Site, means: &Means) -> Exchange {
    let mut course = Course::begin(means);
    let ended = course.direct(site).await;
    course.end(ended)
}

/// Asks `site` through the proxy.
pub(crate) async fn through(upstream: &Upstream, site: &Site, means: &Means) -> Exchange {
    let upstream = &upstream.clone().with_trust(Trust::given(plain_client(means)));
    let mut course = Course::begin(means);
    let ended = if site.security == Security::Clear && !upstream.scheme().is_socks() {
        course.forwarded(upstream, site).await
    } else {
        course.tunnelled(upstream, site).await
    };
    course.end(ended)
}

/// Asks the proxy for a tunnel and nothing more.
pub(crate) async fn tunnel(upstream: &Upstream, site: &Site, means: &Means) -> Exchange {
    let upstream = &upstream.clone().with_trust(Trust::given(plain_client(means)));
    let mut course = Course::begin(means);
    let ended = match course.open(upstream, site).await {
        Ok(_stream) => Ended::Answered(course.opened.clone().unwrap_or_else(|| bare(200))),
        Err(ended) => ended,
    };
    course.end(ended)
}

/// A status and nothing more.
fn bare(status: u16) -> ConnectReply {
    ConnectReply { status, reason: String::new(), headers: Vec::new(), body: Vec::new(), oddities: Vec::new() }
}

/// A client for the proxy's own TLS that believes whom this machine believes: credentials go through it.
fn plain_client(means: &Means) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[expect(clippy::expect_used, reason = "ring offers TLS 1.2 and 1.3; nothing from outside decides it")]
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    let mut config = builder.with_root_certificates(Arc::clone(&means.roots)).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A request on its way.
struct Course<'a> {
    means: &'a Means,
    at: Timestamp,
    begun: Instant,
    deadline: Instant,
    times: Vec<(Phase, Duration)>,
    own: Option<IpAddr>,
    peer: Option<SocketAddr>,
    opened: Option<ConnectReply>,
    shown: Option<Shown>,
    /// How the request was put, as far as it came.
    way: Option<Way>,
}

impl<'a> Course<'a> {
    fn begin(means: &'a Means) -> Self {
        let begun = Instant::now();
        Course {
            means,
            at: (means.now)(),
            begun,
            deadline: begun + means.limit,
            times: Vec::new(),
            own: None,
            peer: None,
            opened: None,
            shown: None,
            way: None,
        }
    }

    fn end(mut self, ended: Ended) -> Exchange {
        self.times.push((Phase::Total, self.begun.elapsed()));
        Exchange {
            way: self.way,
            at: self.at,
            times: self.times,
            own: self.own,
            peer: self.peer,
            opened: self.opened,
            shown: self.shown,
            ended,
        }
    }

    async fn direct(&mut self, site: &Site) -> Ended {
        match connect::direct(&site.place(), self.deadline).await {
            Err(failed) => self.failed(failed),
            Ok(reached) => {
                self.reached(&reached.stream, reached.address, reached.timings);
                self.ask_site(reached.stream, site).await
            }
        }
    }

    async fn forwarded(&mut self, upstream: &Upstream, site: &Site) -> Ended {
        self.way = Some(Way::Forwarded);
        match connect::reach(upstream, self.deadline).await {
            Err(failed) => self.failed(failed),
            Ok(mut reached) => {
                self.reached(&reached.stream, reached.address, reached.timings);
                let login =
                    upstream.credentials().map(|credentials| format!("Proxy-Authorization: {}\r\n", connect::basic(credentials)));
                self.ask(&mut reached.stream, &site.absolute(), &site.authority(), &login.unwrap_or_default()).await
            }
        }
    }

    async fn tunnelled(&mut self, upstream: &Upstream, site: &Site) -> Ended {
        match self.open(upstream, site).await {
            Ok(stream) => {
                self.way = Some(Way::Tunnelled);
                self.ask_site(stream, site).await
            }
            Err(ended) => ended,
        }
    }

    async fn open(&mut self, upstream: &Upstream, site: &Site) -> Result<Stream, Ended> {
        self.way = Some(if upstream.scheme().is_socks() { Way::Socks } else { Way::Connect });
        match connect::open(upstream, &site.place(), &[("User-Agent", USER_AGENT)], self.deadline).await {
            Err(failed) => Err(self.failed(failed)),
            Ok(tunnel) => {
                self.reached(&tunnel.stream, tunnel.address, tunnel.timings);
                if let Reply::Http(reply) = tunnel.reply {
                    self.opened = Some(reply);
                }
                Ok(tunnel.stream)
            }
        }
    }

    fn reached(&mut self, stream: &Stream, address: SocketAddr, timings: connect::Timings) {
        self.own = stream.socket().local_addr().ok().map(|address| address.ip());
        self.peer = Some(address);
        self.took(timings);
    }

    fn failed(&mut self, failed: connect::Failed) -> Ended {
        self.peer = failed.address;
        self.took(failed.timings);
        match failed.why {
            Why::TargetName(_) => Ended::TargetName(Box::new(failed)),
            Why::Broken(breakage) => Ended::Broken(breakage),
            Why::Refused(reply) => Ended::Refused(reply),
            Why::Socks(refusal) => Ended::Socks(refusal),
        }
    }

    fn took(&mut self, timings: connect::Timings) {
        let phases = [
            (Phase::Dns, timings.dns),
            (Phase::Tcp, timings.tcp),
            (Phase::ProxyTls, timings.tls),
            (Phase::Connect, timings.handshake),
        ];
        self.times.extend(phases.into_iter().filter_map(|(phase, time)| Some((phase, time?))));
    }

    /// Speaks to the target over a connection to it, TLS first if it is due.
    async fn ask_site(&mut self, mut stream: Stream, site: &Site) -> Ended {
        if site.security == Security::Clear {
            return self.ask(&mut stream, &site.path, &site.authority(), "").await;
        }
        let look = Look::new(&self.means.roots);
        let name = ServerName::try_from(site.target.host().to_owned());
        let (Some(config), Ok(name)) = (look.client(), name) else {
            let why = "no certificate can be for this host".to_owned();
            return Ended::Broken(Breakage::new(At::TargetTls, Manner::Certificate(why)));
        };
        let begun = Instant::now();
        let shaken = timeout_at(self.deadline.into(), TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        self.times.push((Phase::TargetTls, begun.elapsed()));
        self.shown = look.seen();
        match shaken {
            Ok(Ok(mut tls)) => self.ask(&mut tls, &site.path, &site.authority(), "").await,
            Ok(Err(error)) => Ended::Broken(Breakage::of(At::TargetTls, &error)),
            Err(_) => Ended::Broken(Breakage::timed_out(At::TargetTls, self.means.limit)),
        }
    }

    /// One GET, with `more` whole header lines.
    async fn ask(&mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, host: &str, more: &str) -> Ended {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n{more}Connection: close\r\n\r\n"
        );
        let begun = Instant::now();
        let sent = timeout_at(self.deadline.into(), async {
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await
        });
        // Whoever closes while it is told may have answered before: what it said is worth more.
        let unsent = match sent.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Breakage::of(At::Ask, &error)),
            Err(_) => return Ended::Broken(Breakage::timed_out(At::Ask, self.means.limit)),
        };
        match answer::read(stream, self.means.limit, self.deadline).await {
            Ok(read) => {
                self.times.push((Phase::FirstByte, read.first_byte.duration_since(begun)));
                Ended::Answered(read.reply)
            }
            Err(breakage) => Ended::Broken(unsent.unwrap_or(breakage)),
        }
    }
}
