//! Shell: how a link begins over a connection, at both ends.
//!
//! Gateway: [`accept`] after the 101, look at the [`Hello`], then [`Pending::welcome`] or [`Pending::goodbye`]. Exit:
//! [`join`]. Both give a [`Driver`] to run as a task of its own; the link lives as long as it does. Generic over the
//! connection, so TLS works. Handshake deadlines are the caller's.

mod driver;
mod wire;

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    frame::Kind,
    handle::{Incoming, Link},
    mux::{Limits, Side},
    words::{Fit, Goodbye, Hello, LinkEnd, VERSION, Welcome},
};
use wire::Wire;

pub use driver::Driver;

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection failed or ended.
    Io(io::Error),
    /// The gateway does not want this exit.
    Goodbye(Goodbye),
    /// The other end does not speak this protocol.
    Protocol(String),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Io(error) => write!(f, "connection failed: {error}"),
            HandshakeError::Goodbye(why) => {
                write!(f, "the gateway declined: {} ({})", why.slug, why.text)
            }
            HandshakeError::Protocol(what) => write!(f, "protocol error: {what}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        HandshakeError::Io(error)
    }
}

impl From<LinkEnd> for HandshakeError {
    fn from(end: LinkEnd) -> HandshakeError {
        match end {
            LinkEnd::Io(kind) => HandshakeError::Io(kind.into()),
            LinkEnd::Protocol(what) => HandshakeError::Protocol(what),
            LinkEnd::Closed(_) | LinkEnd::Goodbye(_) | LinkEnd::PeerClosed | LinkEnd::Dead | LinkEnd::Dropped => {
                HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

/// Gateway: an exit that has said hello and waits for the answer.
pub struct Pending<IO> {
    wire: Wire<IO>,
    hello: Hello,
}

/// Gateway: takes over a connection just after the 101 was written; `behind` are bytes already read from it: none,
/// as an exit waits for the 101 (RFC 6455 §4.1).
///
/// # Errors
/// No proper hello came.
pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(io: IO, behind: Bytes) -> Result<Pending<IO>, HandshakeError> {
    nothing(&behind)?;
    let mut wire = Wire::new(io, Side::Gateway);
    let mut hello: Hello = wire.expect(Kind::Hello).await?;
    // It is shown to people: cut and plain, like every other word of an exit's hook.
    hello.rotated = hello.rotated.map(Fit::fit);
    if hello.version != VERSION {
        let text = format!("this gateway speaks version {VERSION} of the link protocol");
        wire.say(Kind::Goodbye, &Goodbye::new("version", text.as_str())).await?;
        return Err(HandshakeError::Protocol(format!("the exit speaks version {}", hello.version)));
    }
    Ok(Pending { wire, hello })
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Pending<IO> {
    /// What the exit says of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Accepts. Heartbeat and dead interval are the welcome's, the most tunnels the smaller of both ends'.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn welcome(mut self, welcome: &Welcome, limits: Limits) -> Result<(Link, Driver<IO>), HandshakeError> {
        self.wire.say(Kind::Welcome, welcome).await?;
        let limits = agreed(limits, &self.hello, welcome);
        Ok(Driver::start(self.wire, Side::Gateway, limits))
    }

    /// Declines.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn goodbye(mut self, why: Goodbye) -> Result<(), HandshakeError> {
        self.wire.say(Kind::Goodbye, &why.fit()).await?;
        Ok(self.wire.close(None).await?)
    }
}

/// Exit: a link that was welcomed.
pub struct Joined<IO> {
    /// The gateway's answer.
    pub welcome: Welcome,
    /// The handle.
    pub link: Link,
    /// Tunnels asked for.
    pub incoming: Incoming,
    /// To be run.
    pub driver: Driver<IO>,
}

/// Exit: says hello on a connection just after the 101 was read; `behind` are bytes that came with it: none, as
/// the gateway waits for the hello.
///
/// # Errors
/// The gateway declined or is none.
pub async fn join<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    behind: Bytes,
    hello: &Hello,
    limits: Limits,
) -> Result<Joined<IO>, HandshakeError> {
    nothing(&behind)?;
    let mut wire = Wire::new(io, Side::Exit);
    wire.say(Kind::Hello, hello).await?;
    let welcome: Welcome = wire.expect(Kind::Welcome).await?;
    let limits = agreed(limits, hello, &welcome);
    let (link, driver) = Driver::start(wire, Side::Exit, limits);
    Ok(Joined { welcome, incoming: Incoming::new(link.clone()), link, driver })
}

fn nothing(behind: &Bytes) -> Result<(), HandshakeError> {
    match behind.len() {
        0 => Ok(()),
        count => Err(HandshakeError::Protocol(format!("{count} bytes before their turn"))),
    }
}

fn agreed(limits: Limits, hello: &Hello, welcome: &Welcome) -> Limits {
    let heartbeat = Duration::from_millis(welcome.heartbeat_ms.clamp(50, 600_000).into());
    let dead = Duration::from_millis(welcome.dead_ms.into()).max(2 * heartbeat);
    let max_tunnels = limits.max_tunnels.min(hello.max_tunnels as usize).max(1);
    Limits { max_tunnels, heartbeat, dead, ..limits }
}

impl<IO> fmt::Debug for Pending<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("hello", &self.hello).finish_non_exhaustive()
    }
}
