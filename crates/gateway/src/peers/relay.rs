//! Bytes between two tunnels, one to the gateway that asked and one through the exit, until both directions end or one breaks.
//!
//! Nothing is read that could not go on, so the sender's credit is the slow reader's: a tunnel that stalls holds no more here
//! than one chunk and the windows of its two links.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use outgate_link::{ResetReason, Rest, Tunnel};
use tokio::io::AsyncWrite;

/// Bytes of one direction before others of the event loop get a turn.
const PASS: usize = 256 * 1024;

/// Relays to the end; returns the bytes that went up, towards the exit, and down.
pub(super) async fn relay(asker: Tunnel, exit: Tunnel) -> (u64, u64) {
    let mut joined = Joined { asker, exit, up: Half::default(), down: Half::default() };
    let broken = poll_fn(|cx| joined.poll(cx)).await;
    let Joined { asker, exit, up, down } = joined;
    match broken {
        // Both ends said so: the tunnels go quietly.
        None => {}
        Some(Side::Asker) => exit.reset(reason(&asker)),
        Some(Side::Exit) => asker.reset(reason(&exit)),
    }
    (up.moved, down.moved)
}

/// The two tunnels and their directions.
struct Joined {
    asker: Tunnel,
    exit: Tunnel,
    up: Half,
    down: Half,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Asker,
    Exit,
}

impl Joined {
    /// Moves what can be moved; ready at the end, with the side that broke off.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Side>> {
        let Self { asker, exit, up, down } = self;
        if let Poll::Ready(Err(end)) = up.poll(cx, asker, exit) {
            return Poll::Ready(Some(end.side(Side::Asker, Side::Exit)));
        }
        if let Poll::Ready(Err(end)) = down.poll(cx, exit, asker) {
            return Poll::Ready(Some(end.side(Side::Exit, Side::Asker)));
        }
        if up.done && down.done {
            return Poll::Ready(None);
        }
        // A side that waits for the other is not read: that it broke off is looked for apart.
        if is_over(asker.poll_broken(cx), up, down) {
            return Poll::Ready(Some(Side::Asker));
        }
        if is_over(exit.poll_broken(cx), down, up) {
            return Poll::Ready(Some(Side::Exit));
        }
        Poll::Pending
    }
}

/// Whether a side that may have broken off ends the relay: not before what it sent to its end has gone on.
fn is_over(broken: Poll<Rest>, from: &Half, to: &mut Half) -> bool {
    match broken {
        Poll::Pending => false,
        Poll::Ready(Rest::Whole) if !from.done => {
            to.done = true;
            false
        }
        Poll::Ready(Rest::Whole | Rest::Lost) => true,
    }
}

/// What a tunnel's peer said when it broke it off; else its link is gone, and so is whatever it led to.
fn reason(broken: &Tunnel) -> ResetReason {
    broken.reset_reason().unwrap_or_else(|| ResetReason::new("exit_lost").with_detail("the link under the tunnel ended"))
}

/// One direction.
#[derive(Default)]
struct Half {
    chunk: Bytes,
    moved: u64,
    done: bool,
}

/// Which end of a direction broke.
enum End {
    Source,
    Sink,
}

impl End {
    fn side(self, source: Side, sink: Side) -> Side {
        match self {
            End::Source => source,
            End::Sink => sink,
        }
    }
}

impl Half {
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Tunnel, to: &mut Tunnel) -> Poll<Result<(), End>> {
        let mut passed = 0;
        while !self.done {
            while !self.chunk.is_empty() {
                let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.chunk)).map_err(|_| End::Sink)?;
                self.chunk.advance(taken);
                self.moved += taken as u64;
                passed += taken;
            }
            // An empty slice would still hold the message it came in.
            self.chunk = Bytes::new();
            if passed >= PASS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(to.poll_writable(cx)).map_err(|_| End::Sink)?;
            match ready!(from.poll_chunk(cx)).map_err(|_| End::Source)? {
                Some(chunk) => self.chunk = chunk,
                None => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| End::Sink)?;
                    self.done = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
