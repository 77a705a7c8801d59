//! Everything a relay is told, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use outgate_client::connect::{Trust, Upstream};
use outgate_client::engine::{Exits, Rules as RetryRules};
use outgate_client::providers::Providers;
use outgate_client::sessions::Grammar;
use outgate_records::write::Keep;
use rustls::ServerConfig;

use crate::bypass::{Rule, Rules};
use crate::intercept::Authority;

/// A relay's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in `Via` and `Proxy-Status`.
    pub name: String,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Who may use it: addresses that programs come from.
    pub clients: Vec<IpNet>,
    /// The proxies it uses.
    pub upstreams: Vec<UpstreamSettings>,
    /// Which targets are reached past them.
    pub bypass: Rules,
    /// Whose dialects are known.
    pub providers: Arc<Providers>,
    /// The engine's limits.
    pub retry: RetryRules,
    /// How long a request may take in all until its answer begins, waits included.
    pub deadline: Duration,
    /// How long one try may take until its tunnel is open.
    pub setup: Duration,
    /// How long a target may take to begin its answer to a plain request.
    pub response: Duration,
    /// A tunnel or a body in which nothing moves for so long ends.
    pub idle: Duration,
    /// How long a client may take to send its head, or keep its connection without a request.
    pub head: Duration,
    /// How long open requests may go on when the relay is asked to stop.
    pub drain: Duration,
    /// The most connections of programs at once.
    pub connections: usize,
    /// The most bytes of a request's body that are kept so that it can be sent again; a longer one is sent once.
    pub body: usize,
    /// Where records are written; none writes none.
    pub records: Option<RecordSettings>,
    /// Whose TLS is opened.
    pub intercept: Option<Intercept>,
    /// Whose certificates of targets are believed where TLS is opened, and past the upstreams.
    pub trust: Trust,
}

/// One place to listen at. HTTP and SOCKS5 are told apart by the first byte.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where; port 0 takes a free one.
    pub address: SocketAddr,
    /// With it, programs speak HTTP over TLS (`https://` in the proxy's URL).
    pub tls: Option<Arc<ServerConfig>>,
}

/// One upstream proxy.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Where, and as whom.
    pub upstream: Upstream,
    /// How it is called in records, metrics and on the status page; never with credentials.
    pub name: String,
    /// Whose account it draws on: upstreams with the same word share quota, rate and refusals.
    pub account: String,
    /// Lower tiers are used first.
    pub tier: u8,
    /// Its share within its tier.
    pub weight: u32,
    /// What a new connection through it changes.
    pub exits: Exits,
    /// Whose dialect it speaks, if that is known.
    pub provider: Option<String>,
    /// How it is asked for a session.
    pub session: Option<Grammar>,
}

/// Where records are written.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// The folder.
    pub folder: PathBuf,
    /// How long and how much is kept.
    pub keep: Keep,
}

/// Whose TLS is opened, so that the target's own 403, 429 and 503 can be handled for programs that can't.
#[derive(Clone, Debug)]
pub struct Intercept {
    /// The targets; no other tunnel is looked into.
    pub hosts: Vec<Rule>,
    /// The authority whose certificates the programs believe.
    pub authority: Arc<Authority>,
}

impl Settings {
    /// The defaults: no listener, no upstream, programs of this machine only.
    pub fn new(name: impl Into<String>) -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        Self {
            name: name.into(),
            listeners: Vec::new(),
            clients: loopback.iter().filter_map(|net| net.parse().ok()).collect(),
            upstreams: Vec::new(),
            bypass: Rules::default(),
            providers: Arc::new(Providers::builtin().clone()),
            retry: RetryRules::default(),
            // Programs without a deadline of their own wait about this long; wget and apt longer.
            deadline: Duration::from_secs(90),
            // A gateway's own budget for a set-up is 15 s: its answer is to arrive before this ends.
            setup: Duration::from_secs(20),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(600),
            head: Duration::from_secs(60),
            drain: Duration::from_secs(30),
            connections: 4096,
            body: 256 * 1024,
            records: None,
            intercept: None,
            trust: Trust::system(),
        }
    }
}

impl UpstreamSettings {
    /// An upstream with the defaults: its own account, the first tier, a known provider found by its host. With a grammar for
    /// sessions and credentials to put them into, the engine may make up sessions; without, each connection is taken to leave
    /// through whatever exit the proxy chooses.
    pub fn new(upstream: Upstream, providers: &Providers) -> Self {
        let provider = providers.at_host(upstream.host()).map(|provider| provider.name().to_owned());
        let session = provider.as_deref().and_then(Grammar::of).cloned();
        let mut settings = Self {
            name: upstream.to_string(),
            account: account(&upstream),
            tier: 0,
            weight: 1,
            exits: Exits::Rotating,
            provider,
            session,
            upstream,
        };
        settings.exits = settings.default_exits();
        settings
    }

    /// What a new connection changes, as far as the rest tells.
    pub fn default_exits(&self) -> Exits {
        match (&self.session, self.upstream.credentials()) {
            (Some(_), Some(_)) => Exits::Sessions(SESSIONS),
            _ => Exits::Rotating,
        }
    }
}

/// How many sessions the engine makes up at a time unless told.
pub const SESSIONS: u16 = 100;

/// An account is a login at a host: the host without its first label would join strangers, with its port would part friends.
fn account(upstream: &Upstream) -> String {
    match upstream.credentials() {
        Some(credentials) => format!("{}@{}", credentials.fingerprint(), upstream.host()),
        None => upstream.authority(),
    }
}

#[cfg(test)]
mod tests {
    use outgate_client::engine::Rules;

    #[test]
    fn the_documented_numbers_are_those_that_hold() {
        let rules = Rules::default();
        let (breaker, minute) = (&rules.breaker, 60);
        let documented = [
            format!("| {} | of one request in all |", rules.attempts),
            format!("| {}, {} | retries per class |", rules.transient, rules.fix),
            format!(
                "| {}%, {}, {}m, {}s | when a domain's circuit opens",
                breaker.share,
                breaker.samples,
                breaker.window.as_secs() / minute,
                breaker.cooldown.as_secs()
            ),
            format!("| {}s, {}m | how long a refusal", rules.remember.as_secs(), rules.remember_longest.as_secs() / minute),
            format!("| {}m | how long an exit that a target refuses", rules.ban.as_secs() / minute),
            format!("| {}s, {}s | full jitter", rules.backoff_first.as_secs(), rules.backoff_longest.as_secs()),
        ];
        let page = include_str!("../../../docs/relay.md");
        for row in documented {
            assert!(page.contains(&row), "docs/relay.md does not say {row:?}");
        }
    }
}
