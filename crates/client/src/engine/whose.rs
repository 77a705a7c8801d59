//! Whose limit or refusal it is: the names under which they are kept.

use std::fmt;

use super::proxy::ProxyId;

/// What a limit or a remembered refusal holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Whose {
    /// Everything that draws on an account.
    Account(String),
    /// What an account asks for with this targeting.
    Wish(String, String),
    /// What an account asks of this `host:port`.
    Place(String, String),
    /// One proxy, whoever asks.
    Proxy(ProxyId, String),
    /// One exit, as far as it can be chosen from here, on one domain.
    Lane(ProxyId, Option<String>, String),
    /// A domain, through whichever exit.
    Domain(String),
    /// A `host:port`, through whichever exit.
    Target(String),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Account(account) => write!(f, "account {account}"),
            Whose::Wish(account, wish) if wish.is_empty() => write!(f, "account {account}"),
            Whose::Wish(account, wish) => write!(f, "account {account} with {wish}"),
            Whose::Place(account, target) => write!(f, "{target} with account {account}"),
            Whose::Proxy(_, name) => write!(f, "proxy {name}"),
            Whose::Lane(_, Some(session), domain) => write!(f, "session {session} on {domain}"),
            Whose::Lane(_, None, domain) => write!(f, "this exit on {domain}"),
            Whose::Domain(domain) => write!(f, "domain {domain}"),
            Whose::Target(target) => write!(f, "target {target}"),
        }
    }
}
