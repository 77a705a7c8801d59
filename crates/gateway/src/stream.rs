//! A client's byte stream, whichever way it came in: plain TCP, TLS over it, or a stream of an HTTP/2 connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::h2_door::Exchange;
use crate::head::Carrier;
use crate::splice::Socket;

/// A client's stream.
pub(crate) enum Stream {
    /// As it comes.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// A request of an HTTP/2 connection, told as HTTP/1.1.
    H2(Box<Exchange>),
}

impl Stream {
    /// What is spoken over it, as records name it.
    pub(crate) fn protocol(&self) -> &'static str {
        match self {
            Self::Plain(_) => "http",
            Self::Tls(_) => "https",
            Self::H2(_) => "h2",
        }
    }

    /// What carries the requests that are read from it.
    pub(crate) fn carrier(&self) -> Carrier {
        match self {
            Self::Plain(_) | Self::Tls(_) => Carrier::Http1,
            Self::H2(_) => Carrier::Http2,
        }
    }

    /// Makes the close that follows a reset, so that nobody takes what came for complete.
    pub(crate) fn reset(&mut self) {
        match self {
            Self::Plain(io) => reset(io),
            Self::Tls(stream) => reset(stream.get_ref().0),
            Self::H2(exchange) => exchange.reset(),
        }
    }
}

/// Makes the close that follows a reset.
pub(crate) fn reset(io: &TcpStream) {
    // Fails only for a socket that is gone already.
    let _gone = SockRef::from(io).set_linger(Some(Duration::ZERO));
}

impl Socket for Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(io) => Some(io),
            Self::Tls(_) | Self::H2(_) => None,
        }
    }
}

/// Hands a call to the stream inside.
macro_rules! inside {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($io) => $call,
            Stream::Tls($io) => $call,
            Stream::H2($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inside!(self, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
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
