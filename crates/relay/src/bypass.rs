//! Which targets are reached past the upstreams, and which rule says so: `NO_PROXY` with what the rules mean made plain.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use outgate_client::connect::Target;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As it was written: what the client and the record are shown.
    text: String,
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// `*`
    All,
    /// `example.com`: the name itself and everything under it, as curl, Go and Python read it.
    NameAndUnder(String),
    /// `.example.com`, `*.example.com`: what is under it only.
    Under(String),
    /// `10.0.0.0/8`, `192.0.2.1`: address literals; names are not looked up for it.
    Net(IpNet),
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule(String);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is no rule: example.com, .example.com, *.example.com, 10.0.0.0/8, HOST:PORT, [2001:db8::/32]:PORT or *",
            self.0
        )
    }
}

impl std::error::Error for BadRule {}

impl Rule {
    /// Reads one rule: a host, a suffix, an address or range, each with a port or without.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Rule, BadRule> {
        let text = text.trim();
        let bad = || BadRule(text.to_owned());
        if let Some(hosts) = read_hosts(text) {
            return Ok(Rule { text: text.to_owned(), hosts, port: None });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let hosts = read_hosts(host).ok_or_else(bad)?;
        Ok(Rule { text: text.to_owned(), hosts, port: Some(port) })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it speaks of this target.
    pub fn matches(&self, target: &Target) -> bool {
        if self.port.is_some_and(|port| port != target.port()) {
            return false;
        }
        let host = target.host().trim_end_matches('.');
        let under = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        match &self.hosts {
            Hosts::All => true,
            Hosts::NameAndUnder(name) => host == name || under(name),
            Hosts::Under(name) => under(name),
            Hosts::Net(net) => host.parse::<IpAddr>().is_ok_and(|ip| net.contains(&ip.to_canonical())),
        }
    }
}

fn read_hosts(text: &str) -> Option<Hosts> {
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    if bare == "*" {
        return Some(Hosts::All);
    }
    if let Ok(net) = bare.parse::<IpNet>() {
        return Some(Hosts::Net(net.trunc()));
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Hosts::Net(IpNet::from(ip)));
    }
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let (name, under) = match bare.strip_prefix("*.").or_else(|| bare.strip_prefix('.')) {
        Some(name) => (name, true),
        None => (bare, false),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match is_name(&name) {
        true if under => Some(Hosts::Under(name)),
        true => Some(Hosts::NameAndUnder(name)),
        false => None,
    }
}

/// All rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// The rules of a `NO_PROXY` variable: separated by commas or blanks. What is no rule there is returned beside them: other
    /// programs take it for something, and it must not stop this one.
    pub fn of_variable(text: &str) -> (Rules, Vec<BadRule>) {
        let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        let (mut rules, mut bad) = (Vec::new(), Vec::new());
        for word in words {
            match Rule::parse(word) {
                Ok(rule) => rules.push(rule),
                Err(error) => bad.push(error),
            }
        }
        (Rules(rules), bad)
    }

    /// The first rule that speaks of this target.
    pub fn find(&self, target: &Target) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_speak_of_what_they_say() {
        // (rule, target, whether)
        let cases = [
            ("example.com", "example.com:443", true),
            ("example.com", "www.example.com:80", true),
            ("example.com", "badexample.com:80", false),
            ("EXAMPLE.com.", "example.com.:80", true),
            (".example.com", "www.example.com:80", true),
            (".example.com", "example.com:80", false),
            ("*.example.com", "a.b.example.com:80", true),
            ("*.example.com", "example.com:80", false),
            ("example.com:8443", "example.com:8443", true),
            ("example.com:8443", "example.com:443", false),
            ("10.0.0.0/8", "10.1.2.3:80", true),
            ("10.0.0.0/8", "11.1.2.3:80", false),
            ("10.1.2.3/8", "10.9.9.9:80", true),
            ("127.0.0.1", "127.0.0.1:1", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]:80", true),
            ("2001:db8::/32", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:443", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:443", "[2001:db8::1]:80", false),
            ("localhost", "localhost:3000", true),
            ("*", "anything.example:1", true),
            ("*:22", "anything.example:22", true),
            ("*:22", "anything.example:23", false),
        ];
        for (rule, target, expected) in cases {
            let parsed = Rule::parse(rule).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(parsed.matches(&Target::parse(target).expect(target)), expected, "{rule} of {target}");
            assert_eq!(parsed.text(), rule);
        }
        for bad in ["", "exa mple.com", "example.com:port", "example.com:0", "http://example.com", "10.0.0.0/33", "."] {
            assert!(Rule::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn variables_are_read_as_far_as_they_can_be() {
        let (rules, bad) = Rules::of_variable("localhost, .corp,10.0.0.0/8 http://no");
        assert_eq!(rules.0.iter().map(Rule::text).collect::<Vec<_>>(), ["localhost", ".corp", "10.0.0.0/8"]);
        assert_eq!(bad.len(), 1);
        let found = rules.find(&Target::new("git.corp", 22)).map(Rule::text);
        assert_eq!(found, Some(".corp"));
    }
}
