//! A SOCKS5 client (RFC 1928, RFC 1929) that shows each reply byte.

use std::net::SocketAddr;

use crate::wire::{Credentials, Wire, WireError};

/// The protocol version.
const VERSION: u8 = 5;
/// Methods (RFC 1928, section 3).
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
/// The command that opens a tunnel.
pub const CONNECT: u8 = 1;

/// The last thing that a server said before a tunnel or a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// This method was chosen where another was due, or none (0xff).
    Method(u8),
    /// The login was refused with this status (RFC 1929, section 2).
    Login(u8),
    /// The reply to the request; 0 opens the tunnel.
    Reply(u8),
}

/// The login message of RFC 1929.
///
/// # Panics
/// If a field does not fit its length byte.
#[must_use]
pub fn login(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Vec<u8> {
    let field = |bytes: &[u8]| [&[byte(bytes.len())], bytes].concat();
    [&[1], field(user.as_ref()).as_slice(), &field(password.as_ref())].concat()
}

/// A request: its command, and where to.
///
/// # Panics
/// If a name does not fit its length byte.
#[must_use]
pub fn request(command: u8, host: &str, port: u16) -> Vec<u8> {
    let address = match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(std::net::IpAddr::V4(ip)) => [&[1], ip.octets().as_slice()].concat(),
        Ok(std::net::IpAddr::V6(ip)) => [&[4], ip.octets().as_slice()].concat(),
        Err(_) => [&[3, byte(host.len())], host.as_bytes()].concat(),
    };
    [&[VERSION, command, 0], address.as_slice(), &port.to_be_bytes()].concat()
}

fn byte(length: usize) -> u8 {
    u8::try_from(length).expect("a field of SOCKS5 is at most 255 bytes")
}

/// Logs in, or does not, and asks. The connection is what is left after the last thing said.
///
/// # Errors
/// When the server ends the connection without having said it.
pub async fn ask(door: SocketAddr, credentials: Option<Credentials<'_>>, request: &[u8]) -> Result<(Said, Wire), WireError> {
    let mut wire = Wire::connect(door).await?;
    let method = if credentials.is_some() { USER_AND_PASSWORD } else { NO_AUTHENTICATION };
    wire.send(&[VERSION, 1, method]).await?;
    let chosen = wire.exactly(2).await?;
    if chosen != [VERSION, method] {
        return Ok((Said::Method(chosen[1]), wire));
    }
    if let Some(credentials) = credentials {
        wire.send(&login(credentials.user, credentials.password)).await?;
        let verdict = wire.exactly(2).await?;
        if verdict != [1, 0] {
            return Ok((Said::Login(verdict[1]), wire));
        }
    }
    wire.send(request).await?;
    let head = wire.exactly(4).await?;
    let _bound = wire.exactly(if head[3] == 4 { 18 } else { 6 }).await?;
    Ok((Said::Reply(head[1]), wire))
}
