//! A tunnel, from an identified caller to its end: admit → choose → dial, and once it is accepted relay → settle.

use std::time::Instant;

use outgate_faults::Fault;

use crate::admit::Permit;
use crate::choose::choose;
use crate::client::Client;
use crate::core::Core;
use crate::dial::dial;
use crate::head::Target;
use crate::identify::Caller;
use crate::pump::Flow;
use crate::record::Stage;
use crate::relay::{Ended, Relayed, Side, relay};
use crate::session::{After, Served};
use crate::stream::reset;
use crate::upstream::Upstream;
use crate::visit::Visit;

/// Opens a tunnel's far side; the client has not been told. `None`: it left meanwhile. An `Err` can still be told to it.
pub(crate) async fn open(
    core: &Core,
    client: &mut Client,
    visit: &mut Visit,
    caller: Caller,
    target: &Target,
) -> Result<Option<(Permit, Upstream)>, Fault> {
    let permit = visit.admit(core, client.peer.ip(), caller, target).await?;
    visit.record.stage = Stage::Choose;
    let route = choose(&permit, &visit.settings.sessions, &core.gateway.offers, core.nanos())?;
    visit.wants(&route);
    visit.dials();
    permit.meter.count_tunnel();
    let deadline = Instant::now() + visit.settings.timeouts.setup;
    // Boxed, so that it is given back before the tunnel begins to wait: an open tunnel's task holds the largest of the
    // futures inside it, used or not.
    let dialed = tokio::select! {
        dialed = Box::pin(dial(core, &visit.settings, &permit, &route, target, &visit.id, deadline)) => dialed,
        fault = std::future::poll_fn(|cx| permit.enlisted.poll_cut(cx)) => return Err(fault),
        // Nobody is left to open the tunnel for: its thread and the half-open connection are free again.
        () = client.gone(&core.scratch) => {
            visit.record.ended_by = Some("client_lost");
            return Ok(None);
        }
    };
    let upstream = visit.arrived(dialed)?;
    permit.enlisted.connected(visit.record.exit.as_deref());
    Ok(Some((permit, upstream)))
}

/// Relays an accepted tunnel and sees how it ended.
pub(crate) async fn carry(
    core: &Core,
    client: &mut Client,
    visit: &mut Visit,
    permit: &Permit,
    upstream: &mut Upstream,
    target: &Target,
) -> Served {
    let flow = Flow { meter: &permit.meter, scratch: &core.scratch, epoch: core.epoch() };
    let early = std::mem::take(&mut client.buffer);
    let idle = visit.settings.timeouts.idle;
    let Relayed { up, down, ended } = relay(&mut client.io, upstream, &early, &flow, &permit.enlisted, idle).await;
    visit.record.bytes_up += up;
    visit.record.bytes_down += down;
    core.delivered(upstream, up, down);
    visit.record.stage = Stage::Settle;
    let (ended_by, served) = match ended {
        Ended::Closed(Side::Client) => ("client", Served::well(After::Gone)),
        Ended::Closed(Side::Target) => ("target", Served::well(After::Gone)),
        Ended::Lost(Side::Client, _) => {
            break_off(upstream);
            ("client_lost", Served::well(After::Gone))
        }
        Ended::Lost(Side::Target, error) => {
            let fault = upstream.fault(&error, target, visit.record.exit.as_deref());
            ("target_lost", Served::badly(After::Reset, fault))
        }
        Ended::Idle => {
            break_off(upstream);
            ("idle", Served::well(After::Reset))
        }
        Ended::Cut(fault) => {
            break_off(upstream);
            ("cut", Served::badly(After::Reset, fault))
        }
    };
    visit.record.ended_by = Some(ended_by);
    served
}

/// Ends the connection to a target so that it doesn't take what came for complete.
pub(crate) fn break_off(upstream: &Upstream) {
    match upstream {
        Upstream::Direct(stream) => reset(stream),
        // Dropping a tunnel that has not ended both ways resets it; the echo target has nobody to mislead.
        Upstream::Tunnel(..) | Upstream::Echo(_) => {}
    }
}
