//! One answer as it came, and why there may be none.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::patience::HANG;

/// One answer, as it came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// `HTTP/1.1`.
    pub version: String,
    /// `200`.
    pub status: u16,
    /// The text after the status, as it came.
    pub reason: String,
    /// Names as they came, in order, values without surrounding blanks.
    pub headers: Vec<(String, String)>,
    /// Decoded: without chunk framing.
    pub body: Vec<u8>,
    /// Fields after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// The 1xx answers that came before this one.
    pub interim: Vec<Reply>,
    /// Every byte of it, head and framed body (without the interim answers).
    pub raw: Vec<u8>,
}

/// What the request allows the answer to carry (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A body as framed by the head.
    Body,
    /// No body whatever the head says: the answer to HEAD.
    NoBody,
    /// The answer to CONNECT: a 2xx has no body and opens the tunnel, anything else has one.
    Tunnel,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq)]
pub enum WireError {
    /// A FIN where the answer should begin: not one byte came.
    Closed,
    /// An RST; these bytes came before it.
    Reset(Vec<u8>),
    /// A FIN before the answer was complete; these bytes came before it.
    Truncated(Vec<u8>),
    /// Not HTTP/1 as the RFC wants it.
    Malformed(String),
    /// Nothing for [`HANG`].
    Hung(&'static str),
    /// Anything else the system said.
    Io(String),
}

/// How the peer ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN: a clean end.
    Fin,
    /// RST, or TLS without its closing alert.
    Reset,
}

/// A user name and a password, as in `Proxy-Authorization: Basic`.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Key id and modifiers.
    pub user: &'a str,
    /// The key's secret.
    pub password: &'a str,
}

impl Credentials<'_> {
    /// The whole header line, CRLF included.
    #[must_use]
    pub fn header_line(&self) -> String {
        format!("Proxy-Authorization: {}\r\n", self.field_value())
    }

    /// The value of `Proxy-Authorization`.
    #[must_use]
    pub fn field_value(&self) -> String {
        basic(self.user, self.password)
    }
}

/// The value of a field that shows credentials by the scheme Basic, whatever bytes they are.
#[must_use]
pub fn basic(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> String {
    format!("Basic {}", STANDARD.encode([user.as_ref(), b":", password.as_ref()].concat()))
}

impl Reply {
    /// The value of the first field of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of every field of that name, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A failed assertion prints this: the answer as it came, its body cut short.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.raw[..self.raw.len().min(4096)];
        write!(f, "{:?}", String::from_utf8_lossy(shown))?;
        if shown.len() < self.raw.len() { write!(f, " and {} bytes", self.raw.len() - shown.len()) } else { Ok(()) }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed without a byte"),
            Self::Reset(got) => write!(f, "reset after {:?}", String::from_utf8_lossy(got)),
            Self::Truncated(got) => write!(f, "closed after {:?}", String::from_utf8_lossy(got)),
            Self::Malformed(what) => write!(f, "not HTTP: {what}"),
            Self::Hung(what) => write!(f, "nothing for {HANG:?} ({what})"),
            Self::Io(what) => f.write_str(what),
        }
    }
}

/// A failed assertion prints this: text is read more easily than bytes.
impl fmt::Debug for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for WireError {}

impl WireError {
    pub(super) fn with_prefix(self, before: &[u8]) -> Self {
        let join = |after: Vec<u8>| [before, &after].concat();
        match self {
            Self::Reset(after) => Self::Reset(join(after)),
            Self::Truncated(after) => Self::Truncated(join(after)),
            Self::Closed if !before.is_empty() => Self::Truncated(before.to_vec()),
            other => other,
        }
    }
}

pub(super) fn parse_head(raw: Vec<u8>) -> Result<Reply, WireError> {
    let text = String::from_utf8(raw.clone()).map_err(|_| WireError::Malformed("a head that is not UTF-8".to_owned()))?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default();
    let malformed = || WireError::Malformed(format!("status line {first:?}"));
    let (version, rest) = first.split_once(' ').ok_or_else(malformed)?;
    let (status, reason) = rest.split_once(' ').ok_or_else(malformed)?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || status.len() != 3 {
        return Err(malformed());
    }
    let status = status.parse().map_err(|_| malformed())?;
    let headers = lines.map(parse_field).collect::<Result<_, _>>()?;
    Ok(Reply { version: version.to_owned(), status, reason: reason.to_owned(), headers, raw, ..Reply::default() })
}

pub(super) fn parse_field(line: &str) -> Result<(String, String), WireError> {
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err(WireError::Malformed(format!("field line {line:?}"))),
    }
}
