//! HTTP/2 from clients (RFC 9113): each stream is a conversation of its own, told to the rest of the gateway as HTTP/1.1.
//!
//! So every rule (framing, admission, faults, metering) exists once. A CONNECT stream carries the tunnel's bytes as they
//! are, under the stream's own flow control (RFC 9113, section 8.5).

use std::cell::Cell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use outgate_faults::fact::Seconds;
use outgate_faults::raise;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::Client;
use crate::core::Core;
use crate::framing::Framing;
use crate::head::MAX_FIELDS;
use crate::record::Record;
use crate::response::end_of_head;
use crate::session::{converse, refuse};
use crate::settings::ListenerSettings;
use crate::stream::Stream;
use crate::visit::Visit;

/// The protocol's name in ALPN (RFC 9113, section 3.2).
pub(crate) const ALPN: &[u8] = b"h2";
/// Streams of one connection open at once; a browser opens one for each connection it would have made.
const MOST_STREAMS: u32 = 256;
/// Requests of one connection at work at once. More than its streams, because a stream that the client resets is over for the
/// client at once, and for us when its work has noticed: without a bound of its own, resets buy work without end (rapid
/// reset, CVE-2023-44487).
const MOST_AT_WORK: usize = 2 * MOST_STREAMS as usize;
/// Streams over that bound that are refused before the connection is ended.
const MOST_REFUSED: usize = 1024;
/// What a client may send of one stream, and of all, before we have read it, in bytes. Bounds what we must keep.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What of one stream may wait for the connection to be written, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// What a field costs in a header list beyond its bytes (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Fields that this gateway adds to an answer, at most.
const OWN_FIELDS: usize = 16;

/// The life of one HTTP/2 connection. Ends when both sides are done, the client breaks the rules, or nothing happens for long.
/// `called` is the host that the client took this gateway for when it connected, `handshake` how long the TLS handshake took.
pub(crate) async fn attend(
    core: Rc<Core>,
    io: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    called: &str,
    handshake: Duration,
    listener: Rc<ListenerSettings>,
) {
    let settings = core.settings();
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(header_list(settings.limits.head.head));
    let unasked = |fault| Visit::unasked(&core, peer, Record { protocol: "h2", ..Record::default() }, &fault);
    let mut connection = match timeout(settings.timeouts.head, builder.handshake::<_, Bytes>(io)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let fault = raise::wrong_protocol("something else", "the HTTP/2 that was agreed on by ALPN");
            return unasked(fault.with_detail(error));
        }
        Err(_) => return unasked(raise::request_timeout(Seconds(settings.timeouts.head))),
    };
    let mut draining = core.gateway.drain.notice();
    // Who comes while the gateway drains is told so by an answer: a GOAWAY that is its first word has no room for a reason.
    let mut untold = core.gateway.drain.has_begun();
    let mut leaving = false;
    let mut refused = 0;
    // Told with the first request.
    let mut handshake = Some(handshake);
    // When the last stream ended; every open stream holds it.
    let quiet_since = Rc::new(Cell::new(Instant::now()));
    loop {
        let patience = if leaving { settings.timeouts.linger } else { settings.timeouts.keep_alive };
        tokio::select! {
            accepted = connection.accept() => match accepted {
                // Every request at work holds `quiet_since`.
                Some(Ok((_, mut respond))) if Rc::strong_count(&quiet_since) > MOST_AT_WORK => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                    refused += 1;
                    if refused > MOST_REFUSED {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                Some(Ok((request, respond))) => {
                    untold = false;
                    let exchange = Exchange::new(request, respond, called);
                    let mut client = Client::new(Stream::H2(Box::new(exchange)), peer, &settings.timeouts);
                    client.handshake = handshake.take();
                    let (core, listener, quiet_since) = (core.clone(), listener.clone(), quiet_since.clone());
                    spawn_local(async move {
                        // A stream is what a connection is in HTTP/1.1, and counts as one.
                        match core.gateway.places.take(Some(peer.ip())) {
                            Ok(place) => {
                                converse(core, client, listener).await;
                                drop(place);
                            }
                            Err(fault) => refuse(core, client, listener, fault).await,
                        }
                        quiet_since.set(Instant::now());
                    });
                }
                // A breach of the rules was answered with GOAWAY; a flood of resets or headers is one.
                Some(Err(error)) => {
                    tracing::debug!(%peer, %error, "a client's HTTP/2 connection failed");
                    return;
                }
                None => return,
            },
            () = draining.begun(), if !leaving && !untold => {
                // New streams are the next gateway's; the open ones may finish.
                connection.graceful_shutdown();
                leaving = true;
            }
            () = sleep_until(quiet_since.get() + patience) => {
                if Rc::strong_count(&quiet_since) > 1 {
                    quiet_since.set(Instant::now());
                } else if leaving {
                    return;
                } else {
                    connection.graceful_shutdown();
                    leaving = true;
                    quiet_since.set(Instant::now());
                }
            }
        }
    }
}

/// The largest header list that is read, for heads of so many bytes. Twice the head's, and what counts as overhead of its fields:
/// a head that is too large only by our own rules is answered by us, with its reason; what is beyond this the HTTP/2
/// layer answers with a bare 431.
fn header_list(head: usize) -> u32 {
    u32::try_from(2 * head + MAX_FIELDS * FIELD_OVERHEAD).unwrap_or(u32::MAX)
}

/// One stream: the request as HTTP/1.1 bytes to read, and an answer to be written as such.
pub(crate) struct Exchange {
    /// What of the request is ready to be read.
    ready: Bytes,
    body: RecvStream,
    upload: Upload,
    is_head: bool,
    is_connect: bool,
    answer: Answer,
}

/// How the request's body is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// As it is: a tunnel's bytes, or a body whose length was said.
    Raw,
    /// In chunks.
    Chunked,
    Ended,
}

/// How far the answer has come.
enum Answer {
    /// Its head is being written.
    Head(SendResponse<Bytes>, Vec<u8>),
    /// Its body, or a tunnel's bytes.
    Body(SendStream<Bytes>, Framing),
    /// A tunnel's way down has ended; its way up goes on.
    HalfClosed(SendStream<Bytes>),
    Ended,
}

impl Exchange {
    fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>, called: &str) -> Self {
        let (parts, body) = request.into_parts();
        let is_connect = parts.method == Method::CONNECT;
        let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
        let upload = match (is_connect || has_length, body.is_end_stream()) {
            (false, false) => Upload::Chunked,
            (true, false) => Upload::Raw,
            (_, true) => Upload::Ended,
        };
        let is_head = parts.method == Method::HEAD;
        let ready = told_as_http1(&parts, upload == Upload::Chunked, called).into();
        Self { ready, body, upload, is_head, is_connect, answer: Answer::Head(respond, Vec::new()) }
    }

    /// Ends the stream so that nobody takes what came for complete.
    pub(crate) fn reset(&mut self) {
        // RFC 9113, section 8.5: a tunnel whose connection broke ends as CONNECT_ERROR.
        let reason = if self.is_connect { Reason::CONNECT_ERROR } else { Reason::INTERNAL_ERROR };
        match std::mem::replace(&mut self.answer, Answer::Ended) {
            Answer::Head(mut respond, _) => respond.send_reset(reason),
            Answer::Body(mut stream, _) | Answer::HalfClosed(mut stream) => stream.send_reset(reason),
            Answer::Ended => {}
        }
    }

    /// Ready once the client has given the stream up.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.answer {
            Answer::Head(respond, _) => respond.poll_reset(cx),
            Answer::Body(stream, _) | Answer::HalfClosed(stream) => stream.poll_reset(cx),
            Answer::Ended => return Poll::Pending,
        };
        reset.map(|_| ())
    }

    /// Takes a complete head: sends it, and says what of a body follows.
    fn answered(&self, mut respond: SendResponse<Bytes>, head: &[u8]) -> io::Result<Answer> {
        let mut fields = [httparse::EMPTY_HEADER; crate::response::MAX_FIELDS + OWN_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        let complete = parsed.parse(head).is_ok_and(|status| status.is_complete());
        let status = parsed.code.filter(|_| complete).and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let mut response = Response::new(());
        *response.status_mut() = status;
        for field in parsed.headers.iter() {
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
            else {
                continue;
            };
            if !belongs_to_http1(&name) {
                response.headers_mut().append(name, value);
            }
        }
        if status.is_informational() {
            respond.send_informational(response).map_err(broken)?;
            return Ok(Answer::Head(respond, Vec::new()));
        }
        let framing = self.framing(status, response.headers(), parsed.headers);
        let ends = framing.ended();
        let stream = respond.send_response(response, ends).map_err(broken)?;
        Ok(if ends { Answer::Ended } else { Answer::Body(stream, framing) })
    }

    fn framing(&self, status: StatusCode, sent: &HeaderMap, told: &[httparse::Header<'_>]) -> Framing {
        if self.is_connect && status.is_success() {
            return Framing::UntilClose;
        }
        if self.is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Framing::NONE;
        }
        if told.iter().any(|field| field.name.eq_ignore_ascii_case("transfer-encoding")) {
            return Framing::chunked();
        }
        let length = sent.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        length.map_or(Framing::UntilClose, Framing::Length)
    }
}

/// A request's head as HTTP/1.1 writes it.
fn told_as_http1(parts: &http::request::Parts, chunked: bool, called: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let is_ours = parts.uri.host().is_some_and(|host| host.eq_ignore_ascii_case(called));
    // Writing to a Vec can't fail.
    let _ = match parts.uri.scheme_str() {
        // In HTTP/2 a request to this server looks like one through it: what it is for says the host.
        Some("https") if parts.method != Method::CONNECT && is_ours => {
            write!(head, "{} {path} HTTP/1.1\r\nHost: {authority}\r\n", parts.method)
        }
        Some(scheme) if parts.method != Method::CONNECT => {
            // An OPTIONS of the whole server has no path in the form that proxies get (RFC 9112, section 3.2.4).
            let path = if path == "*" { "" } else { path };
            write!(head, "{} {scheme}://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n", parts.method)
        }
        _ => write!(head, "{} {authority} HTTP/1.1\r\nHost: {authority}\r\n", parts.method),
    };
    let mut cookies: Option<Vec<u8>> = None;
    for (name, value) in &parts.headers {
        match name {
            name if *name == header::HOST || belongs_to_http1(name) => {}
            // RFC 9113, section 8.2.3: crumbs become one field again.
            name if *name == header::COOKIE => match &mut cookies {
                Some(line) => {
                    line.extend_from_slice(b"; ");
                    line.extend_from_slice(value.as_bytes());
                }
                None => cookies = Some(value.as_bytes().to_vec()),
            },
            name => put(&mut head, name.as_str(), value.as_bytes()),
        }
    }
    if let Some(line) = cookies {
        put(&mut head, "cookie", &line);
    }
    if chunked {
        put(&mut head, "transfer-encoding", b"chunked");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn put(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Fields that say something of an HTTP/1 connection: not allowed in HTTP/2 (RFC 9113, section 8.2.2).
fn belongs_to_http1(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "proxy-connection" | "keep-alive" | "transfer-encoding" | "upgrade")
}

fn broken(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()),
        false => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}

impl AsyncRead for Exchange {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready.has_remaining() {
                let some = this.ready.split_to(buffer.remaining().min(this.ready.len()));
                buffer.put_slice(&some);
                return Poll::Ready(Ok(()));
            }
            // One stream is one request: what comes behind its answer is nobody's, and no next request.
            if this.upload == Upload::Ended || matches!(this.answer, Answer::Ended) {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.body.poll_data(cx)).transpose().map_err(broken)? {
                Some(data) => {
                    // Taken from here on: what the rest of the gateway can't move yet it does not read.
                    this.body.flow_control().release_capacity(data.len()).map_err(broken)?;
                    this.ready = match this.upload {
                        Upload::Chunked if !data.is_empty() => {
                            let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
                            chunk.extend_from_slice(&data);
                            chunk.extend_from_slice(b"\r\n");
                            chunk.into()
                        }
                        _ => data,
                    };
                }
                None => {
                    if this.upload == Upload::Chunked {
                        this.ready = Bytes::from_static(b"0\r\n\r\n");
                    }
                    this.upload = Upload::Ended;
                }
            }
        }
    }
}

impl AsyncWrite for Exchange {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.answer {
            Answer::Head(_, head) => {
                let before = head.len();
                head.extend_from_slice(bytes);
                let Some(end) = end_of_head(head, before) else { return Poll::Ready(Ok(bytes.len())) };
                let Answer::Head(respond, head) = std::mem::replace(&mut this.answer, Answer::Ended) else {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                };
                this.answer = this.answered(respond, &head[..end])?;
                Poll::Ready(Ok(end - before))
            }
            Answer::Body(stream, framing) => {
                stream.reserve_capacity(bytes.len().min(SEND_BUFFER));
                // What is there already is not told of again.
                let mut room = stream.capacity();
                while room == 0 {
                    let told = ready!(stream.poll_capacity(cx)).transpose().map_err(broken)?;
                    room = told.ok_or(io::ErrorKind::BrokenPipe)?;
                }
                let some = &bytes[..room.min(bytes.len())];
                let mut payload = Vec::with_capacity(some.len());
                let scan = framing.unwrap(some, &mut |part| payload.extend_from_slice(part));
                let scan = scan.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad.0))?;
                if !payload.is_empty() || scan.ended {
                    stream.send_data(payload.into(), scan.ended).map_err(broken)?;
                }
                if scan.ended {
                    this.answer = Answer::Ended;
                }
                Poll::Ready(Ok(some.len()))
            }
            Answer::HalfClosed(_) | Answer::Ended => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match std::mem::replace(&mut this.answer, Answer::Ended) {
            Answer::Body(mut stream, Framing::UntilClose) => {
                let ended = stream.send_data(Bytes::new(), true).map_err(broken);
                if this.is_connect {
                    this.answer = Answer::HalfClosed(stream);
                }
                Poll::Ready(ended)
            }
            unfinished @ (Answer::Head(..) | Answer::Body(..)) => {
                this.answer = unfinished;
                this.reset();
                Poll::Ready(Ok(()))
            }
            half_closed @ Answer::HalfClosed(_) => {
                this.answer = half_closed;
                Poll::Ready(Ok(()))
            }
            Answer::Ended => Poll::Ready(Ok(())),
        }
    }
}
