//! The life of a client connection, top to bottom: read → identify → admit → choose → dial → accept → relay → settle.
//!
//! [`converse`] is the connection, [`attend`] one request with its record, [`serve`] the request's way
//! through. Everything else in this crate is called from here.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use outgate_faults::{Body, Connection, Fault, Layer, Slug, Teller, raise};

use crate::admit::Permit;
use crate::choose::{Route, choose};
use crate::client::{Client, NoHead};
use crate::core::Core;
use crate::credentials::Modifiers;
use crate::dial::dial;
use crate::foreign::Foreign;
use crate::forward::{Exchange, Exchanged, Moved};
use crate::gateway::Gateway;
use crate::head::{Asked, Forward, Target, Version, Want};
use crate::page;
use crate::pump::Flow;
use crate::record::{Record, Stage};
use crate::settings::{ListenerSettings, SessionRules};
use crate::socks;
use crate::tunnel::{self, break_off};
use crate::upstream::Upstream;
use crate::visit::Visit;

/// What becomes of a client's connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request may come.
    Next,
    /// It closes, with time to read the last answer.
    Close,
    /// It is over.
    Gone,
    /// It ends with a reset: what came is not complete.
    Reset,
}

/// A request that was served as far as it could be; a fault that could not be told in-band is in the record only.
pub(crate) struct Served {
    after: After,
    pub(crate) fault: Option<Fault>,
}

impl Served {
    pub(crate) fn well(after: After) -> Self {
        Self { after, fault: None }
    }

    pub(crate) fn badly(after: After, fault: Fault) -> Self {
        Self { after, fault: Some(fault) }
    }
}

/// A connection to a target that may serve the client's next request.
struct Kept {
    upstream: Upstream,
    key: String,
    target: Target,
    modifiers: Modifiers,
    record: Record,
}

/// The life of one client connection.
pub(crate) async fn converse(core: Rc<Core>, mut client: Client, listener: Rc<ListenerSettings>) {
    let mut kept = None;
    loop {
        match attend(&core, &listener, &mut client, &mut kept).await {
            After::Next => client.reused = true,
            After::Close => return client.linger(&core.scratch, core.settings().timeouts.linger).await,
            After::Gone => return,
            After::Reset => return client.reset(),
        }
    }
}

/// The life of a client connection that has no place here: what it asks is answered with a fault.
pub(crate) async fn refuse(core: Rc<Core>, mut client: Client, listener: Rc<ListenerSettings>, fault: Fault) {
    let mut visit = Visit::begin(&core, &mut client, &listener);
    let settings = visit.settings.clone();
    // An answer is read only by who has asked.
    match client.read_head(&core.scratch, settings.limits.head, &settings.timeouts).await {
        Ok(_) | Err(NoHead::Fault(_)) => {
            visit.is_head = client.buffer.starts_with(b"HEAD ");
            let served = tell(&core, &listener, &mut client, &mut visit, fault).await;
            visit.end(&core, &client, &served);
            client.linger(&core.scratch, settings.timeouts.linger).await;
        }
        Err(NoHead::Foreign(foreign)) => {
            let _gone = client.write(foreign.refusal()).await;
            visit.end(&core, &client, &Served::badly(After::Close, fault));
            client.linger(&core.scratch, settings.timeouts.linger).await;
        }
        Err(NoHead::Gone | NoHead::Silent(_)) => visit.end(&core, &client, &Served::badly(After::Gone, fault)),
    }
}

/// One request: waits for it, serves it, tells what went wrong, and settles its record.
async fn attend(core: &Rc<Core>, listener: &ListenerSettings, client: &mut Client, kept: &mut Option<Kept>) -> After {
    let settings = core.settings();
    let head = client.read_head(&core.scratch, settings.limits.head, &settings.timeouts).await;
    let mut visit = Visit::begin(core, client, listener);
    // Before the head is understood: a refusal of a HEAD request has no body either.
    visit.is_head = client.buffer.starts_with(b"HEAD ");
    let served = match head {
        Ok(_) if !listener.protocols.http => Err(raise::wrong_protocol("HTTP", "SOCKS5 (socks5h:// in the proxy's URL)")),
        Ok(length) => serve(core, client, kept, length, &mut visit).await,
        Err(NoHead::Gone) => return After::Gone,
        Err(NoHead::Silent(fault)) => {
            visit.record.ended_by = Some("silent");
            if !listener.protocols.http {
                visit.record.protocol = "socks5";
            }
            Ok(Served::badly(After::Gone, fault))
        }
        Err(NoHead::Foreign(Foreign::Socks5)) if listener.protocols.socks5 => match socks::attend(core, client, &mut visit).await
        {
            Some(served) => Ok(served),
            None => return After::Gone,
        },
        Err(NoHead::Foreign(foreign)) => Ok(refuse_foreign(client, listener, foreign).await),
        Err(NoHead::Fault(fault)) => Err(fault),
    };
    let served = match served {
        Ok(served) => served,
        Err(fault) => tell(core, listener, client, &mut visit, fault).await,
    };
    visit.end(core, client, &served);
    served.after
}

/// A request's way through. An `Err` is told to the client in-band.
async fn serve(
    core: &Rc<Core>,
    client: &mut Client,
    kept: &mut Option<Kept>,
    length: usize,
    visit: &mut Visit,
) -> Result<Served, Fault> {
    let gateway = &core.gateway;
    let settings = visit.settings.clone();

    let asked = Asked::parse(&client.buffer[..length], &settings.name, client.io.carrier())?;
    client.buffer.drain(..length);
    visit.note(&asked, client);
    visit.takes_work(gateway)?;
    // The next request is the successor's.
    let keep_alive = asked.keep_alive && !gateway.drain.has_begun();

    visit.record.stage = Stage::Identify;
    let caller = visit.identify(core, client, asked.authorization.as_deref())?;
    let (target, forward) = match asked.want {
        Want::Tunnel(target) => (target, None),
        Want::Forward(target, forward) => (target, Some(forward)),
        Want::Here(body) => return Ok(answer_here(client, body, keep_alive, visit).await),
    };

    if let Some(forward) = forward {
        let permit = visit.admit(core, client.peer.ip(), caller, &target).await?;
        visit.record.stage = Stage::Choose;
        let route = choose(&permit, &settings.sessions, &gateway.offers, core.nanos())?;
        visit.wants(&route);
        visit.dials();
        let deadline = Instant::now() + settings.timeouts.setup;
        permit.meter.count_request();
        let request = Request { target, forward, version: asked.version, keep_alive };
        if let Some(reused) = Kept::take(kept, &request, &permit, &route, gateway, &settings.sessions) {
            visit.reuse(&reused.record);
            permit.enlisted.connected(visit.record.exit.as_deref());
            match Box::pin(exchange(core, client, kept, visit, &permit, &request, reused.upstream, true)).await? {
                Some(served) => return Ok(served),
                None => visit.was_stale(),
            }
        }
        let dialed = tokio::select! {
            dialed = Box::pin(dial(core, &settings, &permit, &route, &request.target, &visit.id, deadline)) => dialed,
            fault = std::future::poll_fn(|cx| permit.enlisted.poll_cut(cx)) => return Err(fault),
            () = client.left(&core.scratch) => {
                visit.record.ended_by = Some("client_lost");
                return Ok(Served::well(After::Gone));
            }
        };
        let upstream = visit.arrived(dialed)?;
        permit.enlisted.connected(visit.record.exit.as_deref());
        let served = Box::pin(exchange(core, client, kept, visit, &permit, &request, upstream, false)).await?;
        return Ok(served.unwrap_or(Served::well(After::Gone)));
    }
    let Some((permit, mut upstream)) = tunnel::open(core, client, visit, caller, &target).await? else {
        return Ok(Served::well(After::Gone));
    };

    visit.record.stage = Stage::Accept;
    let accepted = format!("HTTP/1.1 200 Connection established\r\n{}\r\n", visit.own_fields(&settings.name, None, None));
    visit.record.status = Some(200);
    visit.answers();
    visit.count_answer(core);
    // From the next line on nothing can be told in-band: the tunnel belongs to the two ends.
    if client.write(accepted.as_bytes()).await.is_err() {
        visit.record.ended_by = Some("client_lost");
        return Ok(Served::well(After::Gone));
    }
    visit.record.stage = Stage::Relay;
    Ok(tunnel::carry(core, client, visit, &permit, &mut upstream, &target).await)
}

/// A request to pass on.
struct Request {
    target: Target,
    forward: Box<Forward>,
    version: Version,
    keep_alive: bool,
}

/// Passes a request on over a connection. `None`: a kept connection turned out to be dead, try a new one.
#[expect(clippy::too_many_arguments, reason = "the one place where a request, its connection and its client meet")]
async fn exchange(
    core: &Core,
    client: &mut Client,
    kept: &mut Option<Kept>,
    visit: &mut Visit,
    permit: &Permit,
    request: &Request,
    mut upstream: Upstream,
    reused: bool,
) -> Result<Option<Served>, Fault> {
    let settings = visit.settings.clone();
    visit.record.stage = Stage::Relay;
    let mut moved = Moved::default();
    let answered = Cell::new(None);
    let exchanged = {
        // Asked for once the target's head is here, and for nothing else.
        let own_fields = |status, before: Option<&str>| {
            answered.set(Some(visit.since_head()));
            visit.count_answer(core);
            visit.own_fields(&settings.name, before, Some(status))
        };
        let exchange = Exchange {
            target: &request.target,
            request: &request.forward,
            version: request.version,
            keep_alive: request.keep_alive,
            own_fields: &own_fields,
            exit: visit.record.exit.as_deref(),
            flow: Flow { meter: &permit.meter, scratch: &core.scratch, epoch: core.epoch() },
            enlisted: &permit.enlisted,
            limits: &settings.limits,
            timeouts: &settings.timeouts,
        };
        exchange.run(client, &mut upstream, reused, &mut moved).await
    };
    visit.record.times.setup = answered.get();
    visit.record.bytes_up += moved.up;
    visit.record.bytes_down += moved.down;
    core.delivered(&upstream, moved.up, moved.down);
    let served = match exchanged {
        Exchanged::Stale => return Ok(None),
        Exchanged::Failed(fault) => {
            // Part of the body may be unread: the connection can't be used again.
            visit.reusable &= request.forward.body.ended();
            return Err(fault);
        }
        Exchanged::Answered(done) => {
            visit.record.stage = Stage::Settle;
            visit.record.status = Some(done.status);
            visit.record.times.first_byte = Some(done.first_byte);
            if done.target_stays && done.client_stays {
                *kept = Some(Kept {
                    upstream,
                    key: permit.account.key.id.to_string(),
                    target: request.target.clone(),
                    modifiers: permit.modifiers.clone(),
                    record: visit.record.clone(),
                });
            }
            Served::well(if done.client_stays { After::Next } else { After::Close })
        }
        Exchanged::Switched(status, behind) => {
            visit.record.status = Some(status);
            switched(core, client, visit, permit, &mut upstream, &request.target, behind).await
        }
        Exchanged::BrokenOff(status, fault) => {
            visit.record.status = Some(status);
            visit.record.ended_by = Some(match fault.row().layer {
                Layer::Target | Layer::Exit => "target_lost",
                _ => "cut",
            });
            break_off(&upstream);
            Served::badly(After::Reset, fault)
        }
        Exchanged::ClientGone(status) => {
            visit.record.status = status;
            visit.record.ended_by = Some("client_lost");
            break_off(&upstream);
            Served::well(After::Gone)
        }
    };
    Ok(Some(served))
}

/// A switched connection is a tunnel from here on; what the target sent behind its head goes first.
async fn switched(
    core: &Core,
    client: &mut Client,
    visit: &mut Visit,
    permit: &Permit,
    upstream: &mut Upstream,
    target: &Target,
    behind: Vec<u8>,
) -> Served {
    permit.meter.count(crate::accounts::Direction::Down, behind.len() as u64, core.nanos());
    visit.record.bytes_down += behind.len() as u64;
    if client.write(&behind).await.is_err() {
        break_off(upstream);
        visit.record.ended_by = Some("client_lost");
        return Served::well(After::Gone);
    }
    tunnel::carry(core, client, visit, permit, upstream, target).await
}

/// Tells a fault to the client. Consumes it: nothing is told twice.
async fn tell(core: &Core, listener: &ListenerSettings, client: &mut Client, visit: &mut Visit, fault: Fault) -> Served {
    let teller =
        Teller { hop: &visit.settings.name, request_id: &visit.id, realm: "outgate", date: &core.date(), docs_url: None };
    let fault = visit.placed(fault);
    let answer = fault.answer(&listener.dialect, &teller);
    let body = answer.body.trim_end();
    visit.record.told = (body != fault.sentence()).then(|| body.to_owned());
    let answer = page::for_browser(answer, &visit.id, &client.buffer, listener);
    // What follows an unreadable request can't be trusted; a gateway that shuts down has nothing more to say.
    // Behind a refused CONNECT, bytes meant for the tunnel may be on their way and must not be read as a request; only a
    // client that is asked for credentials waits for that answer.
    let unawaited = visit.record.method == "CONNECT" && fault.row().layer != Layer::Auth;
    let ends =
        unawaited || fault.row().layer == Layer::Client || fault.slug() == Slug::Draining || core.gateway.drain.has_begun();
    let wanted = if visit.reusable && !ends { Connection::KeepAlive } else { Connection::Close };
    let body = if visit.is_head { Body::Omit } else { Body::Send };
    let after = match answer.connection(wanted) {
        Connection::KeepAlive => After::Next,
        Connection::Close => After::Close,
    };
    visit.record.status = Some(answer.status);
    visit.answers();
    visit.count_refusal(core);
    visit.refused(&fault);
    let after = match client.write(&answer.to_http1(body, wanted)).await {
        Ok(()) => after,
        Err(_) => After::Gone,
    };
    let deadline = tokio::time::Instant::now() + core.settings().timeouts.head;
    match after == After::Next && !client.discard(&core.scratch, &mut visit.unread, deadline).await {
        true => Served::badly(After::Close, fault),
        false => Served::badly(after, fault),
    }
}

/// Refuses another protocol in its own words.
async fn refuse_foreign(client: &mut Client, listener: &ListenerSettings, foreign: Foreign) -> Served {
    // If it is gone, it has seen enough.
    let _gone = client.write(foreign.refusal()).await;
    Served::badly(After::Close, foreign.fault(listener.protocols.expected()))
}

/// Answers what ends at this hop: OPTIONS, and TRACE with Max-Forwards: 0 (RFC 9110, sections 9.3.7 and 9.3.8).
async fn answer_here(client: &mut Client, body: Option<Vec<u8>>, keep_alive: bool, visit: &mut Visit) -> Served {
    let connection = if keep_alive && visit.reusable { "keep-alive" } else { "close" };
    let mut answer = match &body {
        Some(body) => format!("HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: {}\r\n", body.len()),
        None => "HTTP/1.1 200 OK\r\nAllow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE\r\nContent-Length: 0\r\n"
            .to_owned(),
    };
    answer.push_str(&format!("X-Outgate-Request-Id: {}\r\nConnection: {connection}\r\n\r\n", visit.id));
    let mut bytes = answer.into_bytes();
    bytes.extend_from_slice(&body.unwrap_or_default());
    visit.record.stage = Stage::Settle;
    visit.record.status = Some(200);
    let stays = client.write(&bytes).await.is_ok() && connection == "keep-alive";
    Served::well(if stays { After::Next } else { After::Close })
}

impl Kept {
    /// Takes the kept connection if it leads where this request goes, for the same key, the same way, and is alive.
    fn take(
        kept: &mut Option<Self>,
        request: &Request,
        permit: &Permit,
        route: &Route,
        gateway: &Gateway,
        rules: &SessionRules,
    ) -> Option<Self> {
        let mut candidate = kept.take()?;
        let same = candidate.target == request.target
            && candidate.key == permit.account.key.id.as_str()
            && candidate.modifiers == permit.modifiers
            && request.forward.upgrade.is_empty();
        // A session that was rotated, or whose time is over, must not go on through a connection that it left open.
        let stays = match (candidate.upstream.lease(), route) {
            (Some(lease), Route::Exit(wanted, Some(session))) => {
                let stay = session.stay(permit, rules);
                gateway.fleet.is_with(&permit.pool.name, wanted, &stay, lease.exit())
            }
            _ => true,
        };
        (same && stays && candidate.upstream.is_quiet()).then_some(candidate)
    }
}
