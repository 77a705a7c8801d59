//! The listener of every throw-away server: a backlog for floods, and an accept loop that outlives errors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// A free port of 127.0.0.1.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Connections that wait to be accepted. The standard library's 128 would make a test with thousands of connections
/// wait whole seconds for SYNs to be sent again.
const BACKLOG: i32 = 8192;

/// How long to wait when the process has no file left to accept with.
const BREATH: Duration = Duration::from_millis(10);

/// A listener and the address it was given.
pub(crate) fn listen(address: SocketAddr) -> (std::net::TcpListener, SocketAddr) {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).expect("the machine has TCP");
    socket.bind(&SockAddr::from(address)).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.listen(BACKLOG).expect("a bound socket can listen");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().expect("a listener has an address");
    (listener, address)
}

/// Calls `take` with every connection, for good.
pub(crate) async fn accept_each(listener: std::net::TcpListener, mut take: impl FnMut(TcpStream)) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => take(tcp),
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}
