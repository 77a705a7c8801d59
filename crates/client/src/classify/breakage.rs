//! What broke without an HTTP status: sockets, names and TLS, with the phase they broke in.

use std::io;
use std::time::Duration;

/// How far an attempt had come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Resolving the proxy's name.
    Dns,
    /// Opening a TCP connection to the proxy.
    Tcp,
    /// TLS with the proxy itself.
    Tls,
    /// The request is sent, or being sent; no whole answer to it yet.
    Ask,
    /// The answer had begun.
    Body,
    /// TLS with the target, inside an open tunnel.
    TargetTls,
    /// Bytes inside an open tunnel.
    Tunnel,
}

impl Phase {
    /// Every phase, in the order of an attempt.
    pub const ALL: &'static [Phase] =
        &[Phase::Dns, Phase::Tcp, Phase::Tls, Phase::Ask, Phase::Body, Phase::TargetTls, Phase::Tunnel];

    /// The word for it in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Dns => "dns",
            Phase::Tcp => "tcp",
            Phase::Tls => "tls",
            Phase::Ask => "ask",
            Phase::Body => "body",
            Phase::TargetTls => "target_tls",
            Phase::Tunnel => "tunnel",
        }
    }

    /// The phase with this name.
    pub fn parse(name: &str) -> Option<Phase> {
        Phase::ALL.iter().copied().find(|phase| phase.name() == name)
    }
}

/// In which manner it broke.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Manner {
    /// The name has no address.
    NotFound,
    /// The connection was refused.
    Refused,
    /// There is no route.
    Unreachable,
    /// Nothing came in time.
    TimedOut(Duration),
    /// A reset.
    Reset,
    /// A clean end where more was due.
    Closed,
    /// A certificate that is not trusted; why.
    Certificate(String),
    /// TLS that could not be agreed on, or an alert; why.
    TlsProtocol(String),
    /// Bytes of another protocol than the one that was spoken; which.
    Foreign(Foreign),
    /// Anything else, in the system's words.
    Other(String),
}

/// What the first bytes of an answer show when they are no HTTP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Foreign {
    /// A TLS record.
    Tls,
    /// A SOCKS5 greeting.
    Socks5,
    /// A SOCKS4 reply.
    Socks4,
    /// An SSH banner.
    Ssh,
    /// A mail or FTP server's greeting.
    Greeting,
    /// An HTTP/2 frame.
    Http2,
    /// An HTTP answer where another protocol was spoken.
    Http,
    /// None of these.
    Unknown,
}

impl Foreign {
    /// Tells a protocol by its first bytes. `None` if there are none.
    pub fn of(first: &[u8]) -> Option<Foreign> {
        Some(match first {
            [] => return None,
            [0x14..=0x17, 0x03, ..] => Foreign::Tls,
            [0x05] | [0x05, 0x00..=0x08 | 0xff, ..] => Foreign::Socks5,
            [0x00, 0x5a..=0x5d, ..] => Foreign::Socks4,
            // A SETTINGS frame: three bytes of length, type 4.
            [0x00, _, _, 0x04, ..] => Foreign::Http2,
            _ if first.starts_with(b"SSH-") => Foreign::Ssh,
            _ if first.starts_with(b"HTTP/") => Foreign::Http,
            _ if first.starts_with(b"220") => Foreign::Greeting,
            _ => Foreign::Unknown,
        })
    }

    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Foreign::Tls => "TLS",
            Foreign::Socks5 => "SOCKS5",
            Foreign::Socks4 => "SOCKS4",
            Foreign::Ssh => "SSH",
            Foreign::Greeting => "a mail or FTP server",
            Foreign::Http2 => "HTTP/2",
            Foreign::Http => "HTTP",
            Foreign::Unknown => "something unknown",
        }
    }
}

/// Something that broke.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Breakage {
    /// How far the attempt had come.
    pub phase: Phase,
    /// How it broke.
    pub manner: Manner,
}

impl Breakage {
    /// Breaks in this manner.
    pub fn new(phase: Phase, manner: Manner) -> Breakage {
        Breakage { phase, manner }
    }

    /// A deadline of ours that passed.
    pub fn timed_out(phase: Phase, after: Duration) -> Breakage {
        Breakage::new(phase, Manner::TimedOut(after))
    }

    /// Bytes that are no answer.
    pub fn foreign(phase: Phase, first: &[u8]) -> Breakage {
        Breakage::new(phase, Foreign::of(first).map_or(Manner::Closed, Manner::Foreign))
    }

    /// An error of a socket, a resolver or of rustls (which hides in one of a socket).
    pub fn of(phase: Phase, error: &io::Error) -> Breakage {
        Breakage::new(phase, manner_of(phase, error))
    }
}

fn manner_of(phase: Phase, error: &io::Error) -> Manner {
    if let Some(tls) = tls_error(error) {
        return tls_manner(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Manner::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => Manner::Reset,
        io::ErrorKind::UnexpectedEof => Manner::Closed,
        io::ErrorKind::TimedOut => Manner::TimedOut(Duration::ZERO),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable => {
            Manner::Unreachable
        }
        _ if phase == Phase::Dns => Manner::NotFound,
        _ => Manner::Other(error.to_string()),
    }
}

/// The rustls error inside, if there is one.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let mut inner: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = inner {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        inner = error.source();
    }
    None
}

fn tls_manner(error: &rustls::Error) -> Manner {
    match error {
        rustls::Error::InvalidCertificate(why) => Manner::Certificate(certificate(why)),
        rustls::Error::NoCertificatesPresented => Manner::Certificate("none was shown".to_owned()),
        // What came is no TLS record at all: mostly a port that speaks in clear.
        rustls::Error::InvalidMessage(_) => Manner::TlsProtocol("the other side does not speak TLS".to_owned()),
        rustls::Error::AlertReceived(alert) => Manner::TlsProtocol(format!("the other side sent the alert {alert:?}")),
        other => Manner::TlsProtocol(other.to_string()),
    }
}

/// What is wrong with a certificate, in the words that the catalogue uses.
fn certificate(why: &rustls::CertificateError) -> String {
    use rustls::CertificateError::*;
    match why {
        Expired | ExpiredContext { .. } => "expired",
        NotValidYet | NotValidYetContext { .. } => "not valid yet",
        Revoked => "revoked",
        UnknownIssuer => "unknown issuer",
        NotValidForName | NotValidForNameContext { .. } => "for another name",
        BadSignature => "a bad signature",
        BadEncoding => "not readable",
        other => return other.to_string(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Breakage, Foreign, Manner, Phase};
    use std::io;

    #[test]
    fn first_bytes_name_the_protocol() {
        let cases: &[(&[u8], Foreign)] = &[
            (b"\x15\x03\x01\x00\x02\x02\x46", Foreign::Tls),
            (b"\x05\xff", Foreign::Socks5),
            (b"\x00\x5b\x00\x00", Foreign::Socks4),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", Foreign::Http2),
            (b"SSH-2.0-OpenSSH_9.2", Foreign::Ssh),
            (b"220 mail.example ESMTP", Foreign::Greeting),
            (b"HTTP/1.1 400 Bad Request", Foreign::Http),
            (b"hello", Foreign::Unknown),
        ];
        for (first, expected) in cases {
            assert_eq!(Foreign::of(first), Some(*expected), "{first:?}");
        }
        assert_eq!(Breakage::foreign(Phase::Ask, b"").manner, Manner::Closed);
    }

    #[test]
    fn errors_of_sockets_and_tls_are_told_apart() {
        let tls = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let cases = [
            (Phase::Tcp, io::Error::from(io::ErrorKind::ConnectionRefused), Manner::Refused),
            (Phase::Tcp, io::Error::from(io::ErrorKind::NetworkUnreachable), Manner::Unreachable),
            (Phase::Ask, io::Error::from(io::ErrorKind::BrokenPipe), Manner::Reset),
            (Phase::Tls, io::Error::from(io::ErrorKind::UnexpectedEof), Manner::Closed),
            (Phase::Dns, io::Error::other("failed to lookup address information"), Manner::NotFound),
            (
                Phase::Tls,
                tls(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
                Manner::Certificate("unknown issuer".to_owned()),
            ),
            (
                Phase::Tls,
                tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
                Manner::TlsProtocol("the other side does not speak TLS".to_owned()),
            ),
        ];
        for (phase, error, expected) in cases {
            assert_eq!(Breakage::of(phase, &error).manner, expected, "{error:?}");
        }
    }
}
