//! Upgrade: the HTTP/1.1 exchange that turns a connection into a link (or another byte stream), both ends of it.

use std::{fmt, io};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use ring::{
    digest,
    rand::{Random, SystemRandom},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::words::PROTOCOL;

/// Longest head read, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// Most headers in it.
const MAX_HEADERS: usize = 64;

/// Why there was no upgrade.
#[derive(Debug)]
pub enum UpgradeError {
    /// The connection failed.
    Io(io::Error),
    /// What came was not the HTTP that belongs here.
    Malformed(&'static str),
    /// TLS came instead: a handshake or alert record (RFC 8446 §5.1).
    Tls,
    /// The other end answered with another status.
    Refused {
        /// Its status.
        status: StatusCode,
        /// The beginning of its body, visible ASCII only.
        text: String,
    },
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeError::Io(error) => write!(f, "connection failed: {error}"),
            UpgradeError::Malformed(what) => write!(f, "not a proper HTTP upgrade: {what}"),
            UpgradeError::Tls => write!(f, "the other end speaks TLS"),
            UpgradeError::Refused { status, text } if text.is_empty() => {
                write!(f, "answered {status}")
            }
            UpgradeError::Refused { status, text } => write!(f, "answered {status}: {text}"),
        }
    }
}

impl std::error::Error for UpgradeError {}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> UpgradeError {
        UpgradeError::Io(error)
    }
}

// ---- the accepting end -------------------------------------------------------------------------------------------

/// Reads one request head (at most 8 KiB) and the bytes that came behind it. Deadlines are the caller's.
///
/// # Errors
/// The connection ended or what came is not a request head.
pub async fn read_request<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<(Request<()>, Bytes), UpgradeError> {
    let mut input = BytesMut::with_capacity(1024);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(&input) {
            Ok(httparse::Status::Complete(length)) => {
                let mut request = Request::builder()
                    .method(head.method.unwrap_or_default())
                    .uri(head.path.unwrap_or_default())
                    .body(())
                    .map_err(|_| UpgradeError::Malformed("request line"))?;
                *request.headers_mut() = header_map(head.headers)?;
                return Ok((request, input.split_off(length).freeze()));
            }
            Ok(httparse::Status::Partial) => fill(io, &mut input).await?,
            Err(_) => return Err(UpgradeError::Malformed("request head")),
        }
    }
}

/// The token of `Authorization: Bearer`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The 101 answer to a request for a link, ready to be written (RFC 6455 §4.2).
///
/// # Errors
/// What is wrong with the request; answer 400.
pub fn link_answer(request: &Request<()>) -> Result<Vec<u8>, &'static str> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err("a link begins with GET");
    }
    if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err("not a WebSocket upgrade");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("Sec-WebSocket-Version is not 13");
    }
    if !has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err("Sec-WebSocket-Protocol does not offer outgate-link.1");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("no Sec-WebSocket-Key")?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n",
        accept_key(key.as_bytes())
    )
    .into_bytes())
}

// ---- the asking end ----------------------------------------------------------------------------------------------

/// Asks for a link and waits for the 101; returns the bytes that came behind it. Deadlines are the caller's.
///
/// # Errors
/// No link; the token is in none of them.
pub async fn ask_link<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    authority: &str,
    path: &str,
    token: &str,
) -> Result<Bytes, UpgradeError> {
    let authorization = format!("Bearer {token}");
    ask_websocket(io, authority, path, Some(("Authorization", authorization.as_str()))).await
}

/// [`ask_link`] of one who has shown who it is already, by its certificate.
///
/// # Errors
/// No link.
pub async fn ask_known_link<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    authority: &str,
    path: &str,
) -> Result<Bytes, UpgradeError> {
    ask_websocket(io, authority, path, None).await
}

async fn ask_websocket<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    authority: &str,
    path: &str,
    proof: Option<(&str, &str)>,
) -> Result<Bytes, UpgradeError> {
    let key = random_key()?;
    let headers: Vec<(&str, &str)> = proof
        .into_iter()
        .chain([("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key.as_str()), ("Sec-WebSocket-Protocol", PROTOCOL)])
        .collect();
    let (answer, rest) = ask(io, authority, path, "websocket", &headers).await?;
    let accept = answer.get(header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accept != Some(accept_key(key.as_bytes()).as_bytes()) {
        return Err(UpgradeError::Malformed("Sec-WebSocket-Accept does not match"));
    }
    if answer.get(header::SEC_WEBSOCKET_PROTOCOL).is_none_or(|protocol| protocol != PROTOCOL) {
        return Err(UpgradeError::Malformed("the other end does not speak outgate-link.1"));
    }
    if answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(UpgradeError::Malformed("a WebSocket extension nobody asked for"));
    }
    Ok(rest)
}

/// Asks `path` to become the stream `upgrade` and waits for the 101; returns its headers and the bytes behind it.
///
/// # Errors
/// No upgrade.
pub async fn ask<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    authority: &str,
    path: &str,
    upgrade: &str,
    headers: &[(&str, &str)],
) -> Result<(HeaderMap, Bytes), UpgradeError> {
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in [("Host", authority), ("Connection", "Upgrade"), ("Upgrade", upgrade)].iter().chain(headers) {
        if HeaderValue::from_str(value).is_err() {
            return Err(UpgradeError::Malformed("a header value that HTTP cannot carry"));
        }
        for part in [name, ": ", value, "\r\n"] {
            request.push_str(part);
        }
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await?;
    io.flush().await?;

    let mut input = BytesMut::with_capacity(1024);
    loop {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut slots);
        match head.parse(&input) {
            Ok(httparse::Status::Complete(length)) => {
                let status =
                    StatusCode::from_u16(head.code.unwrap_or_default()).map_err(|_| UpgradeError::Malformed("status"))?;
                let answer = header_map(head.headers)?;
                let mut rest = input.split_off(length);
                if status != StatusCode::SWITCHING_PROTOCOLS {
                    let text = read_text(io, &answer, &mut rest).await;
                    return Err(UpgradeError::Refused { status, text });
                }
                if !has_token(&answer, &header::UPGRADE, upgrade) {
                    return Err(UpgradeError::Malformed("a 101 to another protocol"));
                }
                return Ok((answer, rest.freeze()));
            }
            Ok(httparse::Status::Partial) => fill(io, &mut input).await?,
            Err(_) if matches!(input.as_ref(), [0x15 | 0x16, 3, ..]) => return Err(UpgradeError::Tls),
            Err(_) => return Err(UpgradeError::Malformed("answer head")),
        }
    }
}

/// The first line of a refusal's body, as far as it comes: for the log.
async fn read_text<IO: AsyncRead + Unpin>(io: &mut IO, headers: &HeaderMap, body: &mut BytesMut) -> String {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let wanted = told.unwrap_or(0).min(512);
    while body.len() < wanted && matches!(io.read_buf(body).await, Ok(1..)) {}
    let line = body[..body.len().min(512)].split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.iter().filter(|byte| (b' '..=b'~').contains(byte)).map(|byte| char::from(*byte)).collect()
}

// ---- both --------------------------------------------------------------------------------------------------------

async fn fill<IO: AsyncRead + Unpin>(io: &mut IO, input: &mut BytesMut) -> Result<(), UpgradeError> {
    if input.len() >= MAX_HEAD {
        return Err(UpgradeError::Malformed("head too long"));
    }
    input.reserve(1024);
    match io.read_buf(input).await? {
        0 => Err(UpgradeError::Io(io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(()),
    }
}

/// What a server makes of `Sec-WebSocket-Key` (RFC 6455 §4.2.2). The framing crate keeps its own to itself, and its whole
/// handshake would swallow the text of a refusal.
fn accept_key(key: &[u8]) -> String {
    let mut sha = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha.update(key);
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha.finish())
}

fn random_key() -> io::Result<String> {
    let key: Random<[u8; 16]> = ring::rand::generate(&SystemRandom::new()).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(STANDARD.encode(key.expose()))
}

fn header_map(headers: &[httparse::Header<'_>]) -> Result<HeaderMap, UpgradeError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| UpgradeError::Malformed("header name"))?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| UpgradeError::Malformed("header value"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// Does a comma-separated header contain this token, in any case?
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens_are_found() {
        let cases = [("Bearer abc", Some("abc")), ("bearer  abc ", Some("abc")), ("Basic abc", None), ("Bearer", None)];
        for (value, token) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer(&headers), token, "{value}");
        }
    }

    #[test]
    fn only_proper_requests_become_links() {
        let proper = || {
            Request::get("/v1/link")
                .header("Upgrade", "WebSocket")
                .header("Connection", "keep-alive, Upgrade")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Protocol", "other, outgate-link.1")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
                .body(())
                .expect("valid")
        };
        assert!(link_answer(&proper()).is_ok());
        for name in ["Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key"] {
            let mut request = proper();
            request.headers_mut().remove(name);
            assert!(link_answer(&request).is_err(), "without {name}");
        }
    }
}
