//! A provider and its targets, as documents 000 to 004 describe their failures, in simulated time.

use std::collections::{BTreeMap, BTreeSet};

use outgate_client::classify::{Provenance, Scope};
use outgate_client::engine::{Finding, Sent};
use outgate_faults::{Layer, Retry, Slug};
use std::time::Duration;

use crate::mixes::Mix;

/// Milliseconds since the simulation began.
pub(crate) type Ms = u64;

/// splitmix64.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True so many times in a thousand.
    pub(crate) fn hits(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
}

/// One request of the program that is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: usize,
    pub(crate) at: Ms,
    pub(crate) post: bool,
    pub(crate) domain: usize,
    pub(crate) targeting: &'static str,
    pub(crate) port: u16,
    pub(crate) deadline: Ms,
}

/// What a domain is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Well,
    /// Refuses every connection, from the beginning to the end.
    Down,
    /// Its name does not exist.
    Nowhere,
    /// Answers 503 to everybody for ten seconds of every hundred, and says until when.
    Maintained,
    /// Answers 502 for six seconds of every ninety.
    Hiccups,
    /// Lets one exit make so many requests in ten seconds, else 429; says how long to wait.
    Limits(u64),
    /// Answers 403 to exits that it has banned.
    Bans,
}

pub(crate) struct Answer {
    /// When the proxy let it in; none if it did not.
    pub(crate) opened: Option<Ms>,
    pub(crate) took: Ms,
    pub(crate) finding: Option<Finding>,
    pub(crate) sent: Sent,
}

pub(crate) struct World {
    pub(crate) mix: Mix,
    pub(crate) kinds: Vec<Kind>,
    dice: Dice,
    /// Per account: bucket of the rate limit, in thousandths, and when it was seen.
    buckets: Vec<(u64, Ms)>,
    used: Vec<u64>,
    sessions: BTreeMap<String, usize>,
    /// (exit, domain) → when requests arrived lately.
    arrivals: BTreeMap<(usize, usize), Vec<Ms>>,
    /// How often targets carried out each POST.
    pub(crate) posts: BTreeMap<usize, u32>,
    /// POSTs that were carried out and whose answer was lost: nobody can finish them without doing them twice.
    pub(crate) lost: BTreeSet<usize>,
}

impl World {
    pub(crate) fn new(mix: &Mix, seed: u64) -> World {
        let kinds = mix.kinds();
        World {
            buckets: vec![(mix.rate.map_or(0, |rate| rate.per_second * 1000), 0); mix.accounts],
            used: vec![0; mix.accounts],
            mix: mix.clone(),
            kinds,
            dice: Dice(seed ^ 0xABCD),
            sessions: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            posts: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// Whether somebody who knew everything could have got this request served.
    pub(crate) fn feasible(&self, job: &Job) -> bool {
        !matches!(self.kinds[job.domain], Kind::Down | Kind::Nowhere) && job.port != 25 && !job.targeting.contains("zz")
    }

    fn exit_of(&mut self, session: Option<&str>) -> usize {
        let exits = self.mix.exits;
        match session {
            None => self.dice.below(exits) as usize,
            Some(name) => match self.sessions.get(name) {
                Some(exit) => *exit,
                None => {
                    let exit = self.dice.below(exits) as usize;
                    self.sessions.insert(name.to_owned(), exit);
                    exit
                }
            },
        }
    }

    /// Which exits are dead changes every minute.
    fn dead(&self, exit: usize, now: Ms) -> bool {
        Dice(exit as u64 * 7919 + now / 60_000 * 104_729).below(1000) < self.mix.dead
    }

    fn banned(&self, exit: usize, domain: usize) -> bool {
        Dice(exit as u64 * 31 + domain as u64 * 65_537 + 5).below(1000) < self.mix.banned
    }

    /// One attempt through an account.
    pub(crate) fn attempt(&mut self, now: Ms, account: usize, session: Option<&str>, job: &Job) -> Answer {
        let setup = self.dice.between(40, 250);
        if self.dice.hits(self.mix.refused) {
            return no(20, Slug::ProxyRefused, None, Sent::Nothing);
        }
        if self.dice.hits(self.mix.reset) {
            return no(setup, Slug::ProxyReset, None, Sent::Nothing);
        }
        if let Some((every, length)) = self.mix.burst
            && now % every > every - length
            && self.dice.hits(900)
        {
            return no(setup, Slug::ExitRefused, None, Sent::Nothing);
        }
        if self.mix.quota.is_some_and(|quota| account == 0 && self.used[0] >= quota) {
            return no(30, Slug::BandwidthExhausted, None, Sent::Nothing);
        }
        if let Some(wait) = self.over_rate(now, account) {
            return no(30, Slug::RateLimited, wait, Sent::Nothing);
        }
        if job.port == 25 {
            return no(30, Slug::PortDenied, None, Sent::Nothing);
        }
        if job.targeting.contains("zz") {
            return no(30, Slug::CountryInvalid, None, Sent::Nothing);
        }
        if job.targeting == "country-is" && now % 100_000 < 12_000 {
            return no(50, Slug::NoExit, Some(5), Sent::Nothing);
        }
        self.used[account] += 1;
        let exit = self.exit_of(session);
        if self.dead(exit, now) {
            if let Some(name) = session {
                self.sessions.remove(name);
            }
            return if self.dice.hits(700) {
                no(setup, Slug::ExitLost, None, Sent::Nothing)
            } else {
                no(15_000, Slug::ExitTimeout, None, Sent::Nothing)
            };
        }
        let mut answer = self.target(now, setup, exit, job);
        answer.opened = (answer.sent == Sent::Something).then_some(setup);
        answer
    }

    fn target(&mut self, now: Ms, setup: Ms, exit: usize, job: &Job) -> Answer {
        let took = setup + self.dice.between(80, 600);
        match self.kinds[job.domain] {
            Kind::Nowhere => return no(setup, Slug::DnsNotFound, None, Sent::Nothing),
            Kind::Down if job.domain.is_multiple_of(2) => return no(setup, Slug::TargetRefused, None, Sent::Nothing),
            Kind::Down => return no(10_000, Slug::ConnectTimeout, None, Sent::Nothing),
            Kind::Maintained if now % 100_000 < 10_000 => {
                return no(took, Slug::TargetUnavailable, Some((10_000 - now % 100_000).div_ceil(1000)), Sent::Something);
            }
            Kind::Hiccups if now % 90_000 < 6_000 => return no(took, Slug::TargetGatewayError, None, Sent::Something),
            Kind::Bans if self.banned(exit, job.domain) => return no(took, Slug::TargetForbidden, None, Sent::Something),
            Kind::Limits(most) => {
                let lately = self.arrivals.entry((exit, job.domain)).or_default();
                lately.retain(|at| at + 10_000 > now);
                if lately.len() as u64 >= most {
                    let wait = (lately[0] + 10_000 - now).div_ceil(1000);
                    return no(took, Slug::TargetRateLimited, self.mix.target_names_wait.then_some(wait), Sent::Something);
                }
                lately.push(now);
            }
            Kind::Well | Kind::Maintained | Kind::Hiccups | Kind::Bans => {}
        }
        if job.post {
            *self.posts.entry(job.id).or_default() += 1;
        }
        if self.dice.hits(self.mix.lost_answer) {
            // It was carried out, and the answer got lost.
            if job.post {
                self.lost.insert(job.id);
            }
            return no(took, Slug::TargetReset, None, Sent::Something);
        }
        Answer { opened: Some(setup), took, finding: None, sent: Sent::Something }
    }

    fn over_rate(&mut self, now: Ms, account: usize) -> Option<Option<u64>> {
        let rate = self.mix.rate?;
        let (level, seen) = &mut self.buckets[account];
        *level = (*level + (now - *seen) * rate.per_second).min(rate.per_second * 1000);
        *seen = now;
        match level.checked_sub(1000) {
            Some(left) => {
                *level = left;
                None
            }
            None => Some(rate.names_wait.then_some(1)),
        }
    }
}

fn no(took: Ms, slug: Slug, wait: Option<u64>, sent: Sent) -> Answer {
    let row = slug.row();
    let provenance = match row.layer {
        Layer::Transport => Provenance::Transport,
        Layer::Origin => Provenance::Origin,
        Layer::Target | Layer::Exit => Provenance::Exit,
        _ => Provenance::Proxy,
    };
    let finding = Finding {
        slug,
        retry: row.retry,
        provenance,
        scope: Scope::of(slug),
        wait: wait.map(Duration::from_secs),
        why: slug.name().to_owned(),
    };
    Answer { opened: None, took, finding: Some(finding), sent }
}

/// Whether asking the same again is pointless until a person changes something.
pub(crate) fn deterministic(finding: &Finding) -> bool {
    finding.provenance != Provenance::Origin && matches!(finding.retry, Retry::Never | Retry::Abort)
        || finding.slug.row().layer == Layer::Auth
}
