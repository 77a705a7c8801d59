//! Where an HTTP/1.1 message body ends (RFC 9112, sections 6 and 7.1), without touching its bytes.

use outgate_faults::OWN_HEADERS;

/// The longest chunk-size line, extensions included. RFC 9112, section 7.1.1, asks for a bound.
const MAX_CHUNK_LINE: usize = 256;
/// The longest trailer section.
const MAX_TRAILERS: usize = 8 * 1024;
/// What a trailer may not be: what frames or routes the message (RFC 9110, section 6.5.1), and our own word.
const NO_TRAILERS: [&str; 8] =
    ["content-length", "transfer-encoding", "connection", "host", "te", "upgrade", "proxy-authorization", "proxy-authenticate"];

/// How a body is delimited, with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes are left; zero is the end.
    Length(u64),
    /// Chunked, at this point of it.
    Chunked(Chunked),
    /// Until the sender closes its side.
    UntilClose,
}

/// A scanner over a chunked body. Bytes pass it unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    at: At,
    /// Bytes seen of the current line or trailer section, against their bounds.
    line: usize,
    /// The name of the trailer that is being read.
    name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size {
        value: u64,
        digits: u8,
    },
    /// Blanks behind the size: an extension or the end of the line must follow.
    Padding {
        value: u64,
    },
    Extension {
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// What a scan of some bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How many of the bytes belong to this body.
    pub(crate) body: usize,
    /// Whether the body ends there.
    pub(crate) ended: bool,
}

/// A body that breaks the rules; says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadFraming(pub(crate) &'static str);

impl Framing {
    /// The framing of a message without a body.
    pub(crate) const NONE: Self = Self::Length(0);

    /// A chunked body, from its start.
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunked { at: At::Size { value: 0, digits: 0 }, line: 0, name: Vec::new() })
    }

    /// Whether nothing of the body is left.
    pub(crate) fn ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.at == At::End,
            Self::UntilClose => false,
        }
    }

    /// The most bytes that may be read without taking what belongs to the next message, if known.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked(_) | Self::UntilClose => usize::MAX,
        }
    }

    /// Whether the end is known without looking at the bytes.
    pub(crate) fn is_opaque(&self) -> bool {
        !matches!(self, Self::Chunked(_))
    }

    /// Moves on over so many bytes of an opaque body, unseen; whether it ends there.
    pub(crate) fn pass(&mut self, bytes: u64) -> bool {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes);
        }
        self.ended()
    }

    /// Moves on over `bytes`.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Scan, BadFraming> {
        match self {
            Self::Length(left) => {
                let body = (*left).min(bytes.len() as u64);
                *left -= body;
                Ok(Scan { body: body as usize, ended: *left == 0 })
            }
            Self::Chunked(chunked) => chunked.scan(bytes, &mut |_| {}),
            Self::UntilClose => Ok(Scan { body: bytes.len(), ended: false }),
        }
    }

    /// Like [`Framing::scan`], and hands the payload without its framing to `payload`: for a
    /// recipient that knows no chunks (HTTP/1.0).
    pub(crate) fn unwrap(&mut self, bytes: &[u8], payload: &mut dyn FnMut(&[u8])) -> Result<Scan, BadFraming> {
        if let Self::Chunked(chunked) = self {
            return chunked.scan(bytes, payload);
        }
        let scan = self.scan(bytes)?;
        payload(&bytes[..scan.body]);
        Ok(scan)
    }
}

impl Chunked {
    fn scan(&mut self, bytes: &[u8], payload: &mut dyn FnMut(&[u8])) -> Result<Scan, BadFraming> {
        let mut i = 0;
        while i < bytes.len() && self.at != At::End {
            if let At::Data { left } = self.at {
                let take = left.min((bytes.len() - i) as u64) as usize;
                payload(&bytes[i..i + take]);
                i += take;
                let left = left - take as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data { left } };
                continue;
            }
            self.at = self.step(bytes[i])?;
            i += 1;
        }
        Ok(Scan { body: i, ended: self.at == At::End })
    }

    fn step(&mut self, byte: u8) -> Result<At, BadFraming> {
        self.line += 1;
        let next = match (self.at, byte) {
            (At::Size { value, digits }, b) if b.is_ascii_hexdigit() => {
                // A size that fills a signed 64-bit number is negative to the next parser.
                if digits == 16 || value >> 59 != 0 {
                    return Err(BadFraming("chunk size too large"));
                }
                let digit = (b as char).to_digit(16).map_or(0, u64::from);
                At::Size { value: (value << 4) | digit, digits: digits + 1 }
            }
            (At::Size { digits: 0, .. }, _) => return Err(BadFraming("chunk without a size")),
            (At::Size { value, .. } | At::Padding { value } | At::Extension { value }, b'\r') => At::SizeLf { value },
            (At::Size { value, .. } | At::Padding { value }, b';') => At::Extension { value },
            (At::Size { value, .. } | At::Padding { value }, b' ' | b'\t') => At::Padding { value },
            (At::Size { .. } | At::Padding { .. }, _) => return Err(BadFraming("chunk size is not a number")),
            (At::Extension { .. }, b) if b < b' ' && b != b'\t' => {
                return Err(BadFraming("control character in a chunk extension"));
            }
            (At::Extension { value }, _) => At::Extension { value },
            (At::SizeLf { value: 0 }, b'\n') => self.new_line(At::TrailerStart),
            (At::SizeLf { value }, b'\n') => self.new_line(At::Data { left: value }),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => self.new_line(At::Size { value: 0, digits: 0 }),
            (At::DataCr | At::DataLf, _) => return Err(BadFraming("chunk data longer than its size")),
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::TrailerStart | At::TrailerName, b) if is_token(b) => {
                self.name.push(b);
                At::TrailerName
            }
            (At::TrailerName, b':') => self.trailer_value()?,
            (At::TrailerStart | At::TrailerName, _) => return Err(BadFraming("a trailer without a name")),
            (At::Trailer, b) if b < b' ' && b != b'\t' && b != b'\r' => return Err(BadFraming("control character in a trailer")),
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::Trailer, _) => At::Trailer,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => At::End,
            (At::SizeLf { .. } | At::TrailerLf | At::EndLf, _) => return Err(BadFraming("carriage return without line feed")),
            (At::Data { .. } | At::End, _) => return Err(BadFraming("byte after the end")),
        };
        let bound = match next {
            At::TrailerStart | At::TrailerName | At::Trailer | At::TrailerLf => MAX_TRAILERS,
            _ => MAX_CHUNK_LINE,
        };
        if self.line > bound && !matches!(next, At::Data { .. } | At::EndLf | At::End) {
            return Err(BadFraming("chunk line or trailers too long"));
        }
        Ok(next)
    }

    /// A trailer's name has been read: whether it may be one.
    fn trailer_value(&mut self) -> Result<At, BadFraming> {
        let name = std::mem::take(&mut self.name);
        let is = |forbidden: &&str| name.eq_ignore_ascii_case(forbidden.as_bytes());
        // A Proxy-Status may come late (RFC 9209, section 2).
        match NO_TRAILERS.iter().any(&is) || OWN_HEADERS.iter().any(|own| *own != "Proxy-Status" && is(own)) {
            true => Err(BadFraming("a field that must not be a trailer")),
            false => Ok(At::Trailer),
        }
    }

    fn new_line(&mut self, next: At) -> At {
        self.line = 0;
        next
    }
}

/// The characters of a field name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_bodies_end_where_they_end_however_they_are_cut() {
        let cases: [(&str, usize, &str); 6] = [
            ("0\r\n\r\n", 5, ""),
            ("5\r\nhello\r\n0\r\n\r\nGET /", 15, "hello"),
            ("A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", 26, "0123456789"),
            ("1 \r\na\r\n0\r\n\r\n", 12, "a"),
            ("3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nrest", 36, "abcde"),
            ("00000\r\n\r\n", 9, ""),
        ];
        for (text, length, payload) in cases {
            for cut in 0..text.len() {
                let mut framing = Framing::chunked();
                let mut got = Vec::new();
                let (a, b) = text.as_bytes().split_at(cut);
                let first = framing.unwrap(a, &mut |p| got.extend_from_slice(p)).unwrap();
                let second = if first.ended {
                    Scan { body: 0, ended: true }
                } else {
                    framing.unwrap(b, &mut |p| got.extend_from_slice(p)).unwrap()
                };
                assert!(second.ended, "{text:?} cut at {cut}");
                assert_eq!(first.body + second.body, length, "{text:?} cut at {cut}");
                assert_eq!(got, payload.as_bytes());
            }
        }
    }

    #[test]
    fn ambiguous_chunks_are_refused() {
        let cases = [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "0x5\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\n0\r\n\r\n",
            "11111111111111111\r\n",
            "5;\x01\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\rX",
            "5\rX",
            ";x\r\n",
            "5 5\r\n",
            "8000000000000000\r\n",
            "0\r\nContent-Length: 1\r\n\r\n",
            "0\r\nX-Outgate-Exit: forged\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nA b: c\r\n\r\n",
            "0\r\n: c\r\n\r\n",
            "0\r\nA: \x00\r\n\r\n",
        ];
        for text in cases {
            assert!(Framing::chunked().scan(text.as_bytes()).is_err(), "{text:?}");
        }
        let long = format!("1;{}\r\n", "x".repeat(300));
        assert!(Framing::chunked().scan(long.as_bytes()).is_err());
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(3000));
        assert!(Framing::chunked().scan(trailers.as_bytes()).is_err());
    }

    #[test]
    fn lengths() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.room(), 5);
        assert_eq!(framing.scan(b"abc"), Ok(Scan { body: 3, ended: false }));
        assert_eq!(framing.scan(b"defg"), Ok(Scan { body: 2, ended: true }));
        assert!(framing.ended() && Framing::NONE.ended() && !Framing::UntilClose.ended());
    }
}
