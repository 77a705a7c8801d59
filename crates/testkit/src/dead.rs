//! Addresses where nothing answers: one refuses, one swallows every SYN.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};

/// A port that refuses: bound, so that no other test can be given it meanwhile, but never listening.
#[derive(Debug)]
pub struct RefusingPort {
    address: SocketAddr,
    _bound: Socket,
}

impl RefusingPort {
    /// Takes a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If the machine has no loopback.
    #[must_use]
    pub fn reserve() -> Self {
        Self::reserve_at(Ipv4Addr::LOCALHOST)
    }

    /// Takes a free port of another address of this machine's, such as 127.77.0.1: one where nothing else listens, whatever
    /// runs on 127.0.0.1.
    ///
    /// # Panics
    /// If the machine has no such address.
    #[must_use]
    pub fn reserve_at(address: Ipv4Addr) -> Self {
        let bound = bound_socket(address);
        Self { address: address_of(&bound), _bound: bound }
    }

    /// Connecting here is refused at once.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port that never answers a SYN: a listener whose backlog is full and which never accepts. Linux drops further
/// SYNs in silence, so that connecting ends only by the client's own deadline.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _filler: TcpStream,
}

impl BlackHole {
    /// Takes a free port of 127.0.0.1 and fills its backlog.
    ///
    /// # Panics
    /// If the machine has no loopback.
    #[must_use]
    pub fn open() -> Self {
        let listener = bound_socket(Ipv4Addr::LOCALHOST);
        // A backlog of 0 holds exactly one connection (Linux: sk_acceptq_is_full compares with `>`).
        listener.listen(0).expect("a bound socket can listen");
        let address = address_of(&listener);
        let filler = TcpStream::connect(address).expect("the backlog holds one connection");
        Self { address, _listener: listener, _filler: filler }
    }

    /// Connecting here hangs.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound_socket(address: Ipv4Addr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the machine has TCP");
    let anywhere: SocketAddr = (address, 0).into();
    socket.bind(&SockAddr::from(anywhere)).expect("loopback has a free port");
    socket
}

fn address_of(socket: &Socket) -> SocketAddr {
    let address = socket.local_addr().expect("a bound socket has an address");
    address.as_socket().expect("it was bound to an IPv4 address")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::time::Duration;

    #[test]
    fn a_refusing_port_refuses() {
        let port = RefusingPort::reserve();
        let error = TcpStream::connect(port.address()).expect_err("nothing listens there");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_black_hole_lets_nobody_in() {
        let hole = BlackHole::open();
        let error = TcpStream::connect_timeout(&hole.address(), Duration::from_millis(200)).expect_err("SYN dropped");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
