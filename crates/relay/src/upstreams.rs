//! The upstreams while the relay runs: what is sent to each, and how each has done.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::Timestamp;
use outgate_client::classify::{Scope, Verdict};
use outgate_client::connect::{Credentials, Scheme, Upstream};
use outgate_client::engine::{Attempt, Proxy};
use outgate_client::providers::{Provider, Providers};
use outgate_faults::{Layer, Slug};
use serde::{Serialize, Serializer};

use crate::settings::UpstreamSettings;

/// One upstream.
pub(crate) struct Link {
    pub(crate) settings: UpstreamSettings,
    /// `host:port`, as evidence has it.
    pub(crate) authority: String,
    health: RefCell<Health>,
}

/// How an upstream has done since the relay started.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Health {
    /// Attempts through it.
    pub(crate) attempts: u64,
    /// Those that went well, as far as the upstream and its exits are concerned.
    pub(crate) ok: u64,
    /// Those that did not, by slug.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// How the last one went.
    pub(crate) last: Option<Last>,
}

/// An attempt, for people.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Last {
    #[serde(serialize_with = "as_text")]
    pub(crate) at: Timestamp,
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sentence: Option<String>,
    pub(crate) ms: u64,
}

/// RFC 3339 with milliseconds, as in records.
fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

impl Link {
    pub(crate) fn new(settings: UpstreamSettings) -> Self {
        Self { authority: settings.upstream.authority(), settings, health: RefCell::default() }
    }

    /// As the engine sees it.
    pub(crate) fn proxy(&self) -> Proxy {
        let UpstreamSettings { name, account, tier, weight, exits, .. } = &self.settings;
        Proxy { name: name.clone(), account: account.clone(), tier: *tier, weight: *weight, exits: *exits }
    }

    /// Whose dialect it speaks.
    pub(crate) fn provider<'a>(&self, providers: &'a Providers) -> Option<&'a Provider> {
        self.settings.provider.as_deref().and_then(|name| providers.named(name))
    }

    /// The upstream, asked for a session if there is one. What a client brought along stands in for a login that the settings
    /// don't have.
    pub(crate) fn asked(&self, session: Option<&str>, brought: Option<&Credentials>) -> Upstream {
        let upstream = self.settings.upstream.clone();
        let Some(credentials) = upstream.credentials().or(brought) else { return upstream };
        let credentials = match (session, &self.settings.session) {
            (Some(session), Some(grammar)) => grammar.apply(credentials, session),
            _ => credentials.clone(),
        };
        upstream.with_credentials(Some(credentials))
    }

    /// Whether plain requests are handed to it whole; a SOCKS server only knows tunnels.
    pub(crate) fn forwards(&self) -> bool {
        matches!(self.settings.upstream.scheme(), Scheme::Http | Scheme::Https)
    }

    /// A verdict on an answer of this upstream. Where programs bring their own logins, a refusal of one says nothing of the next
    /// program's.
    pub(crate) fn judged(&self, verdict: Verdict) -> Verdict {
        let of_a_login = verdict.slug.is_some_and(|slug| slug.row().layer == Layer::Auth);
        if of_a_login && !self.logs_in_itself() { Verdict { scope: Scope::Request, ..verdict } } else { verdict }
    }

    /// Whether the settings have a login for it.
    pub(crate) fn logs_in_itself(&self) -> bool {
        self.settings.upstream.credentials().is_some()
    }

    /// Notes how an attempt went.
    pub(crate) fn note(&self, attempt: &Attempt, sentence: Option<&str>) {
        let mut health = self.health.borrow_mut();
        health.attempts += 1;
        let outcome = attempt.slug.map_or("ok", Slug::name);
        match attempt.slug {
            // What the target says of itself is no failure of who brought it.
            Some(slug) if slug.row().layer != Layer::Origin => *health.failed.entry(slug.name()).or_default() += 1,
            _ => health.ok += 1,
        }
        let ms = u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX);
        health.last = Some(Last { at: attempt.at, outcome, sentence: sentence.map(str::to_owned), ms });
    }

    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }
}
