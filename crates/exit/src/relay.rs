//! Relay: bytes between a target's connection and its tunnel until both directions end or one breaks.
//!
//! Half-close goes through in both directions. Nothing is held while idle: reads from the target go through one buffer
//! per thread, and only as much is read as the tunnel takes at once.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use outgate_link::{ResetReason, Rest, Tunnel};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{status::Meter, throttle::Allowance};

/// One read of a target; after a full one other tunnels get their turn.
const PASS: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; PASS].into_boxed_slice());
}

/// A target's connection: it can be broken off so that the target does not take it for a proper end.
pub(crate) trait Target: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Target for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Target for crate::transport::Transport {
    fn socket(&self) -> &TcpStream {
        self.tcp()
    }
}

/// Which side broke.
enum Broken {
    Target(io::Error),
    Tunnel,
}

/// Counts and caps one tunnel's bytes.
pub(crate) struct Flow {
    pub(crate) allowance: Allowance,
    pub(crate) meter: Rc<Meter>,
    /// Under a cap the directions take turns in going first, or one of them could use up every turn.
    up_first: Cell<bool>,
}

impl Flow {
    pub(crate) fn new(allowance: Allowance, meter: Rc<Meter>) -> Flow {
        Flow { allowance, meter, up_first: Cell::new(false) }
    }
}

/// Relays to the end. `behind` are bytes already read from the target.
pub(crate) async fn relay<T: Target>(mut tunnel: Tunnel, mut target: T, behind: Bytes, flow: &Flow) {
    let mut down = Down { rest: behind, done: false };
    let mut up = Up { chunk: Bytes::new(), unflushed: false, done: false };
    let outcome = poll_fn(|cx| {
        let up_first = flow.up_first.get();
        flow.up_first.set(flow.allowance.is_capped() && !up_first);
        if up_first
            && !up.done
            && let Poll::Ready(Err(broken)) = up.poll(cx, &mut tunnel, &mut target, flow)
        {
            return Poll::Ready(Err(broken));
        }
        if !down.done
            && let Poll::Ready(Err(broken)) = down.poll(cx, &mut tunnel, &mut target, flow)
        {
            return Poll::Ready(Err(broken));
        }
        if !up_first
            && !up.done
            && let Poll::Ready(Err(broken)) = up.poll(cx, &mut tunnel, &mut target, flow)
        {
            return Poll::Ready(Err(broken));
        }
        flow.allowance.pass();
        // A direction that waits for the target does not read the tunnel: that it was broken off is looked for apart.
        match tunnel.poll_broken(cx) {
            Poll::Ready(Rest::Lost) => return Poll::Ready(Err(Broken::Tunnel)),
            Poll::Ready(Rest::Whole) if up.done && !down.done => return Poll::Ready(Err(Broken::Tunnel)),
            Poll::Ready(Rest::Whole) | Poll::Pending => {}
        }
        if down.done && up.done { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await;
    match outcome {
        // Both ends said so: the tunnel goes quietly.
        Ok(()) => {}
        Err(Broken::Target(error)) => tunnel.reset(ResetReason::new("target_reset").with_detail(error)),
        Err(Broken::Tunnel) => abort(target.socket()),
    }
}

/// Makes the coming close a reset.
fn abort(socket: &TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(%error, "a target's connection could not be reset");
    }
}

/// Target → tunnel.
struct Down {
    /// Read, but the tunnel's room shrank meanwhile (or read before the relay began).
    rest: Bytes,
    done: bool,
}

impl Down {
    fn poll<T: Target>(
        &mut self,
        cx: &mut Context<'_>,
        tunnel: &mut Tunnel,
        target: &mut T,
        flow: &Flow,
    ) -> Poll<Result<(), Broken>> {
        loop {
            // Paid for when it was read.
            while !self.rest.is_empty() {
                let taken = ready!(Pin::new(&mut *tunnel).poll_write(cx, &self.rest));
                self.rest.advance(taken.map_err(|_| Broken::Tunnel)?);
            }
            // Asked first, so that nothing is read that could not go on.
            let room = ready!(tunnel.poll_writable(cx)).map_err(|_| Broken::Tunnel)?;
            let room = room.min(ready!(flow.allowance.poll_turn(cx)));
            let step = BUFFER.with_borrow_mut(|buffer| {
                let most = room.min(buffer.len());
                let mut space = ReadBuf::new(&mut buffer[..most]);
                ready!(Pin::new(&mut *target).poll_read(cx, &mut space)).map_err(Broken::Target)?;
                let read = space.filled();
                if read.is_empty() {
                    return Poll::Ready(Ok(Pass::Ended));
                }
                flow.allowance.pay(read.len());
                flow.meter.add_down(read.len());
                let taken = match Pin::new(&mut *tunnel).poll_write(cx, read) {
                    Poll::Ready(taken) => taken.map_err(|_| Broken::Tunnel)?,
                    Poll::Pending => 0,
                };
                if taken < read.len() {
                    self.rest = Bytes::copy_from_slice(&read[taken..]);
                }
                Poll::Ready(Ok(if read.len() == PASS { Pass::Full } else { Pass::Part }))
            });
            match ready!(step)? {
                Pass::Part => {}
                Pass::Full => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Pass::Ended => {
                    self.done = true;
                    return Pin::new(tunnel).poll_shutdown(cx).map_err(|_| Broken::Tunnel);
                }
            }
        }
    }
}

enum Pass {
    /// The buffer was filled: there may be more, after the others.
    Full,
    Part,
    Ended,
}

/// Tunnel → target.
struct Up {
    chunk: Bytes,
    unflushed: bool,
    done: bool,
}

impl Up {
    fn poll<T: Target>(
        &mut self,
        cx: &mut Context<'_>,
        tunnel: &mut Tunnel,
        target: &mut T,
        flow: &Flow,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !self.chunk.is_empty() {
                let turn = ready!(flow.allowance.poll_turn(cx)).min(self.chunk.len());
                let taken = ready!(Pin::new(&mut *target).poll_write(cx, &self.chunk[..turn])).map_err(Broken::Target)?;
                if taken == 0 {
                    return Poll::Ready(Err(Broken::Target(io::ErrorKind::WriteZero.into())));
                }
                flow.allowance.pay(taken);
                flow.meter.add_up(taken);
                self.chunk.advance(taken);
                self.unflushed = true;
            }
            // An empty slice would still hold the message it came in.
            self.chunk = Bytes::new();
            match tunnel.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => self.chunk = chunk,
                Poll::Ready(Ok(None)) => {
                    ready!(Pin::new(target).poll_shutdown(cx)).map_err(Broken::Target)?;
                    self.done = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Tunnel)),
                Poll::Pending => {
                    // TLS keeps what it was given until told.
                    if self.unflushed {
                        ready!(Pin::new(target).poll_flush(cx)).map_err(Broken::Target)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}
