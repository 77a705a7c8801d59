//! Settings: which gateway, as whom, and within which bounds.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use ipnet::IpNet;
use outgate_egress::DnsSettings;

use crate::{agent::Event, hook::Hook, proxy::Proxy, source::Source, status::Watch};

/// What an exit agent needs to know.
pub struct Settings {
    /// The gateway's exit endpoint.
    pub gateway: GatewayUrl,
    /// Its enrolment.
    pub token: Token,
    /// PEM file of the authorities that may sign the gateway's certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy on the way to the gateway; targets are dialed without it.
    pub proxy: Option<Proxy>,
    /// The address of this machine it leaves from, towards gateway and targets; `None`: the system chooses.
    pub source: Option<Source>,
    /// Links it keeps up; 1 to [`MOST_LINKS`].
    pub links: u32,
    /// Where it says it is.
    pub labels: Labels,
    /// Program and version told to the gateway.
    pub agent: String,
    /// Ranges its guard lets through although they are special-purpose.
    pub allow_targets: Vec<IpNet>,
    /// How it resolves names.
    pub dns: DnsSettings,
    /// One connection attempt to a target may take this long.
    pub connect_timeout: Duration,
    /// Most tunnels at once, over all links.
    pub max_tunnels: u32,
    /// Most bytes per second, over all tunnels and both ways.
    pub speed: Option<u64>,
    /// How it changes its address when the gateway asks.
    pub rotate: Option<Rotation>,
    /// How a link comes back after a loss.
    pub reconnect: Reconnect,
    /// How long open tunnels may go on after shutdown was asked for.
    pub grace: Duration,
    /// Told what happens, for a log; must not block.
    pub on_event: Option<OnEvent>,
    /// Told how things are, for a status line.
    pub watch: Option<Watch>,
}

/// More would not carry more: two or three survive the loss of one.
pub const MOST_LINKS: u32 = 16;

/// How an exit changes its address.
#[derive(Clone)]
pub struct Rotation {
    /// By this.
    pub hook: Hook,
    /// It is broken off after this.
    pub timeout: Duration,
}

/// What is called at every [`Event`].
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

impl Settings {
    /// Everything at its default but the two things that have none.
    #[must_use]
    pub fn new(gateway: GatewayUrl, token: Token) -> Settings {
        Settings {
            gateway,
            token,
            ca_file: None,
            proxy: None,
            source: None,
            links: 2,
            labels: Labels::default(),
            agent: concat!("outgate/", env!("CARGO_PKG_VERSION")).to_owned(),
            allow_targets: Vec::new(),
            dns: DnsSettings::default(),
            connect_timeout: Duration::from_secs(10),
            max_tunnels: 4096,
            speed: None,
            rotate: None,
            reconnect: Reconnect::default(),
            grace: Duration::from_secs(30),
            on_event: None,
            watch: None,
        }
    }
}

/// What the exit says of itself; the ledger may know better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Pool.
    pub pool: Option<String>,
    /// ISO 3166-1 alpha-2, lower case.
    pub country: Option<String>,
    /// ISO 3166-2 subdivision.
    pub state: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// Name for people.
    pub name: Option<String>,
}

/// Bounds of reconnection.
#[derive(Clone, Debug)]
pub struct Reconnect {
    /// First wait (full jitter: anything between nothing and this), doubled at each failure.
    pub least: Duration,
    /// Longest wait.
    pub most: Duration,
    /// A link that lasted this long makes the next wait the first again.
    pub stable: Duration,
    /// Wait after the gateway refused the token: nothing changes by itself.
    pub refused: Duration,
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect {
            least: Duration::from_millis(200),
            most: Duration::from_secs(30),
            stable: Duration::from_secs(60),
            refused: Duration::from_secs(30),
        }
    }
}

/// An exit's token. It has no `Debug`, `Display` or comparison, so it cannot reach a log.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes the token, trimmed.
    #[must_use]
    pub fn new(token: impl AsRef<str>) -> Token {
        Token(token.as_ref().trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Is the way to the gateway encrypted?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// `ws://`
    Plain,
    /// `wss://`
    Tls,
}

/// `ws[s]://HOST[:PORT][/PATH]`, the path being `/v1/link` unless said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayUrl {
    /// Encrypted or not.
    pub security: Security,
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 80 and 443 unless said.
    pub port: u16,
    /// Where the link begins.
    pub path: String,
}

impl GatewayUrl {
    /// `HOST:PORT` as in a `Host` header, IPv6 in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

/// What is wrong with a gateway URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UrlError {
    /// Neither `ws://` nor `wss://`.
    Scheme,
    /// No host.
    Host,
    /// Not a port.
    Port,
    /// A user, a query or a fragment.
    Extra,
    /// A character no URL has.
    Character,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::Scheme => "a gateway URL begins with ws:// or wss://",
            UrlError::Host => "the gateway URL names no host",
            UrlError::Port => "the gateway URL's port is not a number from 1 to 65535",
            UrlError::Extra => "a gateway URL has no user, query or fragment (the token goes separately)",
            UrlError::Character => "the gateway URL contains a space or another character that must be percent-encoded",
        })
    }
}

impl std::error::Error for UrlError {}

impl FromStr for GatewayUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<GatewayUrl, UrlError> {
        let (security, rest) = if let Some(rest) = text.strip_prefix("wss://") {
            (Security::Tls, rest)
        } else if let Some(rest) = text.strip_prefix("ws://") {
            (Security::Plain, rest)
        } else {
            return Err(UrlError::Scheme);
        };
        if rest.contains(['@', '?', '#']) {
            return Err(UrlError::Extra);
        }
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Character);
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(literal) => {
                let (host, after) = literal.split_once(']').ok_or(UrlError::Host)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(UrlError::Port)?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        let port = match (port, security) {
            (Some(port), _) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
            (None, Security::Plain) => 80,
            (None, Security::Tls) => 443,
        };
        let path = if path == "/" { "/v1/link" } else { path };
        Ok(GatewayUrl { security, host: host.to_owned(), port, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let good = [
            ("ws://127.0.0.1:8082", (Security::Plain, "127.0.0.1", 8082, "/v1/link"), "127.0.0.1:8082"),
            ("wss://gw.example.test", (Security::Tls, "gw.example.test", 443, "/v1/link"), "gw.example.test:443"),
            ("wss://gw.example.test/a/b", (Security::Tls, "gw.example.test", 443, "/a/b"), "gw.example.test:443"),
            ("ws://[::1]:99/", (Security::Plain, "::1", 99, "/v1/link"), "[::1]:99"),
        ];
        for (text, (security, host, port, path), authority) in good {
            let url: GatewayUrl = text.parse().expect(text);
            assert_eq!((url.security, url.host.as_str(), url.port, url.path.as_str()), (security, host, port, path));
            assert_eq!(url.authority(), authority);
        }
        let bad = [
            ("http://x", UrlError::Scheme),
            ("ws://", UrlError::Host),
            ("ws://:80", UrlError::Host),
            ("ws://[x]:80", UrlError::Host),
            ("ws://x:0", UrlError::Port),
            ("ws://x:70000", UrlError::Port),
            ("ws://[::1]80", UrlError::Port),
            ("ws://token@x", UrlError::Extra),
            ("ws://x/?token=1", UrlError::Extra),
            ("ws://x y", UrlError::Character),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<GatewayUrl>(), Err(error), "{text}");
        }
    }
}
