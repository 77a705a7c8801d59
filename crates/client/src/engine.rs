//! The engine: whether a failed request is tried again, when, and through what. No sockets, no clock, no randomness of its own.
//!
//! One [`Engine`] serves all requests of a program, so that what one of them learns spares the others. A shell (the relay, the
//! library) drives it:
//!
//! ```text
//! Request::new(ask) ─→ admit ─┬→ Go(choice) ─→ (the attempt) ─→ report ─┬→ Done
//!                        ↑    ├→ Wait(until) ─┐                         ├→ Retry{at} ─┐
//!                        │    └→ Refused      │                         └→ GiveUp     │
//!                        └────────────────────┴───────────────────────────────────────┘
//! ```
//!
//! | question | module |
//! |---|---|
//! | what did the attempt come to? | [`Outcome`], with the [`Finding`] of `classify` |
//! | how far did it come, and what does that prove? | `reach` |
//! | what does it teach about everything else? | `learn` |
//! | who is held by a limit, and who goes first when it ends? | `gate` |
//! | what need not be asked again? | `memory` |
//! | is the target's domain to be left alone? | `breaker` |
//! | may the request be repeated? | `repeat` |
//! | again, and when? | `decide`, `backoff`, `budget` |
//! | through what? | `choose`, `sessions`, `health` |
//!
//! What is limited decides what waits ([`Scope`](crate::classify::Scope)): a provider's 429 holds its account, a target's 429 one
//! exit on one domain, a target's 503 the domain. Everything that is kept is bounded by [`Rules::most_kept`].
//!
//! To add a rule: 1. a number in [`Rules`] with its origin; 2. the decision in the module that the table names; 3. a case in
//! `crates/client/vectors`, which other languages read too.

mod answer;
mod ask;
pub mod attempt;
mod backoff;
mod breaker;
mod budget;
mod choose;
mod decide;
mod gate;
mod health;
mod kept;
mod learn;
mod memory;
mod now;
mod outcome;
mod proxy;
mod random;
mod reach;
mod repeat;
mod request;
mod rules;
mod sessions;
mod whose;

pub use answer::{Admission, Choice, Connection, Fresh, GiveUp, Limited, Next, NoAttempt, Refusal, Ticket, Waiting};
pub use ask::{Ask, Body, Repeat, Session};
pub use attempt::Attempt;
pub use now::{Clock, Moment, Now};
pub use outcome::{Finding, Outcome, Sent};
pub use proxy::{Exits, Proxy, ProxyId};
pub use request::Request;
pub use rules::{BreakerRules, BudgetRules, Hedging, Rules};

use answer::Blocked;
use breaker::{Circuit, Says};
use budget::Budget;
use gate::Gate;
use health::Health;
use kept::Kept;
use learn::{Ban, Silent};
use memory::Heard;
use random::Random;
use sessions::Sessions;
use whose::Whose;

/// Decides for all requests of a program.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    proxies: Vec<Proxy>,
    health: Vec<Health>,
    sessions: Vec<Sessions>,
    gates: Kept<Whose, Gate>,
    heard: Kept<Whose, Heard>,
    bans: Kept<Whose, Ban>,
    circuits: Kept<String, Circuit>,
    silent: Kept<Whose, Silent>,
    budget: Budget,
    random: Random,
    serial: u64,
}

impl Engine {
    /// An engine over these proxies. The seed makes its choices and jitter; the same seed and calls give the same decisions.
    pub fn new(rules: Rules, proxies: Vec<Proxy>, seed: u64) -> Self {
        let most = rules.most_kept;
        Self {
            health: proxies.iter().map(|_| Health::new()).collect(),
            sessions: proxies.iter().map(|_| Sessions::default()).collect(),
            gates: Kept::new(most),
            heard: Kept::new(most),
            bans: Kept::new(most),
            circuits: Kept::new(most),
            silent: Kept::new(most),
            budget: Budget::new(&rules.budget),
            random: Random::new(seed),
            serial: 0,
            rules,
            proxies,
        }
    }

    /// The rules it decides by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The proxies it chooses from.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Whether the request may make an attempt now. The order is fixed: deadline, the target's circuit, what is remembered of the
    /// target, the domain's limit, then the proxies with theirs.
    pub fn admit(&mut self, now: Now, request: &mut Request) -> Admission {
        let now = now.clock;
        if request.begun.is_none() {
            request.begun = Some(now);
            self.budget.earn(now, &self.rules.budget);
        }
        request.asked.get_or_insert(now);
        let admission = self.judge(now, request);
        if matches!(admission, Admission::Refused(_)) {
            self.ended(now, request);
        }
        admission
    }

    fn judge(&mut self, now: Moment, request: &mut Request) -> Admission {
        if now >= request.ask.deadline {
            return Admission::Refused(refusal(NoAttempt::Deadline, "the request's deadline has passed"));
        }
        match self.target(now, request).and_then(|()| self.lane(now, request)) {
            Ok(lane) => Admission::Go(self.go(now, request, lane)),
            Err(blocked) => blocked.into(),
        }
    }

    /// What is known of the target, whoever carries the request there.
    fn target(&mut self, now: Moment, request: &mut Request) -> Result<(), Blocked> {
        if let Some(circuit) = self.circuits.find(&request.domain)
            && let Says::No(until) = circuit.says(now)
        {
            // Who was on the way when it opened waits for the first probe; all others fail fast.
            if !request.attempts.is_empty() && circuit.just_opened(&self.rules.breaker) && until < request.ask.deadline {
                let limited = Limited { slug: circuit.slug, whose: Whose::Domain(request.domain.clone()).to_string() };
                return Err(Blocked::Wait(Waiting { until, limited }));
            }
            return Err(Blocked::Refused(Refusal {
                why: NoAttempt::CircuitOpen,
                slug: circuit.slug,
                cause: format!("too many requests to {} failed: none is made for now", request.domain),
                until: Some(until),
            }));
        }
        for whose in [Whose::Domain(request.domain.clone()), Whose::Target(request.target.clone())] {
            if let Some(heard) = self.heard.find(&whose)
                && heard.stands(now)
            {
                return Err(Blocked::Refused(Refusal {
                    why: NoAttempt::Remembered,
                    slug: Some(heard.slug),
                    cause: heard.why.clone(),
                    until: Some(heard.again()),
                }));
            }
        }
        let domain = Whose::Domain(request.domain.clone());
        if let Some(gate) = self.gates.find(&domain)
            && !gate.passes(now, request.places.get(&domain).copied())
        {
            let until = gate.until;
            return Err(self.wait(now, request, domain, until));
        }
        Ok(())
    }

    /// Lets an attempt go: every limit it passes, and every refusal it asks again, hears of it.
    fn go(&mut self, now: Moment, request: &mut Request, lane: choose::Lane) -> Choice {
        self.serial += 1;
        let began = now;
        let waited = now.saturating_sub(request.asked.take().unwrap_or(now));
        let ticket = Ticket { serial: self.serial, proxy: lane.proxy, session: lane.session.clone(), began, waited };
        for whose in self.involved(request, &ticket) {
            if let Some(gate) = self.gates.find_mut(&whose) {
                gate.pass(now, ticket.serial, &self.rules);
            }
            if let Some(heard) = self.heard.find_mut(&whose) {
                heard.ask(now, ticket.serial, &self.rules);
            }
        }
        if let Some(circuit) = self.circuits.find_mut(&request.domain)
            && circuit.says(now) == Says::Probe
        {
            circuit.probe(now, ticket.serial, self.rules.attempt_timeout);
        }
        request.places.clear();
        request.flying += 1;
        let number = request.number();
        let hedge_at = match self.rules.hedging {
            Hedging::After(after) if number == 1 && repeat::safe_method(&request.ask) => Some(now.saturating_add(after)),
            Hedging::After(_) | Hedging::Off => None,
        };
        Choice {
            proxy: lane.proxy,
            session: lane.session,
            connection: if number == 1 { Connection::Any } else { Connection::Fresh },
            number,
            deadline: request.ask.deadline.min(now.saturating_add(self.rules.attempt_timeout)),
            hedge_at,
            ticket,
        }
    }

    /// A second attempt beside one that is slow, if the rules, the method, the budget and all limits allow it. Whichever ends first
    /// with an answer wins; the other is to be [abandoned](Engine::abandon).
    pub fn hedge(&mut self, now: Now, request: &mut Request) -> Option<Choice> {
        let now = now.clock;
        let due = matches!(self.rules.hedging, Hedging::After(_)) && request.flying == 1 && repeat::safe_method(&request.ask);
        if !due || now >= request.ask.deadline || self.target(now, request).is_err() {
            return None;
        }
        let lane = self.lane(now, request).ok()?;
        if !self.budget.spend(now, &self.rules.budget) {
            if let Some(session) = &lane.session {
                self.sessions[lane.proxy.0].give_back(session);
            }
            return None;
        }
        Some(Choice { connection: Connection::Fresh, hedge_at: None, ..self.go(now, request, lane) })
    }

    /// The proxy opened the tunnel, or began to answer: whatever becomes of the attempt, its account was let in. A shell that can
    /// see this should say so, because others may be waiting for it.
    pub fn opened(&mut self, now: Now, request: &Request, ticket: &Ticket) {
        for whose in self.refusers(request, ticket.proxy) {
            self.heard.remove(&whose);
            if let Some(gate) = self.gates.find_mut(&whose)
                && gate.came_through(now.clock, ticket.began)
            {
                self.gates.remove(&whose);
            }
        }
    }

    /// What follows an attempt that ended.
    pub fn report(&mut self, now: Now, request: &mut Request, ticket: Ticket, outcome: Outcome) -> Next {
        self.log(now, request, &ticket, &outcome);
        request.flying = request.flying.saturating_sub(1);
        let now = now.clock;
        self.learn(now, request, &ticket, outcome.finding.as_ref());
        let next = match &outcome.finding {
            None => Next::Done,
            Some(_) if request.flying > 0 => return Next::Pending,
            Some(finding) => self.decide(now, request, &ticket, finding, outcome.sent),
        };
        if !matches!(next, Next::Retry { .. }) {
            self.ended(now, request);
        }
        next
    }

    /// An attempt that was given up without an outcome: the caller went away, or another attempt of the request won.
    pub fn abandon(&mut self, now: Now, request: &mut Request, ticket: Ticket) {
        request.flying = request.flying.saturating_sub(1);
        if let (Session::Any, Some(session)) = (&request.ask.session, &ticket.session) {
            self.sessions[ticket.proxy.0].give_back(session);
        }
        for whose in self.involved(request, &ticket) {
            if let Some(gate) = self.gates.find_mut(&whose) {
                gate.told_nothing(ticket.serial);
            }
            if let Some(heard) = self.heard.find_mut(&whose) {
                heard.told_nothing(ticket.serial);
            }
        }
        if let Some(circuit) = self.circuits.find_mut(&request.domain) {
            circuit.told_nothing(now.clock, ticket.serial);
        }
    }

    /// A request has ended: its domain counts it, unless what failed had nothing to do with the domain.
    fn ended(&mut self, now: Moment, request: &mut Request) {
        let last = request.attempts.last().map(|attempt| (attempt.slug, attempt.provenance));
        let (failed, tells) = match (request.blamed, last) {
            (Some(slug), _) => (Some(slug), true),
            (None, Some((None, _))) => (None, true),
            (None, _) => (None, false),
        };
        if !tells || request.counted {
            return;
        }
        request.counted = true;
        let rules = &self.rules.breaker;
        self.circuits.enter(now, request.domain.clone(), || Circuit::new(rules)).ended(now, failed, rules);
    }

    fn log(&self, now: Now, request: &mut Request, ticket: &Ticket, outcome: &Outcome) {
        let took = now.clock.saturating_sub(ticket.began);
        request.attempts.push(Attempt {
            at: now.wall.checked_sub(jiff::SignedDuration::try_from(took).unwrap_or_default()).unwrap_or(now.wall),
            number: request.number(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Provenance, Scope};
    use outgate_faults::Slug;
    use std::time::Duration;

    #[test]
    fn a_flood_of_names_takes_no_more_room() {
        let rules = Rules { most_kept: 64, ..Rules::default() };
        let proxies = vec![Proxy::new("a", Exits::One), Proxy::new("b", Exits::Sessions(16))];
        let mut engine = Engine::new(rules, proxies, 1);
        let slugs =
            [Slug::DnsNotFound, Slug::PortDenied, Slug::TargetForbidden, Slug::TargetRateLimited, Slug::TargetUnavailable];
        for n in 0..5000_u64 {
            let now = Now { clock: Duration::from_millis(n), wall: jiff::Timestamp::UNIX_EPOCH };
            let mut ask = Ask::new("GET", format!("d{n}.example"), 443, Duration::from_secs(100));
            ask.targeting = format!("session-{n}");
            let mut request = Request::new(ask);
            while let Admission::Go(choice) = engine.admit(now, &mut request) {
                let slug = slugs[n as usize % slugs.len()];
                let provenance = if slug == Slug::PortDenied { Provenance::Proxy } else { Provenance::Origin };
                let provenance = if slug == Slug::DnsNotFound { Provenance::Exit } else { provenance };
                let (retry, scope, why) = (slug.row().retry, Scope::of(slug), String::new());
                let finding = Finding { slug, retry, provenance, scope, wait: Some(Duration::from_secs(50)), why };
                let outcome =
                    Outcome { finding: Some(finding), sent: Sent::Nothing, status: None, headers: Vec::new(), exit: None };
                if !matches!(engine.report(now, &mut request, choice.ticket, outcome), Next::Retry { .. }) {
                    break;
                }
            }
            assert!(request.attempts.len() <= 8);
        }
        for (what, many) in [
            ("gates", engine.gates.len()),
            ("refusals", engine.heard.len()),
            ("bans", engine.bans.len()),
            ("circuits", engine.circuits.len()),
            ("silences", engine.silent.len()),
        ] {
            assert!(many <= 64, "{many} {what}");
        }
        assert!(engine.heard.len() > 30 && engine.bans.len() > 30 && engine.circuits.len() > 30);
    }
}
