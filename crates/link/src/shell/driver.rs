//! Driver: the one task that moves a link's messages over its connection.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep_until, timeout},
};
use tokio_websockets::CloseCode;

use super::wire::{FLOOD, Item, PINGS, Wire};
use crate::{
    handle::Link,
    mux::{Limits, Mux, Side},
    tunnel::Shared,
    words::LinkEnd,
};

/// Rounds of [`MESSAGES`] in and as many out before other tasks of the core get a turn. Few and small: what one turn
/// moves should still be in the cache when its reader comes, and the kernel's queue is no place to overtake in.
const ROUNDS: usize = 2;
const MESSAGES: usize = 2;
/// A link that moved less than this since the last timer gives its buffers back, in bytes.
const QUIET: u64 = 64 * 1024;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The task of a link: run it to the end; dropping it ends the link.
#[must_use = "a link lives only while its driver runs"]
pub struct Driver<IO> {
    wire: Wire<IO>,
    shared: Arc<Shared>,
    unflushed: bool,
    /// Pings since the last flush.
    pings: usize,
    timer: Pin<Box<Sleep>>,
    moved: u64,
    moved_before: u64,
}

/// How far [`Driver::poll_send`] came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Everything is written and flushed.
    All,
    /// There is more, and the connection would take it.
    Part,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    pub(super) fn start(wire: Wire<IO>, side: Side, limits: Limits) -> (Link, Driver<IO>) {
        let mux = Mux::new(side, limits, Instant::now());
        let timer = Box::pin(sleep_until(mux.next_timer().into()));
        let shared = Shared::new(mux);
        let link = Link::new(Arc::clone(&shared));
        (link, Driver { wire, shared, unflushed: false, pings: 0, timer, moved: 0, moved_before: 0 })
    }

    /// Moves messages until the link is over, says the last words, and tells why it ended.
    pub async fn run(mut self) -> LinkEnd {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let end = self.shared.with(|mux| {
            mux.fail(end.clone());
            mux.end_reason().cloned().unwrap_or(end)
        });
        // Best effort: the peer may be gone.
        let _ = timeout(LAST_WORDS, self.last_words(&end)).await;
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        match self.poll_all(cx) {
            Poll::Ready(Err(end)) => Poll::Ready(end),
            Poll::Ready(Ok(())) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// `Ready(Ok)` after [`ROUNDS`] busy rounds.
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        for _ in 0..ROUNDS {
            let read = self.poll_receive(cx)?.is_ready();
            // After reading: a process that was stopped for a while must not take its peers for dead.
            self.poll_timer(cx)?;
            let sent = self.poll_send(cx)?;
            let waiting = self.shared.with(|mux| match (mux.end_reason(), sent) {
                (Some(end), _) => Err(end.clone()),
                (None, Poll::Ready(Sent::Part)) => Ok(false),
                (None, Poll::Ready(Sent::All)) if mux.has_output() => Ok(false),
                (None, _) => {
                    mux.set_driver(cx.waker());
                    Ok(true)
                }
            })?;
            if waiting && !read {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes up to [`MESSAGES`] messages; pending when there is none.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        for taken in 0..MESSAGES {
            let item = match self.wire.poll_next(cx)? {
                Poll::Ready(Some(item)) => item,
                Poll::Ready(None) => return Poll::Ready(Err(LinkEnd::PeerClosed)),
                Poll::Pending if taken > 0 => break,
                Poll::Pending => return Poll::Pending,
            };
            match item {
                Item::Message(message) => {
                    self.moved += message.len() as u64;
                    self.shared.with(|mux| mux.on_message(message, Instant::now()))?;
                }
                Item::Ping if self.pings < PINGS => {
                    self.pings += 1;
                    self.unflushed = true;
                }
                Item::Pong => {}
                Item::Close => return Poll::Ready(Err(LinkEnd::PeerClosed)),
                Item::Ping => return Poll::Ready(Err(self.breach(FLOOD))),
                Item::Text => return Poll::Ready(Err(self.breach("a text message"))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn breach(&self, what: &str) -> LinkEnd {
        self.shared.with(|mux| mux.breach(what));
        LinkEnd::Protocol(what.to_owned())
    }

    /// Sends up to [`MESSAGES`] batches; pending while the connection takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sent, LinkEnd>> {
        for _ in 0..MESSAGES {
            ready!(self.wire.poll_ready(cx))?;
            let (mut head, mut body) = (Vec::new(), Vec::new());
            if !self.shared.with(|mux| mux.poll_output(&mut head, &mut body)) {
                if self.unflushed {
                    ready!(self.wire.poll_flush(cx))?;
                    self.unflushed = false;
                    self.pings = 0;
                }
                return Poll::Ready(Ok(Sent::All));
            }
            // Two messages rather than one copied together: they are written at once anyway.
            for part in [head, body].into_iter().filter(|part| !part.is_empty()) {
                self.moved += part.len() as u64;
                self.wire.queue(part)?;
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(Sent::Part))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let quiet = self.moved - self.moved_before < QUIET;
            self.moved_before = self.moved;
            let next = self.shared.with(|mux| {
                mux.on_timer(Instant::now())?;
                if quiet {
                    mux.shrink();
                }
                Ok::<_, LinkEnd>(mux.next_timer())
            })?;
            self.timer.as_mut().reset(next.into());
        }
        Ok(())
    }

    async fn last_words(&mut self, end: &LinkEnd) -> Result<(), LinkEnd> {
        let code = match end {
            LinkEnd::Dead | LinkEnd::Io(_) | LinkEnd::Dropped => return Ok(()),
            LinkEnd::Protocol(_) => CloseCode::PROTOCOL_ERROR,
            LinkEnd::Closed(_) | LinkEnd::Goodbye(_) | LinkEnd::PeerClosed => CloseCode::NORMAL_CLOSURE,
        };
        // Refused when the peer has closed or broken the WebSocket itself; that still gets its close frame.
        while let Ok(Sent::Part) = poll_fn(|cx| self.poll_send(cx)).await {}
        self.wire.close(Some(code)).await
    }
}

impl<IO> Drop for Driver<IO> {
    fn drop(&mut self) {
        self.shared.with(|mux| mux.fail(LinkEnd::Dropped));
    }
}

impl<IO> fmt::Debug for Driver<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
