//! A proxy's URL as people write it: read tolerantly, with every mistake named.

use std::net::Ipv6Addr;

use outgate_client::connect::{BadUpstream, Credentials, Scheme, Upstream};

/// A proxy as its URL names it, and what is wrong with the URL.
#[derive(Debug)]
pub struct ProxyUrl {
    /// The proxy.
    pub upstream: Upstream,
    /// Whatever is not as it should be in the URL.
    pub flaws: Vec<Flaw>,
}

/// Something that is not as it should be in a URL that could be read anyway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// No scheme: taken for `http://`.
    NoScheme,
    /// No port: the scheme's default was taken.
    NoPort(u16),
    /// These characters stand in user name or password as they are, and `clients_read` is what the rules make of it.
    Unencoded {
        /// The characters, each once, in order.
        characters: String,
        /// What a client that keeps the rules takes for host and port.
        clients_read: String,
    },
    /// A `%` that no two hexadecimal digits follow.
    BadPercent,
    /// Blanks, line ends or quotation marks around it.
    Wrapped,
    /// A path, which a proxy has not.
    Path,
    /// The password is empty.
    NoPassword,
}

/// A URL that names no proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// What is wrong with it; nothing of a password in it.
    pub why: String,
}

impl ProxyUrl {
    /// Reads `text`.
    ///
    /// # Errors
    /// When no host can be found in it, or its scheme is none of a proxy.
    pub fn read(text: &str) -> Result<ProxyUrl, Unreadable> {
        let mut flaws = Vec::new();
        let bare = text.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        if bare.len() != text.len() {
            flaws.push(Flaw::Wrapped);
        }
        let (scheme, rest) = match bare.split_once("://") {
            Some((name, rest)) => (scheme(name)?, rest),
            None => {
                flaws.push(Flaw::NoScheme);
                (Scheme::Http, bare)
            }
        };
        // A proxy has no path, so whatever stands before the last @ is credentials, unencoded characters and all.
        let (userinfo, place) = match rest.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, rest),
        };
        let (place, path) = match place.find(['/', '?', '#']) {
            Some(at) => place.split_at(at),
            None => (place, ""),
        };
        if place.parse::<Ipv6Addr>().is_ok() {
            return Err(unreadable("an IPv6 address needs brackets: [::1]:8080"));
        }
        let upstream = Upstream::parse(&format!("{}://{place}", scheme.name())).map_err(misplaced)?;
        // An IPv6 address has colons of its own.
        if !place.rsplit(']').next().unwrap_or_default().contains(':') {
            flaws.push(Flaw::NoPort(scheme.default_port()));
        }
        if !matches!(path, "" | "/") {
            flaws.push(Flaw::Path);
        }
        let credentials = userinfo.map(|userinfo| credentials(userinfo, rest, &mut flaws));
        Ok(ProxyUrl { upstream: upstream.with_credentials(credentials), flaws })
    }
}

/// The proxy's URL, with `***` where credentials are: providers put secrets into user names, too.
pub(crate) fn shown(upstream: &Upstream) -> String {
    let credentials = if upstream.credentials().is_some() { "***@" } else { "" };
    format!("{}://{credentials}{}", upstream.scheme().name(), upstream.authority())
}

fn unreadable(why: &str) -> Unreadable {
    Unreadable { why: why.to_owned() }
}

/// What stands in the place of host and port may be a part of the password, so it is not repeated.
fn misplaced(error: BadUpstream) -> Unreadable {
    unreadable(match error {
        BadUpstream::NoHost => "it names no host",
        BadUpstream::BadPort => "the port is no number from 1 to 65535; is a part of the password in its place?",
        _ => "the host has characters that no name has; is a part of the password in its place?",
    })
}

/// What came from outside, without anything that could move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `%XX` decoded; what is no such sequence stays as it is.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%').then(|| Some((hex(*bytes.get(at + 1)?)?, hex(*bytes.get(at + 2)?)?))).flatten();
        match pair {
            Some((high, low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn scheme(name: &str) -> Result<Scheme, Unreadable> {
    let lower = name.to_ascii_lowercase();
    Ok(match lower.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "socks5" | "socks" => Scheme::Socks5,
        "socks5h" => Scheme::Socks5h,
        "socks4" | "socks4a" => {
            return Err(unreadable("SOCKS4 has no passwords and no names; ask for the proxy's SOCKS5 or HTTP port"));
        }
        // A password may stand before a "://", too, so it is not repeated.
        _ => return Err(unreadable("what stands before :// is no scheme of a proxy: http, https, socks5 and socks5h are")),
    })
}

/// Takes `userinfo` apart and notes what should have been encoded in it. `rest` is all that follows the scheme.
fn credentials(userinfo: &str, rest: &str, flaws: &mut Vec<Flaw>) -> Credentials {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let reserved = |c: &char| {
        matches!(c, '@' | ':' | '/' | '?' | '#' | '[' | ']' | ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')
            || c.is_control()
            || !c.is_ascii()
    };
    let mut characters = String::new();
    for c in user.chars().chain(password.chars()).filter(reserved) {
        if !characters.contains(c) {
            characters.push(c);
        }
    }
    if !characters.is_empty() {
        flaws.push(Flaw::Unencoded { characters: printable(&characters), clients_read: as_clients_read(rest) });
    }
    let bytes = userinfo.as_bytes();
    let bad = |at: usize| bytes.get(at + 1..at + 3).is_none_or(|pair| !pair.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && bad(at)) {
        flaws.push(Flaw::BadPercent);
    }
    if password.is_empty() {
        flaws.push(Flaw::NoPassword);
    }
    Credentials::new(decoded(user), decoded(password))
}

/// What clients that keep the rules make of it, without a piece of the password.
fn as_clients_read(rest: &str) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match (authority.len() < rest.rsplit_once('@').map_or(0, |(before, _)| before.len()), authority.matches('@').count()) {
        // The authority ends inside the password: what should be the user name stands for the host.
        (true, _) => "a host and port that are a part of the credentials".to_owned(),
        (false, 0 | 1) => "the same host, and a user name that may end at another colon".to_owned(),
        (false, _) => "a host that begins after the first @, or an invalid URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unencoded(flaws: &[Flaw]) -> Option<&str> {
        flaws.iter().find_map(|flaw| match flaw {
            Flaw::Unencoded { characters, .. } => Some(characters.as_str()),
            _ => None,
        })
    }

    #[test]
    fn what_people_write() {
        // (written, shown again, password, unencoded characters)
        let cases: &[(&str, &str, Option<&str>, Option<&str>)] = &[
            ("http://proxy.example.com:3128", "http://proxy.example.com:3128", None, None),
            ("http://u:p@h:1", "http://***@h:1", Some("p"), None),
            ("HTTPS://u:p%40ss@H:1/", "https://***@h:1", Some("p@ss"), None),
            ("http://u:p@ss@h:1", "http://***@h:1", Some("p@ss"), Some("@")),
            ("http://u:p#ss@h:1", "http://***@h:1", Some("p#ss"), Some("#")),
            ("http://u:p/s?s@h:1", "http://***@h:1", Some("p/s?s"), Some("/?")),
            ("http://u:p:ss@h:1", "http://***@h:1", Some("p:ss"), Some(":")),
            ("socks5h://u:é@h:1", "socks5h://***@h:1", Some("é"), Some("é")),
            ("http://u:50%@h:1", "http://***@h:1", Some("50%"), None),
            ("http://u:p%2540ss@h:1", "http://***@h:1", Some("p%40ss"), None),
            ("http://[::1]:8080", "http://[::1]:8080", None, None),
            ("socks5://h", "socks5://h:1080", None, None),
            ("h:8080", "http://h:8080", None, None),
            (" 'http://h:8080'\n", "http://h:8080", None, None),
        ];
        for (written, again, password, characters) in cases {
            let url = ProxyUrl::read(written).unwrap_or_else(|error| panic!("{written}: {}", error.why));
            assert_eq!(shown(&url.upstream), *again, "{written}");
            assert_eq!(url.upstream.credentials().map(Credentials::expose_password), *password, "{written}");
            assert_eq!(unencoded(&url.flaws), *characters, "{written}");
        }
    }

    #[test]
    fn flaws_are_named() {
        let flaws = |text: &str| ProxyUrl::read(text).expect("readable").flaws;
        assert_eq!(flaws("h"), [Flaw::NoScheme, Flaw::NoPort(80)]);
        assert_eq!(flaws("http://[::1]"), [Flaw::NoPort(80)]);
        assert_eq!(flaws("http://u:5%0@h:1"), [Flaw::BadPercent]);
        assert_eq!(flaws("http://u@h:1/x"), [Flaw::Path, Flaw::NoPassword]);
        assert_eq!(flaws(" http://h:1"), [Flaw::Wrapped]);
    }

    #[test]
    fn what_names_no_proxy() {
        let cases = [
            "",
            "http://",
            "http://:80",
            "http://h:0",
            "http://h:99999",
            "ftp://h:1",
            "http://a b:1",
            "http://::1",
            "http://[::1",
        ];
        for text in cases {
            assert!(ProxyUrl::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_never_shows() {
        let cases = [
            "http://u:sEcret@h:1",
            "http://u:sEc@ret@h:1",
            "http://u:sEc#ret@h:x",
            "http://u:sEcret@h:x",
            "http://u:sEc:ret",
            "sEcret://h",
        ];
        for text in cases {
            let told = match ProxyUrl::read(text) {
                Ok(url) => format!("{} {url:?}", shown(&url.upstream)),
                Err(unreadable) => unreadable.why,
            };
            assert!(!told.contains("sEc") && !told.contains("ret@"), "{text}: {told}");
        }
    }
}
