//! A target's URL: `http://` or `https://`, and credentials that may stand in the wrong place.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use outgate_client::connect::Target;

/// How long this machine's resolver may take for a target.
const LOOKUP: Duration = Duration::from_secs(5);

/// Where a request is to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// Whether TLS is spoken with it.
    pub security: Security,
    /// Host and port.
    pub target: Target,
    /// Path and query.
    pub path: String,
    /// Whether there were a user name and a password in the URL. They are dropped: the doctor sends none to a target.
    pub login: Login,
    /// The address to ask for in place of the name, which stays in `Host` and in TLS.
    at: Option<IpAddr>,
}

/// Whether a target is spoken to in clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// `http://`
    Clear,
    /// `https://`
    Tls,
}

/// Whether a target's URL has credentials in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Login {
    /// It has none.
    Absent,
    /// It has some.
    Present,
}

impl Site {
    /// Reads a URL; without a scheme it is `https://`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(text: &str) -> Result<Site, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let security = match scheme.to_ascii_lowercase().as_str() {
            "http" => Security::Clear,
            "https" => Security::Tls,
            _ => return Err("a target's URL begins with http:// or https://".to_owned()),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (login, authority) = match authority.rsplit_once('@') {
            Some((_, authority)) => (Login::Present, authority),
            None => (Login::Absent, authority),
        };
        // An IPv6 address has colons of its own.
        let has_port = authority.rsplit(']').next().unwrap_or_default().contains(':');
        let default = if security == Security::Tls { 443 } else { 80 };
        let whole = if has_port { authority.to_owned() } else { format!("{authority}:{default}") };
        let target = Target::parse(&whole).ok_or_else(|| "it has no host, or a port that is none".to_owned())?;
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // It goes into a request line as it is.
        if path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err("there are characters in its path that must be percent-encoded".to_owned());
        }
        Ok(Site { security, target, path, login, at: None })
    }

    /// The same site asked for by this address of its name.
    pub(crate) fn at_address(&self, address: IpAddr) -> Site {
        Site { at: Some(address), ..self.clone() }
    }

    /// The same host at another port.
    pub(crate) fn at_port(&self, port: u16) -> Site {
        Site { target: Target::new(self.target.host(), port), ..self.clone() }
    }

    /// What is connected to.
    pub(crate) fn place(&self) -> Target {
        match self.at {
            Some(address) => Target::new(address.to_string(), self.target.port()),
            None => self.target.clone(),
        }
    }

    /// The whole URL as a proxy is asked for it, in clear.
    pub(crate) fn absolute(&self) -> String {
        format!("http://{}{}", self.place(), self.path)
    }

    /// Its addresses as this machine's resolver knows them; none if the host is an address.
    pub(crate) async fn addresses(&self) -> Vec<IpAddr> {
        let host = self.target.host();
        if host.parse::<IpAddr>().is_ok() {
            return Vec::new();
        }
        let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, self.target.port()))).await;
        found.ok().and_then(Result::ok).map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
    }

    /// The value of `Host`: the port only where it is not the scheme's.
    pub(crate) fn authority(&self) -> String {
        let default = if self.security == Security::Tls { ":443" } else { ":80" };
        let whole = self.target.to_string();
        whole.strip_suffix(default).map_or(whole.clone(), str::to_owned)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.security == Security::Tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            ("https://example.com", Ok("https://example.com/")),
            ("example.com/a?b#c", Ok("https://example.com/a?b")),
            ("HTTP://Example.com:80/", Ok("http://example.com/")),
            ("http://example.com:8080?x", Ok("http://example.com:8080/?x")),
            ("https://u:p@[::1]:8443/", Ok("https://[::1]:8443/")),
            ("https://[::1]/", Ok("https://[::1]/")),
            ("ftp://h/", Err(())),
            ("http://", Err(())),
            ("http://h:0/", Err(())),
            ("http://h/a b", Err(())),
            ("http://h/a\r\nX: y", Err(())),
        ];
        for (text, shown) in cases {
            assert_eq!(Site::read(text).map(|site| site.to_string()).map_err(|_| ()), shown.map(str::to_owned), "{text:?}");
        }
        assert_eq!(Site::read("http://u:p@h/").expect("a URL").login, Login::Present);
    }
}
