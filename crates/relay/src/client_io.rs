//! A program's connection: TCP, or TLS over it, ended with a reset when what came is not complete.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::body::OpenEnd;

/// A connection that a program made.
pub(crate) struct ClientIo {
    io: Io,
    /// Read too early; belongs to whoever reads next.
    early: Vec<u8>,
    open: OpenEnd,
}

enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS that is opened inside a tunnel.
    Inner(Box<TlsStream<Pin<Box<ClientIo>>>>),
}

impl ClientIo {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self { io: Io::Tcp(stream), early: Vec::new(), open: OpenEnd::default() }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { io: Io::Tls(Box::new(stream)), early: Vec::new(), open: OpenEnd::default() }
    }

    pub(crate) fn inner(stream: TlsStream<Pin<Box<ClientIo>>>) -> Self {
        Self { io: Io::Inner(Box::new(stream)), early: Vec::new(), open: OpenEnd::default() }
    }

    /// The same, with bytes in front that were read too early.
    pub(crate) fn after(mut self, early: Vec<u8>) -> Self {
        self.early = early;
        self
    }

    /// By whom it is said that this must end with a reset.
    pub(crate) fn open_end(&self) -> OpenEnd {
        self.open.clone()
    }

    fn socket(&self) -> &TcpStream {
        match &self.io {
            Io::Tcp(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
            Io::Inner(stream) => stream.get_ref().0.socket(),
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if self.open.is_cut() {
            // A socket that is gone already needs no reset.
            let _gone = self.socket().set_zero_linger();
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let now = buf.remaining().min(self.early.len());
            buf.put_slice(&self.early[..now]);
            self.early.drain(..now);
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Inner(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Inner(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Io::Inner(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.open.is_cut() {
            // A FIN in front of the reset would say that all of it has come.
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Inner(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
