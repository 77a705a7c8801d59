//! Recognises other protocols spoken to an HTTP port, and refuses each in its own words.

use outgate_faults::{Fault, raise};

/// What a client speaks instead of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A TLS handshake record.
    Tls,
    /// SOCKS version 4 or 4a.
    Socks4,
    /// SOCKS version 5 (RFC 1928).
    Socks5,
    /// The HTTP/2 connection preface (RFC 9113, section 3.4).
    Http2,
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

impl Foreign {
    /// What the first bytes of a connection are, when they are not HTTP/1.
    pub(crate) fn recognise(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x16, 0x03, ..] => Some(Self::Tls),
            [0x04, 0x01 | 0x02, ..] => Some(Self::Socks4),
            [0x05, ..] => Some(Self::Socks5),
            _ if bytes.starts_with(HTTP2_PREFACE) => Some(Self::Http2),
            _ => None,
        }
    }

    /// The catalogue's fault, on a port that takes `expected`.
    pub(crate) fn fault(self, expected: &str) -> Fault {
        raise::wrong_protocol(self.name(), expected)
    }

    /// The refusal in the client's own protocol, which is all it will read.
    pub(crate) fn refusal(self) -> &'static [u8] {
        match self {
            // Alert, fatal, protocol_version (RFC 8446, section 6.2).
            Self::Tls => &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46],
            // Request rejected or failed.
            Self::Socks4 => &[0x00, 0x5b, 0, 0, 0, 0, 0, 0],
            // No acceptable methods.
            Self::Socks5 => &[0x05, 0xff],
            // An empty SETTINGS frame, then GOAWAY with HTTP_1_1_REQUIRED (0x0d).
            Self::Http2 => &[
                0, 0, 0, 4, 0, 0, 0, 0, 0, //
                0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0d,
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Socks4 => "SOCKS4",
            Self::Socks5 => "SOCKS5",
            Self::Http2 => "HTTP/2",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes() {
        let cases: [(&[u8], Option<Foreign>); 7] = [
            (b"\x16\x03\x01\x02\x00", Some(Foreign::Tls)),
            (b"\x05\x01\x00", Some(Foreign::Socks5)),
            (b"\x04\x01\x00\x50", Some(Foreign::Socks4)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Foreign::Http2)),
            (b"PRI * HTT", None),
            (b"GET http://a/ HTTP/1.1\r\n", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Foreign::recognise(bytes), expected);
        }
    }
}
