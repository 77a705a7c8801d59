//! One HTTP answer, read as far as a diagnosis needs it.

use std::time::{Duration, Instant};

use outgate_client::classify::{Breakage, Manner, Phase};
use outgate_client::connect::ConnectReply;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout_at;

/// The most bytes of a head.
const LONGEST_HEAD: usize = 64 * 1024;
/// The most bytes of a body that are kept.
const LONGEST_BODY: usize = 16 * 1024;
/// Fields beyond this many are not looked at.
const MOST_FIELDS: usize = 128;
/// How long a body may be silent before what came of it must do.
const BODY_SILENCE: Duration = Duration::from_secs(1);

/// An answer and when it began.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) reply: ConnectReply,
    pub(crate) first_byte: Instant,
}

/// Reads the final answer; `1xx` are skipped.
///
/// # Errors
/// What broke in [`Phase::Ask`].
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), limit: Duration, deadline: Instant) -> Result<Read, Breakage> {
    let mut seen = Vec::with_capacity(4096);
    let mut first_byte = None;
    loop {
        if let Some((reply, end)) = head(&seen)? {
            seen.drain(..end);
            if (100..200).contains(&reply.status) && reply.status != 101 {
                continue;
            }
            let body = body(stream, &reply, seen, deadline).await;
            return Ok(Read { reply: ConnectReply { body, ..reply }, first_byte: first_byte.unwrap_or_else(Instant::now) });
        }
        if seen.len() >= LONGEST_HEAD {
            return Err(Breakage::new(Phase::Ask, Manner::Other("the head of the answer is longer than 64 KiB".to_owned())));
        }
        match timeout_at(deadline.into(), stream.read_buf(&mut seen)).await {
            Err(_) => return Err(Breakage::timed_out(Phase::Ask, limit)),
            Ok(Err(error)) => return Err(Breakage::of(Phase::Ask, &error)),
            Ok(Ok(0)) => return Err(Breakage::new(Phase::Ask, Manner::Closed)),
            Ok(Ok(_)) => first_byte = first_byte.or_else(|| Some(Instant::now())),
        }
    }
}

/// The head, once it is whole, and its length.
fn head(seen: &[u8]) -> Result<Option<(ConnectReply, usize)>, Breakage> {
    let begun = seen.len().min(5);
    if seen[..begun] != b"HTTP/"[..begun] {
        return Err(Breakage::foreign(Phase::Ask, seen));
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let mut tolerant = httparse::ParserConfig::default();
    tolerant.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    tolerant.ignore_invalid_headers_in_responses(true);
    match tolerant.parse_response(&mut head, seen) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(end)) => {
            let text = |value: &[u8]| value.iter().map(|byte| char::from(*byte)).collect::<String>();
            let headers = head.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
            let reason = head.reason.unwrap_or_default().to_owned();
            let status = head.code.unwrap_or_default();
            Ok(Some((ConnectReply { status, reason, headers, body: Vec::new(), oddities: Vec::new() }, end)))
        }
        Err(error) => Err(Breakage::new(Phase::Ask, Manner::Other(format!("the answer is no HTTP: {error}")))),
    }
}

/// The body, or its beginning: as long as it says, or until it is closed, silent or long enough.
async fn body(stream: &mut (impl AsyncRead + Unpin), reply: &ConnectReply, mut seen: Vec<u8>, deadline: Instant) -> Vec<u8> {
    let length = reply.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let chunked = reply.header("transfer-encoding").is_some();
    let most = match (reply.status, length) {
        (204 | 304, _) => 0,
        (_, Some(length)) if !chunked => length.min(LONGEST_BODY),
        _ => LONGEST_BODY,
    };
    while seen.len() < most && !(chunked && seen.ends_with(b"0\r\n\r\n")) {
        let until = deadline.min(Instant::now() + BODY_SILENCE);
        match timeout_at(until.into(), stream.read_buf(&mut seen)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    seen.truncate(most);
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(bytes: &'static [u8]) -> Result<ConnectReply, Manner> {
        let limit = Duration::from_secs(5);
        let mut stream = bytes;
        read(&mut stream, limit, Instant::now() + limit).await.map(|read| read.reply).map_err(|breakage| breakage.manner)
    }

    #[tokio::test]
    async fn answers_good_and_bad() {
        let reply = of(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 403 No (port_denied)\r\nX: a\r\nProxy Connection: y\r\nContent-Length: 2\r\n\r\nhi and more")
            .await
            .expect("an answer");
        assert_eq!((reply.status, reply.reason.as_str(), reply.body.as_slice()), (403, "No (port_denied)", &b"hi"[..]));
        assert_eq!(reply.header("x"), Some("a"));
        let until_close = of(b"HTTP/1.0 200 OK\r\n\r\nall of it").await.expect("an answer");
        assert_eq!(until_close.body, b"all of it");
        assert_eq!(of(b"").await, Err(Manner::Closed));
        assert_eq!(of(b"HTTP/1.1 20").await, Err(Manner::Closed));
        assert!(matches!(of(b"\x05\xff").await, Err(Manner::Foreign(_))));
        assert!(matches!(of(b"SSH-2.0-x\r\n").await, Err(Manner::Foreign(_))));
    }
}
