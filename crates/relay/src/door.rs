//! Where programs come in: accepts, shakes hands, tells HTTP from SOCKS5 by the first byte, and serves.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use outgate_client::connect::{Credentials, Target};
use outgate_faults::{Body as TellBody, Connection, Fault, Teller, raise};
use outgate_meter::{Kind, Step};
use outgate_records::Stage;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::body::{Body, OpenEnd};
use crate::client_io::ClientIo;
use crate::exchange::Scheme;
use crate::forward::{client_of, forward, own_fields};
use crate::relay::Relay;
use crate::telling::{Trouble, tell};
use crate::tunnel::{self, Wishes};
use crate::visit::Visit;
use crate::{carry, pages, socks};

/// The first byte of SOCKS5 and of a TLS handshake.
const SOCKS5: u8 = 5;
const TLS: u8 = 0x16;
/// How long nothing is accepted after an error: one of too many open files does not go away by trying.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the relay drains.
pub(crate) async fn accept(relay: Rc<Relay>, listener: TcpListener, tls: Option<Arc<ServerConfig>>, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = relay.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (relay, tls) = (relay.clone(), tls.clone());
                tokio::task::spawn_local(async move {
                    greet(relay, stream, peer, tls).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The life of one connection.
async fn greet(relay: Rc<Relay>, stream: TcpStream, peer: SocketAddr, tls: Option<Arc<ServerConfig>>) {
    let client: Rc<str> = peer.ip().to_canonical().to_string().into();
    // It only makes small answers quicker.
    let _refused = stream.set_nodelay(true);
    if !relay.settings.clients.iter().any(|net| net.contains(&peer.ip().to_canonical())) {
        return turn_away(&relay, stream, &client, "http", raise::source_denied(&*client)).await;
    }
    let head = relay.settings.head;
    if let Some(tls) = tls {
        let begun = std::time::Instant::now();
        let shaken = tokio::time::timeout(head, TlsAcceptor::from(tls).accept(stream)).await;
        relay.meter.time(Step::Tls, begun.elapsed());
        match shaken {
            Ok(Ok(stream)) => return serve(&relay, ClientIo::tls(stream), client, "https", None).await,
            // It was told in TLS's own words, or left.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let mut first = [0];
    match tokio::time::timeout(head, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == SOCKS5 => socks::serve(relay, ClientIo::tcp(stream), client).await,
        Ok(Ok(1)) if first[0] == TLS => {
            let fault = raise::wrong_protocol("TLS", "plain HTTP or SOCKS5 (http:// or socks5h:// in the proxy's URL)");
            turn_away(&relay, stream, &client, "http", fault).await;
        }
        Ok(Ok(1)) => serve(&relay, ClientIo::tcp(stream), client, "http", None).await,
        _ => {}
    }
}

/// Tells a fault to a connection that is not served.
async fn turn_away(relay: &Rc<Relay>, mut stream: TcpStream, client: &Rc<str>, protocol: &'static str, fault: Fault) {
    let mut visit = Visit::begin(relay, client, protocol);
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let teller = Teller { hop: &relay.settings.name, request_id: &visit.id, realm: "outgate", date: &date, docs_url: None };
    let answer = fault.answer(&relay.dialect, &teller);
    // What it was to ask is read first: an answer that overtakes it may be lost in a reset.
    let mut seen = [0; 2048];
    let _unread = tokio::time::timeout(PAUSE, tokio::io::AsyncReadExt::read(&mut stream, &mut seen)).await;
    let _gone = stream.write_all(&answer.to_http1(TellBody::Send, Connection::Close)).await;
    let _gone = stream.shutdown().await;
    visit.failed(fault, Some(answer.status));
}

/// The target of a tunnel whose TLS was opened.
#[derive(Clone)]
pub(crate) struct Inside {
    target: Target,
    wishes: Wishes,
}

/// Serves HTTP/1.1 on a connection until it ends.
pub(crate) async fn serve(relay: &Rc<Relay>, io: ClientIo, client: Rc<str>, protocol: &'static str, inside: Option<Inside>) {
    let open = io.open_end();
    let service = service_fn(|request| {
        let (relay, client, open, inside) = (relay.clone(), client.clone(), open.clone(), inside.clone());
        async move {
            let visit = Visit::begin(&relay, &client, protocol);
            Ok::<_, std::convert::Infallible>(answer(visit, request, open, inside).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(relay.settings.head);
    builder.preserve_header_case(true).title_case_headers(true);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    // An error is of this one connection and was told where it happened, or nobody is left to be told.
    let _ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = relay.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

/// Answers one request.
async fn answer(mut visit: Visit, request: Request<Incoming>, open: OpenEnd, inside: Option<Inside>) -> Response<Body> {
    visit.method = request.method().as_str().to_owned();
    let uri = request.uri();
    if let Some(Inside { target, wishes }) = inside {
        visit.target = target.to_string();
        if request.method() == Method::CONNECT {
            return tell(&mut visit, Trouble::own(raise::malformed_target("a tunnel inside a tunnel whose TLS was opened")));
        }
        return forward(visit, request, target, Scheme::Https, wishes, open).await;
    }
    if request.method() == Method::CONNECT {
        return match uri.authority().and_then(|authority| Target::parse(authority.as_str())) {
            Some(target) => connect(visit, request, target).await,
            None => tell(&mut visit, Trouble::own(raise::malformed_target("CONNECT needs host:port"))),
        };
    }
    let Some(host) = uri.host() else { return pages::answer(visit, &request) };
    match uri.scheme_str() {
        Some("http") => {
            let target = Target::new(host, uri.port_u16().unwrap_or(80));
            visit.target = target.to_string();
            let wishes = wishes(request.headers());
            forward(visit, request, target, Scheme::Http, wishes, open).await
        }
        Some("https") => {
            let fault = raise::https_needs_connect(host);
            tell(&mut visit, Trouble::own(fault))
        }
        _ => tell(&mut visit, Trouble::own(raise::malformed_target("only http:// URLs are forwarded"))),
    }
}

/// Opens a tunnel and answers; the tunnel goes on behind the answer.
async fn connect(mut visit: Visit, mut request: Request<Incoming>, target: Target) -> Response<Body> {
    let relay = visit.relay.clone();
    visit.kind = Kind::Tunnel;
    visit.target = target.to_string();
    let wishes = wishes(request.headers());
    if relay.is_own(&target) {
        return tell(&mut visit, Trouble::own(raise::loop_detected("the target is this relay itself")));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let mut response = Response::new(Body::whole(bytes::Bytes::new()));
    if relay.intercepts(&target) {
        own_fields(response.headers_mut(), &visit, None, None);
        visit.status = Some(200);
        visit.answered();
        tokio::task::spawn_local(async move {
            let Ok(upgraded) = upgrade.await else { return };
            if let Some(client) = client_of(upgraded) {
                intercept(visit, client, Inside { target, wishes }).await;
            }
        });
        return response;
    }
    let opened = match tunnel::open(&mut visit, &target, &wishes).await {
        Ok(opened) => opened,
        Err(trouble) => return tell(&mut visit, trouble),
    };
    own_fields(response.headers_mut(), &visit, opened.proxy_status.as_deref(), None);
    for (name, value) in &opened.named {
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    visit.stage = Stage::Accept;
    visit.status = Some(200);
    visit.answered();
    // From here on nothing can be told in-band: the tunnel belongs to its two ends.
    tokio::task::spawn_local(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Some(client) = client_of(upgraded) else { return };
        visit.stage = Stage::Relay;
        let idle = relay.settings.idle;
        carry::carry(&mut visit, client, opened.stream, idle).await;
    });
    response
}

/// Opens a program's TLS in the target's name and serves what is inside.
async fn intercept(mut visit: Visit, client: ClientIo, inside: Inside) {
    let relay = visit.relay.clone();
    let Some(intercept) = &relay.settings.intercept else { return };
    let config = match intercept.authority.server(inside.target.host()) {
        Ok(config) => config,
        Err(why) => {
            visit.failed(raise::internal().with_detail(why), Some(200));
            return;
        }
    };
    match tokio::time::timeout(relay.settings.head, TlsAcceptor::from(config).accept(Box::pin(client))).await {
        Ok(Ok(stream)) => {
            let name = visit.client();
            visit.complete();
            drop(visit);
            serve(&relay, ClientIo::inner(stream), name, "https", Some(inside)).await;
        }
        Ok(Err(error)) => visit.failed(raise::client_tls_failed(&error), Some(200)),
        Err(_) => {}
    }
}

/// What a program says of itself: `session-NAME` in its user name asks for one exit; the rest is a login for upstreams that have
/// none in the settings.
pub(crate) fn wishes(fields: &HeaderMap) -> Wishes {
    let login = fields.get(PROXY_AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = login.and_then(|login| login.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = encoded.and_then(|(_, text)| STANDARD.decode(text.trim()).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().map(|login| login.split_once(':').unwrap_or((login, ""))) {
        Some((user, password)) => wishes_of(user, password),
        None => Wishes::default(),
    }
}

/// The same from a user name and a password.
pub(crate) fn wishes_of(user: &str, password: &str) -> Wishes {
    let (name, session) = match (user.strip_prefix("session-"), user.split_once("-session-")) {
        (Some(session), _) => ("", Some(session)),
        (None, Some((name, session))) => (name, Some(session)),
        (None, None) => (user, None),
    };
    // What follows the session's name is another word for the upstream, if it is one.
    let (session, more) = match session.and_then(|session| session.split_once('-')) {
        Some((session, more)) => (Some(session), format!("-{more}")),
        None => (session, String::new()),
    };
    let brought = (!name.is_empty()).then(|| Credentials::new(format!("{name}{more}"), password));
    Wishes { session: session.filter(|session| !session.is_empty()).map(str::to_owned), brought }
}

#[cfg(test)]
mod tests {
    use super::wishes_of;

    #[test]
    fn user_names_carry_wishes() {
        let cases = [
            ("session-ab12", Some("ab12"), None),
            ("key-session-ab12", Some("ab12"), Some("key")),
            ("key-session-ab12-country-us", Some("ab12"), Some("key-country-us")),
            ("key", None, Some("key")),
            ("", None, None),
            ("session-", None, None),
        ];
        for (user, session, name) in cases {
            let wishes = wishes_of(user, "secret");
            assert_eq!(wishes.session.as_deref(), session, "{user}");
            assert_eq!(wishes.brought.as_ref().map(|brought| brought.expose_user()), name, "{user}");
        }
    }
}
