//! Whether a failed request is tried again, and when.

use outgate_faults::{Retry, Slug};

use super::answer::{Fresh, GiveUp, Next, Ticket};
use super::ask::Session;
use super::breaker::Says;
use super::learn::deterministic;
use super::now::Moment;
use super::outcome::{Finding, Sent};
use super::request::Request;
use super::{Engine, backoff, repeat};
use crate::classify::{Provenance, Scope};

impl Engine {
    /// What follows an attempt that failed, after [`Engine::learn`].
    pub(super) fn decide(&mut self, now: Moment, request: &mut Request, ticket: &Ticket, finding: &Finding, sent: Sent) -> Next {
        // An answer of the target that asks for nothing but to be read.
        let read = matches!(finding.retry, Retry::Never | Retry::Fix | Retry::Abort);
        if finding.provenance == Provenance::Origin && read {
            return Next::Done;
        }
        if !repeat::safe(&request.ask, sent, finding) {
            return Next::GiveUp(GiveUp::NotRepeatable);
        }
        if request.attempts.len() >= usize::try_from(self.rules.attempts).unwrap_or(usize::MAX) {
            return Next::GiveUp(GiveUp::Limit);
        }
        if let Some(fresh) = self.somewhere_else(now, request, ticket, finding) {
            return self.again(now, now, request, fresh);
        }
        if deterministic(finding) || matches!(finding.retry, Retry::Never | Retry::Abort) {
            return Next::GiveUp(GiveUp::Class);
        }
        if finding.retry == Retry::Rotate && !self.other_exit(now, request, ticket.proxy) {
            return Next::GiveUp(GiveUp::NoOtherExit);
        }
        // The exit that a kept session stood for is gone, and with it what the session was for.
        if finding.slug == Slug::SessionLost && request.ask.session != Session::Any {
            return Next::GiveUp(GiveUp::NoOtherExit);
        }
        let (made, limit) = match finding.retry {
            Retry::Fix => (&mut request.retries.fix, self.rules.fix),
            Retry::Now => (&mut request.retries.now, self.rules.transient),
            Retry::Backoff => (&mut request.retries.backoff, self.rules.transient),
            Retry::Rotate => (&mut request.retries.rotate, self.rules.transient),
            Retry::Never | Retry::Abort => return Next::GiveUp(GiveUp::Class),
        };
        if *made >= limit {
            if finding.retry == Retry::Rotate {
                self.take_bans_back(request);
            }
            return Next::GiveUp(GiveUp::Limit);
        }
        let before = u32::from(*made);
        *made += 1;
        let fresh = match finding.scope {
            Scope::ExitOnDomain => Fresh::Exit,
            _ if self.other_exit(now, request, ticket.proxy) => Fresh::Exit,
            _ => Fresh::Connection,
        };
        let held = self.held(request, ticket, finding);
        let wait = match finding.retry {
            // The first goes at once. Where a limit holds, its gate says when, and perhaps another proxy can go before.
            Retry::Now | Retry::Rotate if before == 0 => Moment::ZERO,
            _ if held => Moment::ZERO,
            _ => match finding.wait {
                Some(wait) => wait,
                None => backoff::wait(&self.rules, before, &mut self.random),
            },
        };
        self.again(now, now.saturating_add(wait), request, fresh)
    }

    /// A refusal, or a proxy that can't be reached, is that of one account or proxy: another may well serve the request.
    fn somewhere_else(&self, now: Moment, request: &Request, ticket: &Ticket, finding: &Finding) -> Option<Fresh> {
        if finding.provenance == Provenance::Origin {
            return None;
        }
        match finding.scope {
            Scope::Account if deterministic(finding) => self.elsewhere(now, request, ticket.proxy, true).then_some(Fresh::Proxy),
            Scope::Upstream => self.elsewhere(now, request, ticket.proxy, false).then_some(Fresh::Proxy),
            Scope::Target if deterministic(finding) && finding.slug.row().layer != outgate_faults::Layer::Target => {
                self.elsewhere(now, request, ticket.proxy, true).then_some(Fresh::Proxy)
            }
            Scope::Account | Scope::Target | Scope::Domain | Scope::ExitOnDomain | Scope::Request => None,
        }
    }

    /// Whether a gate was closed by this finding, so that admission makes the request wait.
    fn held(&self, request: &Request, ticket: &Ticket, finding: &Finding) -> bool {
        self.holds(request, ticket, finding).is_some_and(|whose| self.gates.find(&whose).is_some())
    }

    /// A retry at this moment, if circuit, deadline and budget allow it.
    fn again(&mut self, now: Moment, at: Moment, request: &mut Request, fresh: Fresh) -> Next {
        let circuit = self.circuits.find(&request.domain);
        let at = match circuit.map(|circuit| (circuit.says(now), circuit.just_opened(&self.rules.breaker))) {
            // A circuit that opened just now may have opened for a hiccup: who is on the way waits for the first probe.
            Some((Says::No(until), true)) => at.max(until),
            Some((Says::No(_), false)) => return Next::GiveUp(GiveUp::CircuitOpen),
            _ => at,
        };
        if at >= request.ask.deadline {
            return Next::GiveUp(GiveUp::Deadline);
        }
        if !self.budget.spend(now, &self.rules.budget) {
            return Next::GiveUp(GiveUp::Budget);
        }
        Next::Retry { at, fresh }
    }
}
