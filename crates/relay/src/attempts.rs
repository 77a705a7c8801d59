//! The attempts of one request: asks the engine, makes the attempt, reports, until it is enough.

use std::time::Instant;

use jiff::Timestamp;
use outgate_client::classify::Verdict;
use outgate_client::engine::{
    Admission, Ask, Choice, Finding, Limited, Moment, Next, Outcome, ProxyId, Refusal, Request, Sent, Ticket,
};

use crate::relay::Relay;
use crate::visit::Visit;

/// One attempt to make.
pub(crate) struct Plan {
    pub(crate) proxy: ProxyId,
    pub(crate) session: Option<String>,
    /// When it is given up.
    pub(crate) deadline: Instant,
}

/// What one attempt came to.
pub(crate) struct Tried<T> {
    /// What there is to give to the client: a tunnel, or an answer, good or bad.
    pub(crate) got: Option<T>,
    /// What it means; `None` when nothing went wrong.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) sent: Sent,
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) exit: Option<String>,
    /// What the hops before this one say of themselves.
    pub(crate) proxy_status: Option<String>,
    /// The answer's `Date`, by whose clock its dates are meant.
    pub(crate) date: Option<Timestamp>,
}

/// What all of them came to.
pub(crate) struct Ended<T> {
    /// The last attempt; none if none was made.
    pub(crate) last: Option<Tried<T>>,
    /// Why no further one was made.
    pub(crate) refusal: Option<Refusal>,
}

/// Makes attempts at `ask` until one ends well or no more are due. What happens is noted in `visit`.
pub(crate) async fn make<T>(
    relay: &Relay,
    visit: &mut Visit,
    ask: Ask,
    mut attempt: impl AsyncFnMut(&mut Visit, &Plan) -> Tried<T>,
) -> Ended<T> {
    let mut flight = Flight { relay, request: Request::new(ask), ticket: None };
    let mut last = None;
    let mut limited = None;
    let refusal = loop {
        // Its own statement: nothing may stay locked over a wait.
        let admission = relay.engine.borrow_mut().admit(relay.clock.now(), &mut flight.request);
        match admission {
            Admission::Go(Choice { proxy, session, deadline, ticket, .. }) => {
                flight.ticket = Some(ticket);
                let deadline = relay.clock.instant(deadline);
                let tried = attempt(visit, &Plan { proxy, session, deadline }).await;
                let Some(ticket) = flight.ticket.take() else { break None };
                let now = relay.clock.now();
                let finding = tried.verdict.as_ref().and_then(|verdict| Finding::of(verdict, now.wall, tried.date));
                let sentence = finding.as_ref().map(|finding| finding.why.clone());
                let outcome = Outcome {
                    finding,
                    sent: tried.sent,
                    status: tried.status,
                    headers: tried.headers.clone(),
                    exit: tried.exit.clone(),
                };
                let next = relay.engine.borrow_mut().report(now, &mut flight.request, ticket, outcome);
                if let Some(attempt) = flight.request.attempts().last() {
                    relay.links[proxy.0].note(attempt, sentence.as_deref());
                }
                last = Some(tried);
                match next {
                    // There is one attempt at a time: none is pending beside it.
                    Next::Done | Next::GiveUp(_) | Next::Pending => break None,
                    Next::Retry { at, .. } => {
                        // The answer that is not wanted is let go before the wait: its connection with it.
                        if let Some(tried) = &mut last {
                            tried.got = None;
                        }
                        wait_until(relay, visit, at).await;
                    }
                }
            }
            Admission::Wait(waiting) => {
                wait_until(relay, visit, waiting.until).await;
                limited = Some(waiting.limited);
            }
            Admission::Refused(refusal) => break Some(named(refusal, limited)),
        }
    };
    visit.log(flight.request.attempts().to_vec());
    Ended { last, refusal }
}

/// A refusal because the time is up says nothing of why it was: what was waited for does.
fn named(refusal: Refusal, limited: Option<Limited>) -> Refusal {
    match (refusal.slug, limited) {
        (None, Some(Limited { slug: Some(slug), whose })) => {
            let cause = format!("{}: waiting for {whose} took too long", refusal.cause);
            Refusal { slug: Some(slug), cause, ..refusal }
        }
        _ => refusal,
    }
}

async fn wait_until(relay: &Relay, visit: &mut Visit, moment: Moment) {
    let begun = Instant::now();
    tokio::time::sleep_until(relay.clock.instant(moment).into()).await;
    visit.times.queue += begun.elapsed();
}

/// A request between its attempts. An attempt that nobody waits for any more, because the program went away, is given back.
struct Flight<'a> {
    relay: &'a Relay,
    request: Request,
    ticket: Option<Ticket>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.relay.engine.borrow_mut().abandon(self.relay.clock.now(), &mut self.request, ticket);
        }
    }
}
