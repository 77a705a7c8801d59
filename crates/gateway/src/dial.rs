//! Dials: from a permit and a route to a connected target, through as many exits as the time allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, Layer, Slug, raise};
use outgate_link::{Connect, ConnectError, Refusal};

use crate::admit::Permit;
use crate::choose::{Route, is_echo};
use crate::core::Core;
use crate::echo::EchoFacts;
use crate::fleet::{Online, Wanted};
use crate::head::Target;
use crate::policy::Ruling;
use crate::upstream::Upstream;

/// A connected target and how it was reached.
pub(crate) struct Dialed {
    pub(crate) upstream: Upstream,
    pub(crate) address: Option<std::net::SocketAddr>,
    pub(crate) exit: Option<Arc<Online>>,
    pub(crate) dns: Duration,
    pub(crate) connect: Duration,
    pub(crate) attempts: u16,
}

/// A target that was not reached, and the time that took.
pub(crate) struct Undialed {
    pub(crate) fault: Fault,
    pub(crate) dns: Duration,
    pub(crate) connect: Duration,
}

impl From<Fault> for Undialed {
    /// Found at an exit, or before anything was tried from here.
    fn from(fault: Fault) -> Self {
        Self { fault, dns: Duration::ZERO, connect: Duration::ZERO }
    }
}

/// Connects to the target before the deadline.
pub(crate) async fn dial(
    core: &Core,
    permit: &Permit,
    route: &Route,
    target: &Target,
    request_id: &str,
    deadline: Instant,
) -> Result<Dialed, Undialed> {
    match route {
        Route::Direct if is_echo(target) => {
            let facts = EchoFacts::of(permit, None, request_id, target);
            let upstream = Upstream::Echo(core.gateway.echo.serve(facts, target.port));
            Ok(Dialed { upstream, address: None, exit: None, dns: Duration::ZERO, connect: Duration::ZERO, attempts: 1 })
        }
        Route::Direct => direct(core, target, deadline).await,
        Route::Exit(wanted) => through_exits(core, permit, wanted, target, request_id, deadline).await,
    }
}

async fn direct(core: &Core, target: &Target, deadline: Instant) -> Result<Dialed, Undialed> {
    let policy = &core.gateway.settings.policy;
    let denied = |ip| match policy.rule_on(target, Some(ip)) {
        Ruling::Denied(rule) => Some(rule),
        Ruling::Allowed | Ruling::NeedsAddress => None,
    };
    let dialing = core.egress.dial_unless(&target.host, target.port, deadline, &denied);
    let dialed = dialing.await.map_err(|e| Undialed { fault: e.fault(), dns: e.dns, connect: e.connect })?;
    Ok(Dialed {
        upstream: Upstream::Direct(dialed.stream),
        address: Some(dialed.address),
        exit: None,
        dns: dialed.dns,
        connect: dialed.connect,
        attempts: 1,
    })
}

/// Tries exits until one connects, the target itself is the reason, or the time is up. Nothing of the
/// client's has been sent yet, so another try repeats nothing.
async fn through_exits(
    core: &Core,
    permit: &Permit,
    wanted: &Wanted,
    target: &Target,
    request_id: &str,
    deadline: Instant,
) -> Result<Dialed, Undialed> {
    let fleet = &core.gateway.fleet;
    let mut tried: Vec<Arc<Online>> = Vec::new();
    let mut last: Option<Fault> = None;
    loop {
        let key = permit.account.key.id.as_str();
        let Some(online) = fleet.pick(&permit.pool.name, wanted, key, &tried, &mut || core.random()) else {
            let fault = last.unwrap_or_else(|| raise::no_exit(wanted.describe(&permit.pool.name)));
            return Err(fault.with_attempts(u16::try_from(tried.len()).unwrap_or(u16::MAX)).into());
        };
        tried.push(online.clone());
        let attempts = u16::try_from(tried.len()).unwrap_or(u16::MAX);
        let echo = is_echo(target);
        // The exit dials back to this gateway for the echo target and shows the request id as its ticket.
        let _ticket = echo.then(|| core.gateway.echo.expect(EchoFacts::of(permit, Some(&online), request_id, target)));
        let ask = Connect {
            request_id: request_id.to_owned(),
            host: target.host.to_string(),
            port: target.port,
            deadline: Some(deadline.saturating_duration_since(Instant::now())),
            echo,
        };
        let fault = match tokio::time::timeout_at(deadline.into(), online.link.connect(ask)).await {
            Ok(Ok((tunnel, connected))) => {
                if let Ruling::Denied(rule) = core.gateway.settings.policy.rule_on(target, Some(connected.address.ip())) {
                    return Err(raise::target_denied(&target.host, rule).into());
                }
                return Ok(Dialed {
                    upstream: Upstream::Tunnel(tunnel),
                    address: (!echo).then_some(connected.address),
                    exit: Some(online),
                    dns: connected.dns,
                    connect: connected.connect,
                    attempts,
                });
            }
            Ok(Err(error)) => link_fault(error).with_found_at(&online.id).with_attempts(attempts),
            Err(_) => {
                let budget = Seconds(core.gateway.settings.timeouts.setup);
                return Err(raise::exit_timeout(budget).with_found_at(&online.id).with_attempts(attempts).into());
            }
        };
        // What the exit found out about the target would be no different elsewhere, as far as we know.
        match fault.slug() {
            Slug::ExitLost | Slug::ExitRefused | Slug::Overloaded | Slug::Draining if wanted.session.is_none() => {
                last = Some(fault)
            }
            _ => return Err(fault.into()),
        }
    }
}

fn link_fault(error: ConnectError) -> Fault {
    match error {
        ConnectError::Refused(refusal) => refused(&refusal),
        ConnectError::Reset(reason) => raise::exit_lost().with_detail(reason),
        ConnectError::Lost(end) => raise::exit_lost().with_detail(end),
        ConnectError::Full | ConnectError::Draining | ConnectError::TooLong => raise::exit_refused().with_detail(error),
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
