//! Listens: one event loop per core, each with its own listeners on the same ports (SO_REUSEPORT).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Body, Connection, Fault, Teller};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::client_door::enter;
use crate::core::Core;
use crate::exit_door::admit_exit;
use crate::foreign::Foreign;
use crate::gateway::Command;
use crate::places::Places;
use crate::record::Record;
use crate::settings::{ListenerSettings, Settings};
use crate::stream::Stream;
use crate::visit::Visit;

/// Connections that wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// How long to wait when the process is out of descriptors or memory: some will be given back.
const BREATHER: Duration = Duration::from_millis(50);
/// Connections of one listener that were turned away and still read why.
const MOST_LEAVING: usize = 256;

/// TLS's word for "not your fault": a fatal alert, internal_error (RFC 8446, section 6.2).
const OVERLOADED_ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50];

/// The sockets of one event loop.
pub(crate) struct Doors {
    clients: Vec<(std::net::TcpListener, ListenerSettings)>,
    exits: Option<(std::net::TcpListener, Option<TlsAcceptor>)>,
}

/// The addresses that were bound, port 0 resolved.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Where clients come in, in the order of the settings.
    pub listeners: Vec<SocketAddr>,
    /// Where exits dial in.
    pub exits: Option<SocketAddr>,
}

/// Binds everything for every event loop, before any of them starts.
pub(crate) fn bind(settings: &Settings) -> Result<(Vec<Doors>, Bound), String> {
    let mut bound = Bound { listeners: Vec::new(), exits: None };
    let mut loops: Vec<Doors> = (0..settings.workers).map(|_| Doors { clients: Vec::new(), exits: None }).collect();
    for listener in &settings.listeners {
        let (address, sockets) = bind_all(listener.address, settings.workers)?;
        bound.listeners.push(address);
        for (doors, socket) in loops.iter_mut().zip(sockets) {
            doors.clients.push((socket, listener.clone()));
        }
    }
    if let Some(door) = &settings.exits {
        let (address, sockets) = bind_all(door.address, settings.workers)?;
        bound.exits = Some(address);
        for (doors, socket) in loops.iter_mut().zip(sockets) {
            doors.exits = Some((socket, door.tls.clone().map(TlsAcceptor::from)));
        }
    }
    Ok((loops, bound))
}

fn bind_all(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<std::net::TcpListener>), String> {
    let fail = |e: io::Error| format!("can't listen on {address}: {e}");
    // Without SO_REUSEPORT first: another program's listener on this port must be an error, not a share.
    drop(bind_one(address, false).map_err(fail)?);
    let first = bind_one(address, true).map_err(fail)?;
    let resolved = first.local_addr().map_err(fail)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind_one(resolved, true).map_err(fail)?);
    }
    Ok((resolved, sockets))
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Small writes (answers, handshakes of the two ends) must not wait for each other. Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Runs one event loop until it is told to stop.
pub(crate) async fn run(core: Rc<Core>, doors: Doors, mut commands: Receiver<Command>) -> io::Result<()> {
    let places = core.gateway.places.clone();
    for (socket, listener) in doors.clients {
        let socket = TcpListener::from_std(socket)?;
        spawn_local(accept_clients(core.clone(), socket, Rc::new(listener), places.clone()));
    }
    if let Some((socket, tls)) = doors.exits {
        let socket = TcpListener::from_std(socket)?;
        spawn_local(accept_exits(core.clone(), socket, tls));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Cut(key, fault)) => {
                    core.sessions.cut(Some(&key), &fault);
                }
                Some(Command::CutAll(fault, told)) => {
                    let _asker_gone = told.send(core.sessions.cut(None, &fault)).await;
                }
                Some(Command::Count(told)) => {
                    let _asker_gone = told.send(core.sessions.len()).await;
                }
                Some(Command::Stop) | None => break,
            },
            _ = tick.tick() => core.recorder.borrow_mut().tick(),
        }
    }
    core.recorder.borrow_mut().hand_over();
    Ok(())
}

/// Accepts and spawns, nothing else: whatever takes time happens in the connection's own task.
async fn accept_clients(core: Rc<Core>, socket: TcpListener, listener: Rc<ListenerSettings>, places: Arc<Places>) {
    let leaving = Rc::new(());
    loop {
        let Some((io, peer)) = accept(&socket).await else { continue };
        // Who is behind a load balancer is counted once it has said who that is.
        let source = (!listener.is_behind(peer.ip())).then_some(peer.ip());
        let refused = core.gateway.load.refuse_when_short();
        match refused.and_then(|()| places.take(source)) {
            Ok(place) => {
                spawn_local(enter(core.clone(), io, peer, listener.clone(), place));
            }
            Err(fault) => turn_away(&core, &listener, io, peer, &fault, &leaving),
        }
    }
}

async fn accept_exits(core: Rc<Core>, socket: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        let Some((io, peer)) = accept(&socket).await else { continue };
        match core.gateway.exit_places.take(Some(peer.ip())) {
            Ok(place) => {
                let (core, tls) = (core.clone(), tls.clone());
                spawn_local(async move {
                    admit_exit(core, io, peer, tls).await;
                    drop(place);
                });
            }
            // An exit comes again by itself; its operator reads why it must.
            Err(fault) => Visit::unasked(&core, peer, Record { protocol: "link", ..Record::default() }, &fault),
        }
    }
}

/// The next connection. A connection that failed before it was accepted is none; a lack of resources passes.
async fn accept(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match socket.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => None,
        Err(error) => {
            tracing::warn!(%error, "accepting connections pauses");
            tokio::time::sleep(BREATHER).await;
            None
        }
    }
}

/// Answers a connection there is no place for, in one write that never waits, and sees it off. `leaving` counts those that
/// still read their answer: beyond so many the next ones are let go at once.
fn turn_away(core: &Rc<Core>, listener: &ListenerSettings, io: TcpStream, peer: SocketAddr, fault: &Fault, leaving: &Rc<()>) {
    let id = core.request_id();
    let teller =
        Teller { hop: &core.gateway.settings.name, request_id: &id, realm: "outgate", date: &core.date(), docs_url: None };
    let answer = fault.answer(&listener.dialect, &teller);
    let (refusal, protocol, status) = match (&listener.tls, listener.protocols.http) {
        // Whatever is told in clear would look like a broken TLS.
        (Some(_), _) => (OVERLOADED_ALERT.to_vec(), "https", None),
        (None, true) => (answer.to_http1(Body::Send, Connection::Close), "http", Some(answer.status)),
        (None, false) => (Foreign::Socks5.refusal().to_vec(), "socks5", None),
    };
    // Past the event loop, which has not yet seen that this new socket can be written to.
    let _gone = SockRef::from(&io).send(&refusal);
    let record = Record { protocol, status, ..Record::default() };
    let source = peer.ip().to_canonical().to_string();
    core.recorder.borrow_mut().write(&record, &id, &source, Timestamp::now(), Duration::ZERO, Some(fault));
    core.gateway.tally.count(Some(fault.slug()));
    if Rc::strong_count(leaving) <= MOST_LEAVING {
        let (core, leaving) = (core.clone(), leaving.clone());
        spawn_local(async move {
            let timeouts = &core.gateway.settings.timeouts;
            Client::new(Stream::Plain(io), peer, timeouts).linger(&core.scratch, timeouts.linger).await;
            drop(leaving);
        });
    }
}

/// Runs a future on a fresh event loop of this thread.
pub(crate) fn event_loop<F: Future<Output = io::Result<()>>>(work: impl FnOnce() -> F) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default())?;
    let result = runtime.block_on(async { work().await });
    // Sessions that outlived the deadline end with the loop.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_an_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind_all(taken.local_addr().unwrap(), 2).unwrap_err();
        assert!(error.contains("can't listen on 127.0.0.1:"), "{error}");
    }
}
