//! Tunnel: one byte stream through a link, as tokio reads and writes it.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use crate::{
    mux::{Mux, Rest, StreamError},
    words::ResetReason,
};

/// The mux behind its lock, shared by the link's task and every handle.
pub(crate) struct Shared {
    mux: Mutex<Mux>,
    /// Told when the link ends, drains or runs empty.
    pub(crate) changed: Notify,
}

impl Shared {
    pub(crate) fn new(mux: Mux) -> Arc<Shared> {
        Arc::new(Shared { mux: Mutex::new(mux), changed: Notify::new() })
    }

    /// Runs `act` under the lock, then wakes whoever is due without it.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Mux) -> R) -> R {
        // A panic under the lock is a bug in the mux; the others still deserve to see the link end.
        let mut mux = self.mux.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut mux);
        let first = mux.next_wake();
        let rest = if first.is_some() { mux.more_wakes() } else { Vec::new() };
        let changed = mux.take_changed();
        drop(mux);
        if let Some(waker) = first {
            waker.wake();
        }
        for waker in rest {
            waker.wake();
        }
        if changed {
            self.changed.notify_waiters();
        }
        result
    }
}

/// One tunnel. `Send + Unpin`; idle it holds no buffer at either end.
///
/// - Reading ends with `Ok(0)` / `None` at the peer's half-close.
/// - [`AsyncWrite::poll_shutdown`] half-closes; it does not wait for delivery, nor does `poll_flush`.
/// - Errors: `ConnectionReset` (the peer broke it off, see [`Tunnel::reset_reason`]), `ConnectionAborted` (the link is
///   gone), `BrokenPipe` (writing after shutdown).
/// - Dropping it before both sides have ended resets it; what was written before a shutdown still arrives.
pub struct Tunnel {
    shared: Arc<Shared>,
    id: u32,
    /// Rest of a chunk that a small read left over.
    rest: Bytes,
}

impl Tunnel {
    pub(crate) fn new(shared: Arc<Shared>, id: u32) -> Tunnel {
        Tunnel { shared, id, rest: Bytes::new() }
    }

    /// Its number on the link, for logs.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The next bytes as they came off the wire, without a copy; `None` at the peer's half-close. At most 64 KiB.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        let now = Instant::now();
        self.shared.with(|mux| mux.poll_chunk(self.id, cx.waker(), now)).map_err(|error| self.explain(error))
    }

    /// [`Tunnel::poll_chunk`] to await. Cancelling it loses nothing.
    ///
    /// # Errors
    /// As reading.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// How many bytes a write would take now; pending while that is none. A reader that shares its buffer asks before it
    /// reads, so that it has nothing left over.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.shared.with(|mux| mux.poll_writable(self.id, cx.waker())).map_err(|error| self.explain(error))
    }

    /// Ready once the peer has broken it off or the link is gone, also while nobody reads.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Rest> {
        self.shared.with(|mux| mux.poll_broken(self.id, cx.waker()))
    }

    /// Breaks it off both ways and tells the peer why.
    pub fn reset(self, reason: ResetReason) {
        self.shared.with(|mux| mux.reset(self.id, reason));
    }

    /// Why the peer broke it off, once it has.
    #[must_use]
    pub fn reset_reason(&self) -> Option<ResetReason> {
        self.shared.with(|mux| mux.reset_reason(self.id))
    }

    fn explain(&self, error: StreamError) -> io::Error {
        match error {
            StreamError::Reset => io::Error::new(io::ErrorKind::ConnectionReset, self.reset_reason().unwrap_or_default()),
            StreamError::Lost => {
                let end = self.shared.with(|mux| mux.end_reason().cloned());
                match end {
                    Some(end) => io::Error::new(io::ErrorKind::ConnectionAborted, end),
                    None => io::ErrorKind::ConnectionAborted.into(),
                }
            }
            StreamError::Ended => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut filled = false;
        // As many chunks as fit: what is read here is mostly written in one call to a socket.
        while buf.remaining() > 0 {
            let mut chunk = match self.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => chunk,
                // The end, an error or a wait comes again; what was read goes first.
                _ if filled => break,
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            let length = chunk.len().min(buf.remaining());
            buf.put_slice(&chunk[..length]);
            chunk.advance(length);
            self.rest = if chunk.is_empty() { Bytes::new() } else { chunk };
            filled = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.with(|mux| mux.poll_write(self.id, data, cx.waker())).map_err(|error| self.explain(error))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.with(|mux| mux.end(self.id)).map_err(|error| self.explain(error)))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.with(|mux| mux.release(self.id));
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("id", &self.id).finish_non_exhaustive()
    }
}
