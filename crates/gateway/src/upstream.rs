//! The connection to a target, whichever way it goes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use outgate_faults::{Fault, raise};
use outgate_link::Tunnel;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

use crate::fleet::Lease;
use crate::head::Target;
use crate::splice::Socket;

/// A connected target.
pub(crate) enum Upstream {
    /// Straight from this gateway.
    Direct(TcpStream),
    /// Through an exit.
    Tunnel(Tunnel, Lease),
    /// The built-in echo target.
    Echo(DuplexStream),
}

impl Upstream {
    /// This gateway's own end of it; none when it is not here that the target is connected.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Direct(stream) => stream.local_addr().ok(),
            Self::Tunnel(..) | Self::Echo(_) => None,
        }
    }

    /// Whether a kept connection is still open and silent: anything to read now is the end of it, or a
    /// message nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// The right to the tunnel, if there is one.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Tunnel(_, lease) => Some(lease),
            Self::Direct(_) | Self::Echo(_) => None,
        }
    }

    /// The fault behind an error of this connection. `exit` is the exit it goes through.
    pub(crate) fn fault(&self, error: &io::Error, target: &Target, exit: Option<&str>) -> Fault {
        let reset = || raise::target_reset(&target.host, target.port);
        let fault = match self {
            Self::Direct(_) | Self::Echo(_) => reset(),
            Self::Tunnel(tunnel, _) => match (error.kind(), tunnel.reset_reason()) {
                (io::ErrorKind::ConnectionAborted, _) => raise::exit_lost(),
                (_, Some(reason)) => {
                    let fault = match reason.slug.as_deref() {
                        Some("target_reset") => reset(),
                        Some("connect_timeout" | "response_timeout") => raise::response_timeout(&target.host, 0),
                        Some(_) | None => raise::exit_lost(),
                    };
                    match reason.detail {
                        Some(detail) => fault.with_detail(detail),
                        None => fault,
                    }
                }
                (_, None) => reset(),
            },
        };
        let fault = match exit {
            Some(exit) => fault.with_found_at(exit),
            None => fault,
        };
        if fault.detail().is_none() { fault.with_detail(error) } else { fault }
    }
}

/// Hands a call to the connection inside.
macro_rules! inside {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Upstream::Direct($io) => $call,
            Upstream::Tunnel($io, _) => $call,
            Upstream::Echo($io) => $call,
        }
    };
}

impl Socket for Upstream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Direct(stream) => Some(stream),
            Self::Tunnel(..) | Self::Echo(_) => None,
        }
    }
}

impl AsyncRead for Upstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inside!(self, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inside!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
