//! One upstream proxy and how it is to be used.

use crate::connect::{BadUpstream, Upstream};
use crate::engine::{Exits, Proxy};
use crate::sessions::Grammar;

/// An upstream proxy, with what choosing among several needs.
#[derive(Clone, Debug)]
pub struct Through {
    pub(super) upstream: Upstream,
    pub(super) grammar: Option<Grammar>,
    pub(super) provider: Option<String>,
    account: Option<String>,
    tier: u8,
    weight: u32,
    exits: Exits,
    /// Whether plain requests are handed to it whole, too.
    pub(super) plain: Plain,
}

/// How a proxy gets requests to `http://` targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plain {
    Forwarded,
    Tunnelled,
}

impl Through {
    /// This upstream, as one exit that nothing is chosen about.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            grammar: None,
            provider: None,
            account: None,
            tier: 0,
            weight: 1,
            exits: Exits::One,
            plain: Plain::Forwarded,
        }
    }

    /// As [`Upstream::parse`] reads it: `http://KEY:SECRET@host:port`, also `https`, `socks5`, `socks5h`.
    ///
    /// # Errors
    /// What is wrong with the URL, without repeating a secret.
    pub fn parse(url: &str) -> Result<Self, BadUpstream> {
        Upstream::parse(url).map(Self::new)
    }

    /// Every new connection through it may leave through another exit.
    #[must_use]
    pub fn rotating(mut self) -> Self {
        self.exits = Exits::Rotating;
        self
    }

    /// It keeps one exit per session, asked for in this grammar; the engine makes up at most so many sessions at a time.
    #[must_use]
    pub fn sessions(mut self, grammar: Grammar, most: u16) -> Self {
        self.grammar = Some(grammar);
        self.exits = Exits::Sessions(most);
        self
    }

    /// Whose dialect it speaks, by a name that `providers` knows; without it the proxy's host and its answers tell.
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// Requests to `http://` targets go through a tunnel as well. In front of a tunnel that did not open nothing was sent, so even a
    /// POST can be tried again, where a proxy's own 502 to a forwarded one leaves open what became of it. The proxy must allow
    /// CONNECT to the target's port, which some allow for 443 only.
    #[must_use]
    pub fn tunnel_plain(mut self) -> Self {
        self.plain = Plain::Tunnelled;
        self
    }

    /// Whose quota and rate it draws on, if another upstream draws on the same.
    #[must_use]
    pub fn account(mut self, name: impl Into<String>) -> Self {
        self.account = Some(name.into());
        self
    }

    /// It is used while no upstream of a lower tier can be; 0 unless said.
    #[must_use]
    pub fn tier(mut self, tier: u8) -> Self {
        self.tier = tier;
        self
    }

    /// Its share among those of its tier; 1 unless said.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// As the engine sees it. `name` is the proxy without its credentials.
    pub(super) fn proxy(&self) -> Proxy {
        let name = format!("{}://{}", self.upstream.scheme().name(), self.upstream.authority());
        // One host with two logins is two accounts; which login it was must not show.
        let login = self.upstream.credentials().map(|credentials| credentials.fingerprint());
        let own = || login.map_or_else(|| name.clone(), |login| format!("{name} ({login})"));
        let account = self.account.clone().unwrap_or_else(own);
        Proxy { name, account, tier: self.tier, weight: self.weight, exits: self.exits }
    }

    /// The upstream, asked for a session if there is one.
    pub(super) fn asked(&self, session: Option<&str>) -> Upstream {
        let upstream = self.upstream.clone();
        match (session, &self.grammar, upstream.credentials()) {
            (Some(session), Some(grammar), Some(credentials)) => {
                let asking = grammar.apply(credentials, session);
                upstream.with_credentials(Some(asking))
            }
            _ => upstream,
        }
    }
}
