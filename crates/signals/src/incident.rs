//! An incident: a stretch of time in which something was wrong, opened and closed by the signals that it consists of.

use std::fmt;

use jiff::Timestamp;
use outgate_faults::{Layer, Slug};
use serde::{Deserialize, Serialize};

use crate::signal::{Kind, Scope, Severity, Unit};
use crate::slugs;

/// What an incident is called: the time at which it was opened, `2026-11-21T09-00-50`, with a number if there are several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub String);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What several signals have in common, so that they are one incident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Targets fail or are slow.
    Targets,
    /// Names are resolved slowly or not at all.
    Names,
    /// Exits are missing, fail or are slow.
    Exits,
    /// The gateway is at one of its bounds.
    Capacity,
    /// The ledger is away or slow.
    Ledger,
    /// What gateways share can't be had.
    Sharing,
    /// Records can't be written.
    Records,
    /// TLS with clients is slow.
    ClientTls,
    /// Something inside the gateway.
    Gateway,
}

/// One signal's part in an incident.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// What was watched.
    pub kind: Kind,
    /// Where.
    pub scope: Scope,
    /// When it was raised.
    pub raised: Timestamp,
    /// When it was cleared, if it was.
    pub cleared: Option<Timestamp>,
    /// The worst value.
    pub worst: f64,
    /// What it is measured in.
    pub unit: Unit,
    /// Above this it is raised.
    pub threshold: f64,
}

/// A stretch of time in which something was wrong.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// What it is called.
    pub id: IncidentId,
    /// What its signals have in common.
    pub cause: Cause,
    /// How bad it was at its worst.
    pub severity: Severity,
    /// When its first signal went over its threshold.
    pub began: Timestamp,
    /// When its first signal was raised.
    pub opened: Timestamp,
    /// When its last signal was cleared; none: it goes on.
    pub closed: Option<Timestamp>,
    /// Its signals, in the order in which they were raised.
    pub signals: Vec<Part>,
    /// Requests that ended meanwhile.
    pub requests: u64,
    /// Those of them that failed by no fault of their sender's.
    pub failed: u64,
    /// Why they failed, most frequent first.
    #[serde(with = "slugs")]
    pub faults: Vec<(Slug, u64)>,
}

impl Incident {
    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// The fault that most requests failed with, of those that fit the cause if there are any: the page behind it says cause and
    /// fix. None where it isn't failing requests that raised a signal.
    pub fn leading(&self) -> Option<Slug> {
        if !self.signals.iter().any(|part| part.kind.is_about_failures()) {
            return None;
        }
        let fits = self.faults.iter().find(|(slug, _)| Cause::of(*slug) == self.cause);
        fits.or(self.faults.first()).map(|(slug, _)| *slug)
    }

    /// The part of the way to look at first.
    pub fn layer(&self) -> Layer {
        self.leading().map_or(self.cause.layer(), |slug| slug.row().layer)
    }

    /// The pools that it is about; none of them: all are.
    pub fn pools(&self) -> Vec<&str> {
        let mut pools: Vec<&str> = self.signals.iter().filter_map(|part| part.scope.pool()).collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }

    /// One line for the public: `Some requests fail: targets fail or are slow`.
    pub fn headline(&self) -> String {
        let of_failures = self.signals.iter().filter(|part| part.kind == Kind::Errors);
        let most = of_failures.clone().any(|part| part.scope == Scope::Gateway && part.worst >= 0.5);
        let what = match (most, of_failures.count()) {
            (true, _) => "Most requests fail",
            (false, 0) => return self.cause.summary().into(),
            (false, _) => "Some requests fail",
        };
        format!("{what}: {}", lower_first(self.cause.summary()))
    }

    /// Why it is so, from the catalogue where a fault leads.
    pub fn why(&self) -> &'static str {
        self.leading().map_or(self.cause.why(), |slug| slug.row().cause)
    }

    /// What to do, from the catalogue where a fault leads.
    pub fn fix(&self) -> &'static str {
        self.leading().map_or(self.cause.fix(), |slug| slug.row().fix)
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl Cause {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Targets => "targets",
            Cause::Names => "names",
            Cause::Exits => "exits",
            Cause::Capacity => "capacity",
            Cause::Ledger => "ledger",
            Cause::Sharing => "sharing",
            Cause::Records => "records",
            Cause::ClientTls => "client_tls",
            Cause::Gateway => "gateway",
        }
    }

    /// The part of the way that it is in.
    pub fn layer(self) -> Layer {
        match self {
            Cause::Targets | Cause::Names => Layer::Target,
            Cause::Exits => Layer::Exit,
            Cause::ClientTls => Layer::Transport,
            Cause::Capacity | Cause::Ledger | Cause::Sharing | Cause::Records | Cause::Gateway => Layer::Gateway,
        }
    }

    /// One line for the public.
    pub fn summary(self) -> &'static str {
        match self {
            Cause::Targets => "Targets fail or are slow",
            Cause::Names => "Names are resolved slowly or not at all",
            Cause::Exits => "Exits are missing, fail or are slow",
            Cause::Capacity => "The gateway is close to its capacity",
            Cause::Ledger => "Usage is kept on the gateway until the ledger takes it",
            Cause::Sharing => "Limits are enforced by each gateway for itself",
            Cause::Records => "Records of requests are lost",
            Cause::ClientTls => "TLS with clients is slow",
            Cause::Gateway => "The gateway fails",
        }
    }

    /// Why it is so, as far as it can be known without a fault.
    pub fn why(self) -> &'static str {
        match self {
            Cause::Targets => {
                "Requests reach their targets slowly: connecting to them, or waiting for the first byte of their answers, takes most of the time. A slow site, a slow network on the way, or one name that always resolves to the same overloaded address does that."
            }
            Cause::Names => {
                "The name servers that the gateway asks answer slowly, or one of them does not answer and is asked first."
            }
            Cause::Exits => {
                "Exits of the pool are not connected or are ejected, or their networks are slow: what goes through them takes longer than what the gateway sends directly."
            }
            Cause::Capacity => {
                "More connections, requests or tunnels are open than there should be under the gateway's bounds; beyond them new work is refused as `overloaded`."
            }
            Cause::Ledger => {
                "The ledger (PostgreSQL, or the disk under SQLite) does not take what the gateway counts. It is kept in a journal beside it and delivered later; if that can't be written either, new requests are refused."
            }
            Cause::Sharing => {
                "Redis, through which gateways share their keys' limits, can't be reached from this gateway. It enforces its own share of every limit."
            }
            Cause::Records => "The disk under the records folder is full or too slow for the load. Traffic goes on without them.",
            Cause::ClientTls => {
                "Clients' TLS handshakes with the gateway take long: a processor without time to spare, or clients far away or behind bad networks."
            }
            Cause::Gateway => "Something inside the gateway failed; its log says what, under the request ids.",
        }
    }

    /// What to do, as far as it can be known without a fault.
    pub fn fix(self) -> &'static str {
        match self {
            Cause::Targets => {
                "`outgate logs --since 15m --by target` shows which targets. Ask one of them directly, without the gateway. If it is slow by itself, wait or ask its owner; if it has several addresses and always one is used, look at the name's TTL."
            }
            Cause::Names => {
                "Measure with `dig @SERVER NAME` from the gateway's machine. Put a resolver near the gateway first in `dns.servers`, and take one that doesn't answer out."
            }
            Cause::Exits => {
                "`outgate exits list` shows who is connected and who is ejected and why. Restart agents that are gone; enroll more where a pool is small."
            }
            Cause::Capacity => {
                "Add a gateway, or raise the bound in `[limits]` if the machine has room. `outgate logs --since 15m --by key` shows who asks for so much."
            }
            Cause::Ledger => {
                "`outgate store check` asks the ledger. Bring it back, or make room on its disk; what was kept is delivered by itself."
            }
            Cause::Sharing => "Bring Redis back, or correct `store.redis`. Limits hold over all gateways again by themselves.",
            Cause::Records => {
                "Make room on the disk (`[records]` has bounds for age and size) or move `records.folder` to a faster one. Records are written again by themselves."
            }
            Cause::ClientTls => {
                "Look at the processor's load first. If it is idle, it is the clients' networks: compare by client address in `outgate logs`."
            }
            Cause::Gateway => "Look into the gateway's log around the time of the incident, and report what it says.",
        }
    }
}
