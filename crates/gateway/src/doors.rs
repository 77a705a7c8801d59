//! The sockets that clients and exits come in by: bound here for every event loop (SO_REUSEPORT), or passed by a service manager,
//! which keeps them over a restart. Says what a changed configuration opens, keeps and closes.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::settings::{ListenerSettings, Settings};

/// Connections that wait to be accepted; the kernel caps it at net.core.somaxconn.
pub(crate) const BACKLOG: u16 = 4096;

/// The addresses that were bound, port 0 resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Where clients come in, in the order of the settings.
    pub listeners: Vec<SocketAddr>,
    /// Where exits dial in.
    pub exits: Option<SocketAddr>,
    /// Where other gateways dial in.
    pub cluster: Option<SocketAddr>,
}

/// A door for clients, as one event loop is given it.
pub(crate) struct ClientDoor {
    pub(crate) id: u64,
    /// None: the loop has it already.
    pub(crate) socket: Option<TcpListener>,
    pub(crate) listener: ListenerSettings,
}

/// The door for exits or for other gateways, as one event loop is given it.
pub(crate) struct LinkDoor {
    pub(crate) socket: TcpListener,
    pub(crate) activated: bool,
}

/// The doors of all event loops.
pub(crate) struct Entrances {
    workers: usize,
    /// What the service manager passed; doors have duplicates of these.
    passed: Vec<TcpListener>,
    clients: Vec<Entrance>,
    exits: Option<Entrance>,
    cluster: Option<Entrance>,
    next: u64,
}

#[derive(Clone)]
struct Entrance {
    id: u64,
    /// As the settings say it.
    configured: SocketAddr,
    bound: SocketAddr,
    activated: bool,
}

/// The doors for a changed configuration. Nothing of it is in force until it is adopted.
pub(crate) struct Plan {
    /// For each event loop, all of its doors in the order of the settings.
    pub(crate) doors: Vec<Vec<ClientDoor>>,
    clients: Vec<Entrance>,
    gone: Vec<Entrance>,
    next: u64,
}

impl Entrances {
    /// None yet, for so many event loops. A passed socket is used for the listener with its address.
    pub(crate) fn new(workers: usize, passed: Vec<TcpListener>) -> Self {
        Self { workers, passed, clients: Vec::new(), exits: None, cluster: None, next: 0 }
    }

    /// Opens the door for exits, for every event loop.
    pub(crate) fn open_exits(&mut self, settings: &Settings) -> Result<Vec<Option<LinkDoor>>, String> {
        let (entrance, doors) = self.open_links(settings.exits.as_ref().map(|door| door.address))?;
        self.exits = entrance;
        Ok(doors)
    }

    /// Opens the door for other gateways, for every event loop.
    pub(crate) fn open_cluster(&mut self, settings: &Settings) -> Result<Vec<Option<LinkDoor>>, String> {
        let (entrance, doors) = self.open_links(settings.cluster.as_ref().map(|cluster| cluster.address))?;
        self.cluster = entrance;
        Ok(doors)
    }

    fn open_links(&self, address: Option<SocketAddr>) -> Result<(Option<Entrance>, Vec<Option<LinkDoor>>), String> {
        let Some(address) = address else { return Ok((None, (0..self.workers).map(|_| None).collect())) };
        let (entrance, sockets) = self.open(0, address)?;
        let activated = entrance.activated;
        Ok((Some(entrance), sockets.into_iter().map(|socket| Some(LinkDoor { socket, activated })).collect()))
    }

    /// The doors for these listeners: one whose address has a door keeps it, the others are bound now.
    pub(crate) fn plan(&self, listeners: &[ListenerSettings]) -> Result<Plan, String> {
        let doors = (0..self.workers).map(|_| Vec::new()).collect();
        let mut plan = Plan { doors, clients: Vec::new(), gone: self.clients.clone(), next: self.next };
        for listener in listeners {
            let known = plan.gone.iter().position(|entrance| entrance.configured == listener.address);
            let (entrance, sockets) = match known {
                Some(at) => (plan.gone.remove(at), Vec::new()),
                None => {
                    plan.next += 1;
                    self.open(plan.next, listener.address)?
                }
            };
            let mut sockets = sockets.into_iter();
            for doors in &mut plan.doors {
                let listener = ListenerSettings { activated: entrance.activated, ..listener.clone() };
                doors.push(ClientDoor { id: entrance.id, socket: sockets.next(), listener });
            }
            plan.clients.push(entrance);
        }
        Ok(plan)
    }

    /// Takes a plan for what is there; tells which addresses are new and which are gone.
    pub(crate) fn adopt(&mut self, plan: &mut Plan) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let new = plan.clients.iter().filter(|entrance| entrance.id > self.next).map(|entrance| entrance.bound).collect();
        let gone = plan.gone.iter().map(|entrance| entrance.bound).collect();
        self.clients = std::mem::take(&mut plan.clients);
        self.next = plan.next;
        (new, gone)
    }

    /// Where everything listens once the plan is adopted.
    pub(crate) fn bound_with(&self, plan: &Plan) -> Bound {
        let bound = |entrance: &Option<Entrance>| entrance.as_ref().map(|entrance| entrance.bound);
        let listeners = plan.clients.iter().map(|entrance| entrance.bound).collect();
        Bound { listeners, exits: bound(&self.exits), cluster: bound(&self.cluster) }
    }

    /// Whether clients come in by a socket that waits for this gateway's successor.
    pub(crate) fn are_activated(&self) -> bool {
        self.clients.iter().any(|entrance| entrance.activated)
    }

    fn open(&self, id: u64, address: SocketAddr) -> Result<(Entrance, Vec<TcpListener>), String> {
        let fail = |e: io::Error| format!("can't listen on {address}: {e}");
        let passed = self.passed.iter().find(|socket| socket.local_addr().is_ok_and(|at| at == address));
        let (bound, sockets) = match passed {
            Some(socket) => (address, share(socket, self.workers).map_err(fail)?),
            None => bind_all(address, self.workers).map_err(fail)?,
        };
        Ok((Entrance { id, configured: address, bound, activated: passed.is_some() }, sockets))
    }
}

/// The same queue for every event loop: one that finds it empty has been outrun by another.
fn share(socket: &TcpListener, count: usize) -> io::Result<Vec<TcpListener>> {
    socket.set_nonblocking(true)?;
    SockRef::from(socket).set_tcp_nodelay(true)?;
    (0..count).map(|_| socket.try_clone()).collect()
}

fn bind_all(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Without SO_REUSEPORT first: another program's listener on this port must be an error, not a share.
    drop(bind_one(address, false)?);
    let first = bind_one(address, true)?;
    let resolved = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind_one(resolved, true)?);
    }
    Ok((resolved, sockets))
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Small writes (answers, handshakes of the two ends) must not wait for each other. Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use outgate_faults::Dialect;

    use super::*;

    fn listener(address: &str) -> ListenerSettings {
        ListenerSettings::plain(address.parse().unwrap(), Dialect::outgate())
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [listener("127.0.0.1:0"), listener(&taken.local_addr().unwrap().to_string())];
        let error = Entrances::new(2, Vec::new()).plan(&listeners).err().unwrap();
        assert!(error.contains("can't listen on 127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_plan_keeps_opens_and_closes_by_address() {
        let mut entrances = Entrances::new(2, Vec::new());
        let mut first = entrances.plan(&[listener("127.0.0.1:0"), listener("127.0.0.2:0")]).unwrap();
        assert!(first.doors.iter().flatten().all(|door| door.socket.is_some()));
        assert_eq!(entrances.adopt(&mut first).0.len(), 2);
        // The same address twice is two doors.
        let mut second = entrances.plan(&[listener("127.0.0.2:0"), listener("127.0.0.2:0")]).unwrap();
        let told: Vec<_> = second.doors[1].iter().map(|door| (door.id, door.socket.is_some())).collect();
        assert_eq!(told, [(2, false), (3, true)]);
        let (new, gone) = entrances.adopt(&mut second);
        assert_eq!((new.len(), gone.len()), (1, 1));
        assert_eq!(gone[0].ip(), std::net::IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn a_passed_socket_is_shared_by_all_loops() {
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = passed.local_addr().unwrap();
        let mut entrances = Entrances::new(3, vec![passed]);
        let mut plan = entrances.plan(&[listener(&address.to_string())]).unwrap();
        assert_eq!(entrances.bound_with(&plan).listeners, [address]);
        let doors: Vec<_> = plan.doors.iter().flatten().collect();
        assert!(doors.len() == 3 && doors.iter().all(|door| door.socket.is_some() && door.listener.activated));
        entrances.adopt(&mut plan);
        assert!(entrances.are_activated());
    }
}
