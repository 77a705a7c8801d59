//! How the generator gets to the origin: through a proxy that is asked, or through a relay that isn't.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::failure::{During, Failure, Outcome};
use crate::keys::Logins;

/// Number of origin addresses that set-ups rotate over; see [`crate::wire`] on ports.
pub(crate) const ORIGIN_ADDRESSES: u8 = 16;

/// The origin's addresses, all on one port: 127.0.1.1 and up.
pub(crate) fn origin_addresses(port: u16) -> Vec<SocketAddrV4> {
    (1..=ORIGIN_ADDRESSES).map(|last| SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, last), port)).collect()
}

/// Where connections go and what is asked of what answers there.
pub(crate) struct Route {
    entries: Vec<SocketAddrV4>,
    way: Way,
    origins: Vec<SocketAddrV4>,
    /// One CONNECT head per origin; empty for a relay.
    heads: Vec<Vec<u8>>,
    /// Who asks; none: whom the proxy's URL names.
    logins: Option<Logins>,
}

enum Way {
    Relay,
    Proxy { authorization: String },
}

impl Route {
    /// Through relays that know their origin. Several entries are used in turn.
    pub(crate) fn relay(entries: Vec<SocketAddrV4>, origins: Vec<SocketAddrV4>) -> Self {
        Self { entries, way: Way::Relay, origins, heads: vec![Vec::new()], logins: None }
    }

    /// Through an HTTP proxy, `http://[user:password@]address:port`.
    pub(crate) fn proxy(url: &str, origins: Vec<SocketAddrV4>) -> Outcome<Self> {
        let rest = url.strip_prefix("http://").ok_or_else(|| Failure::new("the proxy URL must begin with http://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let authorization = match user {
            Some(user) => format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(user)),
            None => String::new(),
        };
        let heads =
            origins.iter().map(|to| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{authorization}\r\n").into_bytes()).collect();
        let entry = address.parse().during("the proxy URL's address")?;
        Ok(Self { entries: vec![entry], way: Way::Proxy { authorization }, origins, heads, logins: None })
    }

    /// The same, where each CONNECT is of another key than the URL's.
    pub(crate) fn logging_in(self, logins: Option<Logins>) -> Self {
        Self { logins, ..self }
    }

    /// The `turn`th connection's address.
    pub(crate) fn entry(&self, turn: usize) -> SocketAddrV4 {
        self.entries[turn % self.entries.len()]
    }

    /// What must be sent first on it (nothing for a relay).
    pub(crate) fn opening(&self, turn: usize) -> Cow<'_, [u8]> {
        let head = &self.heads[turn % self.heads.len()];
        match &self.logins {
            None => Cow::Borrowed(head),
            Some(logins) => {
                let open = head.strip_suffix(b"\r\n").unwrap_or(head);
                Cow::Owned([open, logins.header(turn).as_bytes(), b"\r\n"].concat())
            }
        }
    }

    /// The request for 1 KiB. Always the first origin: proxies pool connections by address.
    pub(crate) fn request(&self) -> Vec<u8> {
        let to = self.origins[0];
        match &self.way {
            Way::Relay => format!("GET /1k HTTP/1.1\r\nHost: {to}\r\n\r\n"),
            Way::Proxy { authorization } => {
                format!("GET http://{to}/1k HTTP/1.1\r\nHost: {to}\r\n{authorization}\r\n")
            }
        }
        .into_bytes()
    }

    /// The origin itself, for questions that must not go through what is measured.
    pub(crate) fn origin(&self) -> SocketAddrV4 {
        self.origins[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_asked_with_credentials() {
        let route = Route::proxy("http://k1:s3@127.0.0.1:8080/", origin_addresses(9)).expect("a good URL");
        let head = route.opening(1);
        assert_eq!(route.entry(1).to_string(), "127.0.0.1:8080");
        let expected = "CONNECT 127.0.1.2:9 HTTP/1.1\r\nHost: 127.0.1.2:9\r\nProxy-Authorization: Basic azE6czM=\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), expected);
        let expected = "GET http://127.0.1.1:9/1k HTTP/1.1\r\nHost: 127.0.1.1:9\r\nProxy-Authorization: Basic azE6czM=\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&route.request()), expected);
    }

    #[test]
    fn keys_log_in_where_the_url_names_none() {
        let route = Route::proxy("http://127.0.0.1:8080", origin_addresses(9)).expect("a good URL");
        let route = route.logging_in(Some(Logins::among(1)));
        let expected = format!("CONNECT 127.0.1.1:9 HTTP/1.1\r\nHost: 127.0.1.1:9\r\n{}\r\n", Logins::among(1).header(0));
        assert_eq!(String::from_utf8_lossy(&route.opening(0)), expected);
    }

    #[test]
    fn a_relay_is_not_asked() {
        let entries = vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2)];
        let route = Route::relay(entries, origin_addresses(9));
        assert_eq!((route.entry(3).port(), route.opening(3).len()), (2, 0));
        assert!(route.request().starts_with(b"GET /1k HTTP/1.1\r\nHost: 127.0.1.1:9\r\n"));
    }
}
