//! Relays an open tunnel until it ends, and says who ended it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use outgate_faults::Fault;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use crate::accounts::Direction;
use crate::framing::Framing;
use crate::pump::{Broken, Flow, Pump};
use crate::sessions::Enlisted;
use crate::splice::Socket;

/// How a tunnel ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Both sides said they were done; the named one first.
    Closed(Side),
    /// A side broke off.
    Lost(Side, io::Error),
    /// No byte either way for too long.
    Idle,
    /// The gateway ended it: out of bytes, key no longer good, shutting down.
    Cut(Fault),
}

/// A side of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Target,
}

/// A relayed tunnel's bytes and end.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) ended: Ended,
}

/// Relays until the tunnel ends. `early` are bytes that the client sent before it could know of the tunnel.
///
/// An end of file on one side closes the other side's write half only: the rest still comes through.
pub(crate) async fn relay<C, T>(
    client: &mut C,
    target: &mut T,
    early: &[u8],
    flow: &Flow<'_>,
    enlisted: &Enlisted,
    idle: Duration,
) -> Relayed
where
    C: AsyncRead + AsyncWrite + Socket + Unpin,
    T: AsyncRead + AsyncWrite + Socket + Unpin,
{
    let mut up = Pump::new(Direction::Up, Framing::UntilClose);
    let mut down = Pump::new(Direction::Down, Framing::UntilClose);
    let mut first_done = None;
    let mut early = Some(early);
    let mut moved = 0;
    let mut timer = pin!(sleep(idle));
    let mut last = Instant::now();
    let ended = poll_fn(|cx| {
        if let Poll::Ready(fault) = enlisted.poll_cut(cx) {
            return Poll::Ready(Ended::Cut(fault));
        }
        if let Some(Err(broken)) = early.take().map(|bytes| up.preload(bytes, flow)) {
            return Poll::Ready(told(broken, Side::Client, Side::Target));
        }
        if !up.is_done()
            && let Poll::Ready(Err(broken)) = up.poll(cx, client, target, flow)
        {
            return Poll::Ready(told(broken, Side::Client, Side::Target));
        }
        if !down.is_done()
            && let Poll::Ready(Err(broken)) = down.poll(cx, target, client, flow)
        {
            return Poll::Ready(told(broken, Side::Target, Side::Client));
        }
        if first_done.is_none() && (up.is_done() || down.is_done()) {
            let (first, rest) = if up.is_done() { (Side::Client, &mut down) } else { (Side::Target, &mut up) };
            first_done = Some(first);
            rest.set_last();
        }
        if let (Some(first), true, true) = (first_done, up.is_done(), down.is_done()) {
            return Poll::Ready(Ended::Closed(first));
        }
        if up.moved() + down.moved() != moved {
            moved = up.moved() + down.moved();
            last = Instant::now();
        }
        // Set forward only when it fires: traffic moves a timestamp, not a timer.
        while timer.as_mut().poll(cx).is_ready() {
            if last.elapsed() >= idle {
                return Poll::Ready(Ended::Idle);
            }
            timer.as_mut().reset(last + idle);
        }
        Poll::Pending
    })
    .await;
    Relayed { up: up.moved(), down: down.moved(), ended }
}

fn told(broken: Broken, source: Side, sink: Side) -> Ended {
    match broken {
        Broken::Read(error) => Ended::Lost(source, error),
        Broken::Write(error) => Ended::Lost(sink, error),
        Broken::Spent(fault) => Ended::Cut(fault),
        // Without a framing there is nothing to break; named so that a new framing must decide.
        Broken::Truncated | Broken::Framing(_) => Ended::Lost(source, io::ErrorKind::UnexpectedEof.into()),
    }
}
