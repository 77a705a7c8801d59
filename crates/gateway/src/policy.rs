//! Where traffic may go at all: ports and named rules, apart from any key's plan.

use std::net::IpAddr;

use ipnet::IpNet;
use outgate_egress::Host;
use outgate_store::PortRange;

use crate::head::Target;

/// The gateway's own policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Ports allowed when a plan names none.
    pub ports: Vec<PortRange>,
    /// Named rules; the first that matches decides.
    pub rules: Vec<Rule>,
    /// What holds when no rule matches.
    pub otherwise: Effect,
}

/// A named rule. A part that is empty matches everything.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Told to the client when it denies.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// Host suffixes: `example.org` matches it and every name below it.
    pub hosts: Vec<String>,
    /// Address ranges, matched against the addresses that would be connected to.
    pub nets: Vec<IpNet>,
    /// Ports.
    pub ports: Vec<PortRange>,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Lets it through to the other checks.
    Allow,
    /// Refuses it by the rule's name.
    Deny,
}

/// What the rules say of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    Allowed,
    /// Denied, by this rule.
    Denied(String),
    /// A rule on addresses comes first: ask again with the address.
    NeedsAddress,
}

impl Default for Policy {
    /// Ports 80, 443, 8080 and 8443, no rules.
    fn default() -> Self {
        let ports = [80, 443, 8080, 8443].map(|port| PortRange { from: port, to: port });
        Self { ports: ports.into(), rules: Vec::new(), otherwise: Effect::Allow }
    }
}

impl Policy {
    /// Judges a target, with an address of it once it is known.
    pub(crate) fn rule_on(&self, target: &Target, address: Option<IpAddr>) -> Ruling {
        let address = match &target.host {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => address,
        };
        for rule in &self.rules {
            if !rule.fits(target) {
                continue;
            }
            match (rule.nets.as_slice(), address) {
                ([], _) => {}
                (_, None) => return Ruling::NeedsAddress,
                (nets, Some(ip)) if nets.iter().any(|net| net.contains(&outgate_egress::guard::canonical(ip))) => {}
                _ => continue,
            }
            return match rule.effect {
                Effect::Allow => Ruling::Allowed,
                Effect::Deny => Ruling::Denied(rule.name.clone()),
            };
        }
        match self.otherwise {
            Effect::Allow => Ruling::Allowed,
            Effect::Deny => Ruling::Denied("default".into()),
        }
    }
}

impl Rule {
    /// Whether host and port match.
    fn fits(&self, target: &Target) -> bool {
        let host = match &target.host {
            Host::Name(name) => self.hosts.is_empty() || self.hosts.iter().any(|suffix| below(name, suffix)),
            Host::Ip(ip) => self.hosts.is_empty() || self.hosts.iter().any(|h| h.parse() == Ok(*ip)),
        };
        host && (self.ports.is_empty() || self.ports.iter().any(|range| range.contains(target.port)))
    }
}

fn below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Ports as they stand in a sentence: `80, 443, 8000-8999`.
pub(crate) fn list(ports: &[PortRange]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, effect: Effect, hosts: &[&str], nets: &[&str], ports: &[&str]) -> Rule {
        Rule {
            name: name.into(),
            effect,
            hosts: hosts.iter().map(|h| (*h).into()).collect(),
            nets: nets.iter().map(|n| n.parse().unwrap()).collect(),
            ports: ports.iter().map(|p| p.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy {
            rules: vec![
                rule("partners", Effect::Allow, &["good.example.org"], &[], &[]),
                rule("no-example", Effect::Deny, &["example.org"], &[], &["80", "443"]),
                rule("no-block", Effect::Deny, &[], &["93.184.0.0/16"], &[]),
                rule("no-8080", Effect::Deny, &[], &[], &["8080"]),
            ],
            ..Policy::default()
        };
        let target = |host: &str, port| Target::new(Host::parse(host).unwrap(), port);
        let denied = |name: &str| Ruling::Denied(name.into());
        let ip = |text: &str| Some(text.parse().unwrap());
        let cases = [
            (target("good.example.org", 443), None, Ruling::Allowed),
            (target("bad.example.org", 443), None, denied("no-example")),
            (target("example.org", 80), None, denied("no-example")),
            (target("notexample.org", 80), None, Ruling::NeedsAddress),
            (target("notexample.org", 80), ip("93.184.1.1"), denied("no-block")),
            (target("notexample.org", 80), ip("1.1.1.1"), Ruling::Allowed),
            (target("other.net", 8080), ip("1.1.1.1"), denied("no-8080")),
            (target("93.184.216.34", 443), None, denied("no-block")),
            (target("[::ffff:93.184.216.34]", 443), None, denied("no-block")),
        ];
        for (target, address, expected) in cases {
            assert_eq!(policy.rule_on(&target, address), expected, "{target} {address:?}");
        }
        let closed = Policy { otherwise: Effect::Deny, ..Policy::default() };
        assert_eq!(closed.rule_on(&target("a.example", 80), None), denied("default"));
    }
}
