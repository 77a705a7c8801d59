//! Reads a target's response head and turns it into the one the client gets (RFC 9110, RFC 9112).

use std::io::Write;

use httparse::Status;
use outgate_faults::OWN_HEADERS;

use crate::framing::Framing;
use crate::head::Version;

/// The most fields of an answer.
pub(crate) const MAX_FIELDS: usize = 256;

/// A response head, read.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The head for the client up to and including the last field; the session adds its own and ends it.
    pub(crate) head: Vec<u8>,
    pub(crate) framing: Framing,
    /// Whether the target keeps its connection open after this.
    pub(crate) keep_alive: bool,
    /// The protocol that the response switches to, in lower case.
    pub(crate) upgrade: Option<String>,
    /// What hops before this one said, to stand in front of this hop's own member.
    pub(crate) proxy_status: Option<String>,
}

/// A response that breaks the rules; says how, in fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What the request was, as far as it decides how the response is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) is_head: bool,
    pub(crate) client: Version,
}

/// Finds the end of a response head: the index after the empty line. Bare line feeds are tolerated
/// here, as httparse does: the message is written anew.
pub(crate) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    bytes[start..].iter().enumerate().filter(|(_, b)| **b == b'\n').find_map(|(i, _)| {
        let before = &bytes[..start + i];
        (before.ends_with(b"\n") || before.ends_with(b"\n\r")).then_some(start + i + 1)
    })
}

impl Answered {
    /// Reads a complete head.
    pub(crate) fn parse(bytes: &[u8], context: Context) -> Result<Self, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let mut config = httparse::ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(true);
        config.allow_obsolete_multiline_headers_in_responses(true);
        config.allow_multiple_spaces_in_response_status_delimiters(true);
        match config.parse_response(&mut response, bytes) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(Malformed("the head is incomplete")),
            Err(httparse::Error::TooManyHeaders) => return Err(Malformed("too many fields")),
            Err(httparse::Error::Version | httparse::Error::Token) => return Err(Malformed("it is not HTTP/1")),
            Err(_) => return Err(Malformed("the head can't be read")),
        }
        let (Some(status), Some(minor)) = (response.code, response.version) else {
            return Err(Malformed("the status line is incomplete"));
        };
        if !(100..=599).contains(&status) {
            return Err(Malformed("the status is not from 100 to 599"));
        }
        let facts = Facts::read(response.headers)?;
        let framing = facts.framing(status, context.is_head)?;
        let persistent = match minor {
            0 => facts.keep_alive && !facts.close,
            _ => !facts.close,
        };
        let keep_alive = persistent && framing != Framing::UntilClose && !facts.both;
        let mut head = Vec::with_capacity(bytes.len() + 256);
        // Writing to a Vec can't fail.
        let _ = write!(head, "HTTP/1.1 {status} {}\r\n", response.reason.unwrap_or(""));
        for header in response.headers.iter().filter(|h| !facts.ends_here(h.name)) {
            head.extend_from_slice(header.name.as_bytes());
            head.extend_from_slice(b": ");
            // A folded value becomes one line (RFC 9112, section 5.2).
            if header.value.contains(&b'\n') {
                head.extend(header.value.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
            } else {
                head.extend_from_slice(header.value);
            }
            head.extend_from_slice(b"\r\n");
        }
        match (&framing, facts.length) {
            (Framing::Chunked(_), _) if context.client == Version::Http11 => {
                head.extend_from_slice(b"Transfer-Encoding: chunked\r\n")
            }
            (Framing::Chunked(_) | Framing::UntilClose, _) => {}
            // The length of a body that is not sent (HEAD, 304) stays a fact worth passing on.
            (Framing::Length(_), Some(length)) if status >= 200 && status != 204 && !facts.chunked => {
                let _ = write!(head, "Content-Length: {length}\r\n");
            }
            (Framing::Length(_), _) => {}
        }
        if status == 101 {
            for header in response.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("Upgrade")) {
                head.extend_from_slice(b"Upgrade: ");
                head.extend_from_slice(header.value);
                head.extend_from_slice(b"\r\n");
            }
            head.extend_from_slice(b"Connection: Upgrade\r\n");
        }
        let Facts { upgrade, proxy_status, .. } = facts;
        Ok(Self { status, head, framing, keep_alive, upgrade, proxy_status })
    }
}

#[derive(Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    /// A transfer coding that only closing the connection ends.
    until_close: bool,
    /// Both framings at once: the length is dropped and the connection not trusted any further.
    both: bool,
    close: bool,
    keep_alive: bool,
    upgrade: Option<String>,
    proxy_status: Option<String>,
    nominated: Vec<String>,
}

impl Facts {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Malformed> {
        let mut facts = Self::default();
        for header in headers {
            let value = header.value.trim_ascii();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let text = || std::str::from_utf8(value).unwrap_or("").split(',').map(str::trim).filter(|t| !t.is_empty());
            match header.name.len() {
                7 if is("Upgrade") => facts.upgrade = text().next().map(str::to_ascii_lowercase),
                12 if is("Proxy-Status") => {
                    let more = std::str::from_utf8(value).unwrap_or("\0");
                    facts.proxy_status =
                        Some(facts.proxy_status.map_or_else(|| more.to_owned(), |before| format!("{before}, {more}")));
                }
                10 if is("Connection") => {
                    for option in text() {
                        match option.to_ascii_lowercase() {
                            o if o == "close" => facts.close = true,
                            o if o == "keep-alive" => facts.keep_alive = true,
                            // A target may not make us drop what delimits its own message.
                            o if o == "content-length" || o == "transfer-encoding" => {}
                            o if facts.nominated.len() < 32 => facts.nominated.push(o),
                            _ => return Err(Malformed("too many options in Connection")),
                        }
                    }
                }
                14 if is("Content-Length") => {
                    for number in text() {
                        let digits = number.bytes().all(|b| b.is_ascii_digit());
                        let length = number.parse().ok().filter(|_| digits).ok_or(Malformed("Content-Length is not a number"))?;
                        if facts.length.replace(length).is_some_and(|before| before != length) {
                            return Err(Malformed("two different values of Content-Length"));
                        }
                    }
                    if facts.length.is_none() {
                        return Err(Malformed("Content-Length is not a number"));
                    }
                }
                17 if is("Transfer-Encoding") => {
                    // RFC 9112, section 6.3: chunked delimits only as the last coding, and only once.
                    if facts.chunked || facts.until_close {
                        return Err(Malformed("more than one Transfer-Encoding"));
                    }
                    match value.eq_ignore_ascii_case(b"chunked") {
                        true => facts.chunked = true,
                        false if text().any(|t| t.eq_ignore_ascii_case("chunked")) => {
                            return Err(Malformed("a Transfer-Encoding that can't be passed on"));
                        }
                        false => facts.until_close = true,
                    }
                }
                _ => {}
            }
        }
        facts.both = facts.length.is_some() && (facts.chunked || facts.until_close);
        Ok(facts)
    }

    /// RFC 9112, section 6.3.
    fn framing(&self, status: u16, is_head: bool) -> Result<Framing, Malformed> {
        Ok(match (status, self.length) {
            (100..=199 | 204 | 304, _) => Framing::NONE,
            _ if is_head => Framing::NONE,
            _ if self.until_close => Framing::UntilClose,
            _ if self.chunked => Framing::chunked(),
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        })
    }

    /// Hop-by-hop fields, fields written anew, and fields by which a target could forge our word.
    fn ends_here(&self, name: &str) -> bool {
        const HOP_BY_HOP: [&str; 8] = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authentication-info",
            "te",
            "transfer-encoding",
            "content-length",
        ];
        HOP_BY_HOP.iter().any(|h| name.eq_ignore_ascii_case(h))
            || name.eq_ignore_ascii_case("Upgrade")
            || OWN_HEADERS.iter().any(|h| name.eq_ignore_ascii_case(h))
            || self.nominated.iter().any(|n| name.eq_ignore_ascii_case(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Context = Context { is_head: false, client: Version::Http11 };

    fn parse(head: &str, context: Context) -> Result<Answered, Malformed> {
        Answered::parse(head.as_bytes(), context)
    }

    #[test]
    fn framings() {
        let cases = [
            ("200 OK\r\nContent-Length: 3", Framing::Length(3), true),
            ("200 OK\r\nContent-Length: 3, 3", Framing::Length(3), true),
            ("200 OK\r\nTransfer-Encoding: chunked", Framing::chunked(), true),
            ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", Framing::chunked(), false),
            ("200 OK\r\nTransfer-Encoding: identity", Framing::UntilClose, false),
            ("200 OK", Framing::UntilClose, false),
            ("204 No Content", Framing::NONE, true),
            ("304 Not Modified\r\nContent-Length: 9", Framing::NONE, true),
            ("200 OK\r\nContent-Length: 3\r\nConnection: close", Framing::Length(3), false),
        ];
        for (head, framing, keep_alive) in cases {
            let answered = parse(&format!("HTTP/1.1 {head}\r\n\r\n"), GET).unwrap();
            assert_eq!((answered.framing, answered.keep_alive), (framing, keep_alive), "{head}");
        }
        let head = parse("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Context { is_head: true, ..GET }).unwrap();
        assert_eq!(head.framing, Framing::NONE);
        assert!(String::from_utf8(head.head).unwrap().contains("Content-Length: 9"));
    }

    #[test]
    fn malformed_heads() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 999 Odd\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(parse(head, GET).is_err(), "{head}");
        }
    }

    #[test]
    fn what_the_client_gets() {
        let head = "HTTP/1.1 404 Gone Fishing\r\nX-A : b\r\nX-Fold: a\r\n b\r\nSet-Cookie: one\r\nSet-Cookie: two\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                    X-Proxy-Error: port_denied\r\nX-Outgate-Exit: forged\r\nProxy-Status: cdn\r\nContent-Length: 0\r\n\r\n";
        let got = String::from_utf8(parse(head, GET).unwrap().head).unwrap();
        assert_eq!(
            got,
            "HTTP/1.1 404 Gone Fishing\r\nX-A: b\r\nX-Fold: a   b\r\nSet-Cookie: one\r\nSet-Cookie: two\r\nContent-Length: 0\r\n"
        );
        assert_eq!(parse(head, GET).unwrap().proxy_status.as_deref(), Some("cdn"), "stays in front of ours");
        let old =
            parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Context { client: Version::Http10, ..GET }).unwrap();
        assert!(!String::from_utf8(old.head).unwrap().contains("chunked"));
    }

    #[test]
    fn the_end_of_a_head() {
        let head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody";
        for from in 0..25 {
            assert_eq!(end_of_head(head, from), Some(25), "{from}");
        }
        assert_eq!(end_of_head(&head[..24], 0), None);
        assert_eq!(end_of_head(b"HTTP/1.0 200 OK\n\nx", 0), Some(17));
    }
}
