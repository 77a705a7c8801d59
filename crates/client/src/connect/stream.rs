//! A connection, with or without TLS, that first gives back what was read of it too early.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to a proxy, or through it to a target.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// Read behind the head of an answer: belongs to whoever reads next.
    early: Vec<u8>,
    given: usize,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// A connection in clear.
    pub fn tcp(stream: TcpStream) -> Self {
        Self { io: Io::Tcp(stream), early: Vec::new(), given: 0 }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { io: Io::Tls(Box::new(stream)), early: Vec::new(), given: 0 }
    }

    /// Puts back what was read too early. There must be nothing left of an earlier call.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.given, self.early.len());
        self.early = bytes.to_vec();
        self.given = 0;
    }

    /// The connection underneath: its addresses and options. To end it with a reset: `set_zero_linger`, then drop.
    pub fn socket(&self) -> &TcpStream {
        match &self.io {
            Io::Tcp(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The TLS session with the proxy, if there is one.
    pub fn session(&self) -> Option<&rustls::ClientConnection> {
        match &self.io {
            Io::Tcp(_) => None,
            Io::Tls(stream) => Some(stream.get_ref().1),
        }
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut Io> {
        Pin::new(&mut self.get_mut().io)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given < self.early.len() {
            let now = buf.remaining().min(self.early.len() - self.given);
            let given = self.given;
            buf.put_slice(&self.early[given..given + now]);
            self.given += now;
            if self.given == self.early.len() {
                (self.early, self.given) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        match self.io().get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.io().get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io().get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io().get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
