//! The door for exits: lets enrolled exits link up, and takes back the echo tunnels they carry.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, raise};
use outgate_link::upgrade::{bearer, link_answer, read_request};
use outgate_link::{Goodbye, Limits, Welcome, shell};
use outgate_store::{Exit, ExitState};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::client_door::tls_trouble;
use crate::core::Core;
use crate::fleet::Online;
use crate::record::Record;
use crate::visit::Visit;
use crate::whereabouts::whereabouts;

/// From the connection to a welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The life of one exit's connection.
pub(crate) async fn admit_exit(core: Rc<Core>, io: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    match tls {
        Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(io)).await {
            Ok(Ok(stream)) => converse(core, stream, peer).await,
            Ok(Err(error)) => unasked(&core, peer, &raise::client_tls_failed(tls_trouble(&error)).with_detail(error)),
            Err(_) => unasked(&core, peer, &raise::request_timeout(Seconds(HANDSHAKE))),
        },
        None => converse(core, io, peer).await,
    }
}

/// Records a connection that did not come to ask for a link.
pub(crate) fn unasked(core: &Core, peer: SocketAddr, fault: &Fault) {
    Visit::unasked(core, peer, Record { protocol: "link", ..Record::default() }, fault);
}

async fn converse(core: Rc<Core>, mut io: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: SocketAddr) {
    let (request, behind) = match timeout(HANDSHAKE, read_request(&mut io)).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => return,
        Err(_) => return unasked(&core, peer, &raise::request_timeout(Seconds(HANDSHAKE))),
    };
    let exit = bearer(request.headers()).and_then(|token| core.gateway.fleet.recognise(token));
    let refusal = match (&exit, request.uri().path()) {
        (None, "/v1/link" | "/v1/echo") => {
            ("401 Unauthorized", "the token is unknown: enroll the exit with `outgate exits enroll`")
        }
        (Some(exit), "/v1/link" | "/v1/echo") if exit.state == ExitState::Revoked => ("410 Gone", "this exit was revoked"),
        (Some(exit), "/v1/link") => match link_answer(&request) {
            Ok(answer) => return link(core, io, behind, answer, exit.clone(), peer).await,
            Err(why) => ("400 Bad Request", why),
        },
        (Some(exit), "/v1/echo") => {
            let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
            let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: outgate-echo\r\nConnection: Upgrade\r\n\r\n";
            let ticket = header("x-outgate-request-id");
            if ticket.is_some_and(|ticket| core.gateway.rotations.witness(ticket, &exit.id, peer.ip())) {
                // That it came is all that was asked for.
                let _gone = io.write_all(switched).await;
                let _gone = io.shutdown().await;
                return;
            }
            let port = header("x-outgate-target-port").and_then(|p| p.parse().ok());
            match (ticket.and_then(|id| core.gateway.echo.redeem(id, &exit.id)), port) {
                (Some(facts), Some(port)) => {
                    if behind.is_empty() && io.write_all(switched).await.is_ok() {
                        // In this task, so that it keeps its place among the connections until it ends.
                        let idle = core.settings().timeouts.idle;
                        let _too_long = timeout(idle, core.gateway.echo.attend(io, facts, port)).await;
                    }
                    return;
                }
                _ => ("404 Not Found", "nobody waits for this echo"),
            }
        }
        _ => ("404 Not Found", "this is the door for exits: /v1/link"),
    };
    tracing::info!(%peer, status = refusal.0, why = refusal.1, "an exit was turned away");
    turn_away(io, refusal.0, refusal.1).await;
}

/// Answers in one line of text, and closes.
pub(crate) async fn turn_away(mut io: impl AsyncWrite + Unpin, status: &str, why: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    // Whoever it was, there is nothing more to say.
    let _gone = io.write_all(answer.as_bytes()).await;
    let _gone = io.shutdown().await;
}

/// Welcomes an exit and carries its link until it ends.
async fn link(
    core: Rc<Core>,
    mut io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    behind: Bytes,
    answer: Vec<u8>,
    exit: Exit,
    peer: SocketAddr,
) {
    let settings = core.settings();
    let welcomed = async {
        io.write_all(&answer).await.map_err(|e| e.to_string())?;
        let pending = shell::accept(io, behind).await.map_err(|e| e.to_string())?;
        let hello = pending.hello().clone();
        let placed = whereabouts(&exit, &hello, settings.geo.as_deref(), peer.ip()).and_then(|(pool, labels)| {
            match settings.pools.iter().any(|p| p.name == pool) {
                true => Ok((pool, labels)),
                false => Err(format!("there is no pool {pool} here")),
            }
        });
        let placed = match exit.state {
            // It keeps the link it has for what is open there; a new one would be for new tunnels.
            ExitState::Draining => Err(Goodbye::new("draining", "the operator is draining this exit")),
            ExitState::Active | ExitState::Revoked => placed.map_err(|why| Goodbye::new("malformed", why.as_str())),
        };
        let (pool, labels) = match placed {
            Ok(placed) => placed,
            Err(goodbye) => {
                let why = goodbye.text.clone();
                pending.goodbye(goodbye).await.map_err(|e| e.to_string())?;
                return Err(why);
            }
        };
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let welcome = Welcome {
            exit_id: exit.id.to_string(),
            gateway: settings.name.clone(),
            heartbeat_ms: ms(settings.timeouts.heartbeat),
            dead_ms: ms(settings.timeouts.dead),
        };
        let limits = Limits { max_tunnels: settings.limits.tunnels_per_link, ..Limits::default() };
        let (link, driver) = pending.welcome(&welcome, limits).await.map_err(|e| e.to_string())?;
        let online = Online {
            id: exit.id.clone(),
            pool,
            labels,
            link,
            holder: None,
            agent: hello.agent,
            since: Timestamp::now(),
            tunnels_in_all: hello.tunnels_in_all,
            rotates: hello.rotate_ms.map(|ms| Duration::from_millis(ms.into())),
        };
        Ok((Arc::new(online), driver, hello.rotated))
    };
    let (online, driver, rotated) = match timeout(HANDSHAKE, welcomed).await {
        Ok(Ok(welcomed)) => welcomed,
        Ok(Err(why)) => return tracing::warn!(%peer, exit = %exit.id, why, "an exit could not link up"),
        Err(_) => return tracing::warn!(%peer, exit = %exit.id, "an exit's hello took too long"),
    };
    // The pool was there when it was placed, and pools do not go.
    let Some(id) = core.gateway.fleet.enter(&online) else { return };
    core.gateway.offers.arrived(&online.pool, &online.labels, core.nanos());
    if let Some(rotated) = rotated {
        core.gateway.rotations.hear(&online.id, &rotated);
    }
    tracing::info!(%peer, exit = %online.id, pool = %online.pool, "exit connected");
    let mut driving = std::pin::pin!(driver.run());
    let end = tokio::select! {
        end = &mut driving => end,
        () = online.link.draining() => {
            core.gateway.fleet.drain(&online, id);
            driving.await
        }
    };
    core.gateway.fleet.leave(&online, id);
    core.gateway.offers.left(&online.pool, &online.labels, core.nanos());
    tracing::info!(%peer, exit = %online.id, %end, "exit gone");
}
