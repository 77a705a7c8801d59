//! Tunnels that another gateway asks for through exits that are linked here: asked on over the exit's own link, and joined.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outgate_faults::{Fault, raise};
use outgate_fleet::{NoLease, Outcome};
use outgate_link::{Asked, Connect, ConnectError, Incoming, Refusal};
use outgate_store::ExitId;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::relay::relay;
use crate::core::{Core, delivered};
use crate::echo::{EchoFacts, Expected};
use crate::failover::ailment;
use crate::fleet::Lease;
use crate::load::Carried;

/// The asker's word on how long a set-up may take counts up to this.
const LONGEST_SET_UP: Duration = Duration::from_secs(60);

/// Serves until the link is over and its tunnels have noticed. The link bounds their number.
pub(super) async fn serve(core: Rc<Core>, mut incoming: Incoming, gateway: Arc<str>) {
    let mut tunnels = JoinSet::new();
    loop {
        tokio::select! {
            asked = incoming.next() => match asked {
                Some(asked) => {
                    tunnels.spawn_local(answer(core.clone(), asked, gateway.clone()));
                }
                None => break,
            },
            Some(_) = tunnels.join_next(), if !tunnels.is_empty() => {}
        }
    }
    while tunnels.join_next().await.is_some() {}
}

/// What a tunnel needs here.
struct Admitted {
    exit: ExitId,
    lease: Lease,
    _carried: Carried,
    /// The exit dials back to this gateway for the echo target.
    _ticket: Option<Expected>,
}

/// One tunnel from question to end.
async fn answer(core: Rc<Core>, asked: Asked, gateway: Arc<str>) {
    let _relayed = core.gateway.peers.begin_relaying();
    let fleet = &core.gateway.fleet;
    let request_id = asked.connect.request_id.clone();
    let admitted = match admit(&core, &asked.connect) {
        Ok(admitted) => admitted,
        Err(fault) => {
            tracing::debug!(request_id, %gateway, fault = fault.slug().name(), "no tunnel for the other gateway");
            return asked.refuse(refusal(&fault));
        }
    };
    let Admitted { exit, lease, .. } = &admitted;
    let ask = Connect { through: None, ..asked.connect.clone() };
    let deadline = ask.deadline.unwrap_or(core.settings().timeouts.setup).min(LONGEST_SET_UP);
    let started = Instant::now();
    let answered = tokio::select! {
        // It gave up: so do we.
        () = asked.cancelled() => return,
        answered = timeout(deadline, lease.link().link.connect(ask)) => answered,
    };
    let (tunnel, connected) = match answered {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            if let Some(ailment) = ailment(&error) {
                fleet.report(lease, Outcome::Failed(ailment));
            }
            tracing::debug!(request_id, %gateway, %exit, %error, "no tunnel for the other gateway");
            return asked.refuse(passed_on(error));
        }
        // Its own time is up as well. Dropped unanswered, the question is taken back.
        Err(_) => return,
    };
    fleet.report(lease, Outcome::Opened(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)));
    let (up, down) = relay(asked.accept(&connected), tunnel).await;
    if let Some(outcome) = delivered(up, down) {
        fleet.report(lease, outcome);
    }
    tracing::debug!(request_id, %gateway, %exit, up, down, "a tunnel of the other gateway ended");
}

/// Finds the exit that is asked for, and room for a tunnel through it.
fn admit(core: &Core, connect: &Connect) -> Result<Admitted, Fault> {
    let gateway = &core.gateway;
    let (exit, echo) = through(connect).ok_or_else(|| raise::exit_refused().with_detail("it does not say through which exit"))?;
    gateway.load.refuse_when_short()?;
    let carried = gateway.load.take()?;
    let lease = gateway.fleet.lease(&exit).map_err(|none| match none {
        NoLease::Gone => raise::exit_lost().with_detail("it is no longer linked to the gateway that was asked"),
        NoLease::Full => raise::overloaded("the exit carries its most tunnels"),
    })?;
    Ok(Admitted { exit, lease, _carried: carried, _ticket: echo.map(|facts| gateway.echo.expect(facts)) })
}

/// The exit that is asked for, and what the echo target is to answer through it. A dial-back that nobody expects is no tunnel.
fn through(connect: &Connect) -> Option<(ExitId, Option<EchoFacts>)> {
    let through = connect.through.as_ref()?;
    let exit = ExitId::parse(&through.exit).ok()?;
    match (connect.echo, &through.echo) {
        (true, Some(facts)) => Some((exit.clone(), Some(EchoFacts::from_wire(facts, &exit, &connect.request_id)?))),
        (true, None) => None,
        (false, _) => Some((exit, None)),
    }
}

/// The exit's no in words for the other gateway: its own, or what became of it.
fn passed_on(error: ConnectError) -> Refusal {
    match error {
        ConnectError::Refused(refusal) => refusal,
        ConnectError::Reset(reason) => refusal(&raise::exit_lost().with_detail(reason)),
        ConnectError::Lost(end) => refusal(&raise::exit_lost().with_detail(end)),
        ConnectError::Full => refusal(&raise::overloaded("the exit's link carries its most tunnels")),
        ConnectError::Draining => refusal(&raise::draining().with_detail("the exit is draining")),
        ConnectError::TooLong => refusal(&raise::exit_refused().with_detail(error)),
    }
}

fn refusal(fault: &Fault) -> Refusal {
    let (slug, facts) = fault.to_wire();
    Refusal { slug: slug.to_owned(), facts, detail: fault.detail().map(str::to_owned) }
}
