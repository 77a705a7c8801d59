//! Reads the host of a target: a name or an address, with no spelling left that a resolver would read differently.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A target's host. Names are lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address literal, in its one canonical form.
    Ip(IpAddr),
    /// A DNS name (letters, digits, `-`, `_`), at most 253 octets.
    Name(String),
}

/// Why a host is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Nothing there.
    Empty,
    /// Not a name, not an address.
    Malformed,
    /// An IPv4 address in a form that only some programs read (`127.1`, `0x7f.0.0.1`, `2130706433`).
    /// Carries the address it means, so that a guard can judge it all the same.
    UnusualAddress(Ipv4Addr),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the host is empty"),
            Self::Malformed => f.write_str("the host is neither a DNS name nor an IP address"),
            Self::UnusualAddress(ip) => write!(f, "write the address as {ip}"),
        }
    }
}

impl Host {
    /// Reads a host as it stands in an authority: `example.org`, `192.0.2.1`, `[2001:db8::1]`.
    ///
    /// A host whose last label is numeric is an IPv4 attempt (WHATWG URL, "ends in a number"): it is
    /// read in all the forms `inet_aton` takes, and refused unless it is the plain dotted form.
    /// Zone ids are refused: they name an interface of this machine.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Malformed)?;
            let ip: Ipv6Addr = inner.parse().map_err(|_| HostError::Malformed)?;
            return Ok(Self::Ip(IpAddr::V6(ip)));
        }
        if text.len() > 254 {
            return Err(HostError::Malformed);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Malformed);
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        if last.as_bytes().first().is_some_and(u8::is_ascii_digit) && ends_in_number(last) {
            return match name.parse::<Ipv4Addr>() {
                Ok(ip) if name == text => Ok(Self::Ip(IpAddr::V4(ip))),
                Ok(ip) => Err(HostError::UnusualAddress(ip)),
                Err(_) => Err(inet_aton(name).map_or(HostError::Malformed, HostError::UnusualAddress)),
            };
        }
        let fits = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > 253 || !name.split('.').all(fits) {
            return Err(HostError::Malformed);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    /// As it stands in an authority: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn ends_in_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit()) || aton_part(label).is_some()
}

/// One part of `inet_aton`: decimal, octal (`0…`) or hexadecimal (`0x…`).
fn aton_part(part: &str) -> Option<u64> {
    let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some("") => return Some(0),
        Some(hex) => (hex, 16),
        None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
        None => (part, 10),
    };
    u64::from_str_radix(digits, radix).ok()
}

/// `inet_aton(3)`: one to four parts, the last one filling the rest.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text.split('.').map(aton_part).collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|p| *p > 255) {
        return None;
    }
    let room = 32 - 8 * front.len() as u32;
    if *last >= 1u64 << room {
        return None;
    }
    let head = front.iter().enumerate().map(|(i, p)| p << (24 - 8 * i as u32)).sum::<u64>();
    u32::try_from(head + last).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let name = |n: &str| Ok(Host::Name(n.into()));
        let ip = |n: &str| Ok(Host::Ip(n.parse().unwrap()));
        let unusual = |n: &str| Err(HostError::UnusualAddress(n.parse().unwrap()));
        let cases: [(&str, Result<Host, HostError>); 27] = [
            ("example.org", name("example.org")),
            ("EXAMPLE.org.", name("example.org")),
            ("xn--bcher-kva.example", name("xn--bcher-kva.example")),
            ("_dmarc.a-b.example", name("_dmarc.a-b.example")),
            ("127.0.0.1", ip("127.0.0.1")),
            ("[::1]", ip("::1")),
            ("[::ffff:7f00:1]", ip("::ffff:7f00:1")),
            ("2130706433", unusual("127.0.0.1")),
            ("0177.1", unusual("127.0.0.1")),
            ("0x7f.1", unusual("127.0.0.1")),
            ("127.1", unusual("127.0.0.1")),
            ("127.0.0.1.", unusual("127.0.0.1")),
            ("0x", unusual("0.0.0.0")),
            ("01.2.3.4", unusual("1.2.3.4")),
            ("1.2.3.4.5", Err(HostError::Malformed)),
            ("256.1.1.1", Err(HostError::Malformed)),
            ("a.1", Err(HostError::Malformed)),
            ("4294967296", Err(HostError::Malformed)),
            ("::1", Err(HostError::Malformed)),
            ("[fe80::1%eth0]", Err(HostError::Malformed)),
            ("[::1", Err(HostError::Malformed)),
            ("a..b", Err(HostError::Malformed)),
            (".", Err(HostError::Malformed)),
            ("a b", Err(HostError::Malformed)),
            ("a%2eb", Err(HostError::Malformed)),
            ("bücher.example", Err(HostError::Malformed)),
            ("", Err(HostError::Empty)),
        ];
        for (text, expected) in cases {
            assert_eq!(Host::parse(text), expected, "{text}");
        }
        assert_eq!(Host::parse(&"a.".repeat(200)), Err(HostError::Malformed));
    }
}
