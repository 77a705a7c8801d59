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
use crate::core::Core;
use crate::echo::EchoFacts;
use crate::failover::ailment;

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

/// One tunnel from question to end.
async fn answer(core: Rc<Core>, asked: Asked, gateway: Arc<str>) {
    let _relayed = core.gateway.peers.begin_relaying();
    let fleet = &core.gateway.fleet;
    let request_id = asked.connect.request_id.clone();
    let Some((exit, echo)) = through(&asked.connect) else {
        return asked.refuse(refusal(&raise::exit_refused().with_detail("no exit was named")));
    };
    let lease = match fleet.lease(&exit) {
        Ok(lease) => lease,
        Err(NoLease::Gone) => {
            return asked
                .refuse(refusal(&raise::exit_lost().with_detail("it is no longer linked to the gateway that was asked")));
        }
        Err(NoLease::Full) => return asked.refuse(refusal(&raise::overloaded("the exit carries its most tunnels"))),
    };
    let _ticket = echo.map(|facts| core.gateway.echo.expect(facts));
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
                fleet.report(&lease, Outcome::Failed(ailment));
            }
            tracing::debug!(request_id, %gateway, %exit, %error, "no tunnel for the other gateway");
            return asked.refuse(passed_on(error));
        }
        // Its own time is up as well. Dropped unanswered, the question is taken back.
        Err(_) => return,
    };
    fleet.report(&lease, Outcome::Opened(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)));
    let (up, down) = relay(asked.accept(&connected), tunnel).await;
    match (up, down) {
        (0, 0) => {}
        (_, 0) => fleet.report(&lease, Outcome::Mute),
        (_, _) => fleet.report(&lease, Outcome::Delivered),
    }
    tracing::debug!(request_id, %gateway, %exit, up, down, "a tunnel of the other gateway ended");
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
