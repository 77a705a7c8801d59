//! Through what an attempt goes: the lowest tier that can, by weight and health, past what is held or refused.

use outgate_faults::Slug;

use super::Engine;
use super::answer::Blocked;
use super::answer::{Limited, NoAttempt, Refusal, Waiting};
use super::ask::Session;
use super::now::Moment;
use super::proxy::{Exits, ProxyId};
use super::request::Request;
use super::whose::Whose;

/// The way an attempt takes.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) proxy: ProxyId,
    pub(super) session: Option<String>,
}

/// How a proxy stands towards a request.
enum Standing {
    /// It can be taken.
    Free,
    /// It is held by this limit, at least until then.
    Held(Whose, Moment),
    /// It has refused this before.
    Refused(Slug, String, Moment),
}

impl Engine {
    /// A lane for the request's next attempt, or what is to be answered instead.
    pub(super) fn lane(&mut self, now: Moment, request: &mut Request) -> Result<Lane, Blocked> {
        let mut held: Option<(Whose, Moment)> = None;
        let mut refused: Option<(Slug, String, Moment)> = None;
        let mut free: Vec<(ProxyId, Rank)> = Vec::new();
        for id in self.eligible(request) {
            match self.standing(now, request, id) {
                Standing::Free => free.push((id, self.rank(now, request, id))),
                Standing::Held(whose, until) => {
                    if held.as_ref().is_none_or(|(_, first)| until < *first) {
                        held = Some((whose, until));
                    }
                }
                Standing::Refused(slug, why, again) => {
                    if refused.as_ref().is_none_or(|(_, _, first)| again < *first) {
                        refused = Some((slug, why, again));
                    }
                }
            }
        }
        if let Some(best) = free.iter().map(|(_, rank)| *rank).min() {
            let among: Vec<ProxyId> = free.iter().filter(|(_, rank)| *rank == best).map(|(id, _)| *id).collect();
            let proxy = self.draw(&among);
            let session = self.session(now, request, proxy);
            return Ok(Lane { proxy, session });
        }
        match (held, refused) {
            (Some((whose, until)), _) => Err(self.wait(now, request, whose, until)),
            (None, Some((slug, why, again))) => {
                Err(Blocked::Refused(Refusal { why: NoAttempt::Remembered, slug: Some(slug), cause: why, until: Some(again) }))
            }
            (None, None) => {
                Err(Blocked::Refused(super::refusal(NoAttempt::NoProxy, "no proxy is configured that may carry the request")))
            }
        }
    }

    /// A place in the queue of a limit, unless it ends too late for the request.
    pub(super) fn wait(&mut self, now: Moment, request: &mut Request, whose: Whose, until: Moment) -> Blocked {
        let Some(gate) = self.gates.find_mut(&whose) else {
            return Blocked::Wait(Waiting { until: now, limited: Limited { slug: None, whose: whose.to_string() } });
        };
        if until >= request.ask.deadline {
            return Blocked::Refused(Refusal {
                why: NoAttempt::TooLong,
                slug: Some(gate.slug),
                cause: gate.why.clone(),
                until: Some(until),
            });
        }
        let place = gate.queue(now, request.places.get(&whose).copied());
        let limited = Limited { slug: Some(gate.slug), whose: whose.to_string() };
        request.places.insert(whose, place);
        Blocked::Wait(Waiting { until: place.min(request.ask.deadline), limited })
    }

    /// Whether another proxy could take the request now that this one can't, and with another account if `other_account`.
    pub(super) fn elsewhere(&self, now: Moment, request: &Request, than: ProxyId, other_account: bool) -> bool {
        let this = &self.proxies[than.0];
        self.eligible(request).into_iter().any(|id| {
            let proxy = &self.proxies[id.0];
            let another = id != than && (!other_account || proxy.account != this.account);
            let tried = request.failed.contains(&id);
            another && !tried && !matches!(self.standing(now, request, id), Standing::Refused(..))
        })
    }

    /// Whether the request could leave through an exit that it has not tried.
    pub(super) fn other_exit(&self, now: Moment, request: &Request, than: ProxyId) -> bool {
        if request.ask.session != Session::Any {
            return false;
        }
        match self.proxies[than.0].exits {
            Exits::Rotating | Exits::Sessions(_) => true,
            Exits::One => {
                self.eligible(request).into_iter().any(|id| id != than && self.rank(now, request, id).spoiled == Spoiled::No)
            }
        }
    }

    /// The proxies that may carry the request at all.
    fn eligible(&self, request: &Request) -> Vec<ProxyId> {
        let all = (0..self.proxies.len()).map(ProxyId).filter(|id| self.proxies[id.0].weight > 0);
        match &request.ask.session {
            Session::Any => all.collect(),
            // A kept session stays with one proxy, whatever happens to the others: the one with the highest hash of both names.
            Session::Kept(session) => {
                let tier = all.clone().map(|id| self.proxies[id.0].tier).min();
                let of_tier = all.filter(|id| Some(self.proxies[id.0].tier) == tier);
                of_tier.max_by_key(|id| hash(session, &self.proxies[id.0].name)).into_iter().collect()
            }
        }
    }

    fn standing(&self, now: Moment, request: &Request, id: ProxyId) -> Standing {
        // While all is well a list of a thousand proxies costs no names.
        if self.heard.is_empty() && self.gates.is_empty() {
            return Standing::Free;
        }
        for whose in self.refusers(request, id) {
            if let Some(heard) = self.heard.find(&whose)
                && heard.stands(now)
            {
                return Standing::Refused(heard.slug, heard.why.clone(), heard.again());
            }
        }
        let mut longest: Option<(Whose, Moment)> = None;
        for whose in self.holders(request, id) {
            let Some(gate) = self.gates.find(&whose) else { continue };
            if !gate.passes(now, request.places.get(&whose).copied())
                && longest.as_ref().is_none_or(|(_, until)| gate.until > *until)
            {
                longest = Some((whose, gate.until));
            }
        }
        longest.map_or(Standing::Free, |(whose, until)| Standing::Held(whose, until))
    }

    /// Under which names this proxy's refusals of the request are remembered.
    pub(super) fn refusers(&self, request: &Request, id: ProxyId) -> [Whose; 4] {
        let proxy = &self.proxies[id.0];
        [
            Whose::Proxy(id, proxy.name.clone()),
            Whose::Account(proxy.account.clone()),
            Whose::Wish(proxy.account.clone(), request.ask.targeting.clone()),
            Whose::Place(proxy.account.clone(), request.target.clone()),
        ]
    }

    /// Which limits hold this proxy for the request; its made-up sessions are chosen past theirs.
    fn holders(&self, request: &Request, id: ProxyId) -> Vec<Whose> {
        let proxy = &self.proxies[id.0];
        let mut holders = vec![
            Whose::Proxy(id, proxy.name.clone()),
            Whose::Account(proxy.account.clone()),
            Whose::Wish(proxy.account.clone(), request.ask.targeting.clone()),
        ];
        match (&request.ask.session, proxy.exits) {
            (Session::Kept(name), _) => holders.push(Whose::Lane(id, Some(name.clone()), request.domain.clone())),
            (Session::Any, Exits::One) => holders.push(Whose::Lane(id, None, request.domain.clone())),
            (Session::Any, Exits::Rotating | Exits::Sessions(_)) => {}
        }
        holders
    }

    fn rank(&self, now: Moment, request: &Request, id: ProxyId) -> Rank {
        let banned = !self.bans.is_empty() && self.banned(now, &Whose::Lane(id, None, request.domain.clone()));
        let spoiled = if request.failed.contains(&id) || banned { Spoiled::Yes } else { Spoiled::No };
        Rank { spoiled, tier: self.proxies[id.0].tier }
    }

    pub(super) fn banned(&self, now: Moment, lane: &Whose) -> bool {
        self.bans.find(lane).is_some_and(|ban| now < ban.until)
    }

    /// One of these by weight, the ones that do well more often.
    fn draw(&mut self, among: &[ProxyId]) -> ProxyId {
        let share = |id: &ProxyId| u64::from(self.proxies[id.0].weight) * u64::from(self.health[id.0].share()).max(1);
        let total = among.iter().map(share).sum();
        let mut drawn = self.random.below(total);
        for id in among {
            let part = u64::from(self.proxies[id.0].weight) * u64::from(self.health[id.0].share()).max(1);
            if drawn < part {
                return *id;
            }
            drawn -= part;
        }
        among[0]
    }

    fn session(&mut self, now: Moment, request: &Request, id: ProxyId) -> Option<String> {
        let most = match (&request.ask.session, self.proxies[id.0].exits) {
            (Session::Kept(name), _) => return Some(name.clone()),
            (Session::Any, Exits::One | Exits::Rotating) => return None,
            (Session::Any, Exits::Sessions(most)) => usize::from(most),
        };
        let (gates, bans, domain) = (&self.gates, &self.bans, &request.domain);
        let fits = |name: &str| {
            let lane = Whose::Lane(id, Some(name.to_owned()), domain.clone());
            gates.find(&lane).is_none_or(|gate| gate.passes(now, None))
                && bans.find(&lane).is_none_or(|ban| now >= ban.until)
                && !request.spent.iter().any(|spent| spent == name)
        };
        Some(self.sessions[id.0].take(now, most, &mut self.random, fits))
    }
}

/// What is taken first: what this request has not failed with, then the lower tier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    spoiled: Spoiled,
    tier: u8,
}

/// Whether the request, or its target, has had trouble with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Spoiled {
    No,
    Yes,
}

/// FNV-1a over both words: the same everywhere and in every run.
fn hash(session: &str, proxy: &str) -> u64 {
    session
        .bytes()
        .chain([0])
        .chain(proxy.bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}
