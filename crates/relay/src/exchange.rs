//! One plain request over one connection: sent, answered, and understood.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, Uri, request};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outgate_client::classify::{BODY, Breakage, Evidence, Fields, Manner, Phase, Provenance, Verdict, Way, classify};
use outgate_client::connect::{self, Credentials, Stream, Target};
use outgate_client::engine::{Sent, attempt};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::attempts::{Plan, Tried};
use crate::body::{self, Body};
use crate::relay::Relay;
use crate::tunnel::{self, Wishes, date, proxy_status};
use crate::visit::Visit;

/// How long the beginning of an error's body may take to come, so that it can be looked at.
const GLANCE: Duration = Duration::from_secs(2);

/// A request to pass on.
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) target: Target,
    pub(crate) scheme: Scheme,
    pub(crate) parts: request::Parts,
    pub(crate) wishes: Wishes,
}

/// Whether TLS was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// An answer whose beginning was looked at.
pub(crate) struct Answer {
    pub(crate) response: Response<()>,
    pub(crate) body: Body,
    /// For an answer that switches protocols.
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

/// A connection that a request can be sent over.
struct Line {
    stream: Stream2,
    way: Way,
    /// The login that stands in each plain request to a proxy.
    login: Option<Credentials>,
}

/// A connection to a proxy or target, with TLS inside the tunnel or without.
enum Stream2 {
    Plain(Stream),
    Tls(Box<tokio_rustls::client::TlsStream<Stream>>),
}

/// One attempt through an upstream.
pub(crate) async fn once(relay: &Relay, visit: &mut Visit, plan: &Plan, asked: &Asked, body: Body) -> Tried<Answer> {
    let link = &relay.links[plan.proxy.0];
    let proxy = link.authority.clone();
    let line = if asked.scheme == Scheme::Http && link.forwards() {
        let upstream = link.asked(plan.session.as_deref(), asked.wishes.brought.as_ref());
        let deadline = plan.deadline.min(Instant::now() + relay.settings.setup);
        match connect::reach(&upstream, deadline).await {
            Ok(reached) => {
                visit.address = Some(reached.address.to_string());
                visit.took(&reached.timings);
                Ok(Line { stream: Stream2::Plain(reached.stream), way: Way::Forwarded, login: upstream.credentials().cloned() })
            }
            Err(failed) => Err(tunnel::refused(relay, link, &failed, upstream.scheme(), &asked.target)),
        }
    } else {
        match tunnel::once(relay, visit, plan, &asked.target, &asked.wishes).await {
            Tried { got: Some(opened), .. } => match inner(relay, opened.stream, asked, plan.deadline).await {
                Ok(stream) => Ok(Line { stream, way: Way::Tunnelled, login: None }),
                Err(breakage) => Err(broke(relay, visit, asked, &proxy, Way::Tunnelled, &breakage, Sent::Nothing)),
            },
            Tried { verdict, sent, status, headers, exit, proxy_status, date, .. } => {
                Err(Tried { got: None, verdict, sent, status, headers, exit, proxy_status, date })
            }
        }
    };
    match line {
        Ok(line) => exchange(relay, visit, line, asked, &proxy, body, plan.deadline).await,
        Err(tried) => tried,
    }
}

/// The one attempt past the upstreams.
pub(crate) async fn direct(relay: &Relay, visit: &mut Visit, asked: &Asked, stream: Stream, body: Body) -> Tried<Answer> {
    let deadline = Instant::now() + relay.settings.deadline;
    match inner(relay, stream, asked, deadline).await {
        Ok(stream) => {
            let line = Line { stream, way: Way::Direct, login: None };
            exchange(relay, visit, line, asked, "", body, deadline).await
        }
        Err(breakage) => broke(relay, visit, asked, "", Way::Direct, &breakage, Sent::Nothing),
    }
}

/// TLS with the target where the program's was opened.
async fn inner(relay: &Relay, stream: Stream, asked: &Asked, deadline: Instant) -> Result<Stream2, Breakage> {
    if asked.scheme == Scheme::Http {
        return Ok(Stream2::Plain(stream));
    }
    let begun = Instant::now();
    let name = ServerName::try_from(asked.target.host().to_owned())
        .map_err(|_| Breakage::new(Phase::TargetTls, Manner::Certificate("for another name".to_owned())))?;
    let connector = TlsConnector::from(relay.settings.trust.config());
    let until = deadline.min(begun + relay.settings.setup);
    match tokio::time::timeout_at(until.into(), connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Stream2::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(Breakage::of(Phase::TargetTls, &error)),
        Err(_) => Err(Breakage::timed_out(Phase::TargetTls, begun.elapsed())),
    }
}

async fn exchange(
    relay: &Relay,
    visit: &mut Visit,
    line: Line,
    asked: &Asked,
    proxy: &str,
    body: Body,
    deadline: Instant,
) -> Tried<Answer> {
    let begun = Instant::now();
    let until = deadline.min(begun + relay.settings.response);
    let way = line.way;
    let request = match request(asked, &line, body) {
        Ok(request) => request,
        Err(_) => return broke(relay, visit, asked, proxy, way, &Breakage::new(Phase::Ask, Manner::Closed), Sent::Nothing),
    };
    let sending = async {
        match line.stream {
            Stream2::Plain(stream) => send(stream, request).await,
            Stream2::Tls(stream) => send(*stream, request).await,
        }
    };
    let response = match tokio::time::timeout_at(until.into(), sending).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return broke(relay, visit, asked, proxy, way, &breakage(&error), Sent::Something),
        Err(_) => {
            return broke(relay, visit, asked, proxy, way, &Breakage::timed_out(Phase::Ask, begun.elapsed()), Sent::Something);
        }
    };
    visit.times.first_byte = Some(begun.elapsed());
    answered(relay, visit, asked, proxy, way, response).await
}

/// Sends a request over a connection of its own.
async fn send<S>(stream: S, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true).title_case_headers(true);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // It ends with the last of sender, answer and upgrade; its error is the answer's.
    tokio::task::spawn_local(connection.with_upgrades());
    sender.send_request(request).await
}

/// The request as the other side is to see it.
fn request(asked: &Asked, line: &Line, body: Body) -> Result<Request<Body>, http::Error> {
    let target = &asked.target;
    let default = if asked.scheme == Scheme::Http { 80 } else { 443 };
    let host = if target.port() == default {
        target.to_string().trim_end_matches(&format!(":{default}")).to_owned()
    } else {
        target.to_string()
    };
    let uri: Uri = match line.way {
        Way::Forwarded => format!("http://{host}{}", asked.path).parse()?,
        Way::Connect | Way::Socks | Way::Tunnelled | Way::Direct => asked.path.parse()?,
    };
    let mut request = Request::builder().method(asked.method.clone()).uri(uri).body(body)?;
    *request.headers_mut() = asked.parts.headers.clone();
    *request.extensions_mut() = asked.parts.extensions.clone();
    let fields = request.headers_mut();
    fields.insert(HOST, HeaderValue::from_str(&host)?);
    if let (Way::Forwarded, Some(login)) = (line.way, &line.login) {
        let mut value = HeaderValue::from_str(&connect::basic(login))?;
        value.set_sensitive(true);
        fields.insert(PROXY_AUTHORIZATION, value);
    }
    Ok(request)
}

/// Looks at an answer: an error's beginning is read, because it says whose error it is.
async fn answered(
    relay: &Relay,
    visit: &mut Visit,
    asked: &Asked,
    proxy: &str,
    way: Way,
    mut response: Response<Incoming>,
) -> Tried<Answer> {
    let upgrade = (response.status() == 101).then(|| hyper::upgrade::on(&mut response));
    let (parts, incoming) = response.into_parts();
    let looked_at = parts.status.as_u16() >= 400 && asked.method != Method::HEAD;
    let (begun, rest) = if looked_at {
        match body::begin(incoming, BODY, tokio::time::Instant::now() + GLANCE).await {
            Ok(begun) => begun,
            Err(error) => return broke(relay, visit, asked, proxy, way, &in_body(&error), Sent::Something),
        }
    } else {
        (Bytes::new(), Some(incoming))
    };
    let target = asked.target.to_string();
    let providers = &*relay.settings.providers;
    let link = relay.links.iter().find(|link| link.authority == proxy);
    let evidence = Evidence {
        status: Some(parts.status.as_u16()),
        reason: parts.extensions.get::<hyper::ext::ReasonPhrase>().and_then(|reason| std::str::from_utf8(reason.as_bytes()).ok()),
        headers: Fields::from(&parts.headers),
        body: looked_at.then_some(&begun[..]),
        provider: link.and_then(|link| link.provider(providers)),
        ..Evidence::of(way, proxy, &target)
    };
    let verdict = classify(&evidence, providers);
    let verdict = link.map_or(verdict.clone(), |link| link.judged(verdict));
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if way == Way::Forwarded {
        visit.exit = text("x-outgate-exit").or(verdict.exit.clone());
        visit.country = text("x-outgate-country");
    }
    Tried {
        verdict: (!verdict.is_fine()).then_some(verdict),
        sent: Sent::Something,
        status: Some(parts.status.as_u16()),
        headers: attempt::headers(&parts.headers),
        exit: visit.exit.clone(),
        proxy_status: if way == Way::Forwarded { proxy_status(&parts.headers) } else { None },
        date: date(&parts.headers),
        got: Some(Answer { body: Body::streamed(begun, rest), response: Response::from_parts(parts, ()), upgrade }),
    }
}

/// An attempt that broke without an answer.
fn broke(relay: &Relay, visit: &Visit, asked: &Asked, proxy: &str, way: Way, breakage: &Breakage, sent: Sent) -> Tried<Answer> {
    let target = asked.target.to_string();
    let evidence = Evidence { breakage: Some(breakage), ..Evidence::of(way, proxy, &target) };
    let verdict: Verdict = classify(&evidence, &relay.settings.providers);
    debug_assert!(verdict.provenance != Provenance::Origin || verdict.slug.is_some());
    Tried {
        got: None,
        verdict: Some(verdict),
        sent,
        status: None,
        headers: Vec::new(),
        exit: visit.exit.clone(),
        proxy_status: None,
        date: None,
    }
}

/// What an error of the HTTP library means.
fn breakage(error: &hyper::Error) -> Breakage {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Breakage::of(Phase::Ask, io);
        }
        source = cause.source();
    }
    let manner = if error.is_parse() { Manner::Other(error.to_string()) } else { Manner::Closed };
    Breakage::new(Phase::Ask, manner)
}

fn in_body(error: &hyper::Error) -> Breakage {
    Breakage { phase: Phase::Body, ..breakage(error) }
}
