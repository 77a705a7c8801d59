//! Set-up through exits: asks one, others when it fails or is slow, until one opens the tunnel, the target itself is the
//! reason, or the time is up. Nothing of the client's has been sent yet, so another try repeats nothing.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, Layer, Slug, raise};
use outgate_fleet::{Ailment, Bound, NoPick, Outcome, Stay};
use outgate_link::{Connect, ConnectError, Connected, Refusal, Through, Tunnel};
use outgate_records::Try;
use outgate_store::ExitId;

use crate::admit::Permit;
use crate::choose::{Session, is_echo};
use crate::core::Core;
use crate::dial::{Dialed, Searched, Undialed};
use crate::echo::{EchoFacts, Expected};
use crate::fleet::{Lease, Wanted, describe};
use crate::head::Target;
use crate::policy::Ruling;
use crate::settings::Settings;
use crate::shares::stay::{Staying, Use};
use crate::upstream::Upstream;

/// A session stays where it is unless its exit takes this part of the time for a set-up.
const SESSION_PATIENCE: u32 = 3;
/// How often a request that waits for exits to come back looks for one.
const LOOK: Duration = Duration::from_millis(50);

/// A tunnel to be set up.
pub(crate) struct Errand<'a> {
    pub(crate) core: &'a Core,
    pub(crate) settings: &'a Settings,
    pub(crate) permit: &'a Permit,
    pub(crate) wanted: &'a Wanted,
    pub(crate) session: Option<&'a Session>,
    pub(crate) target: &'a Target,
    pub(crate) request_id: &'a str,
    pub(crate) deadline: Instant,
}

/// How far it has come.
struct Search<'a> {
    errand: &'a Errand<'a>,
    stay: Option<Stay<'a>>,
    open: Vec<Attempt>,
    tried: Vec<ExitId>,
    /// Exits that blame the target. If another one reaches it, they were wrong.
    blaming: Vec<(Lease, Fault)>,
    /// What the last exit did that failed.
    last: Option<Fault>,
    /// Why no other exit can be asked.
    over: Option<NoPick>,
    /// The session began with this request.
    is_new: bool,
    moved_from: Option<ExitId>,
    begun: Instant,
    /// How long it waited for exits to come back.
    waited: Duration,
    /// What became of those that were asked.
    ended: Vec<Ended>,
}

/// What became of one that was asked.
struct Ended {
    exit: ExitId,
    started: Instant,
    took: Duration,
    outcome: &'static str,
}

/// An exit that was asked and has not answered.
struct Attempt {
    lease: Lease,
    started: Instant,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
    /// The exit dials back to this gateway for the echo target and shows the request id as its ticket.
    _ticket: Option<Expected>,
}

type Answer = Result<(Tunnel, Connected), ConnectError>;

/// What happened next.
#[expect(clippy::large_enum_variant, reason = "one at a time, for one turn of the loop")]
enum Event {
    Answered(Attempt, Answer),
    Slow,
    TimeUp,
}

/// What an exit's no means for the search.
enum Verdict {
    /// Another exit would say the same, or may not be asked.
    Final(Fault),
    /// The exit failed: another one may not.
    Exit(Fault, Option<Ailment>),
    /// It says that it is the target. That may be the exit's own network.
    Blames(Fault),
}

impl Verdict {
    fn slug(&self) -> Slug {
        match self {
            Self::Final(fault) | Self::Exit(fault, _) | Self::Blames(fault) => fault.slug(),
        }
    }
}

impl Errand<'_> {
    pub(crate) async fn run(&self) -> Result<Dialed, Undialed> {
        let stay = self.session.map(|session| session.stay(self.permit, &self.settings.sessions));
        let is_new = match (&self.core.gateway.shares, &stay) {
            (Some(shares), Some(stay)) => {
                // Boxed: it is over before the search begins, and few requests wait in it.
                Box::pin(self.staying(stay).agree(shares, &mut || self.core.random())).await == Use::First
            }
            _ => false,
        };
        let mut search = Search {
            errand: self,
            stay,
            open: Vec::new(),
            tried: Vec::new(),
            blaming: Vec::new(),
            last: None,
            over: None,
            is_new,
            moved_from: None,
            begun: Instant::now(),
            waited: Duration::ZERO,
            ended: Vec::new(),
        };
        let found = search.run().await;
        let search = search.told_of();
        match found {
            Ok(dialed) => Ok(Dialed { search, ..dialed }),
            Err(fault) => Err(Undialed { search, ..Undialed::from(fault) }),
        }
    }

    fn staying<'b>(&'b self, stay: &'b Stay<'b>) -> Staying<'b> {
        Staying { fleet: &self.core.gateway.fleet, pool: &self.permit.pool.name, wanted: self.wanted, stay }
    }
}

impl Search<'_> {
    async fn run(&mut self) -> Result<Dialed, Fault> {
        let fleet = &self.errand.core.gateway.fleet;
        let mut patience = fleet.delay(&self.errand.permit.pool.name);
        let first = match self.stay {
            Some(_) => self.errand.settings.timeouts.setup / SESSION_PATIENCE,
            None => patience,
        };
        self.ask_another();
        while self.waits_for_exits() {
            tokio::time::sleep(LOOK).await;
            self.over = None;
            self.ask_another();
        }
        self.waited = self.begun.elapsed();
        let mut slow_at = Instant::now() + first;
        loop {
            if self.open.is_empty() {
                return Err(self.give_up());
            }
            let verdict = match self.next(slow_at).await {
                Event::Answered(attempt, Ok((tunnel, connected))) => return self.won(attempt, tunnel, &connected),
                Event::Answered(attempt, Err(error)) => {
                    let verdict = self.judge(error, &attempt);
                    if let Verdict::Exit(_, Some(ailment)) = &verdict {
                        fleet.report(&attempt.lease, Outcome::Failed(*ailment));
                    }
                    self.note_end(&attempt, verdict.slug().name());
                    (attempt, verdict)
                }
                Event::Slow => {
                    // Each further one waits longer: what is slow may be the target.
                    patience *= 2;
                    slow_at += patience;
                    self.ask_another();
                    continue;
                }
                Event::TimeUp => return Err(self.out_of_time()),
            };
            match verdict {
                (_, Verdict::Final(fault)) => return Err(self.told(fault)),
                (_, Verdict::Exit(fault, _)) => {
                    self.last = Some(fault);
                    self.ask_another();
                }
                (attempt, Verdict::Blames(fault)) => {
                    self.blaming.push((attempt.lease, fault));
                    if self.blaming.len() > 1 {
                        return Err(self.give_up());
                    }
                    if self.open.is_empty() {
                        self.ask_another();
                    }
                }
            }
        }
    }

    /// Asks another exit, if there is one and as many as are allowed have not been tried.
    fn ask_another(&mut self) {
        let Errand { core, settings, permit, wanted, target, request_id, deadline, .. } = *self.errand;
        if self.tried.len() >= usize::from(settings.fleet.attempts) || self.over.is_some() || self.keeps_to_one() {
            return;
        }
        let fleet = &core.gateway.fleet;
        let pick = match fleet.pick(&permit.pool.name, wanted, self.stay.as_ref(), &self.tried, &mut || core.random()) {
            Ok(pick) => pick,
            Err(none) => return self.over = Some(none),
        };
        match pick.session {
            Bound::No | Bound::Stays => {}
            Bound::New => self.is_new = true,
            // A session that begins with this request has been nowhere else before.
            Bound::Moved(from) if !self.is_new => self.moved_from = self.moved_from.take().or(Some(from)),
            Bound::Moved(_) => {}
        }
        let online = pick.lease.link().clone();
        self.tried.push(online.id.clone());
        let echo = is_echo(target);
        let facts = echo.then(|| EchoFacts::of(permit, Some(&online), request_id, target));
        let (through, ticket) = match online.is_own() {
            true => (None, facts.map(|facts| core.gateway.echo.expect(facts))),
            // It dials back to the gateway that holds it.
            false => (Some(Through { exit: online.id.to_string(), echo: facts.map(|facts| facts.to_wire()) }), None),
        };
        let ask = Connect {
            request_id: request_id.to_owned(),
            host: target.host.to_string(),
            port: target.port,
            deadline: Some(deadline.saturating_duration_since(Instant::now())),
            echo,
            through,
        };
        let answer = Box::pin(async move { online.link.connect(ask).await });
        self.open.push(Attempt { lease: pick.lease, started: Instant::now(), answer, _ticket: ticket });
    }

    /// After a start exits need a moment to dial in again.
    fn waits_for_exits(&self) -> bool {
        let Errand { core, settings, permit, deadline, .. } = *self.errand;
        self.over == Some(NoPick::NoExit)
            && self.tried.is_empty()
            && Instant::now() + LOOK < deadline
            && core.gateway.fleet.gathers(&permit.pool.name, settings.fleet.gather)
    }

    /// A strict session asks its exit or none.
    fn keeps_to_one(&self) -> bool {
        self.stay.is_some_and(|stay| stay.strict) && !self.tried.is_empty()
    }

    async fn next(&mut self, slow_at: Instant) -> Event {
        let settings = self.errand.settings;
        let may_ask = self.over.is_none() && self.tried.len() < usize::from(settings.fleet.attempts) && !self.keeps_to_one();
        let open = &mut self.open;
        let answered = poll_fn(|cx| {
            for at in 0..open.len() {
                if let Poll::Ready(answer) = open[at].answer.as_mut().poll(cx) {
                    return Poll::Ready((open.remove(at), answer));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            (attempt, answer) = answered => Event::Answered(attempt, answer),
            () = tokio::time::sleep_until(self.errand.deadline.into()) => Event::TimeUp,
            () = tokio::time::sleep_until(slow_at.into()), if may_ask => Event::Slow,
        }
    }

    fn judge(&self, error: ConnectError, attempt: &Attempt) -> Verdict {
        let ailment = ailment(&error);
        let found = |fault: Fault| found_at(&attempt.lease, fault);
        let of_exit = |fault: Fault| Verdict::Exit(found(fault), ailment);
        let verdict = match error {
            ConnectError::Refused(refusal) => {
                let fault = refused(&refusal);
                match fault.slug() {
                    Slug::TargetUnreachable
                    | Slug::DnsFailed
                    | Slug::DnsTimeout
                    | Slug::ConnectTimeout
                    | Slug::TargetRefused
                    | Slug::TargetReset => Verdict::Blames(found(fault)),
                    // The catalogue's word is for a gateway that goes, and this one does not.
                    Slug::Draining => of_exit(raise::exit_refused().with_detail("it is about to go")),
                    Slug::Overloaded => of_exit(fault),
                    slug if slug.row().layer == Layer::Exit => of_exit(fault),
                    _ => Verdict::Final(found(fault)),
                }
            }
            ConnectError::Reset(reason) => of_exit(raise::exit_lost().with_detail(reason)),
            ConnectError::Lost(end) => of_exit(raise::exit_lost().with_detail(end)),
            ConnectError::Full | ConnectError::Draining => of_exit(raise::exit_refused().with_detail(error)),
            ConnectError::TooLong => Verdict::Final(found(raise::exit_refused().with_detail(error))),
        };
        match verdict {
            // Whoever keeps to an exit wants to know what its address meets.
            Verdict::Blames(fault) if self.stay.is_some() => Verdict::Final(fault),
            verdict => verdict,
        }
    }

    fn won(&mut self, attempt: Attempt, tunnel: Tunnel, connected: &Connected) -> Result<Dialed, Fault> {
        let Errand { core, settings, permit, wanted, target, .. } = *self.errand;
        let fleet = &core.gateway.fleet;
        self.note_end(&attempt, "ok");
        let Attempt { lease, started, .. } = attempt;
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        fleet.report(&lease, Outcome::Opened(took));
        for other in std::mem::take(&mut self.open) {
            self.note_end(&other, "outrun");
            if other.started < started {
                fleet.report(&other.lease, Outcome::Failed(Ailment::Outrun));
            }
        }
        for (wrong, _) in self.blaming.drain(..) {
            fleet.report(&wrong, Outcome::Failed(Ailment::Disproved));
        }
        if let Ruling::Denied(rule) = settings.policy.rule_on(target, Some(connected.address.ip())) {
            return Err(raise::target_denied(&target.host, rule));
        }
        if let Some(stay) = self.stay.as_ref().filter(|_| self.tried.len() > 1) {
            // Asked last is not always answered first.
            fleet.stay_with(&permit.pool.name, wanted, stay, lease.exit());
        }
        if let Some(stay) = self.stay.as_ref().filter(|_| self.is_new || self.moved_from.is_some()) {
            core.gateway.remembered.note_session(&permit.account.key.id, &permit.pool.name, wanted, stay);
        }
        let exit = lease.link().clone();
        if let (Some(shares), Some(stay)) = (&core.gateway.shares, &self.stay)
            && let Some(from) = self.moved_from.as_ref().or(self.tried.first()).filter(|from| **from != exit.id)
        {
            self.errand.staying(stay).moved(shares, from, &exit.id);
        }
        Ok(Dialed {
            address: (!is_echo(target)).then_some(connected.address),
            moved_from: self.moved_from.take().filter(|before| *before != exit.id),
            exit: Some(exit),
            dns: connected.dns,
            connect: connected.connect,
            attempts: self.attempts(),
            search: Searched::default(),
            upstream: Upstream::Tunnel(tunnel, lease),
        })
    }

    fn note_end(&mut self, attempt: &Attempt, outcome: &'static str) {
        let exit = attempt.lease.link().id.clone();
        self.ended.push(Ended { exit, started: attempt.started, took: attempt.started.elapsed(), outcome });
    }

    /// What its record says of it. One try alone is the record's own outcome.
    fn told_of(mut self) -> Searched {
        // Those that nobody waited for to the end.
        for other in std::mem::take(&mut self.open) {
            self.note_end(&other, "dropped");
        }
        self.ended.sort_by_key(|ended| ended.started);
        let told = |ended: &Ended| Try {
            exit: Some(ended.exit.to_string()),
            proxy: None,
            outcome: ended.outcome.into(),
            status: None,
            at: ended.started.duration_since(self.begun),
            took: ended.took,
        };
        let tries = if self.ended.len() > 1 { self.ended.iter().map(told).collect() } else { Vec::new() };
        Searched { waited: self.waited, tries }
    }

    fn attempts(&self) -> u16 {
        u16::try_from(self.tried.len()).unwrap_or(u16::MAX)
    }

    fn told(&self, fault: Fault) -> Fault {
        fault.with_attempts(self.attempts())
    }

    /// The most telling of what was found: what the target did, what the last exit did, or that there is none.
    fn give_up(&mut self) -> Fault {
        let blame = (!self.blaming.is_empty()).then(|| self.blaming.swap_remove(0).1);
        if let Some(fault) = blame.or(self.last.take()) {
            return self.told(fault);
        }
        let Errand { permit, wanted, session, .. } = *self.errand;
        match (self.over.take(), session) {
            (Some(NoPick::SessionLost), Some(session)) => raise::session_lost(&session.name),
            (Some(NoPick::SessionFull(exit)), _) => {
                raise::exit_refused().with_detail("the session's exit carries its most tunnels").with_found_at(exit)
            }
            _ => raise::no_exit(describe(wanted, &permit.pool.name)).with_attempts(0),
        }
    }

    fn out_of_time(&mut self) -> Fault {
        let gateway = &self.errand.core.gateway;
        let silent = std::mem::take(&mut self.open);
        silent.iter().for_each(|attempt| self.note_end(attempt, Slug::ExitTimeout.name()));
        // Several that are silent about one target say more of the target than of themselves.
        if let ([only], [_]) = (silent.as_slice(), self.tried.as_slice()) {
            gateway.fleet.report(&only.lease, Outcome::Failed(Ailment::TimedOut));
        }
        match silent.first() {
            Some(first) if self.blaming.is_empty() => {
                let budget = Seconds(self.errand.settings.timeouts.setup);
                self.told(found_at(&first.lease, raise::exit_timeout(budget)))
            }
            _ => self.give_up(),
        }
    }
}

/// A fault that an exit found, with the way to it.
fn found_at(lease: &Lease, fault: Fault) -> Fault {
    let fault = fault.with_found_at(lease.exit());
    match &lease.link().holder {
        Some(holder) => fault.with_relayed_by(&holder.gateway),
        None => fault,
    }
}

/// What counts against the exit of a set-up that failed.
pub(crate) fn ailment(error: &ConnectError) -> Option<Ailment> {
    match error {
        ConnectError::Refused(refusal) => match refused(refusal).slug() {
            Slug::ExitTimeout => Some(Ailment::TimedOut),
            slug if slug.row().layer == Layer::Exit => Some(Ailment::Refused),
            // The target's, or it says itself that it is busy or about to go: no reason to doubt it.
            _ => None,
        },
        ConnectError::Reset(_) => Some(Ailment::Refused),
        ConnectError::Lost(_) => Some(Ailment::Lost),
        ConnectError::Full | ConnectError::Draining | ConnectError::TooLong => None,
    }
}

/// What an exit can find out; the rest of the catalogue is not its to say.
fn an_exit_may_say(slug: Slug) -> bool {
    let own = matches!(slug.row().layer, Layer::Exit | Layer::Target);
    own || matches!(
        slug,
        Slug::TargetPrivate | Slug::TargetMetadata | Slug::TargetDenied | Slug::LoopDetected | Slug::Overloaded | Slug::Draining
    )
}

/// An exit's refusal in the catalogue's words. A slug that this version doesn't know stays in the log.
fn refused(refusal: &Refusal) -> Fault {
    let fault = Fault::from_wire(&refusal.slug, &refusal.facts).filter(|fault| an_exit_may_say(fault.slug()));
    let fault = fault.unwrap_or_else(|| raise::exit_refused().with_detail(format_args!("the exit said {:?}", refusal.slug)));
    match &refusal.detail {
        Some(detail) => fault.with_detail(detail),
        None => fault,
    }
}
