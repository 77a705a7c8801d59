//! Listens: one event loop per core, each with its own listeners on the same ports (SO_REUSEPORT).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Body, Connection, Fault, Teller};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::client_door::enter;
use crate::core::Core;
use crate::counting::count_unasked;
use crate::doors::{BACKLOG, ClientDoor, LinkDoor};
use crate::exit_door::{admit_exit, unasked};
use crate::foreign::Foreign;
use crate::gateway::Command;
use crate::peers::admit_peer;
use crate::record::{Ended, Record};
use crate::settings::ListenerSettings;
use crate::stream::Stream;

/// How long to wait when the process is out of descriptors or memory: some will be given back.
const BREATHER: Duration = Duration::from_millis(50);
/// Connections of one listener that were turned away and still read why.
const MOST_LEAVING: usize = 256;

/// TLS's word for "not your fault": a fatal alert, internal_error (RFC 8446, section 6.2).
const OVERLOADED_ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50];

/// What one event loop begins with.
pub(crate) struct Doors {
    pub(crate) clients: Vec<ClientDoor>,
    pub(crate) exits: Option<LinkDoor>,
    /// For other gateways.
    pub(crate) peers: Option<LinkDoor>,
}

/// Runs one event loop until it is told to stop.
pub(crate) async fn run(core: Rc<Core>, doors: Doors, mut commands: Receiver<Command>) -> io::Result<()> {
    let mut open = OpenDoors::default();
    open.agree(&core, doors.clients)?;
    for (door, whose) in [(doors.exits, Whose::Exits), (doors.peers, Whose::Peers)] {
        if let Some(door) = door {
            open.open_links(&core, door, whose)?;
        }
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
                Some(Command::CountBusy(told)) => {
                    let _asker_gone = told.send(core.activity.busy()).await;
                }
                Some(Command::List(key, most, told)) => {
                    // There is room for one answer of each loop.
                    let _asker_gone = told.try_send(core.sessions.list(key.as_ref(), most));
                }
                Some(Command::Reconfigure(new)) => {
                    core.reconfigure(new.settings, new.egress);
                    if let Err(error) = open.agree(&core, new.doors) {
                        tracing::error!(%error, "an event loop can't accept at a new listener");
                    }
                }
                Some(Command::CloseDoors(which, told)) => {
                    open.close(which);
                    // The tasks behind the doors see it in their next turn; those that they take in then are counted.
                    tokio::task::yield_now().await;
                    let _asker_gone = told.send(core.activity.busy()).await;
                }
                Some(Command::Stop) | None => break,
            },
            _ = tick.tick() => core.recorder.borrow_mut().tick(),
        }
    }
    core.recorder.borrow_mut().hand_over();
    Ok(())
}

/// Which doors are closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Those whose queue waits for this gateway's successor.
    HandedOn,
    /// All.
    All,
}

/// The doors of this event loop at which it accepts.
#[derive(Default)]
struct OpenDoors {
    clients: HashMap<u64, OpenDoor>,
    links: Vec<(bool, Keeper)>,
}

struct OpenDoor {
    /// What holds for the next connection.
    listener: Rc<RefCell<Rc<ListenerSettings>>>,
    _keeper: Keeper,
}

/// Held as long as a door is open: its task ends when this drops.
type Keeper = oneshot::Sender<()>;

impl OpenDoors {
    /// Opens, changes and closes doors until they are these.
    fn agree(&mut self, core: &Rc<Core>, doors: Vec<ClientDoor>) -> io::Result<()> {
        let mut before = std::mem::take(&mut self.clients);
        for ClientDoor { id, socket, listener } in doors {
            let listener = Rc::new(listener);
            if let Some(door) = before.remove(&id) {
                door.listener.replace(listener);
                self.clients.insert(id, door);
            } else if let Some(socket) = socket {
                let (keeper, closed) = oneshot::channel();
                let listener = Rc::new(RefCell::new(listener));
                spawn_local(accept_clients(core.clone(), TcpListener::from_std(socket)?, listener.clone(), closed));
                self.clients.insert(id, OpenDoor { listener, _keeper: keeper });
            }
        }
        Ok(())
    }

    fn open_links(&mut self, core: &Rc<Core>, door: LinkDoor, whose: Whose) -> io::Result<()> {
        let (keeper, closed) = oneshot::channel();
        spawn_local(accept_links(core.clone(), TcpListener::from_std(door.socket)?, whose, closed));
        self.links.push((door.activated, keeper));
        Ok(())
    }

    fn close(&mut self, which: Closing) {
        let goes = |activated| which == Closing::All || activated;
        self.clients.retain(|_, door| !goes(door.listener.borrow().activated));
        self.links.retain(|(activated, _)| !goes(*activated));
    }
}

/// Accepts and spawns, nothing else: whatever takes time happens in the connection's own task.
async fn accept_clients(
    core: Rc<Core>,
    socket: TcpListener,
    listener: Rc<RefCell<Rc<ListenerSettings>>>,
    mut closed: oneshot::Receiver<()>,
) {
    let leaving = Rc::new(());
    let short = Cell::new(false);
    loop {
        tokio::select! {
            _ = &mut closed => break,
            accepted = accept(&socket, &short) => {
                let listener = listener.borrow().clone();
                accepted.into_iter().for_each(|(io, peer)| take_in(&core, &listener, io, peer, &leaving));
            }
        }
    }
    let listener = listener.borrow().clone();
    if !listener.activated {
        // Whoever waits in the queue has been promised a connection; closing the socket would break it.
        waiting(socket).for_each(|(io, peer)| take_in(&core, &listener, io, peer, &leaving));
    }
}

fn take_in(core: &Rc<Core>, listener: &Rc<ListenerSettings>, io: TcpStream, peer: SocketAddr, leaving: &Rc<()>) {
    core.activity.stir();
    // Who is behind a load balancer is counted once it has said who that is.
    let source = (!listener.is_behind(peer.ip())).then_some(peer.ip());
    let refused = core.gateway.load.refuse_when_short();
    match refused.and_then(|()| core.gateway.places.take(source)) {
        Ok(place) => {
            spawn_local(enter(core.clone(), io, peer, listener.clone(), place));
        }
        Err(fault) => turn_away(core, listener, io, peer, &fault, leaving),
    }
}

/// What was accepted by the kernel and not yet by us. The socket is closed at the end of it.
fn waiting(socket: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let socket = socket.into_std().ok();
    let accept = move |_| match socket.as_ref()?.accept() {
        Ok((io, peer)) => Some(io.set_nonblocking(true).and_then(|()| TcpStream::from_std(io)).ok().map(|io| (io, peer))),
        Err(error) if is_of_one_connection(&error) => Some(None),
        Err(_) => None,
    };
    // As many as there can be: whoever comes meanwhile must not keep it open for ever.
    (0..BACKLOG).map_while(accept).flatten()
}

/// Whose links a door is for.
#[derive(Clone, Copy)]
enum Whose {
    Exits,
    /// Other gateways'.
    Peers,
}

async fn accept_links(core: Rc<Core>, socket: TcpListener, whose: Whose, mut closed: oneshot::Receiver<()>) {
    let short = Cell::new(false);
    loop {
        let accepted = tokio::select! {
            _ = &mut closed => return,
            accepted = accept(&socket, &short) => accepted,
        };
        let Some((io, peer)) = accepted else { continue };
        match core.gateway.exit_places.take(Some(peer.ip())) {
            Ok(place) => {
                let core = core.clone();
                spawn_local(async move {
                    match whose {
                        Whose::Exits => {
                            let tls = core.settings().exits.as_ref().and_then(|door| door.tls.clone()).map(TlsAcceptor::from);
                            admit_exit(core, io, peer, tls).await;
                        }
                        Whose::Peers => admit_peer(core, io, peer).await,
                    }
                    drop(place);
                });
            }
            // It comes again by itself; its operator reads why it must.
            Err(fault) => unasked(&core, peer, &fault),
        }
    }
}

/// The next connection. A connection that failed before it was accepted is none; a lack of resources passes. `short` is
/// whether there is one: it is told when it begins and when it is over.
async fn accept(socket: &TcpListener, short: &Cell<bool>) -> Option<(TcpStream, SocketAddr)> {
    match socket.accept().await {
        Ok(accepted) => {
            if short.replace(false) {
                tracing::info!("connections are accepted again");
            }
            Some(accepted)
        }
        Err(error) if is_of_one_connection(&error) => None,
        Err(error) => {
            if !short.replace(true) {
                tracing::warn!(%error, "accepting connections pauses");
            }
            tokio::time::sleep(BREATHER).await;
            None
        }
    }
}

/// A connection that failed before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Answers a connection there is no place for, in one write that never waits, and sees it off. `leaving` counts those that
/// still read their answer: beyond so many the next ones are let go at once.
fn turn_away(core: &Rc<Core>, listener: &ListenerSettings, io: TcpStream, peer: SocketAddr, fault: &Fault, leaving: &Rc<()>) {
    let id = core.request_id();
    let teller = Teller { hop: &core.settings().name, request_id: &id, realm: "outgate", date: &core.date(), docs_url: None };
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
    core.record(&record, &Ended { id: &id, client: &source, began: Timestamp::now(), total: Duration::ZERO, fault: Some(fault) });
    count_unasked(core, &record, fault);
    if Rc::strong_count(leaving) <= MOST_LEAVING {
        let (core, leaving) = (core.clone(), leaving.clone());
        spawn_local(async move {
            let settings = core.settings();
            let timeouts = &settings.timeouts;
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
    fn a_closed_door_leaves_nobody_in_its_queue() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let address = socket.local_addr().unwrap();
            let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            let taken: Vec<_> = waiting(TcpListener::from_std(socket).unwrap()).map(|(_, peer)| peer).collect();
            let expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
            assert_eq!(taken, expected);
            assert!(std::net::TcpStream::connect(address).is_err());
        });
    }
}
