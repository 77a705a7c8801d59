//! The destination guard: which addresses may be connected to (the SSRF guard).
//!
//! Fails closed: unwrap embedded IPv4 addresses, look in the tables, and last require that the
//! address lies in globally allocated unicast space at all. Sources: IANA's IPv4 and IPv6
//! special-purpose registries, RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 5214
//! (ISATAP), and the cloud providers' metadata endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What the guard says of an address or a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// May be connected to.
    Allowed,
    /// Special-purpose; says which kind, in words for the client.
    Private(&'static str),
    /// A cloud provider's metadata or platform endpoint.
    Metadata,
}

/// Judges addresses. Ranges the operator opened come first, except for metadata endpoints: those
/// open only when an entry names the single address.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    opened: Vec<IpNet>,
}

impl Guard {
    /// A guard with the given ranges opened.
    pub fn new(opened: Vec<IpNet>) -> Self {
        Self { opened }
    }

    /// Opens more ranges.
    pub fn open(&mut self, ranges: &[IpNet]) {
        self.opened.extend_from_slice(ranges);
    }

    /// Judges an address in its canonical form (see [`canonical`]).
    pub fn judge(&self, ip: IpAddr) -> Verdict {
        let ip = canonical(ip);
        let named = |net: &IpNet| net.prefix_len() == net.max_prefix_len() && net.addr() == ip;
        if is_metadata(ip) {
            return if self.opened.iter().any(named) { Verdict::Allowed } else { Verdict::Metadata };
        }
        if self.opened.iter().any(|net| net.contains(&ip)) {
            return Verdict::Allowed;
        }
        match ip {
            IpAddr::V4(ip) => judge_v4(ip),
            IpAddr::V6(ip) => self.judge_v6(ip),
        }
    }

    fn judge_v6(&self, ip: Ipv6Addr) -> Verdict {
        // NAT64's well-known prefix reaches the IPv4 address inside: that one decides.
        if let Some(inner) = nat64(ip) {
            return self.judge(IpAddr::V4(inner));
        }
        if let Some((_, class)) = V6.iter().find(|(net, _)| net.contains(&ip)) {
            return Verdict::Private(class);
        }
        if let Some(inner) = isatap(ip) {
            let verdict = self.judge(IpAddr::V4(inner));
            if verdict != Verdict::Allowed {
                return verdict;
            }
        }
        // Only 2000::/3 is allocated as global unicast.
        if ip.segments()[0] & 0xe000 == 0x2000 { Verdict::Allowed } else { Verdict::Private("unallocated address space") }
    }
}

/// Judges a name before it is resolved: metadata endpoints have names that work only inside a cloud.
pub fn judge_name(name: &str) -> Verdict {
    if METADATA_NAMES.contains(&name) { Verdict::Metadata } else { Verdict::Allowed }
}

/// The address a socket would really reach: IPv4-mapped and IPv4-translated addresses become IPv4.
pub fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let low = Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => IpAddr::V4(low),
        _ => ip,
    }
}

fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => METADATA_V4.contains(&ip),
        IpAddr::V6(v6) => METADATA_V6.contains(&v6) || nat64(v6).is_some_and(|ip| METADATA_V4.contains(&ip)),
    }
}

fn judge_v4(ip: Ipv4Addr) -> Verdict {
    match V4.iter().find(|(net, _)| net.contains(&ip)) {
        Some((_, class)) => Verdict::Private(class),
        None => Verdict::Allowed,
    }
}

/// RFC 6052, the well-known prefix 64:ff9b::/96.
fn nat64(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => Some(Ipv4Addr::from((u32::from(a) << 16) | u32::from(b))),
        _ => None,
    }
}

/// RFC 5214: interface ids `0:5efe:a.b.c.d` and `200:5efe:a.b.c.d`.
fn isatap(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [_, _, _, _, 0 | 0x200, 0x5efe, a, b] => Some(Ipv4Addr::from((u32::from(a) << 16) | u32::from(b))),
        _ => None,
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0), prefix)
}

const V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "private network (RFC 1918)"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private network (RFC 1918)"),
    (v4(192, 0, 0, 0, 24), "IETF protocol assignments (RFC 6890)"),
    (v4(192, 0, 2, 0, 24), "documentation (RFC 5737)"),
    (v4(192, 31, 196, 0, 24), "AS112 (RFC 7535)"),
    (v4(192, 52, 193, 0, 24), "AMT (RFC 7450)"),
    (v4(192, 88, 99, 0, 24), "6to4 relay (RFC 7526)"),
    (v4(192, 168, 0, 0, 16), "private network (RFC 1918)"),
    (v4(192, 175, 48, 0, 24), "AS112 (RFC 7534)"),
    (v4(198, 18, 0, 0, 15), "benchmarking (RFC 2544)"),
    (v4(198, 51, 100, 0, 24), "documentation (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "documentation (RFC 5737)"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved (RFC 1112)"),
];

const V6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified address"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (v6([0, 0, 0, 0], 96), "IPv4-compatible (deprecated)"),
    (v6([0x64, 0xff9b, 1, 0], 48), "local-use NAT64 (RFC 8215)"),
    (v6([0x100, 0, 0, 0], 64), "discard-only (RFC 6666)"),
    (v6([0x100, 0, 0, 1], 64), "dummy prefix (RFC 9780)"),
    (v6([0x2001, 0, 0, 0], 32), "Teredo (RFC 4380)"),
    (v6([0x2001, 0, 0, 0], 23), "IETF protocol assignments (RFC 2928)"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation (RFC 3849)"),
    (v6([0x2002, 0, 0, 0], 16), "6to4 (RFC 3056)"),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), "AS112 (RFC 7534)"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation (RFC 9637)"),
    (v6([0x5f00, 0, 0, 0], 16), "segment routing (RFC 9602)"),
    (v6([0xfc00, 0, 0, 0], 7), "unique local (RFC 4193)"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0], 10), "site-local (deprecated)"),
    (v6([0xff00, 0, 0, 0], 8), "multicast"),
];

/// AWS, Azure, GCP, DigitalOcean, OpenStack, Oracle, Alibaba, Scaleway, Tencent, Rancher. The Azure
/// one (168.63.129.16) is a public address: no range would catch it.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 123),
    Ipv4Addr::new(169, 254, 169, 250),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(169, 254, 42, 42),
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

const METADATA_NAMES: &[&str] = &[
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.com",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "metadata.packet.net",
    "api.metadata.cloud.ibm.com",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_range_is_refused_at_both_ends() {
        let guard = Guard::default();
        for (net, class) in V4 {
            for end in [net.network(), net.broadcast()] {
                assert_ne!(guard.judge(IpAddr::V4(end)), Verdict::Allowed, "{end} {class}");
                // The same address in every IPv6 dress.
                let mapped = IpAddr::V6(end.to_ipv6_mapped());
                assert_ne!(guard.judge(mapped), Verdict::Allowed, "{mapped} {class}");
                let o = end.octets();
                let (a, b) = (u16::from_be_bytes([o[0], o[1]]), u16::from_be_bytes([o[2], o[3]]));
                for dressed in [
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                    Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, a, b),
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0, a, b),
                    Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1),
                    Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, a, b),
                    Ipv6Addr::new(0x2a00, 1, 2, 3, 0x200, 0x5efe, a, b),
                ] {
                    assert_ne!(guard.judge(IpAddr::V6(dressed)), Verdict::Allowed, "{dressed} {class}");
                }
            }
        }
        for (net, class) in V6 {
            for end in [net.network(), net.broadcast()] {
                assert_ne!(guard.judge(IpAddr::V6(end)), Verdict::Allowed, "{end} {class}");
            }
        }
    }

    #[test]
    fn verdicts() {
        let guard = Guard::default();
        let cases = [
            ("8.8.8.8", Verdict::Allowed),
            ("1.1.1.1", Verdict::Allowed),
            ("::ffff:8.8.8.8", Verdict::Allowed),
            ("64:ff9b::8.8.8.8", Verdict::Allowed),
            ("2606:4700:4700::1111", Verdict::Allowed),
            ("2a00:1:2:3:0:5efe:808:808", Verdict::Allowed),
            ("10.1.2.3", Verdict::Private("private network (RFC 1918)")),
            ("::ffff:10.1.2.3", Verdict::Private("private network (RFC 1918)")),
            ("127.0.0.1", Verdict::Private("loopback")),
            ("::1", Verdict::Private("loopback")),
            ("fe80::1", Verdict::Private("link-local")),
            ("2001:0:1::1", Verdict::Private("Teredo (RFC 4380)")),
            ("4000::1", Verdict::Private("unallocated address space")),
            ("169.254.169.254", Verdict::Metadata),
            ("::ffff:169.254.169.254", Verdict::Metadata),
            ("64:ff9b::a9fe:a9fe", Verdict::Metadata),
            ("168.63.129.16", Verdict::Metadata),
            ("fd00:ec2::254", Verdict::Metadata),
        ];
        for (text, expected) in cases {
            assert_eq!(guard.judge(ip(text)), expected, "{text}");
        }
        assert_eq!(judge_name("metadata.google.internal"), Verdict::Metadata);
        assert_eq!(judge_name("example.org"), Verdict::Allowed);
    }

    #[test]
    fn an_opened_range_opens_what_it_names_and_never_metadata_by_accident() {
        let open = |nets: &[&str]| Guard::new(nets.iter().map(|n| n.parse().unwrap()).collect());
        let guard = open(&["127.0.0.0/8", "169.254.0.0/16", "fd00::/8"]);
        assert_eq!(guard.judge(ip("127.0.0.1")), Verdict::Allowed);
        assert_eq!(guard.judge(ip("::ffff:127.0.0.1")), Verdict::Allowed);
        assert_eq!(guard.judge(ip("169.254.1.1")), Verdict::Allowed);
        assert_eq!(guard.judge(ip("169.254.169.254")), Verdict::Metadata);
        assert_eq!(guard.judge(ip("fd00:ec2::254")), Verdict::Metadata);
        assert_ne!(guard.judge(ip("::1")), Verdict::Allowed);
        assert_eq!(open(&["169.254.169.254/32"]).judge(ip("169.254.169.254")), Verdict::Allowed);
    }
}
