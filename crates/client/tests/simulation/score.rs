//! What counts: feasible requests that went well, and attempts that anybody with a memory would not have made.

use std::collections::BTreeMap;

use outgate_client::classify::Scope;
use outgate_client::engine::Finding;
use outgate_faults::{Layer, Slug};

use crate::world::{Job, Ms, World, deterministic};

/// Everything that a limit may be about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) account: usize,
    pub(crate) session: Option<String>,
    pub(crate) domain: usize,
    pub(crate) targeting: &'static str,
    pub(crate) port: u16,
}

/// What a client has been told, and so could know.
#[derive(Default)]
pub(crate) struct Waste {
    /// Deterministic refusals, by what they are about: said at this time.
    refused: BTreeMap<String, Ms>,
    /// Waits that were named, by what they hold: until then.
    until: BTreeMap<String, Ms>,
    /// Per domain: failures in a row that are the target's, and when the last was heard of.
    runs: BTreeMap<usize, (u32, Ms)>,
}

/// A refusal that was heard this long ago may be checked again.
const STALE: Ms = 60_000;

/// So many failures in a row are an open circuit, for this long.
const RUN: u32 = 20;
const COOLDOWN: Ms = 5_000;

impl Waste {
    /// Whether an attempt now is wasted.
    pub(crate) fn is(&self, now: Ms, key: &Key) -> bool {
        let refused = names(key).iter().any(|name| self.refused.get(name).is_some_and(|at| now < at + STALE));
        let early = names(key).iter().any(|name| self.until.get(name).is_some_and(|until| now < *until));
        let open = self.runs.get(&key.domain).is_some_and(|(run, at)| *run >= RUN && now < at + COOLDOWN);
        refused || early || open
    }

    /// The client hears what an attempt came to.
    pub(crate) fn learned(&mut self, now: Ms, key: &Key, finding: Option<&Finding>) {
        let blamed = finding.is_some_and(|finding| {
            matches!(finding.slug.row().layer, Layer::Target)
                || matches!(finding.slug, Slug::TargetUnavailable | Slug::TargetGatewayError | Slug::TargetError)
        });
        let run = self.runs.entry(key.domain).or_default();
        if blamed {
            *run = (run.0 + 1, now);
        } else if finding.is_none() {
            *run = (0, now);
        }
        let Some(finding) = finding else { return };
        let about = match finding.scope {
            Scope::Account if matches!(finding.slug.row().layer, Layer::Targeting) || finding.slug == Slug::NoExit => 1,
            Scope::Account | Scope::Upstream => 0,
            Scope::Target if finding.slug.row().layer == Layer::Policy => 2,
            Scope::Domain | Scope::Target => 3,
            // Without a session nobody chose the exit.
            Scope::ExitOnDomain if key.session.is_some() => 4,
            Scope::ExitOnDomain | Scope::Request => return,
        };
        let name = names(key)[about].clone();
        if deterministic(finding) {
            self.refused.insert(name, now);
        } else if let Some(wait) = finding.wait {
            self.until.insert(name, now + u64::try_from(wait.as_millis()).expect("in range"));
        }
    }
}

fn names(key: &Key) -> [String; 5] {
    [
        format!("account {}", key.account),
        format!("wish {} {}", key.account, key.targeting),
        format!("place {} {}:{}", key.account, key.domain, key.port),
        format!("domain {}", key.domain),
        format!("lane {} {:?} {}", key.account, key.session, key.domain),
    ]
}

/// How a client did.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) name: &'static str,
    pub(crate) feasible: u64,
    pub(crate) good: u64,
    pub(crate) attempts: u64,
    pub(crate) wasted: u64,
    pub(crate) duplicates: u64,
    pub(crate) times: Vec<Ms>,
    pub(crate) losses: BTreeMap<String, u64>,
}

impl Score {
    pub(crate) fn new(name: &'static str) -> Score {
        Score { name, feasible: 0, good: 0, attempts: 0, wasted: 0, duplicates: 0, times: Vec::new(), losses: BTreeMap::new() }
    }

    pub(crate) fn ended(&mut self, world: &World, job: &Job, well: Option<Ms>) {
        if world.feasible(job) && (well.is_some() || !world.lost.contains(&job.id)) {
            self.feasible += 1;
            if let Some(at) = well {
                self.good += 1;
                self.times.push(at - job.at);
            }
        }
    }

    pub(crate) fn lost(&mut self, world: &World, job: &Job, why: &str) {
        if world.feasible(job) {
            let kind = world.kinds[job.domain];
            let what = if job.post { "POST" } else { "GET" };
            *self.losses.entry(format!("{what} {kind:?}: {why}")).or_default() += 1;
        }
    }

    pub(crate) fn finish(&mut self, world: &World) {
        self.times.sort_unstable();
        self.duplicates = world.posts.values().map(|times| u64::from(times - 1)).sum();
    }

    /// Good ones among the feasible, in hundredths of a per cent.
    pub(crate) fn share(&self) -> u64 {
        self.good * 10_000 / self.feasible.max(1)
    }

    /// Good, attempts and wasted ones, as the documentation's table has them.
    pub(crate) fn cells(&self) -> String {
        let share = self.share();
        format!("{}.{:02} % | {} | {}", share / 100, share % 100, self.attempts, self.wasted)
    }

    pub(crate) fn line(&self) -> String {
        let at = |percent: usize| self.times.get(self.times.len() * percent / 100).copied().unwrap_or(0);
        format!(
            "{:<14} {:>6.2} % of {:>5} feasible, {:>6} attempts, {:>5} wasted, {:>3} repeated, median {:>5} ms, p95 {:>6} ms",
            self.name,
            self.share() as f64 / 100.0,
            self.feasible,
            self.attempts,
            self.wasted,
            self.duplicates,
            at(50),
            at(95)
        )
    }
}
