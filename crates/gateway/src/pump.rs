//! Moves the bytes of one direction, from one side to the other, up to where they end.
//!
//! The only moving loop there is: a tunnel is two pumps until close, a forwarded request one pump per
//! body. Bytes are read into the event loop's one scratch buffer and written from it at once; only what
//! the other side did not take is kept, so a tunnel that waits holds no buffer. Between two plain TCP
//! connections a read that fills the buffer is followed by splice(2) for as long as much is there. One
//! buffer per pass: reading on until nothing is left would let one fast tunnel starve the others.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use outgate_faults::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::accounts::{Direction, MORE_BYTES, Meter};
use crate::framing::{BadFraming, Framing};
use crate::splice::{Pipe, Pipes, Socket};

/// What one event loop moves bytes with: a buffer large enough that bulk is bound by the kernel's copies, not by calls,
/// and pipes for what needs no copy.
pub(crate) struct Scratch {
    buffer: RefCell<Box<[u8]>>,
    pipes: Pipes,
}

/// Bytes of the scratch buffer.
const SCRATCH: usize = 256 * 1024;
/// A pipe that is filled with less than this is given back: so little is as well copied.
const TRICKLE: usize = 16 * 1024;

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { buffer: RefCell::new(vec![0; SCRATCH].into()), pipes: Pipes::default() }
    }

    /// Reads once; appends what came. Zero bytes are the end.
    pub(crate) fn poll_append(
        &self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = self.buffer.borrow_mut();
        let room = most.min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        to.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// What a pump counts against, and the clock it does it by.
pub(crate) struct Flow<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) scratch: &'a Scratch,
    /// The start of the gateway's monotonic time.
    pub(crate) epoch: Instant,
}

impl Flow<'_> {
    /// The gateway's monotonic time, in nanoseconds.
    pub(crate) fn nanos(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// One direction's state.
pub(crate) struct Pump {
    direction: Direction,
    framing: Framing,
    /// Hand on the payload without its framing (a chunked body for HTTP/1.0).
    unwrap: bool,
    /// Read and not yet written.
    stash: Vec<u8>,
    written: usize,
    /// Much comes at once: the kernel moves it, through a pipe that is held while there is something to move.
    bulk: bool,
    pipe: Option<Pipe>,
    state: State,
    /// The other direction has ended: after this one both connections close.
    last: bool,
    /// Bytes read after the end of the framing: they belong to the next message.
    excess: Vec<u8>,
    pause: Option<Pin<Box<Sleep>>>,
    moved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Moving,
    /// The source has ended: what is stashed goes out, then the other side's write half closes if so framed.
    Draining,
    Done,
    /// Never to be ended: what is left of it is nobody's.
    Abandoned,
}

/// Why a pump stopped early.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The source failed.
    Read(io::Error),
    /// The other side failed.
    Write(io::Error),
    /// The source ended before the framing did.
    Truncated,
    /// The source broke the framing's rules.
    Framing(BadFraming),
    /// The key may move no more.
    Spent(Fault),
}

impl Pump {
    /// A pump for a body or, with [`Framing::UntilClose`], for a direction of a tunnel.
    pub(crate) fn new(direction: Direction, framing: Framing) -> Self {
        let state = if framing.ended() { State::Draining } else { State::Moving };
        Self {
            direction,
            framing,
            unwrap: false,
            stash: Vec::new(),
            written: 0,
            bulk: false,
            pipe: None,
            state,
            last: false,
            excess: Vec::new(),
            pause: None,
            moved: 0,
        }
    }

    /// The same, without the framing of a chunked body.
    pub(crate) fn unwrapping(mut self) -> Self {
        self.unwrap = true;
        self
    }

    /// Puts bytes before everything else, uncounted: a head that goes out with the start of its body.
    pub(crate) fn prefix(&mut self, head: Vec<u8>) {
        self.stash = head;
    }

    /// Takes bytes that were read along with a head.
    pub(crate) fn preload(&mut self, bytes: &[u8], flow: &Flow<'_>) -> Result<(), Broken> {
        if !bytes.is_empty() { self.take(bytes, flow) } else { Ok(()) }
    }

    /// Whether everything has been read and written.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether it is only the source that everything waits for.
    pub(crate) fn waits_for_source(&self) -> bool {
        let empty = self.stash.is_empty() && self.pipe.as_ref().is_none_or(Pipe::is_empty);
        self.state == State::Moving && empty && self.pause.is_none()
    }

    /// Says that nothing else uses the two connections: closing a plain one tells its peer as much as ending it would.
    pub(crate) fn set_last(&mut self) {
        self.last = true;
    }

    /// Gives the rest up: it is neither read nor written any more.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Abandoned;
    }

    /// Whether the rest was given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.state == State::Abandoned
    }

    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// What was read after the end.
    pub(crate) fn into_excess(self) -> Vec<u8> {
        self.excess
    }

    /// Moves what can be moved. Ready when the end was reached and everything is written.
    pub(crate) fn poll<S, D>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut D,
        flow: &Flow<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        S: AsyncRead + Socket + Unpin,
        D: AsyncWrite + Socket + Unpin,
    {
        loop {
            ready!(self.poll_stash(cx, sink)).map_err(Broken::Write)?;
            if let (Some(pipe), Some(sink)) = (&mut self.pipe, sink.tcp()) {
                ready!(pipe.poll_drain(cx, sink)).map_err(Broken::Write)?;
                if !self.bulk {
                    self.let_go(flow);
                }
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Abandoned => return Poll::Pending,
                State::Draining => {
                    self.let_go(flow);
                    if self.last && sink.tcp().is_some() {
                        self.state = State::Done;
                        return Poll::Ready(Ok(()));
                    }
                    let finished = if self.framing == Framing::UntilClose {
                        Pin::new(&mut *sink).poll_shutdown(cx)
                    } else {
                        Pin::new(&mut *sink).poll_flush(cx)
                    };
                    ready!(finished).map_err(Broken::Write)?;
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Moving => {}
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let allowed = flow.meter.allowance(flow.nanos()).map_err(Broken::Spent)?;
            if allowed == 0 {
                self.pause = Some(Box::pin(tokio::time::sleep(MORE_BYTES)));
                continue;
            }
            let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
            let bound = allowed.min(flow.meter.stride()).min(self.framing.room());
            if self.bulk && self.pipe.is_none() {
                self.pipe = flow.scratch.pipes.take();
            }
            if let (Some(pipe), Some(source), Some(sink)) = (&mut self.pipe, source.tcp(), sink.tcp()) {
                let most = bound.min(pipe.capacity());
                let Poll::Ready(filled) = pipe.poll_fill(cx, source, most) else {
                    self.let_go(flow);
                    return Poll::Pending;
                };
                let filled = filled.map_err(Broken::Read)?;
                self.passed(filled, flow)?;
                if filled <= TRICKLE {
                    self.bulk = false;
                    continue;
                }
                if let Some(pipe) = &mut self.pipe {
                    ready!(pipe.poll_drain(cx, sink)).map_err(Broken::Write)?;
                }
                if self.state == State::Moving {
                    // More is waiting: the others go first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            let mut scratch = flow.scratch.buffer.borrow_mut();
            let most = scratch.len().min(bound);
            let mut buffer = ReadBuf::new(&mut scratch[..most]);
            match Pin::new(&mut *source).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Read(error))),
                Poll::Pending => {
                    // Nothing more to come for now: a layered sink (TLS) must not sit on what it has.
                    let _flushed = Pin::new(&mut *sink).poll_flush(cx).map_err(Broken::Write)?;
                    return Poll::Pending;
                }
            }
            let read = buffer.filled();
            if read.is_empty() {
                if self.framing != Framing::UntilClose {
                    return Poll::Ready(Err(Broken::Truncated));
                }
                self.state = State::Draining;
                continue;
            }
            let full = read.len() == most;
            let body = if self.unwrap {
                self.take(read, flow)?;
                &[]
            } else {
                let scan = self.framing.scan(read).map_err(Broken::Framing)?;
                self.count(scan.body, flow);
                self.end(scan.ended, &read[scan.body..]);
                &read[..scan.body]
            };
            let mut at = 0;
            while at < body.len() {
                match Pin::new(&mut *sink).poll_write(cx, &body[at..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Write(io::ErrorKind::WriteZero.into()))),
                    Poll::Ready(Ok(n)) => at += n,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Write(error))),
                    Poll::Pending => {
                        self.stash.extend_from_slice(&body[at..]);
                        return Poll::Pending;
                    }
                }
            }
            if full && self.state == State::Moving {
                let plain = source.tcp().is_some() && sink.tcp().is_some();
                self.bulk = plain && most == scratch.len() && self.framing.is_opaque() && !self.unwrap;
                // More is waiting: the others go first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn poll_stash(&mut self, cx: &mut Context<'_>, sink: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while self.written < self.stash.len() {
            match ready!(Pin::new(&mut *sink).poll_write(cx, &self.stash[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        if self.written > 0 {
            // Given back, not kept for the next time: a tunnel mostly waits.
            (self.stash, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the pipe back: a tunnel mostly waits.
    fn let_go(&mut self, flow: &Flow<'_>) {
        if let Some(pipe) = self.pipe.take() {
            flow.scratch.pipes.give_back(pipe);
        }
    }

    /// Counts bytes that came past this process; none are the source's end.
    fn passed(&mut self, bytes: usize, flow: &Flow<'_>) -> Result<(), Broken> {
        if bytes == 0 {
            if self.framing != Framing::UntilClose {
                return Err(Broken::Truncated);
            }
            self.state = State::Draining;
            return Ok(());
        }
        self.count(bytes, flow);
        let ended = self.framing.pass(bytes as u64);
        self.end(ended, &[]);
        Ok(())
    }

    /// Counts bytes and keeps their body for writing.
    fn take(&mut self, bytes: &[u8], flow: &Flow<'_>) -> Result<(), Broken> {
        let scan = if self.unwrap {
            let stash = &mut self.stash;
            self.framing.unwrap(bytes, &mut |payload| stash.extend_from_slice(payload))
        } else {
            self.framing.scan(bytes)
        };
        let scan = scan.map_err(Broken::Framing)?;
        if !self.unwrap {
            self.stash.extend_from_slice(&bytes[..scan.body]);
        }
        self.count(scan.body, flow);
        self.end(scan.ended, &bytes[scan.body..]);
        Ok(())
    }

    fn end(&mut self, ended: bool, rest: &[u8]) {
        if ended {
            self.state = State::Draining;
            self.excess.extend_from_slice(rest);
        }
    }

    fn count(&mut self, bytes: usize, flow: &Flow<'_>) {
        self.moved += bytes as u64;
        let pause = flow.meter.count(self.direction, bytes as u64, flow.nanos());
        if !pause.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
    }
}
