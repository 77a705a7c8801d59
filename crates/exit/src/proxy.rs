//! Proxy: the way to the gateway through an HTTP proxy (CONNECT, RFC 9110 §9.3.6), and which one the environment asks for.

use std::{fmt, io, net::IpAddr, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use http::StatusCode;
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::settings::{GatewayUrl, Security};

/// Longest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Most headers in it.
const MAX_HEADERS: usize = 64;
/// Longest part of a proxy's own words that is repeated, in bytes.
const MAX_WORDS: usize = 200;

/// An HTTP proxy, `http://[USER:PASSWORD@]HOST[:PORT]`. Its credentials are shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address, without brackets.
    host: String,
    /// 80 unless said, as in every URL of that scheme.
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
}

/// What is wrong with a proxy's URL. It never repeats the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProxyUrlError {
    /// Not a scheme that an exit can use.
    Scheme(String),
    /// No host, or not a host.
    Host,
    /// Not a port.
    Port,
    /// A path, query or fragment.
    Extra,
    /// A user or password that is not properly percent-encoded.
    Credentials,
}

impl fmt::Display for ProxyUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyUrlError::Scheme(scheme) => {
                write!(f, "an exit dials through HTTP proxies only, http://[USER:PASSWORD@]HOST:PORT, not {scheme}://")
            }
            ProxyUrlError::Host => f.write_str("the proxy's URL names no host; write http://[USER:PASSWORD@]HOST:PORT"),
            ProxyUrlError::Port => f.write_str("the proxy's port is not a number from 1 to 65535"),
            ProxyUrlError::Extra => f.write_str("a proxy's URL ends with its port; write http://[USER:PASSWORD@]HOST:PORT"),
            ProxyUrlError::Credentials => {
                f.write_str("the proxy's user or password must be percent-encoded (an @ in it is %40, a : is %3A)")
            }
        }
    }
}

impl std::error::Error for ProxyUrlError {}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Proxy, ProxyUrlError> {
        let rest = match text.trim().split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                return Err(ProxyUrlError::Scheme(scheme.to_owned()));
            }
            Some(_) => return Err(ProxyUrlError::Host),
            // As curl and others take it.
            None => text.trim(),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(ProxyUrlError::Extra);
        }
        let (host, port) = host_and_port(authority).ok_or(ProxyUrlError::Host)?;
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'%');
        if host.is_empty() || !host.bytes().all(name) {
            return Err(ProxyUrlError::Host);
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(ProxyUrlError::Port)?,
            None => 80,
        };
        let authorization = match credentials {
            None => None,
            Some(credentials) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                let mut pair = percent_decoded(user).filter(|user| !user.contains(&b':')).ok_or(ProxyUrlError::Credentials)?;
                pair.push(b':');
                pair.extend(percent_decoded(password).ok_or(ProxyUrlError::Credentials)?);
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        Ok(Proxy { host: host.to_owned(), port, authorization })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.to_string()).finish()
    }
}

impl Proxy {
    /// The proxy that the environment asks for on the way to this gateway, by the names curl and others read, lower case
    /// first: `https_proxy` for `wss://`, `http_proxy` for `ws://`, then `all_proxy`; not where `no_proxy` matches, nor
    /// to this machine itself.
    ///
    /// # Errors
    /// The variable that cannot be used, and why.
    pub fn of_environment(
        gateway: &GatewayUrl,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Proxy>, (String, ProxyUrlError)> {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&str; 2]| names.into_iter().find_map(|name| Some((name.to_owned(), get(name)?)));
        let own = match gateway.security {
            Security::Tls => ["https_proxy", "HTTPS_PROXY"],
            Security::Plain => ["http_proxy", "HTTP_PROXY"],
        };
        let Some((name, url)) = first(own).or_else(|| first(["all_proxy", "ALL_PROXY"])) else {
            return Ok(None);
        };
        let excepted = first(["no_proxy", "NO_PROXY"]).is_some_and(|(_, list)| excepts(&list, &gateway.host, gateway.port));
        if excepted || is_this_machine(&gateway.host) {
            return Ok(None);
        }
        url.parse().map(Some).map_err(|error| (name, error))
    }

    /// `HOST` and `PORT` to connect to.
    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Asks for a tunnel to `authority` on a connection to the proxy. The deadline is the caller's.
    pub(crate) async fn tunnel(&self, stream: &mut TcpStream, authority: &str) -> Result<(), TunnelError> {
        let credentials = match &self.authorization {
            Some(value) => format!("Proxy-Authorization: {value}\r\n"),
            None => String::new(),
        };
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut input = BytesMut::with_capacity(1024);
        loop {
            let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut slots);
            match head.parse(&input) {
                Ok(httparse::Status::Complete(length)) => {
                    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(TunnelError::NotAProxy)?;
                    if status.is_success() {
                        // The gateway is silent until it is asked.
                        return if input.len() == length { Ok(()) } else { Err(TunnelError::NotAProxy) };
                    }
                    let header = |name: &str| {
                        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                        found.map(|header| words(header.value)).filter(|value| !value.is_empty())
                    };
                    let reason = header("x-proxy-error")
                        .or_else(|| header("x-squid-error"))
                        .or_else(|| head.reason.map(|reason| words(reason.as_bytes())).filter(|reason| !reason.is_empty()));
                    return Err(TunnelError::Refused { status, reason, asked: self.authorization.is_some() });
                }
                Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => {
                    input.reserve(1024);
                    if stream.read_buf(&mut input).await? == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                }
                Ok(httparse::Status::Partial) | Err(_) => return Err(TunnelError::NotAProxy),
            }
        }
    }
}

/// Why a proxy gave no tunnel.
#[derive(Debug)]
pub(crate) enum TunnelError {
    Io(io::Error),
    /// What answered speaks no HTTP.
    NotAProxy,
    Refused {
        status: StatusCode,
        /// `X-Proxy-Error` or the like, else the reason phrase.
        reason: Option<String>,
        /// With credentials?
        asked: bool,
    },
}

impl TunnelError {
    /// Would the same question get the same answer until somebody changed something?
    pub(crate) fn needs_change(&self) -> bool {
        matches!(self, TunnelError::NotAProxy) || matches!(self, TunnelError::Refused { status, .. } if status.is_client_error())
    }
}

impl From<io::Error> for TunnelError {
    fn from(error: io::Error) -> TunnelError {
        TunnelError::Io(error)
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("closed the connection without an answer; is it an HTTP proxy?")
            }
            TunnelError::Io(error) => write!(f, "broke off: {error}"),
            TunnelError::NotAProxy => f.write_str("gave an answer that is not HTTP; is it an HTTP proxy?"),
            TunnelError::Refused { status, reason, asked } => {
                write!(f, "refused: {}", status.as_u16())?;
                if let Some(reason) = reason {
                    write!(f, " {reason}")?;
                }
                match (*status, asked) {
                    (StatusCode::PROXY_AUTHENTICATION_REQUIRED, false) => {
                        f.write_str("; it wants credentials: http://USER:PASSWORD@HOST:PORT")
                    }
                    // Some say 401 to wrong credentials, as an origin would.
                    (StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED, true) => {
                        f.write_str("; are its user and password right?")
                    }
                    (StatusCode::FORBIDDEN, _) => f.write_str("; its operator must let it CONNECT to the gateway's port"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A proxy's own words, safe to print.
fn words(text: &[u8]) -> String {
    let visible = text.iter().take(MAX_WORDS).filter(|byte| (b' '..=b'~').contains(byte));
    visible.map(|byte| char::from(*byte)).collect::<String>().trim().to_owned()
}

/// `HOST[:PORT]`, IPv6 in brackets.
fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    match authority.strip_prefix('[') {
        Some(literal) => {
            let (host, after) = literal.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            Some((host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) }))
        }
        None => Some(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }),
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = after;
    }
    Some(decoded)
}

/// A proxy elsewhere could not reach it, or would reach another one.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Does a `no_proxy` list except this host? Entries: `*`, a name (with everything under it, with or without a leading dot),
/// an address, a CIDR range; each may end with `:PORT`.
fn excepts(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    list.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        // An IPv6 address without brackets has colons of its own.
        let bare = entry.parse::<IpAddr>().is_ok() || entry.parse::<IpNet>().is_ok();
        let split = if bare { Some((entry, None)) } else { host_and_port(entry) };
        let Some((name, only)) = split else { return false };
        if only.is_some_and(|only| only.parse() != Ok(port)) {
            return false;
        }
        if let Ok(net) = name.parse::<IpNet>() {
            return ip.is_some_and(|ip| net.contains(&ip));
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            return ip == Some(address.to_canonical());
        }
        let name = name.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        !name.is_empty() && (host == name || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let good = [
            ("http://proxy.example:3128", "proxy.example:3128", None),
            ("HTTP://proxy.example/", "proxy.example:80", None),
            ("proxy.example:8080", "proxy.example:8080", None),
            ("http://[::1]:99", "[::1]:99", None),
            ("http://me:secret@proxy.example:1", "proxy.example:1", Some("me:secret")),
            ("http://me%40home:a%3Ab@10.0.0.1:1", "10.0.0.1:1", Some("me@home:a:b")),
            ("http://only-user@10.0.0.1:1", "10.0.0.1:1", Some("only-user:")),
        ];
        for (url, shown, credentials) in good {
            let proxy: Proxy = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(proxy.authorization, credentials.map(|pair| format!("Basic {}", STANDARD.encode(pair))), "{url}");
            assert!(!format!("{proxy:?}").contains("secret"));
        }
        let bad = [
            ("socks5://proxy:1080", ProxyUrlError::Scheme("socks5".into())),
            ("https://proxy:1080", ProxyUrlError::Scheme("https".into())),
            ("http://", ProxyUrlError::Host),
            ("http://a b:1", ProxyUrlError::Host),
            ("http://a\r\nx: y:1", ProxyUrlError::Host),
            ("http://a:0", ProxyUrlError::Port),
            ("http://a:1/path", ProxyUrlError::Extra),
            ("http://u%zz:p@a:1", ProxyUrlError::Credentials),
            ("http://u:p%4@a:1", ProxyUrlError::Credentials),
            ("http://u%3A:p@a:1", ProxyUrlError::Credentials),
        ];
        for (url, error) in bad {
            assert_eq!(url.parse::<Proxy>().map(|p| p.to_string()), Err(error), "{url}");
        }
    }

    #[test]
    fn exceptions() {
        let cases = [
            ("*", "a.example", 443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "gw.example.com", 443, true),
            (".example.com", "gw.EXAMPLE.com.", 443, true),
            ("*.example.com", "gw.example.com", 443, true),
            ("example.com", "notexample.com", 443, false),
            ("other, example.com:8443", "gw.example.com", 8443, true),
            ("example.com:8443", "gw.example.com", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "ten.example", 443, false),
            ("192.0.2.7", "192.0.2.7", 443, true),
            ("192.0.2.7:1", "192.0.2.7", 443, false),
            ("2001:db8::/32", "2001:db8::1", 443, true),
            ("[2001:db8::1]:443", "2001:db8::1", 443, true),
            ("2001:db8::1", "2001:db8::1", 443, true),
            ("", "a.example", 443, false),
            (",, ,", "a.example", 443, false),
        ];
        for (list, host, port, expected) in cases {
            assert_eq!(excepts(list, host, port), expected, "{list:?} {host}:{port}");
        }
    }

    #[test]
    fn the_environment() {
        type Set<'a> = &'a [(&'a str, &'a str)];
        type Found<'a> = Result<Option<&'a str>, &'a str>;
        let cases: [(&str, Set<'_>, Found<'_>); 11] = [
            ("wss://gw.example", &[], Ok(None)),
            ("wss://gw.example", &[("HTTPS_PROXY", "http://p:1")], Ok(Some("p:1"))),
            ("wss://gw.example", &[("HTTPS_PROXY", "http://p:1"), ("https_proxy", "http://q:2")], Ok(Some("q:2"))),
            ("ws://gw.example", &[("HTTPS_PROXY", "http://p:1")], Ok(None)),
            ("ws://gw.example", &[("HTTP_PROXY", "http://p:1"), ("ALL_PROXY", "http://q:2")], Ok(Some("p:1"))),
            ("wss://gw.example", &[("HTTP_PROXY", "http://p:1"), ("ALL_PROXY", "http://q:2")], Ok(Some("q:2"))),
            ("wss://gw.example", &[("HTTPS_PROXY", ""), ("ALL_PROXY", " ")], Ok(None)),
            ("wss://gw.example", &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "example")], Ok(None)),
            ("wss://gw.example", &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "example"), ("no_proxy", "x")], Ok(Some("p:1"))),
            ("ws://127.0.0.1:8082", &[("HTTP_PROXY", "p:1")], Ok(None)),
            ("wss://gw.example", &[("ALL_PROXY", "socks5://p:1")], Err("ALL_PROXY")),
        ];
        for (url, environment, expected) in cases {
            let gateway: GatewayUrl = url.parse().expect(url);
            let find = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            let found = Proxy::of_environment(&gateway, find).map(|proxy| proxy.map(|proxy| proxy.to_string()));
            assert_eq!(
                found.map_err(|(name, _)| name),
                expected.map(|p| p.map(str::to_owned)).map_err(str::to_owned),
                "{url} {environment:?}"
            );
        }
    }
}
