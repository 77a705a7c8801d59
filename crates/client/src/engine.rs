//! The engine: whether a failed request is tried again, when, and through what. No sockets, no clock, no randomness of its own.
//!
//! One [`Engine`] serves all requests of a program. A shell (the relay, the library) drives it:
//!
//! ```text
//! Request::new(ask) ─→ admit ─┬→ Go(choice) ─→ (the attempt) ─→ report ─┬→ Done
//!                        ↑    ├→ Wait(until) ─┐                         ├→ Retry{at} ─┐
//!                        │    └→ Refused      │                         └→ GiveUp     │
//!                        └────────────────────┴────────────────────────────────────────┘
//! ```

mod answer;
mod ask;
pub mod attempt;
mod backoff;
mod now;
mod outcome;
mod proxy;
mod random;
mod request;
mod rules;

pub use answer::{Admission, Choice, Connection, Fresh, GiveUp, Limited, Next, NoAttempt, Refusal, Ticket, Waiting};
pub use ask::{Ask, Body, Repeat, Session};
pub use attempt::Attempt;
pub use now::{Clock, Moment, Now};
pub use outcome::{Finding, Outcome, Sent};
pub use proxy::{Exits, Proxy, ProxyId};
pub use request::Request;
pub use rules::{BreakerRules, BudgetRules, Hedging, Rules};

use outgate_faults::Retry;

use random::Random;

/// Decides for all requests of a program.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    proxies: Vec<Proxy>,
    random: Random,
    serial: u64,
}

impl Engine {
    /// An engine over these proxies. The seed makes its choices and jitter; the same seed and calls give the same decisions.
    pub fn new(rules: Rules, proxies: Vec<Proxy>, seed: u64) -> Self {
        Self { rules, proxies, random: Random::new(seed), serial: 0 }
    }

    /// The rules it decides by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The proxies it chooses from.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Whether the request may make an attempt now.
    pub fn admit(&mut self, now: Now, request: &mut Request) -> Admission {
        let asked = *request.asked.get_or_insert(now.clock);
        if now.clock >= request.ask.deadline {
            return Admission::Refused(refusal(NoAttempt::Deadline, "the request's deadline has passed"));
        }
        let total: u64 = self.proxies.iter().map(|proxy| u64::from(proxy.weight)).sum();
        let mut draw = self.random.below(total);
        for (at, proxy) in self.proxies.iter().enumerate() {
            let weight = u64::from(proxy.weight);
            if draw < weight {
                self.serial += 1;
                request.asked = None;
                let session = match (&request.ask.session, proxy.exits) {
                    (Session::Kept(name), _) => Some(name.clone()),
                    (Session::Any, Exits::Sessions(_)) => Some(self.random.word()),
                    (Session::Any, Exits::One | Exits::Rotating) => None,
                };
                let number = u32::try_from(request.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
                let connection = if number == 1 { Connection::Any } else { Connection::Fresh };
                let deadline = request.ask.deadline.min(now.clock.saturating_add(self.rules.attempt_timeout));
                let ticket = Ticket {
                    serial: self.serial,
                    proxy: ProxyId(at),
                    session: session.clone(),
                    began: now.clock,
                    waited: now.clock.saturating_sub(asked),
                };
                return Admission::Go(Choice {
                    proxy: ProxyId(at),
                    session,
                    connection,
                    number,
                    deadline,
                    hedge_at: None,
                    ticket,
                });
            }
            draw -= weight;
        }
        Admission::Refused(refusal(NoAttempt::NoProxy, "no proxy is configured that may carry the request"))
    }

    /// What follows an attempt that ended.
    pub fn report(&mut self, now: Now, request: &mut Request, ticket: Ticket, outcome: Outcome) -> Next {
        self.log(now, request, &ticket, &outcome);
        let Some(finding) = outcome.finding else { return Next::Done };
        let (made, limit, fresh) = match finding.retry {
            Retry::Never | Retry::Abort => return Next::GiveUp(GiveUp::Class),
            Retry::Fix => (&mut request.retries.fix, self.rules.fix, Fresh::Connection),
            Retry::Now => (&mut request.retries.now, self.rules.transient, Fresh::Connection),
            Retry::Backoff => (&mut request.retries.backoff, self.rules.transient, Fresh::Connection),
            Retry::Rotate => (&mut request.retries.rotate, self.rules.transient, Fresh::Exit),
        };
        if *made >= limit {
            return Next::GiveUp(GiveUp::Limit);
        }
        let wait = match finding.retry {
            Retry::Now | Retry::Rotate if *made == 0 => Moment::ZERO,
            _ => finding.wait.unwrap_or_else(|| backoff::wait(&self.rules, u32::from(*made), &mut self.random)),
        };
        *made += 1;
        let at = now.clock.saturating_add(wait);
        if at >= request.ask.deadline { Next::GiveUp(GiveUp::Deadline) } else { Next::Retry { at, fresh } }
    }

    /// An attempt that was given up without an outcome: the caller went away, or another attempt of the request won.
    pub fn abandon(&mut self, _now: Now, ticket: Ticket) {
        drop(ticket);
    }

    fn log(&self, now: Now, request: &mut Request, ticket: &Ticket, outcome: &Outcome) {
        let took = now.clock.saturating_sub(ticket.began);
        request.attempts.push(Attempt {
            at: now.wall.checked_sub(jiff::SignedDuration::try_from(took).unwrap_or_default()).unwrap_or(now.wall),
            number: u32::try_from(request.attempts.len()).unwrap_or(u32::MAX).saturating_add(1),
            proxy: self.proxies[ticket.proxy.0].name.clone(),
            session: ticket.session.clone(),
            exit: outcome.exit.clone(),
            target: request.target.clone(),
            status: outcome.status,
            slug: outcome.finding.as_ref().map(|finding| finding.slug),
            provenance: outcome.finding.as_ref().map(|finding| finding.provenance),
            waited: ticket.waited,
            took,
            headers: outcome.headers.clone(),
        });
    }
}

fn refusal(why: NoAttempt, cause: &str) -> Refusal {
    Refusal { why, slug: None, cause: cause.to_owned(), until: None }
}
