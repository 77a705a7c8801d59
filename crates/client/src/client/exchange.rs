//! One attempt: a way to the target, the request over it, and what came of that.

use std::error::Error as _;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::answer::Answer;
use super::through::{Plain, Through};
use crate::classify::{BODY, Breakage, Evidence, Fields, Manner, Phase, Verdict, Way, classify};
use crate::connect::{self, ConnectReply, Failed, Stream, Target, Trust, Tunnel, Upstream, Why};
use crate::engine::Sent;
use crate::providers::{Provider, Providers};

/// How long the beginning of an error's page may take to come: it says whose error it is.
const GLANCE: Duration = Duration::from_secs(2);

/// What every attempt of a client needs.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) providers: Providers,
    /// Whose certificates are believed of targets.
    pub(super) trust: Trust,
    /// How long a way to the target may take.
    pub(super) setup: Duration,
}

/// The request as it is sent each time.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) parts: http::request::Parts,
    pub(super) body: Bytes,
    pub(super) target: Target,
    pub(super) scheme: Scheme,
}

/// How the target is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// What an attempt came to.
pub(super) struct Tried {
    /// The answer, the target's or the proxy's.
    pub(super) answer: Option<Answer>,
    pub(super) verdict: Verdict,
    pub(super) sent: Sent,
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) exit: Option<String>,
    /// What the proxy answered, if it was not the target that did.
    pub(super) reply: Option<ConnectReply>,
    /// The connection, if it can be used again once the answer is read.
    pub(super) line: Option<Line>,
}

/// A connection that requests can be sent over.
#[derive(Debug)]
pub(super) struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    way: Way,
    login: Option<HeaderValue>,
    connect: Option<ConnectReply>,
}

impl Line {
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn exit(&self) -> Option<String> {
        self.connect.as_ref()?.header("X-Outgate-Exit").map(str::to_owned)
    }
}

impl Asked {
    /// Whether the proxy passes the request on itself, or is asked for a tunnel.
    pub(super) fn is_forwarded(&self, through: &Through) -> bool {
        self.scheme == Scheme::Http && !through.upstream.scheme().is_socks() && through.plain == Plain::Forwarded
    }

    fn default_port(&self) -> u16 {
        match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// The host as it stands in a URL and in `Host`.
    fn host(&self) -> String {
        let whole = self.target.to_string();
        match whole.strip_suffix(&format!(":{}", self.target.port())) {
            Some(host) if self.target.port() == self.default_port() => host.to_owned(),
            _ => whole,
        }
    }

    /// `https://host:port`.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        format!("{scheme}://{}", self.target)
    }

    fn request(&self, line: &Line) -> Result<Request<Full<Bytes>>, http::Error> {
        let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.host();
        let uri = if line.way == Way::Forwarded { format!("http://{host}{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(self.parts.method.clone()).uri(uri).body(Full::new(self.body.clone()))?;
        *request.headers_mut() = self.parts.headers.clone();
        let fields = request.headers_mut();
        fields.insert(HOST, HeaderValue::from_str(&host)?);
        // The proxy's login is the proxy's affair, and never the target's.
        fields.remove(PROXY_AUTHORIZATION);
        if let Some(login) = &line.login {
            fields.insert(PROXY_AUTHORIZATION, login.clone());
        }
        Ok(request)
    }
}

/// One attempt, over a free connection if there is one. `opened` is called as soon as the proxy has let the request in.
pub(super) async fn once(
    means: &Means,
    through: &Through,
    session: Option<&str>,
    asked: &Asked,
    free: Option<Line>,
    deadline: Instant,
    opened: impl Fn(),
) -> Tried {
    let upstream = through.asked(session);
    let case = Case { means, through, upstream: &upstream, asked, proxy: upstream.authority(), target: asked.target.to_string() };
    if let Some(line) = free {
        // A free connection may have been closed meanwhile: if nothing was sent, a new one does the same work.
        if let Ok(tried) = case.exchange(line, deadline).await {
            return tried;
        }
    }
    let line = match case.line(deadline).await {
        Ok(line) => line,
        Err(tried) => return *tried,
    };
    if line.way == Way::Tunnelled {
        opened();
    }
    let way = line.way;
    match case.exchange(line, deadline).await {
        Ok(tried) => tried,
        Err(Unsent) => case.broke(way, &Breakage::new(Phase::Ask, Manner::Closed), Sent::Nothing, None),
    }
}

impl Tried {
    /// Reads the whole body as part of the attempt. One that breaks off makes it a failed attempt; one that is longer than `most`
    /// is none of the engine's affair: true.
    pub(super) async fn read(&mut self, most: usize, deadline: Instant, means: &Means, through: &Through, asked: &Asked) -> bool {
        let Some(Answer { begun, rest, .. }) = &mut self.answer else { return false };
        let started = Instant::now();
        let mut whole = Vec::from(std::mem::take(begun));
        let mut broken = None;
        while let Some(body) = rest {
            match tokio::time::timeout_at(deadline.into(), body.frame()).await {
                Ok(None) => *rest = None,
                Ok(Some(Ok(frame))) => whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Ok(Some(Err(error))) => broken = Some(Breakage { phase: Phase::Body, ..breakage_of(&error) }),
                Err(_) => broken = Some(Breakage::timed_out(Phase::Body, started.elapsed())),
            }
            if broken.is_some() {
                break;
            }
            if whole.len() > most {
                return true;
            }
        }
        *begun = whole.into();
        if let Some(breakage) = broken {
            let way = if asked.is_forwarded(through) { Way::Forwarded } else { Way::Tunnelled };
            let (proxy, target) = (through.upstream.authority(), asked.target.to_string());
            let evidence = Evidence { breakage: Some(&breakage), ..Evidence::of(way, &proxy, &target) };
            self.verdict = classify(&evidence, &means.providers);
            self.answer = None;
        }
        false
    }
}

/// The connection was closed before anything of the request was sent.
struct Unsent;

/// One attempt's circumstances.
struct Case<'a> {
    means: &'a Means,
    through: &'a Through,
    upstream: &'a Upstream,
    asked: &'a Asked,
    proxy: String,
    target: String,
}

impl Case<'_> {
    fn provider(&self) -> Option<&Provider> {
        self.through.provider.as_deref().and_then(|name| self.means.providers.named(name))
    }

    fn evidence(&self, way: Way) -> Evidence<'_> {
        Evidence { provider: self.provider(), ..Evidence::of(way, &self.proxy, &self.target) }
    }

    /// A new connection.
    async fn line(&self, deadline: Instant) -> Result<Line, Box<Tried>> {
        let until = deadline.min(Instant::now() + self.means.setup);
        if self.asked.is_forwarded(self.through) {
            let reached = connect::reach(self.upstream, until).await.map_err(|failed| Box::new(self.no_way(failed)))?;
            let login = self.upstream.credentials().and_then(|credentials| {
                let mut value = HeaderValue::from_str(&connect::basic(credentials)).ok()?;
                value.set_sensitive(true);
                Some(value)
            });
            return self.shake(reached.stream, Way::Forwarded, login, None).await.map_err(Box::new);
        }
        let opened = connect::open(self.upstream, &self.asked.target, &[], until).await;
        let Tunnel { stream, reply, .. } = opened.map_err(|failed| Box::new(self.no_way(failed)))?;
        let connect = reply.http().cloned();
        if self.asked.scheme == Scheme::Http {
            return self.shake(stream, Way::Tunnelled, None, connect).await.map_err(Box::new);
        }
        match self.tls(stream, until).await {
            Ok(stream) => self.shake(stream, Way::Tunnelled, None, connect).await.map_err(Box::new),
            Err(breakage) => Err(Box::new(self.broke(Way::Tunnelled, &breakage, Sent::Nothing, connect.as_ref()))),
        }
    }

    async fn tls(&self, stream: Stream, until: Instant) -> Result<tokio_rustls::client::TlsStream<Stream>, Breakage> {
        let begun = Instant::now();
        let name = ServerName::try_from(self.asked.target.host().to_owned())
            .map_err(|_| Breakage::new(Phase::TargetTls, Manner::Certificate("for another name".to_owned())))?;
        let connector = TlsConnector::from(self.means.trust.config());
        match tokio::time::timeout_at(until.into(), connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Breakage::of(Phase::TargetTls, &error)),
            Err(_) => Err(Breakage::timed_out(Phase::TargetTls, begun.elapsed())),
        }
    }

    async fn shake<S>(
        &self,
        stream: S,
        way: Way,
        login: Option<HeaderValue>,
        connect: Option<ConnectReply>,
    ) -> Result<Line, Tried>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match http1::Builder::new().handshake(TokioIo::new(stream)).await {
            Ok((sender, connection)) => {
                // It ends with the last of sender and answer; its error is the answer's.
                tokio::spawn(connection);
                Ok(Line { sender, way, login, connect })
            }
            Err(error) => Err(self.broke(way, &breakage_of(&error), Sent::Nothing, connect.as_ref())),
        }
    }

    /// The request over a connection.
    async fn exchange(&self, mut line: Line, deadline: Instant) -> Result<Tried, Unsent> {
        let begun = Instant::now();
        let Ok(request) = self.asked.request(&line) else {
            let breakage = Breakage::new(Phase::Ask, Manner::Other("the request can't be written".to_owned()));
            return Ok(self.broke(line.way, &breakage, Sent::Nothing, None));
        };
        match tokio::time::timeout_at(deadline.into(), line.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok(self.answered(line, response, deadline).await),
            Ok(Err(unsent)) if unsent.message().is_some() => Err(Unsent),
            Ok(Err(error)) => Ok(self.broke(line.way, &breakage_of(error.error()), Sent::Something, line.connect.as_ref())),
            Err(_) => {
                let breakage = Breakage::timed_out(Phase::Ask, begun.elapsed());
                Ok(self.broke(line.way, &breakage, Sent::Something, line.connect.as_ref()))
            }
        }
    }

    /// Looks at an answer: the beginning of an error's page is read, because it says whose error it is.
    async fn answered(&self, line: Line, response: Response<Incoming>, deadline: Instant) -> Tried {
        let (parts, incoming) = response.into_parts();
        let glance = parts.status.as_u16() >= 400;
        let (begun, rest) = match glance {
            false => (Bytes::new(), Some(incoming)),
            true => match begin(incoming, deadline.min(Instant::now() + GLANCE)).await {
                Ok(begun) => begun,
                Err(error) => {
                    let breakage = Breakage { phase: Phase::Body, ..breakage_of(&error) };
                    return self.broke(line.way, &breakage, Sent::Something, line.connect.as_ref());
                }
            },
        };
        let reason = parts.extensions.get::<hyper::ext::ReasonPhrase>();
        let reason = reason.and_then(|reason| std::str::from_utf8(reason.as_bytes()).ok());
        let verdict = classify(
            &Evidence {
                status: Some(parts.status.as_u16()),
                reason,
                headers: Fields::from(&parts.headers),
                body: glance.then_some(&begun[..]),
                ..self.evidence(line.way)
            },
            &self.means.providers,
        );
        let exit = match line.way {
            Way::Forwarded => parts.headers.get("x-outgate-exit").and_then(|exit| exit.to_str().ok()).map(str::to_owned),
            _ => line.exit(),
        };
        let connect = line.connect.clone();
        let status = parts.status.as_u16();
        let headers = parts.headers.clone();
        let reason = reason.unwrap_or_default().to_owned();
        let kept = begun.clone();
        let answer = Answer { parts, begun, rest, verdict: verdict.clone(), connect, attempts: Vec::new(), exit: exit.clone() };
        let reply = (!answer.is_the_targets()).then(|| as_reply(status, reason, &headers, &kept));
        Tried {
            answer: Some(answer),
            verdict,
            sent: Sent::Something,
            status: Some(status),
            headers,
            exit,
            reply,
            line: Some(line),
        }
    }

    /// An attempt that found no way to the target.
    fn no_way(&self, failed: Failed) -> Tried {
        let scheme = self.upstream.scheme();
        let verdict = match &failed.why {
            Why::TargetName(_) => failed.verdict(scheme, &self.proxy, &self.target, &self.means.providers),
            Why::Broken(_) | Why::Refused(_) | Why::Socks(_) => {
                let evidence = failed.evidence(scheme, &self.proxy, &self.target);
                classify(&Evidence { provider: self.provider(), ..evidence }, &self.means.providers)
            }
        };
        let reply = match failed.why {
            Why::Refused(reply) => Some(reply),
            Why::Broken(_) | Why::Socks(_) | Why::TargetName(_) => None,
        };
        Tried {
            answer: None,
            sent: Sent::Nothing,
            status: reply.as_ref().map(|reply| reply.status),
            headers: reply.as_ref().map(ConnectReply::header_map).unwrap_or_default(),
            exit: verdict.exit.clone(),
            verdict,
            reply,
            line: None,
        }
    }

    /// An attempt that broke without an answer.
    fn broke(&self, way: Way, breakage: &Breakage, sent: Sent, connect: Option<&ConnectReply>) -> Tried {
        let verdict = classify(&Evidence { breakage: Some(breakage), ..self.evidence(way) }, &self.means.providers);
        let exit = connect.and_then(|reply| reply.header("X-Outgate-Exit")).map(str::to_owned);
        Tried { answer: None, verdict, sent, status: None, headers: HeaderMap::new(), exit, reply: connect.cloned(), line: None }
    }
}

/// The beginning of a body, and the rest.
async fn begin(mut body: Incoming, until: Instant) -> Result<(Bytes, Option<Incoming>), hyper::Error> {
    let mut begun = Vec::new();
    while begun.len() < BODY && !body.is_end_stream() {
        match tokio::time::timeout_at(until.into(), body.frame()).await {
            Err(_) => return Ok((begun.into(), Some(body))),
            Ok(None) => return Ok((begun.into(), None)),
            Ok(Some(frame)) => {
                if let Ok(data) = frame?.into_data() {
                    begun.extend_from_slice(&data);
                }
            }
        }
    }
    let rest = (!body.is_end_stream()).then_some(body);
    Ok((begun.into(), rest))
}

fn as_reply(status: u16, reason: String, headers: &HeaderMap, body: &[u8]) -> ConnectReply {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|&byte| char::from(byte)).collect();
    ConnectReply {
        status,
        reason,
        headers: headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: body[..body.len().min(connect::LONGEST_BODY)].to_vec(),
        oddities: Vec::new(),
    }
}

/// What an error of the HTTP library means.
pub(super) fn breakage_of(error: &hyper::Error) -> Breakage {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Breakage::of(Phase::Ask, io);
        }
        source = cause.source();
    }
    let manner = if error.is_parse() { Manner::Other(error.to_string()) } else { Manner::Closed };
    Breakage::new(Phase::Ask, manner)
}

/// The time by the clock that wrote an answer.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}
