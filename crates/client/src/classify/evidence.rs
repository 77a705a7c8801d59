//! What is known of an attempt, however it ended: all that a verdict may rest on.

use std::borrow::Cow;

use crate::classify::Breakage;
use crate::providers::Provider;

/// How the request was put, which decides who can have given the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Way {
    /// The answer to a CONNECT: only a proxy can have given it.
    Connect,
    /// A request in absolute form: the proxy or, passed through, the target.
    Forwarded,
    /// SOCKS5 up to its final reply.
    Socks,
    /// What came through an open tunnel: the target's, unless somebody on the way opens TLS.
    Tunnelled,
    /// Past any proxy, to compare.
    Direct,
}

impl Way {
    /// Every way, in order.
    pub const ALL: &'static [Way] = &[Way::Connect, Way::Forwarded, Way::Socks, Way::Tunnelled, Way::Direct];

    /// The word for it in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Way::Connect => "connect",
            Way::Forwarded => "forwarded",
            Way::Socks => "socks",
            Way::Tunnelled => "tunnelled",
            Way::Direct => "direct",
        }
    }

    /// The way with this name.
    pub fn parse(name: &str) -> Option<Way> {
        Way::ALL.iter().copied().find(|way| way.name() == name)
    }
}

/// What a SOCKS5 server said last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SocksSaid {
    /// It chose none of the offered ways to log in (RFC 1928 section 3, method FF).
    NoMethod,
    /// The status of a login (RFC 1929 section 2); 0 is success.
    Login(u8),
    /// The reply to the request (RFC 1928 section 6); 0 is success.
    Reply(u8),
    /// Nothing: user name or password are longer than the protocol has room for.
    TooLong,
}

/// An attempt and what came of it. Everything is optional that a client may not have: most show no more than a status.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// How the request was put.
    pub way: Way,
    /// The target, `host:port`; may be empty.
    pub target: &'a str,
    /// The proxy that was asked, `host:port` without credentials; may be empty.
    pub proxy: &'a str,
    /// The status line's number, if there was one.
    pub status: Option<u16>,
    /// The status line's text.
    pub reason: Option<&'a str>,
    /// The fields as they came.
    pub headers: Fields<'a>,
    /// The body or its beginning; [`BODY`] bytes are looked at.
    pub body: Option<&'a [u8]>,
    /// What SOCKS said.
    pub socks: Option<SocksSaid>,
    /// What broke, before or after an answer.
    pub breakage: Option<&'a Breakage>,
    /// Whose proxy it is, when that is configured. Without it the proxy's host and the answer's fields may tell.
    pub provider: Option<&'a Provider>,
}

/// How much of a body is looked at.
pub const BODY: usize = 16 * 1024;

impl<'a> Evidence<'a> {
    /// Nothing known yet but how `target` was asked for.
    pub fn of(way: Way, proxy: &'a str, target: &'a str) -> Evidence<'a> {
        Evidence {
            way,
            target,
            proxy,
            status: None,
            reason: None,
            headers: Fields::NONE,
            body: None,
            socks: None,
            breakage: None,
            provider: None,
        }
    }

    /// The target's host, without its port and brackets.
    pub fn host(&self) -> &'a str {
        host_of(self.target)
    }

    /// The one line that a proxy's plain answer consists of; pages are for people and no line.
    pub(crate) fn raw_line(&self) -> Option<String> {
        let text = self.text();
        let line = text.trim();
        let page = line.starts_with(['<', '{']) || line.contains('\n');
        (!line.is_empty() && !page).then(|| line.to_owned())
    }

    /// The same made harmless, to be shown.
    pub(crate) fn line(&self) -> Option<String> {
        self.raw_line().map(outgate_faults::fact::render)
    }

    /// Whether there is no page in it: nothing, or one plain line.
    pub(crate) fn is_bare(&self) -> bool {
        self.text().trim().is_empty() || self.line().is_some()
    }

    /// The part of the body that is looked at, as text.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        let body = self.body.unwrap_or_default();
        String::from_utf8_lossy(&body[..body.len().min(BODY)])
    }
}

/// `host` of `host:port`, `[host]:port` or `host`.
pub(crate) fn host_of(target: &str) -> &str {
    if let Some(rest) = target.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match target.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => target,
    }
}

/// The fields of an answer, from whichever library read them.
#[derive(Clone, Copy, Debug)]
pub enum Fields<'a> {
    /// As they came, in order. Names need not be valid: proxies send stranger things.
    List(&'a [(String, String)]),
    /// As `hyper` and its kin keep them.
    Map(&'a http::HeaderMap),
}

impl<'a> Fields<'a> {
    /// No fields, or none that the client can see.
    pub const NONE: Fields<'static> = Fields::List(&[]);

    /// Every value of a field, by its name in any case, in order. A value that is no text is shown as far as it is.
    pub fn all(self, name: &str) -> Vec<Cow<'a, str>> {
        match self {
            Fields::List(list) => {
                let named = list.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
                named.map(|(_, value)| Cow::Borrowed(value.trim())).collect()
            }
            Fields::Map(map) => map.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect(),
        }
    }

    /// The first value of a field.
    pub fn first(self, name: &str) -> Option<Cow<'a, str>> {
        self.all(name).into_iter().next()
    }

    /// Whether there is such a field.
    pub fn has(self, name: &str) -> bool {
        match self {
            Fields::List(list) => list.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)),
            Fields::Map(map) => map.contains_key(name),
        }
    }

    /// The names, in lower case.
    pub fn names(self) -> Vec<String> {
        match self {
            Fields::List(list) => list.iter().map(|(name, _)| name.to_ascii_lowercase()).collect(),
            Fields::Map(map) => map.keys().map(|name| name.as_str().to_owned()).collect(),
        }
    }
}

impl<'a> From<&'a [(String, String)]> for Fields<'a> {
    fn from(list: &'a [(String, String)]) -> Self {
        Fields::List(list)
    }
}

impl<'a> From<&'a http::HeaderMap> for Fields<'a> {
    fn from(map: &'a http::HeaderMap) -> Self {
        Fields::Map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, host_of};

    #[test]
    fn hosts_without_their_ports() {
        let cases = [("a.example:443", "a.example"), ("[::1]:80", "::1"), ("::1", "::1"), ("a.example", "a.example"), ("", "")];
        for (target, host) in cases {
            assert_eq!(host_of(target), host, "{target}");
        }
    }

    #[test]
    fn fields_are_found_in_any_case_and_form() {
        let list = [("Retry-After".to_owned(), " 5".to_owned()), ("retry-after".to_owned(), "7".to_owned())];
        assert_eq!(Fields::from(&list[..]).all("RETRY-AFTER"), ["5", "7"]);
        let map: http::HeaderMap = [("retry-after", "5")]
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect();
        assert_eq!(Fields::from(&map).first("Retry-After").as_deref(), Some("5"));
        assert!(!Fields::NONE.has("Retry-After"));
    }
}
