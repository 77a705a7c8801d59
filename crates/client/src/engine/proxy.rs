//! The upstream proxies as the engine sees them: no addresses, only what choosing needs.

/// One upstream proxy. The shell keeps its URL; the engine speaks of it by its place in the list.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// How it is called in logs and causes, such as `http://gw.example.com:8080`. Without credentials.
    pub name: String,
    /// Whose account it draws on: proxies with the same word here share quota, rate and refusals.
    pub account: String,
    /// Lower tiers are used first; a higher one only while no proxy of a lower one can be.
    pub tier: u8,
    /// Its share among the proxies of its tier; 0 takes it out of use.
    pub weight: u32,
    /// What a new connection through it changes.
    pub exits: Exits,
}

/// How a proxy's exits can be changed from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exits {
    /// It is one exit: another exit is another proxy.
    One,
    /// Every new connection may leave through another exit, and nothing can be chosen.
    Rotating,
    /// A word in the credentials keeps one exit; the engine makes up at most so many words at a time.
    Sessions(u16),
}

/// A proxy's place in the engine's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProxyId(pub usize);

impl Proxy {
    /// A proxy with an account of its own, in the first tier.
    pub fn new(name: impl Into<String>, exits: Exits) -> Self {
        let name = name.into();
        Self { account: name.clone(), name, tier: 0, weight: 1, exits }
    }
}
