//! Reads a request head and turns it into what was asked (RFC 9110, RFC 9112).
//!
//! Strict on purpose: what two parsers could read in two ways is refused, never forwarded (request
//! smuggling). The head that goes to the origin is built here, while the fields are at hand.

use httparse::Status;
use outgate_egress::guard::Verdict;
use outgate_egress::{Host, HostError};
use outgate_faults::{Fault, raise};

use crate::framing::Framing;
use crate::trace::TraceParent;

/// More fields than any client sends, and a bound for the parser's table.
pub(crate) const MAX_FIELDS: usize = 128;

/// Bounds on a head, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// The request line.
    pub line: usize,
    /// The whole head.
    pub head: usize,
}

impl Default for HeadLimits {
    /// RFC 9112, section 3, asks for at least 8000 octets of request line.
    fn default() -> Self {
        Self { line: 8 * 1024, head: 32 * 1024 }
    }
}

/// The client's HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// What carries the client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// HTTP/1: a head says which version itself.
    Http1,
    /// HTTP/2, told as HTTP/1.1.
    Http2,
}

/// A target: where the client wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// `host:port`, written once: it is needed several times.
    text: String,
}

/// What a client asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) version: Version,
    /// The value of Proxy-Authorization, as received.
    pub(crate) authorization: Option<String>,
    /// The trace that it says it belongs to.
    pub(crate) trace: Option<TraceParent>,
    /// Whether the client wants the connection to stay open.
    pub(crate) keep_alive: bool,
    pub(crate) want: Want,
}

/// The kinds of request.
#[derive(Debug)]
pub(crate) enum Want {
    /// CONNECT.
    Tunnel(Target),
    /// An absolute-form request to pass on.
    Forward(Target, Box<Forward>),
    /// OPTIONS or TRACE that ends here (Max-Forwards: 0, or `OPTIONS *`). Holds the answer's body.
    Here(Option<Vec<u8>>),
}

/// A request to pass on.
#[derive(Debug)]
pub(crate) struct Forward {
    /// The head for the origin, complete.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Framing,
    /// The client waits for 100 (Continue) before it sends the body.
    pub(crate) expects_continue: bool,
    /// The protocols that the client offers to switch to, in lower case.
    pub(crate) upgrade: Vec<String>,
    /// RFC 9110, section 9.2.2: may be sent again when the connection died before an answer.
    pub(crate) idempotent: bool,
    pub(crate) is_head: bool,
}

/// Finds the end of the head: the index after the empty line. `from` is where to go on looking.
pub(crate) fn end_of_head(bytes: &[u8], from: usize, limits: HeadLimits) -> Result<Option<usize>, Fault> {
    let mut line_start = bytes[..from].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let first_line = !bytes[..line_start].contains(&b'\n');
    for (i, _) in bytes.iter().enumerate().skip(from).filter(|(_, b)| **b == b'\n') {
        if i == 0 || bytes[i - 1] != b'\r' {
            return Err(raise::malformed_request("a line ends in LF without CR"));
        }
        if first_line && line_start == 0 && i > limits.line {
            return Err(raise::uri_too_long(limits.line));
        }
        if i == line_start + 1 && line_start > 0 {
            return if i < limits.head {
                Ok(Some(i + 1))
            } else {
                Err(raise::header_too_large(format_args!("{} bytes", limits.head)))
            };
        }
        line_start = i + 1;
    }
    if line_start == 0 && bytes.len() > limits.line {
        return Err(raise::uri_too_long(limits.line));
    }
    if bytes.len() >= limits.head {
        return Err(raise::header_too_large(format_args!("{} bytes", limits.head)));
    }
    Ok(None)
}

impl Asked {
    /// Reads a complete head. `hop` is this gateway's name, for Via, which also says what the request came in over.
    pub(crate) fn parse(head: &[u8], hop: &str, carrier: Carrier) -> Result<Self, Fault> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head) {
            Ok(Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(raise::malformed_request("the head is not one request")),
            Err(error) => return Err(unreadable(error, head)),
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(raise::malformed_request("the request line is incomplete"));
        };
        if !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(raise::malformed_target("it contains a character that must be percent-encoded"));
        }
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        let facts = Fields::read(request.headers, version, hop)?;
        let keep_alive = match version {
            Version::Http11 => !facts.close,
            Version::Http10 => facts.keep_alive && !facts.close,
        };
        let want = if method == "CONNECT" {
            if facts.body != Framing::NONE || facts.has_length {
                return Err(raise::malformed_request("CONNECT has no body: drop Content-Length and Transfer-Encoding"));
            }
            Want::Tunnel(Target::authority(target, None)?)
        } else {
            let received = match (carrier, version) {
                (Carrier::Http2, _) => "2.0",
                (Carrier::Http1, Version::Http11) => "1.1",
                (Carrier::Http1, Version::Http10) => "1.0",
            };
            forward(method, target, request.headers, &facts, format_args!("{received} {hop}"))?
        };
        let Fields { authorization, trace, .. } = facts;
        Ok(Self { method: method.chars().take(32).collect(), version, authorization, trace, keep_alive, want })
    }

    /// The target, when there is one.
    pub(crate) fn target(&self) -> Option<&Target> {
        match &self.want {
            Want::Tunnel(target) | Want::Forward(target, _) => Some(target),
            Want::Here(_) => None,
        }
    }
}

impl Target {
    /// A host and a port.
    pub(crate) fn new(host: Host, port: u16) -> Self {
        let text = format!("{host}:{port}");
        Self { host, port, text }
    }

    /// Reads `host:port`; without a default the port must be there.
    pub(crate) fn authority(text: &str, default: Option<u16>) -> Result<Self, Fault> {
        if text.contains('@') {
            return Err(raise::malformed_target("credentials belong in Proxy-Authorization, not in the target"));
        }
        let split = match text.rfind(':') {
            Some(colon) if !text[colon..].contains(']') => Some((&text[..colon], &text[colon + 1..])),
            _ => None,
        };
        let (host, port) = match (split, default) {
            (Some((host, "")), Some(port)) => (host, port),
            (Some((host, port)), _) => {
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|p| digits && *p > 0);
                (host, port.ok_or_else(|| raise::malformed_target("the port is not a number from 1 to 65535"))?)
            }
            (None, Some(port)) => (text, port),
            (None, None) => return Err(raise::malformed_target("CONNECT needs host:port")),
        };
        Ok(Self::new(Self::parse_host(host)?, port))
    }

    /// Reads a host; an odd spelling of a forbidden address is an attempt to get past the guard, and named so.
    pub(crate) fn parse_host(text: &str) -> Result<Host, Fault> {
        Host::parse(text).map_err(|error| match error {
            HostError::UnusualAddress(ip) => match outgate_egress::Guard::default().judge(ip.into()) {
                Verdict::Private(class) => raise::target_private(text, class),
                Verdict::Metadata => raise::target_metadata(text),
                Verdict::Allowed => raise::malformed_target(HostError::UnusualAddress(ip)),
            },
            HostError::Empty | HostError::Malformed => raise::malformed_target(error),
        })
    }

    /// As it stands in a Host field: without the default port of http.
    fn host_field(&self) -> &str {
        self.text.strip_suffix(":80").unwrap_or(&self.text)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the header section says, read once.
struct Fields {
    authorization: Option<String>,
    trace: Option<TraceParent>,
    close: bool,
    keep_alive: bool,
    /// Names in Connection: hop-by-hop for this message.
    nominated: Vec<String>,
    body: Framing,
    has_length: bool,
    expects_continue: bool,
    upgrade: bool,
    trailers_wanted: bool,
    max_forwards: Option<u32>,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>], version: Version, hop: &str) -> Result<Self, Fault> {
        let mut fields = Self {
            authorization: None,
            trace: None,
            close: false,
            keep_alive: false,
            nominated: Vec::new(),
            body: Framing::NONE,
            has_length: false,
            expects_continue: false,
            upgrade: false,
            trailers_wanted: false,
            max_forwards: None,
        };
        let (mut hosts, mut length, mut codings, mut upgrade_field) = (0, None, 0, false);
        for header in headers {
            let value = header.value.trim_ascii();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                2 if is("TE") => fields.trailers_wanted |= tokens(value).any(|t| t.eq_ignore_ascii_case("trailers")),
                3 if is("Via") && via_names(value, hop) => {
                    return Err(raise::loop_detected("the request came through this gateway before"));
                }
                4 if is("Host") => {
                    hosts += 1;
                    if !value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(b)) {
                        return Err(raise::malformed_request("Host is not a host"));
                    }
                }
                6 if is("Expect") && version == Version::Http11 => match value.eq_ignore_ascii_case(b"100-continue") {
                    true => fields.expects_continue = true,
                    false => return Err(raise::expectation_failed(String::from_utf8_lossy(value))),
                },
                7 if is("Upgrade") => upgrade_field = true,
                10 if is("Connection") => fields.connection(value)?,
                11 if is("traceparent") => fields.trace = TraceParent::parse(value),
                12 if is("Max-Forwards") => fields.max_forwards = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()),
                14 if is("Content-Length") => {
                    if length.is_some() {
                        return Err(raise::malformed_request("more than one Content-Length"));
                    }
                    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                    let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok());
                    // What fills a signed 64-bit number is negative to the next parser.
                    let number = number.filter(|n| i64::try_from(*n).is_ok());
                    length = Some(number.ok_or_else(|| raise::malformed_request("Content-Length is not a number"))?);
                }
                16 if is("Proxy-Connection") => {
                    fields.close |= tokens(value).any(|t| t.eq_ignore_ascii_case("close"));
                    fields.keep_alive |= tokens(value).any(|t| t.eq_ignore_ascii_case("keep-alive"));
                }
                17 if is("Transfer-Encoding") => {
                    codings += 1;
                    if version == Version::Http10 {
                        return Err(raise::malformed_request("Transfer-Encoding in an HTTP/1.0 request"));
                    }
                    // RFC 9112, section 6.3, wants 400 unless chunked comes last and once. Only for an unknown coding before
                    // that would section 6.1 rather see 501; but its body can't be checked either, and whoever sends one
                    // must change the same thing: one answer for all.
                    if codings > 1 || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(raise::malformed_request("a Transfer-Encoding other than one \"chunked\""));
                    }
                    fields.body = Framing::chunked();
                }
                19 if is("Proxy-Authorization") => {
                    if fields.authorization.is_some() {
                        return Err(raise::credentials_malformed("more than one Proxy-Authorization"));
                    }
                    fields.authorization = Some(String::from_utf8_lossy(value).into_owned());
                }
                _ => {}
            }
        }
        if hosts > 1 || (hosts == 0 && version == Version::Http11) {
            return Err(raise::malformed_request("an HTTP/1.1 request has exactly one Host"));
        }
        if let Some(length) = length {
            if codings > 0 {
                return Err(raise::malformed_request("both Content-Length and Transfer-Encoding"));
            }
            fields.body = Framing::Length(length);
            fields.has_length = true;
        }
        fields.upgrade &= upgrade_field;
        Ok(fields)
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in tokens(value) {
            let option = option.to_ascii_lowercase();
            match option.as_str() {
                "close" => self.close = true,
                "keep-alive" => self.keep_alive = true,
                "upgrade" => self.upgrade = true,
                // Asking a proxy to drop what delimits or routes the message is an attack (RFC 9110, 7.6.1).
                "host" | "content-length" | "transfer-encoding" | "proxy-authorization" => {
                    return Err(raise::malformed_request("Connection names a field that must not be dropped"));
                }
                _ if self.nominated.len() >= 32 => return Err(raise::malformed_request("too many options in Connection")),
                _ => self.nominated.push(option),
            }
        }
        Ok(())
    }

    /// Whether a field ends at this hop (RFC 9110, section 7.6.1), or is written anew by it.
    fn ends_here(&self, name: &str) -> bool {
        const HOP_BY_HOP: [&str; 12] = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "proxy-authenticate",
            "te",
            "transfer-encoding",
            "upgrade",
            "host",
            "content-length",
            "expect",
            "http2-settings",
        ];
        HOP_BY_HOP.iter().any(|h| name.eq_ignore_ascii_case(h)) || self.nominated.iter().any(|n| name.eq_ignore_ascii_case(n))
    }
}

/// Builds the request for the next hop, or sees that it ends here. `via` is this hop's member of Via.
fn forward(
    method: &str,
    target: &str,
    headers: &[httparse::Header<'_>],
    fields: &Fields,
    via: std::fmt::Arguments<'_>,
) -> Result<Want, Fault> {
    let traceable = method == "OPTIONS" || method == "TRACE";
    // What ends here has no reader for a body: the next request would be read out of it (request smuggling).
    let bodiless = || match fields.body == Framing::NONE {
        true => Ok(()),
        false => Err(raise::malformed_request("a request that ends at this proxy has no body")),
    };
    if target == "*" && method == "OPTIONS" {
        bodiless()?;
        return Ok(Want::Here(None));
    }
    let (scheme, rest) = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
        _ if target.starts_with('/') => {
            let expected = "HTTP as to a proxy (the full URL as in GET http://host/path, or CONNECT host:port)";
            return Err(raise::wrong_protocol("HTTP as to a web server", expected));
        }
        _ => return Err(raise::malformed_target("this is a proxy: send the full URL (http://host/path), or CONNECT host:port")),
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if scheme.eq_ignore_ascii_case("https") {
        // Without the credentials that may stand before the host.
        return Err(raise::https_needs_connect(authority.rsplit('@').next().unwrap_or_default()));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(raise::malformed_target("only http:// can be forwarded, anything else needs CONNECT"));
    }
    if path.contains('#') {
        return Err(raise::malformed_target("a fragment (#) is never sent to a server"));
    }
    let to = Target::authority(authority, Some(80))?;
    if traceable && fields.max_forwards == Some(0) {
        bodiless()?;
        return Ok(Want::Here((method == "TRACE").then(|| reflection(method, target, headers))));
    }
    if method == "TRACE" && (fields.has_length || fields.body != Framing::NONE) {
        return Err(raise::malformed_request("TRACE has no body"));
    }
    let mut head = Vec::with_capacity(512);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|p| head.extend_from_slice(p));
    put(&[method.as_bytes(), b" "]);
    match path {
        "" if method == "OPTIONS" => put(&[b"*"]),
        _ if path.starts_with('/') => put(&[path.as_bytes()]),
        _ => put(&[b"/", path.as_bytes()]),
    }
    put(&[b" HTTP/1.1\r\nHost: ", to.host_field().as_bytes(), b"\r\n"]);
    // Max-Forwards counts down for TRACE and OPTIONS only; in other requests it is a field like any (RFC 9110, section 7.6.2).
    let rewritten = |name: &str| traceable && name.eq_ignore_ascii_case("Max-Forwards");
    for header in headers.iter().filter(|h| !fields.ends_here(h.name) && !rewritten(h.name)) {
        put(&[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
    }
    if let (Some(left), true) = (fields.max_forwards, traceable) {
        put(&[b"Max-Forwards: ", (left - 1).to_string().as_bytes(), b"\r\n"]);
    }
    match &fields.body {
        Framing::Chunked(_) => put(&[b"Transfer-Encoding: chunked\r\n"]),
        Framing::Length(length) if fields.has_length => put(&[b"Content-Length: ", length.to_string().as_bytes(), b"\r\n"]),
        Framing::Length(_) | Framing::UntilClose => {}
    }
    if fields.expects_continue {
        put(&[b"Expect: 100-continue\r\n"]);
    }
    let mut protocols = Vec::new();
    if fields.upgrade {
        for header in headers.iter().filter(|h| h.name.eq_ignore_ascii_case("Upgrade")) {
            put(&[b"Upgrade: ", header.value, b"\r\n"]);
            protocols.extend(tokens(header.value).map(str::to_ascii_lowercase));
        }
    }
    match (fields.upgrade, fields.trailers_wanted) {
        (true, true) => put(&[b"TE: trailers\r\nConnection: Upgrade, TE\r\n"]),
        (true, false) => put(&[b"Connection: Upgrade\r\n"]),
        (false, true) => put(&[b"TE: trailers\r\nConnection: TE\r\n"]),
        (false, false) => {}
    }
    put(&[b"Via: ", via.to_string().as_bytes(), b"\r\n\r\n"]);
    let idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE") && fields.body == Framing::NONE;
    let forward = Forward {
        head,
        body: fields.body.clone(),
        expects_continue: fields.expects_continue,
        upgrade: protocols,
        idempotent,
        is_head: method == "HEAD",
    };
    Ok(Want::Forward(to, Box::new(forward)))
}

/// The body of an answer to TRACE: the request without what a proxy must not reveal (RFC 9110, section 9.3.8).
fn reflection(method: &str, target: &str, headers: &[httparse::Header<'_>]) -> Vec<u8> {
    let mut body = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    let secret = |name: &str| ["authorization", "proxy-authorization", "cookie"].iter().any(|s| name.eq_ignore_ascii_case(s));
    for header in headers.iter().filter(|h| !secret(h.name)) {
        for part in [header.name.as_bytes(), b": ", header.value, b"\r\n"] {
            body.extend_from_slice(part);
        }
    }
    body.extend_from_slice(b"\r\n");
    body
}

fn unreadable(error: httparse::Error, head: &[u8]) -> Fault {
    use httparse::Error as E;
    match error {
        E::TooManyHeaders => raise::header_too_large(format_args!("{MAX_FIELDS} fields")),
        E::Version => {
            let line = head.split(|b| *b == b'\r').next().unwrap_or(head);
            let version = line.rsplit(|b| *b == b' ').next().unwrap_or(line);
            let three_words = line.iter().filter(|b| **b == b' ').count() == 2;
            let told = three_words && version.len() < 16 && version.starts_with(b"HTTP/");
            match told {
                true => raise::version_unsupported(String::from_utf8_lossy(version)),
                false => raise::malformed_request("the request line does not end in an HTTP version"),
            }
        }
        E::HeaderName => raise::malformed_request("a field name is not a token, or a line is folded"),
        E::HeaderValue => raise::malformed_request("a field value contains a control character"),
        E::NewLine => raise::malformed_request("a line does not end in CR LF"),
        E::Token => raise::malformed_request("the request line is not METHOD TARGET VERSION"),
        E::Status => raise::malformed_request("this is a response"),
    }
}

/// The comma-separated tokens of a field value.
fn tokens(value: &[u8]) -> impl Iterator<Item = &str> {
    std::str::from_utf8(value).unwrap_or("").split(',').map(str::trim).filter(|t| !t.is_empty())
}

/// Whether a Via value has this hop in it (RFC 9110, section 7.6.3: the second word of a member).
fn via_names(value: &[u8], hop: &str) -> bool {
    tokens(value).any(|member| member.split_ascii_whitespace().nth(1) == Some(hop))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
