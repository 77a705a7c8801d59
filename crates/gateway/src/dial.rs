//! Dials: from a permit and a route to a connected target.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outgate_faults::Fault;
use outgate_records::Try;
use outgate_store::ExitId;

use crate::admit::Permit;
use crate::choose::{Route, is_echo};
use crate::core::Core;
use crate::echo::EchoFacts;
use crate::failover::Errand;
use crate::fleet::Online;
use crate::head::Target;
use crate::policy::Ruling;
use crate::settings::Settings;
use crate::upstream::Upstream;

/// A connected target and how it was reached.
pub(crate) struct Dialed {
    pub(crate) upstream: Upstream,
    pub(crate) address: Option<std::net::SocketAddr>,
    pub(crate) exit: Option<Arc<Online>>,
    pub(crate) dns: Duration,
    pub(crate) connect: Duration,
    pub(crate) attempts: u16,
    /// The exit that the session was with before.
    pub(crate) moved_from: Option<ExitId>,
    pub(crate) search: Searched,
}

/// What a search for an exit was.
#[derive(Default)]
pub(crate) struct Searched {
    /// How long it waited for exits to come back.
    pub(crate) waited: Duration,
    /// The exits that were asked, when there were several; times from the beginning of the search on.
    pub(crate) tries: Vec<Try>,
}

/// A target that was not reached, and the time that took.
pub(crate) struct Undialed {
    pub(crate) fault: Fault,
    pub(crate) dns: Duration,
    pub(crate) connect: Duration,
    pub(crate) search: Searched,
}

impl From<Fault> for Undialed {
    /// Found at an exit, or before anything was tried from here.
    fn from(fault: Fault) -> Self {
        Self { fault, dns: Duration::ZERO, connect: Duration::ZERO, search: Searched::default() }
    }
}

/// Connects to the target before the deadline.
pub(crate) async fn dial(
    core: &Core,
    settings: &Settings,
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
            let (dns, connect) = (Duration::ZERO, Duration::ZERO);
            let search = Searched::default();
            Ok(Dialed { upstream, address: None, exit: None, dns, connect, attempts: 1, moved_from: None, search })
        }
        Route::Direct => direct(core, settings, target, deadline).await,
        Route::Exit(wanted, session) => {
            let session = session.as_ref();
            Errand { core, settings, permit, wanted, session, target, request_id, deadline }.run().await
        }
    }
}

async fn direct(core: &Core, settings: &Settings, target: &Target, deadline: Instant) -> Result<Dialed, Undialed> {
    let policy = &settings.policy;
    let denied = |ip| match policy.rule_on(target, Some(ip)) {
        Ruling::Denied(rule) => Some(rule),
        Ruling::Allowed | Ruling::NeedsAddress => None,
    };
    let egress = core.egress();
    let dialing = egress.dial_unless(&target.host, target.port, deadline, &denied);
    let undialed =
        |e: outgate_egress::DialError| Undialed { fault: e.fault(), dns: e.dns, connect: e.connect, search: Searched::default() };
    let dialed = dialing.await.map_err(undialed)?;
    Ok(Dialed {
        upstream: Upstream::Direct(dialed.stream),
        address: Some(dialed.address),
        exit: None,
        dns: dialed.dns,
        connect: dialed.connect,
        attempts: 1,
        moved_from: None,
        search: Searched::default(),
    })
}
