//! Looks after what falls due: active checks of the exits, what the fleet may forget, keys whose time has ended.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_fleet::Check;
use outgate_link::Connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{interval, timeout};

use crate::choose::ECHO_HOST;
use crate::core::Core;
use crate::echo::EchoFacts;
use crate::fleet::Online;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);
/// Looks between two sweeps.
const SWEEP: u32 = 40;
/// Checks under way at once. Each is one tunnel; a fleet of 100,000 idle exits needs 3,300 a second.
const AT_ONCE: usize = 256;
/// The longest a check may take: an exit this slow is no use to a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until its event loop ends.
pub(crate) async fn keep(core: Rc<Core>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let running = Rc::new(Cell::new(0usize));
    let mut looks = 0u32;
    loop {
        look.tick().await;
        core.gateway.cut_expired(Timestamp::now());
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(SWEEP) {
            core.gateway.fleet.sweep();
        }
        core.gateway.fleet.let_back_remote();
        for check in core.gateway.fleet.due(AT_ONCE.saturating_sub(running.get())) {
            let (core, running) = (core.clone(), running.clone());
            running.set(running.get() + 1);
            tokio::task::spawn_local(async move {
                let exit = check.lease.exit().clone();
                let patience = PATIENCE.min(core.settings().timeouts.setup);
                let found = timeout(patience, probe(&core, &check)).await.unwrap_or_else(|_| Err("no answer".to_owned()));
                if let Err(why) = &found {
                    tracing::warn!(%exit, why, "an exit failed its check");
                }
                core.gateway.fleet.checked(check, found.is_ok());
                running.set(running.get().saturating_sub(1));
            });
        }
    }
}

/// One check: a tunnel to the configured target; by default to the echo target, which must answer through it.
async fn probe(core: &Core, check: &Check<Arc<Online>>) -> Result<(), String> {
    let online = check.lease.link();
    let request_id = core.request_id();
    let configured = core.settings().fleet.check.clone();
    let echo = configured.is_none();
    let _ticket = echo.then(|| core.gateway.echo.expect(EchoFacts::of_check(online, &request_id)));
    let (host, port) = configured.unwrap_or_else(|| (ECHO_HOST.to_owned(), 80));
    let ask = Connect { request_id, host, port, deadline: Some(PATIENCE), echo, through: None };
    let (mut tunnel, _connected) = online.link.connect(ask).await.map_err(|error| error.to_string())?;
    if echo {
        let request = format!("HEAD / HTTP/1.1\r\nHost: {ECHO_HOST}\r\nConnection: close\r\n\r\n");
        tunnel.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = [0; 8];
        tunnel.read_exact(&mut answer).await.map_err(|error| error.to_string())?;
        if answer != *b"HTTP/1.1" {
            return Err("the echo target's answer did not come back".to_owned());
        }
    }
    Ok(())
}
