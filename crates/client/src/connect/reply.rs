//! What a proxy answered to CONNECT, read tolerantly: many proxies send what strict parsers refuse.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::Broken;
use super::stream::Stream;
use crate::classify::{Breakage, Evidence, Fields, Manner, Phase};

/// The most bytes of an answer's head.
const LONGEST_HEAD: usize = 64 * 1024;
/// The most bytes of a refusal's body that are kept: its first sentence says it all.
pub const LONGEST_BODY: usize = 16 * 1024;
/// How long a refusal's body may keep silent. Proxies that mean well send it with the head; others announce one and forget it.
const BODY_SILENCE: Duration = Duration::from_millis(500);
/// The most interim answers (1xx) before the final one.
const MOST_INTERIM: usize = 8;

/// A proxy's answer to CONNECT, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectReply {
    /// The status, as three digits.
    pub status: u16,
    /// The reason phrase, empty if there was none.
    pub reason: String,
    /// Fields in their order, names as written; bytes beyond ASCII are read as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The first [`LONGEST_BODY`] bytes of a refusal's body; empty for a tunnel.
    pub body: Vec<u8>,
    /// What a strict parser would have refused, one line each.
    pub oddities: Vec<String>,
}

impl ConnectReply {
    /// Whether the tunnel is open: any 2xx (RFC 9110, section 9.3.6).
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first field of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Evidence that has this answer in it.
    pub fn evidence<'a>(&'a self, evidence: Evidence<'a>) -> Evidence<'a> {
        Evidence {
            status: Some(self.status),
            reason: Some(&self.reason),
            headers: Fields::from(&self.headers[..]),
            body: Some(&self.body),
            ..evidence
        }
    }

    /// The fields as a map; those with a name or value that no map takes are left out.
    pub fn header_map(&self) -> http::HeaderMap {
        let mut map = http::HeaderMap::new();
        for (name, value) in &self.headers {
            let latin1: Vec<u8> = value.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), http::HeaderValue::from_bytes(&latin1)) {
                map.append(name, value);
            }
        }
        map
    }
}

/// Reads the final answer, and a refusal's body as far as it comes soon. What follows a tunnel's head is put back.
pub(super) async fn read(stream: &mut Stream, deadline: Instant) -> Result<ConnectReply, Broken> {
    let mut seen = Vec::with_capacity(1024);
    let mut interim = 0;
    let mut reply = loop {
        let end = head_end(stream, &mut seen, deadline).await?;
        let reply = parse(&seen[..end])?;
        seen.drain(..end);
        if !(100..200).contains(&reply.status) || reply.status == 101 {
            break reply;
        }
        interim += 1;
        if interim > MOST_INTERIM {
            return Err(not_a_proxy(&seen, "interim answers without end"));
        }
    };
    if reply.is_success() {
        if !seen.is_empty() {
            reply.oddities.push("bytes came with the head of the answer that opens the tunnel".to_owned());
        }
        stream.unread(&seen);
    } else {
        reply.body = body(stream, &reply, seen, deadline).await;
    }
    Ok(reply)
}

/// Where the head ends. A lone LF ends a line too: recipients may take it for one (RFC 9112, section 2.2).
async fn head_end(stream: &mut Stream, seen: &mut Vec<u8>, deadline: Instant) -> Result<usize, Broken> {
    let begun = Instant::now();
    let mut looked = 0;
    loop {
        if let Some(end) = blank_line(seen, looked) {
            return Ok(end);
        }
        looked = seen.len().saturating_sub(3);
        // What can't become an answer is not waited for.
        let there = seen.len().min(5);
        if there > 0 && seen[..there] != b"HTTP/"[..there] {
            return Err(not_a_proxy(seen, "the answer does not begin with HTTP/"));
        }
        if seen.len() >= LONGEST_HEAD {
            return Err(not_a_proxy(seen, "the head of the answer is longer than 64 KiB"));
        }
        match timeout_at(deadline, stream.read_buf(seen)).await {
            Err(_) => {
                return Err(Broken::new(
                    Breakage::timed_out(Phase::Ask, begun.elapsed()),
                    "no answer to CONNECT before the deadline",
                ));
            }
            Ok(Err(error)) => return Err(Broken::new(Breakage::of(Phase::Ask, &error), error)),
            Ok(Ok(0)) if seen.is_empty() => {
                return Err(closed("the connection was closed without an answer to CONNECT"));
            }
            Ok(Ok(0)) => {
                return Err(closed("the connection was closed in the head of the answer"));
            }
            Ok(Ok(_)) => {}
        }
    }
}

fn closed(detail: &str) -> Broken {
    Broken::new(Breakage::new(Phase::Ask, Manner::Closed), detail)
}

fn blank_line(seen: &[u8], from: usize) -> Option<usize> {
    (from..seen.len()).find_map(|at| match &seen[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

fn parse(head: &[u8]) -> Result<ConnectReply, Broken> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let status_line = lines.next().unwrap_or_default();
    let mut oddities = Vec::new();
    let (version, rest) = status_line.split_once(' ').unwrap_or((status_line, ""));
    let (status, reason) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let status: u16 = status
        .parse()
        .ok()
        .filter(|status| (100..1000).contains(status))
        .ok_or_else(|| not_a_proxy(head, "the answer's first line has no status"))?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        oddities.push(format!("the answer says {}", short(version)));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            oddities.push("a folded header line".to_owned());
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        match line.split_once(':') {
            Some((name, value)) => {
                if name.parse::<http::HeaderName>().is_err() {
                    oddities.push(format!("a header is named \"{}\"", short(name)));
                }
                headers.push((name.trim_end().to_owned(), value.trim().to_owned()));
            }
            None => oddities.push(format!("a header line without a colon: \"{}\"", short(line))),
        }
    }
    Ok(ConnectReply { status, reason: reason.trim().to_owned(), headers, body: Vec::new(), oddities })
}

/// A refusal's body: as long as it says, or until it is closed, silent or long enough.
async fn body(stream: &mut Stream, reply: &ConnectReply, seen: Vec<u8>, deadline: Instant) -> Vec<u8> {
    let chunked = reply.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
    let length = reply.header("content-length").and_then(|value| value.parse::<usize>().ok());
    let due = if chunked || length.is_none() { usize::MAX } else { length.unwrap_or(0) };
    let mut raw = seen;
    // Chunks need a little more room than what they carry.
    let most = due.min(2 * LONGEST_BODY);
    while raw.len() < most && !(chunked && raw.ends_with(b"0\r\n\r\n")) {
        let until = deadline.min(Instant::now() + BODY_SILENCE);
        match timeout_at(until, stream.read_buf(&mut raw)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    let mut body = if chunked { unchunked(&raw) } else { raw };
    body.truncate(due.min(LONGEST_BODY));
    body
}

/// What whole and cut chunks carry, up to the first that is none.
fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&raw[..at]).ok().and_then(|line| line.split(';').next());
        let Some(size) = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()) else { break };
        let data = &raw[at + 2..];
        let there = size.min(data.len());
        body.extend_from_slice(&data[..there]);
        if size == 0 || there < size || body.len() >= LONGEST_BODY {
            break;
        }
        raw = data.get(size + 2..).unwrap_or_default();
    }
    body
}

fn not_a_proxy(seen: &[u8], why: &str) -> Broken {
    Broken::new(Breakage::foreign(Phase::Ask, seen), format_args!("{why}: {}", begin(seen)))
}

/// The first bytes, fit for a log.
fn begin(seen: &[u8]) -> String {
    seen[..seen.len().min(40)].escape_ascii().to_string()
}

fn short(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}
