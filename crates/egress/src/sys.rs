//! The one socket option that no safe crate offers: `IP_BIND_ADDRESS_NO_PORT`.
#![expect(unsafe_code, reason = "setsockopt(2) with a constant option and a C int; nothing else lives here")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Lets the kernel pick the local port at `connect(2)` instead of at `bind(2)`, so that one port can
/// serve many targets (ip(7)).
pub(crate) fn bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and open; the value and its length describe a live C int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_socket_has_no_port_yet() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bind_address_no_port(&socket).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let local = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(local.port(), 0);
    }
}
