//! An upstream proxy as a URL names it: scheme, host, port, credentials, and whose certificates are believed.

use std::fmt;
use std::net::IpAddr;

use ring::digest;

use super::trust::Trust;

/// How an upstream proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 in clear.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// SOCKS5 where names are looked up here and addresses are asked for.
    Socks5,
    /// SOCKS5 where the proxy looks names up.
    Socks5h,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// The port when the URL names none: 80 and 443 as for any URL, 1080 as RFC 1928 has it.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }

    /// Whether it is one of the two kinds of SOCKS5.
    pub fn is_socks(self) -> bool {
        matches!(self, Self::Socks5 | Self::Socks5h)
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Socks5, Self::Socks5h].into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }
}

/// A user name and a password, percent-decoded. `Debug` shows neither: providers put secrets into both.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// A user name and a password as the proxy is to see them.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// The user name: every use of it is searchable by this name.
    pub fn expose_user(&self) -> &str {
        &self.user
    }

    /// A short word that is the same for the same user name and password and tells neither: for keeping accounts apart.
    pub fn fingerprint(&self) -> String {
        let both = format!("{}:{}", self.user, self.password);
        let hash = digest::digest(&digest::SHA256, both.as_bytes());
        hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The password: every use of it is searchable by this name.
    pub fn expose_password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// One upstream proxy. Cheap to clone; shown without its credentials.
#[derive(Clone, Debug)]
pub struct Upstream {
    scheme: Scheme,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    trust: Trust,
}

/// Why a proxy URL is none. No message repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadUpstream {
    /// Not one of `http`, `https`, `socks5`, `socks5h`; carries what stands there.
    Scheme(String),
    /// There is no host.
    NoHost,
    /// The host has a character that no host has.
    BadHost,
    /// The port is no number from 1 to 65535.
    BadPort,
    /// A `/`, `?` or `#` in the user name or password, which must be written percent-encoded; carries the character.
    Unencoded(char),
    /// A `%` that two hexadecimal digits don't follow, or bytes that are no UTF-8.
    BadPercent,
    /// Something follows the port.
    Trailing,
}

impl fmt::Display for BadUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(found) => write!(f, "\"{found}\" is not a proxy's scheme: http, https, socks5 or socks5h"),
            Self::NoHost => f.write_str("the URL has no host"),
            Self::BadHost => f.write_str("the host is neither a name nor an address"),
            Self::BadPort => f.write_str("the port is not a number from 1 to 65535"),
            Self::Unencoded(found) => write!(
                f,
                "there is a bare \"{found}\" in front of the last \"@\": in a user name or password write it as %{:02X}",
                u32::from(*found)
            ),
            Self::BadPercent => {
                f.write_str("a % in the user name or password is not followed by two hexadecimal digits: write it as %25")
            }
            Self::Trailing => f.write_str("a proxy's URL ends with its port: no path, query or fragment"),
        }
    }
}

impl std::error::Error for BadUpstream {}

impl Upstream {
    /// Reads `scheme://user:password@host:port`. Without a scheme it is `http`, as curl has it; user name and password are
    /// percent-decoded; the last `@` ends them, so that a bare `@` in a password does what its writer meant.
    ///
    /// # Errors
    /// Whatever else is wrong with it, without repeating a secret.
    pub fn parse(url: &str) -> Result<Self, BadUpstream> {
        let url = url.trim();
        let (scheme, rest) = match url.split_once("://") {
            Some((name, rest)) => (Scheme::parse(name).ok_or_else(|| BadUpstream::Scheme(harmless(name)))?, rest),
            None => (Scheme::Http, url),
        };
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((userinfo, authority)) => {
                if let Some(found) = userinfo.chars().find(|c| matches!(c, '/' | '?' | '#')) {
                    return Err(BadUpstream::Unencoded(found));
                }
                let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                (Some(Credentials::new(decode(user)?, decode(password)?)), authority)
            }
            None => (None, rest),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#']) {
            return Err(BadUpstream::Trailing);
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            None | Some("") => scheme.default_port(),
            Some(text) => text.parse().ok().filter(|port| *port != 0).ok_or(BadUpstream::BadPort)?,
        };
        Ok(Self { scheme, host: read_host(host)?, port, credentials, trust: Trust::system() })
    }

    /// The same proxy with other credentials, for instance with a session's word in the user name.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = credentials;
        self
    }

    /// The same proxy at another host: some providers write what they are asked for into it.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The same proxy on another port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The same proxy, its certificate judged by `trust`; only `https` has one.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its name or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it is told of who asks.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whose certificates are believed.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

impl fmt::Display for Upstream {
    /// Without credentials: fit for logs, records and people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// Where a tunnel is to lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// A host, an IPv6 address without brackets, and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(&host).to_ascii_lowercase();
        Self { host, port }
    }

    /// Reads `host:port`, an IPv6 address in brackets. `None` when it is neither.
    pub fn parse(authority: &str) -> Option<Self> {
        let (host, port) = split_authority(authority).ok()?;
        let port = port?.parse().ok().filter(|port| *port != 0)?;
        Some(Self::new(read_host(host).ok()?, port))
    }

    /// Its name or address, lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
    /// As it stands in an authority: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host, and port if there is a colon for one.
fn split_authority(text: &str) -> Result<(&str, Option<&str>), BadUpstream> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or(BadUpstream::BadHost)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(BadUpstream::BadPort),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn read_host(host: &str) -> Result<String, BadUpstream> {
    if host.is_empty() {
        return Err(BadUpstream::NoHost);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.chars().all(fits)) {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(BadUpstream::BadHost)
    }
}

/// Percent-decodes; strict, because a bare `%` decodes differently in every client.
fn decode(text: &str) -> Result<String, BadUpstream> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16)).ok_or(BadUpstream::BadPercent);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).map_err(|_| BadUpstream::BadPercent)?);
    }
    String::from_utf8(decoded).map_err(|_| BadUpstream::BadPercent)
}

/// What stood where a scheme should: only if it looks like a scheme, because `user:pass` may stand there too.
fn harmless(name: &str) -> String {
    let looks_like_one = name.len() <= 12 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if looks_like_one { name.to_owned() } else { "…".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let good = [
            ("http://proxy.example:3128", "http://proxy.example:3128", None),
            ("proxy.example:3128", "http://proxy.example:3128", None),
            ("HTTPS://Proxy.Example", "https://proxy.example:443", None),
            ("socks5h://u:p@[2001:db8::1]", "socks5h://[2001:db8::1]:1080", Some(("u", "p"))),
            ("http://u:p%40ss%3a%23@h:1/", "http://h:1", Some(("u", "p@ss:#"))),
            ("http://u:p@ss@h:1", "http://h:1", Some(("u", "p@ss"))),
            ("http://u:a:b@h:1", "http://h:1", Some(("u", "a:b"))),
            ("http://token@h:1", "http://h:1", Some(("token", ""))),
        ];
        for (url, shown, credentials) in good {
            let upstream = Upstream::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(upstream.to_string(), shown, "{url}");
            let found = upstream.credentials().map(|c| (c.expose_user(), c.expose_password()));
            assert_eq!(found, credentials, "{url}");
        }
        let bad = [
            ("ftp://h:1", BadUpstream::Scheme("ftp".into())),
            ("socks4://h:1", BadUpstream::Scheme("socks4".into())),
            ("http://", BadUpstream::NoHost),
            ("http://u:p@:80", BadUpstream::NoHost),
            ("http://h:0", BadUpstream::BadPort),
            ("http://h:port", BadUpstream::BadPort),
            ("http://h:99999", BadUpstream::BadPort),
            ("http://u:p#ss@h:1", BadUpstream::Unencoded('#')),
            ("http://u:p/ss@h:1", BadUpstream::Unencoded('/')),
            ("http://u:100%@h:1", BadUpstream::BadPercent),
            ("http://u:%ff@h:1", BadUpstream::BadPercent),
            ("http://h:1/path", BadUpstream::Trailing),
            ("http://h o:1", BadUpstream::BadHost),
        ];
        for (url, error) in bad {
            assert_eq!(Upstream::parse(url).map(|u| u.to_string()), Err(error), "{url}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let upstream = Upstream::parse("http://customer-4711:hunter2@h:1").unwrap();
        let shown = format!("{upstream} {upstream:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
    }
}
