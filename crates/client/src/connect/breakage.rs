//! What broke below HTTP, and in which step.

use std::fmt;
use std::io;

/// The steps of a set-up through a proxy, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The proxy's name is looked up.
    Dns,
    /// A TCP connection to the proxy is made.
    Tcp,
    /// The TLS handshake with the proxy.
    Tls,
    /// The target's name is looked up here, because the proxy is `socks5`.
    TargetDns,
    /// CONNECT or the SOCKS5 greeting was sent, and its answer is awaited.
    Handshake,
    /// Something was exchanged with the target, or a plain request was sent.
    Exchange,
}

impl Phase {
    /// A word for logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TargetDns => "target_dns",
            Self::Handshake => "handshake",
            Self::Exchange => "exchange",
        }
    }
}

/// What broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broke {
    /// The name has no address, or nobody could be asked for it: the system doesn't say which.
    NoAddress,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable,
    /// The deadline passed.
    TimedOut,
    /// The other side cut the connection.
    Reset,
    /// The other side ended the connection without having answered.
    Closed,
    /// The certificate is not believed.
    Certificate,
    /// The other side doesn't speak TLS.
    NotTls,
    /// TLS failed otherwise.
    Tls,
    /// What came is no answer of such a proxy.
    NotAProxy(Spoken),
    /// This machine has no socket, port or memory left.
    NoResources,
    /// Anything else that the system says.
    Other,
}

/// What the other side seems to speak instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// HTTP, where SOCKS5 was due.
    Http,
    /// TLS: the proxy's scheme is `https`.
    Tls,
    /// SOCKS: the proxy's scheme is `socks5h`.
    Socks,
    /// SSH.
    Ssh,
    /// HTTP/2 where HTTP/1.1 was due.
    Http2,
    /// Nothing that is known here.
    Unknown,
}

/// A failure for which there is no answer to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakage {
    /// In which step.
    pub phase: Phase,
    /// What broke.
    pub broke: Broke,
    /// For people and logs: what the system or the TLS library said. No secrets.
    pub detail: String,
}

impl Breakage {
    /// Something broke in a step.
    pub fn new(phase: Phase, broke: Broke, detail: impl fmt::Display) -> Self {
        Self { phase, broke, detail: detail.to_string() }
    }

    /// What the system's error means in a step.
    pub fn from_io(phase: Phase, error: &io::Error) -> Self {
        Self::new(phase, tls_failure(error).unwrap_or_else(|| system_failure(error.kind())), error)
    }
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.phase.name(), self.detail)
    }
}

fn system_failure(kind: io::ErrorKind) -> Broke {
    use io::ErrorKind::{
        AddrInUse, AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkDown, NetworkUnreachable, OutOfMemory, PermissionDenied, TimedOut, UnexpectedEof,
    };
    match kind {
        ConnectionRefused => Broke::Refused,
        // A firewall of this machine says "permission denied".
        HostUnreachable | NetworkUnreachable | NetworkDown | PermissionDenied => Broke::Unreachable,
        TimedOut => Broke::TimedOut,
        ConnectionReset | ConnectionAborted | BrokenPipe => Broke::Reset,
        UnexpectedEof => Broke::Closed,
        AddrInUse | AddrNotAvailable | OutOfMemory => Broke::NoResources,
        _ => Broke::Other,
    }
}

/// The TLS library hands its errors up inside the system's.
fn tls_failure(error: &io::Error) -> Option<Broke> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Broke::Certificate,
        rustls::Error::InvalidMessage(_) => Broke::NotTls,
        _ => Broke::Tls,
    })
}

impl Spoken {
    /// What the first bytes of an answer look like.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            // A TLS record: alert or handshake, then the major version 3.
            [0x15 | 0x16, 3, ..] => Self::Tls,
            // A SOCKS5 method choice, or SOCKS4's "request rejected" with its version byte 0.
            [5, 0 | 1 | 2 | 0xff, ..] | [0, 0x5a..=0x5d, ..] => Self::Socks,
            _ if bytes.starts_with(b"HTTP/") => Self::Http,
            _ if bytes.starts_with(b"SSH-") => Self::Ssh,
            // The frame header of SETTINGS on stream 0, which is how every HTTP/2 server begins.
            [0, 0, _, 4, _, 0, 0, 0, 0, ..] => Self::Http2,
            _ => Self::Unknown,
        }
    }
}
