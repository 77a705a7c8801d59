//! What an outcome teaches about everything else: limits, refusals, exits, proxies, the domain.

use std::time::Duration;

use outgate_faults::{Layer, Retry, Slug};

use super::Engine;
use super::answer::Ticket;
use super::ask::Session;
use super::gate::Gate;
use super::kept::Ends;
use super::memory::Heard;
use super::now::Moment;
use super::outcome::Finding;
use super::proxy::{Exits, ProxyId};
use super::reach::{Reach, blames_domain, may_be_domain, reach};
use super::request::Request;
use super::whose::Whose;
use crate::classify::{Provenance, Scope};

/// An exit that a target refuses.
#[derive(Debug)]
pub(super) struct Ban {
    pub(super) until: Moment,
}

impl Ends for Ban {
    fn ends(&self) -> Moment {
        self.until
    }
}

impl Engine {
    /// Takes in what an attempt came to.
    pub(super) fn learn(&mut self, now: Moment, request: &mut Request, ticket: &Ticket, finding: Option<&Finding>) {
        let far = reach(finding);
        let refusal = finding.and_then(|finding| Some((self.remembered_as(request, ticket, finding)?, finding)));
        let limit = finding.and_then(|finding| Some((self.holds(request, ticket, finding)?, finding)));
        if let Some((whose, finding)) = &refusal {
            let heard = self.heard.enter(now, whose.clone(), || Heard::new(finding.slug));
            heard.hear(now, ticket.began, finding.slug, &finding.why, finding.wait, &self.rules);
        }
        if let Some((whose, finding)) = &limit {
            self.close(now, whose.clone(), ticket, finding);
        }
        self.exit_and_proxy(now, request, ticket, finding, far);
        self.domain(now, request, ticket, finding, far);
        self.open_what_came_through(
            now,
            request,
            ticket,
            far,
            finding,
            refusal.map(|(whose, _)| whose),
            limit.map(|(whose, _)| whose),
        );
    }

    /// Under which name the refusal is remembered; none if it is no deterministic one of the proxy's.
    fn remembered_as(&self, request: &Request, ticket: &Ticket, finding: &Finding) -> Option<Whose> {
        if !deterministic(finding) {
            return None;
        }
        let proxy = &self.proxies[ticket.proxy.0];
        let account = proxy.account.clone();
        match finding.scope {
            Scope::Account if about_the_wish(finding.slug) => Some(Whose::Wish(account, request.ask.targeting.clone())),
            Scope::Account => Some(Whose::Account(account)),
            Scope::Upstream => Some(Whose::Proxy(ticket.proxy, proxy.name.clone())),
            Scope::Domain => Some(Whose::Domain(request.domain.clone())),
            // Of the target itself nobody's account matters; a policy is that of one proxy.
            Scope::Target if finding.slug.row().layer == Layer::Target => Some(Whose::Target(request.target.clone())),
            Scope::Target => Some(Whose::Place(account, request.target.clone())),
            Scope::ExitOnDomain | Scope::Request => None,
        }
    }

    /// Which limit was met; none if it is no limit, or one that choosing differently gets past.
    pub(super) fn holds(&self, request: &Request, ticket: &Ticket, finding: &Finding) -> Option<Whose> {
        let named = finding.wait.is_some();
        if deterministic(finding) || finding.retry != Retry::Backoff || !(named || states_a_limit(finding.slug)) {
            return None;
        }
        let proxy = &self.proxies[ticket.proxy.0];
        match finding.scope {
            // A provider without a wait to name often says the same of a target that is down. Were that believed, requests for such
            // a target, which come back first, would hold all others again and again.
            Scope::Account if finding.slug == Slug::NoExit => {
                let wish = Whose::Wish(proxy.account.clone(), request.ask.targeting.clone());
                named.then_some(wish)
            }
            Scope::Account => Some(Whose::Account(proxy.account.clone())),
            Scope::Upstream => Some(Whose::Proxy(ticket.proxy, proxy.name.clone())),
            Scope::ExitOnDomain => match (&request.ask.session, proxy.exits) {
                // The next connection leaves through another exit anyway.
                (Session::Any, Exits::Rotating) => None,
                _ => Some(Whose::Lane(ticket.proxy, ticket.session.clone(), request.domain.clone())),
            },
            Scope::Domain | Scope::Target => {
                let domain = Whose::Domain(request.domain.clone());
                (named || self.many_silent(&domain)).then_some(domain)
            }
            Scope::Request => None,
        }
    }

    /// Whether one more limit that names no wait makes as many in a row as are believed.
    fn many_silent(&self, whose: &Whose) -> bool {
        self.silent.find(whose).is_some_and(|silent| silent.in_a_row + 1 >= self.rules.in_a_row)
    }

    /// Counts limits that name no wait, in a row.
    fn count_silent(&mut self, now: Moment, request: &Request, finding: Option<&Finding>, far: Reach) {
        let domain = Whose::Domain(request.domain.clone());
        if finding.is_some_and(|finding| finding.slug == Slug::TargetUnavailable && finding.wait.is_none()) {
            let silent = self.silent.enter(now, domain, || Silent { in_a_row: 0, seen: now });
            silent.in_a_row = silent.in_a_row.saturating_add(1);
            silent.seen = now;
        } else if far == Reach::Target {
            self.silent.remove(&domain);
        }
    }

    /// Closes the gate of a limit that was met.
    fn close(&mut self, now: Moment, whose: Whose, ticket: &Ticket, finding: &Finding) {
        let strikes = self.gates.find(&whose).map_or(0, |gate| gate.strikes);
        let guess = self.guess(&whose, strikes);
        let wait = finding.wait.map(|wait| wait.min(self.rules.longest_wait));
        let gate = self.gates.enter(now, whose, || Gate::new(now, finding.slug, finding.why.clone()));
        gate.slug = finding.slug;
        gate.why.clone_from(&finding.why);
        gate.meet(now, ticket.began, wait, guess);
    }

    /// How long to keep away when the answer did not say.
    fn guess(&mut self, whose: &Whose, strikes: u32) -> Duration {
        let rules = &self.rules;
        let doubled = |first: Duration, longest: Duration| {
            first.saturating_mul(1_u32.checked_shl(strikes).unwrap_or(u32::MAX)).min(longest)
        };
        match whose {
            Whose::Proxy(..) => {
                let longest = doubled(rules.hold, rules.hold_longest);
                longest / 2 + self.random.up_to(longest / 2)
            }
            // Two seconds after the first, then four, then eight: half of it certain, so that a limit is not met again at once.
            _ => {
                let longest = doubled(rules.backoff_first.saturating_mul(2), rules.backoff_longest);
                longest / 2 + self.random.up_to(longest / 2)
            }
        }
    }

    fn exit_and_proxy(&mut self, now: Moment, request: &mut Request, ticket: &Ticket, finding: Option<&Finding>, far: Reach) {
        let made_up = request.ask.session == Session::Any;
        if let (true, Some(session)) = (made_up, &ticket.session) {
            self.sessions[ticket.proxy.0].give_back(session);
        }
        let lane = Whose::Lane(ticket.proxy, ticket.session.clone(), request.domain.clone());
        let Some(finding) = finding else {
            self.health[ticket.proxy.0].went_well();
            self.health[ticket.proxy.0].well = Some(now);
            self.bans.remove(&lane);
            return;
        };
        if far >= Reach::Refused && far != Reach::Admitted {
            self.health[ticket.proxy.0].went_well();
        }
        if far == Reach::Target {
            self.health[ticket.proxy.0].well = Some(now);
        }
        match finding.slug {
            Slug::TargetForbidden | Slug::TargetChallenged => {
                let until = now.saturating_add(self.rules.ban);
                self.bans.enter(now, lane.clone(), || Ban { until }).until = until;
                request.banned.push(lane);
            }
            _ => {}
        }
        if made_up && let Some(session) = &ticket.session {
            if far == Reach::Admitted && finding.slug != Slug::NoExit {
                self.sessions[ticket.proxy.0].forget(session);
            }
            request.spent.push(session.clone());
        }
        // What a person must change fails elsewhere too, and what is limited has a gate of its own.
        let trouble = match far {
            Reach::Nowhere => true,
            Reach::Proxy => finding.provenance == Provenance::Proxy && !deterministic(finding) && finding.wait.is_none(),
            Reach::Admitted => finding.slug != Slug::NoExit,
            Reach::Refused | Reach::Exit | Reach::Target => false,
        };
        if trouble {
            self.proxy_failed(now, request, ticket, finding);
        }
        let own_exit = self.proxies[ticket.proxy.0].exits == Exits::One && matches!(far, Reach::Exit | Reach::Target);
        if (trouble || own_exit) && !request.failed.contains(&ticket.proxy) {
            request.failed.push(ticket.proxy);
        }
    }

    fn proxy_failed(&mut self, now: Moment, request: &Request, ticket: &Ticket, finding: &Finding) {
        let id = ticket.proxy;
        self.health[id.0].failed();
        // Where others can do its work, holding one costs nothing: once is enough for what does not pass by itself.
        let enough = match finding.retry {
            Retry::Fix if self.elsewhere(now, request, id, false) => 1,
            _ => self.rules.in_a_row,
        };
        if self.health[id.0].in_a_row >= enough {
            let whose = Whose::Proxy(id, self.proxies[id.0].name.clone());
            self.close(now, whose, ticket, finding);
        }
    }

    fn domain(&mut self, now: Moment, request: &mut Request, ticket: &Ticket, finding: Option<&Finding>, far: Reach) {
        self.count_silent(now, request, finding, far);
        let others_get_through = self.health[ticket.proxy.0].well.is_some_and(|well| well >= ticket.began);
        let blamed = finding.filter(|finding| blames_domain(finding) || (may_be_domain(finding) && others_get_through));
        request.blamed = blamed.map(|finding| finding.slug);
        let rules = &self.rules.breaker;
        match blamed {
            Some(finding) => {
                let make = || super::breaker::Circuit::new(rules);
                self.circuits.enter(now, request.domain.clone(), make).failed(now, ticket.serial, finding.slug, rules);
            }
            None => {
                if let Some(circuit) = self.circuits.find_mut(&request.domain) {
                    if far == Reach::Target {
                        circuit.answered(now, ticket.serial, rules);
                    } else {
                        circuit.told_nothing(now, ticket.serial);
                    }
                }
            }
        }
    }

    /// Opens the gates, and forgets the refusals, that the attempt has shown to be over.
    #[expect(clippy::too_many_arguments, reason = "one outcome, seen from all sides")]
    fn open_what_came_through(
        &mut self,
        now: Moment,
        request: &Request,
        ticket: &Ticket,
        far: Reach,
        finding: Option<&Finding>,
        refused: Option<Whose>,
        met: Option<Whose>,
    ) {
        let held_now = self.health[ticket.proxy.0].in_a_row > 0;
        for whose in self.involved(request, ticket) {
            let over = match &whose {
                Whose::Proxy(..) => far == Reach::Refused || (far >= Reach::Exit && !held_now),
                Whose::Account(_) => far >= Reach::Admitted,
                Whose::Wish(..) | Whose::Place(..) => {
                    far >= Reach::Admitted && finding.is_none_or(|finding| finding.slug != Slug::NoExit)
                }
                Whose::Lane(..) | Whose::Domain(_) | Whose::Target(_) => far == Reach::Target,
            };
            if met.as_ref() != Some(&whose)
                && let Some(gate) = self.gates.find_mut(&whose)
            {
                if !over {
                    gate.told_nothing(ticket.serial);
                } else if gate.came_through(now, ticket.began) {
                    self.gates.remove(&whose);
                }
            }
            if refused.as_ref() != Some(&whose) {
                if over {
                    self.heard.remove(&whose);
                } else if let Some(heard) = self.heard.find_mut(&whose) {
                    heard.told_nothing(ticket.serial);
                }
            }
        }
    }

    /// Every name under which something may hold an attempt.
    pub(super) fn involved(&self, request: &Request, ticket: &Ticket) -> Vec<Whose> {
        let mut involved = Vec::from(self.refusers(request, ticket.proxy));
        involved.push(Whose::Lane(ticket.proxy, ticket.session.clone(), request.domain.clone()));
        involved.push(Whose::Domain(request.domain.clone()));
        involved.push(Whose::Target(request.target.clone()));
        involved
    }

    /// A request that every exit was refused for: the target judges the request and not the exits.
    pub(super) fn take_bans_back(&mut self, request: &mut Request) {
        for lane in request.banned.drain(..) {
            self.bans.remove(&lane);
        }
    }

    /// The account or proxy is as good as new: what it refused is forgotten, and asked for real by the next request.
    pub fn changed(&mut self, id: ProxyId) {
        let account = &self.proxies[id.0].account;
        self.heard.forget(|whose| match whose {
            Whose::Account(of) | Whose::Wish(of, _) | Whose::Place(of, _) => of == account,
            Whose::Proxy(of, _) | Whose::Lane(of, _, _) => *of == id,
            Whose::Domain(_) | Whose::Target(_) => false,
        });
        self.gates.forget(|whose| match whose {
            Whose::Account(of) | Whose::Wish(of, _) | Whose::Place(of, _) => of == account,
            Whose::Proxy(of, _) | Whose::Lane(of, _, _) => *of == id,
            Whose::Domain(_) | Whose::Target(_) => false,
        });
    }
}

/// Answers that state a limit and name no wait, in a row.
#[derive(Debug)]
pub(super) struct Silent {
    in_a_row: u32,
    seen: Moment,
}

impl Ends for Silent {
    fn ends(&self) -> Moment {
        self.seen.saturating_add(Duration::from_secs(60))
    }
}

/// Whether asking the same again gets the same answer, until somebody changes something. The target's own answers are not: they
/// are the caller's to read.
pub(super) fn deterministic(finding: &Finding) -> bool {
    finding.provenance != Provenance::Origin
        && match finding.retry {
            Retry::Never | Retry::Abort => true,
            // A login, or what a client sent, is as wrong the second time. What a person must change on the way to the proxy
            // may have been changed meanwhile: a restart looks the same.
            Retry::Fix => matches!(finding.slug.row().layer, Layer::Auth | Layer::Client),
            Retry::Now | Retry::Backoff | Retry::Rotate => false,
        }
}

/// Whether the fault says by itself that something is used up for now, even if no wait is named.
fn states_a_limit(slug: Slug) -> bool {
    use Slug::*;
    matches!(
        slug,
        RateLimited
            | ThreadsExceeded
            | AuthThrottled
            | Overloaded
            | Draining
            | LedgerUnavailable
            | NoExit
            | TargetRateLimited
            | TargetUnavailable
    )
}

/// Whether it is about what was asked for besides the target, and not about the account as a whole.
fn about_the_wish(slug: Slug) -> bool {
    slug.row().layer == Layer::Targeting || matches!(slug, Slug::PoolDenied | Slug::CountryDenied)
}
