//! One tunnel from `connect` to its first echoed byte, as a state machine on a non-blocking socket.

use std::os::fd::OwnedFd;

use crate::failure::{During, Failure, Outcome};
use crate::route::Route;
use crate::wire::{self, Interest, Poll};

/// What the origin is told to do with the rest of the connection. It echoes the byte, whichever it is.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Mode {
    Echo = b'E',
    /// Send the pattern for ever.
    Source = b'D',
    /// Take the pattern, count it.
    Sink = b'U',
    /// Tell how many bytes all sinks took (u64), and how many reads of them were wrong (u64), both big-endian.
    Tally = b'T',
}

/// A set-up under way. Bytes are checked as they come; the first wrong one is the [`Failure`].
pub(crate) struct SetUp {
    fd: OwnedFd,
    stage: Stage,
    turn: usize,
    mode: Mode,
    filled: usize,
    head: [u8; 1024],
}

enum Stage {
    Connecting,
    /// CONNECT is sent, its answer not complete.
    Asked,
    /// The tunnel is open, the mode's byte is sent.
    Begun,
}

/// After [`SetUp::step`].
#[derive(PartialEq, Eq)]
pub(crate) enum Step {
    Waiting,
    /// The first byte came back: [`SetUp::into_tunnel`].
    Open,
}

impl SetUp {
    pub(crate) fn begin(route: &Route, turn: usize, mode: Mode, poll: &Poll, token: usize) -> Outcome<Self> {
        let entry = route.entry(turn);
        let fd = wire::connect(entry).during(format_args!("connecting to {entry}"))?;
        let mut this = Self { fd, stage: Stage::Connecting, turn, mode, filled: 0, head: [0; 1024] };
        let interest = if this.ask(route)? { Interest::Read } else { Interest::Write };
        poll.add(&this.fd, token, interest).during("epoll")?;
        Ok(this)
    }

    /// Goes on after the socket became ready.
    pub(crate) fn step(&mut self, route: &Route, poll: &Poll, token: usize) -> Outcome<Step> {
        match self.stage {
            Stage::Connecting => {
                if self.ask(route)? {
                    poll.change(&self.fd, token, Interest::Read).during("epoll")?;
                }
            }
            Stage::Asked => {
                let read = wire::recv(&self.fd, &mut self.head[self.filled..]).during("reading CONNECT's answer")?;
                match read {
                    None => {}
                    Some(0) => {
                        return Err(self.refused("the proxy closed before the end of CONNECT's answer"));
                    }
                    Some(read) => {
                        self.filled += read;
                        if self.head[..self.filled].ends_with(b"\r\n\r\n") {
                            self.check_answer()?;
                            if !self.start()? {
                                return Err(Failure::new("a fresh tunnel took not even one byte"));
                            }
                        } else if self.filled == self.head.len() {
                            return Err(self.refused("CONNECT's answer is longer than 1 KiB"));
                        }
                    }
                }
            }
            Stage::Begun => {
                let mut echo = [0];
                match wire::recv(&self.fd, &mut echo).during("reading the first echoed byte")? {
                    None => {}
                    Some(1) if echo[0] == self.mode as u8 => return Ok(Step::Open),
                    Some(1) => {
                        return Err(Failure::new(format!("the first echoed byte is wrong: {}", echo[0])));
                    }
                    _ => {
                        return Err(Failure::new("the tunnel closed before the first echoed byte"));
                    }
                }
            }
        }
        Ok(Step::Waiting)
    }

    pub(crate) fn into_tunnel(self) -> OwnedFd {
        self.fd
    }

    /// Sends what comes first. `false`: not connected yet, ask again when writable.
    fn ask(&mut self, route: &Route) -> Outcome<bool> {
        let head = route.opening(self.turn);
        if head.is_empty() {
            return self.start();
        }
        match wire::send(&self.fd, &head).during(format_args!("asking {}", route.entry(self.turn)))? {
            None => Ok(false),
            Some(sent) if sent == head.len() => {
                self.stage = Stage::Asked;
                Ok(true)
            }
            Some(_) => Err(Failure::new("a fresh socket took only a part of CONNECT's head")),
        }
    }

    fn start(&mut self) -> Outcome<bool> {
        let sent = wire::send(&self.fd, &[self.mode as u8]).during("sending the first byte")?;
        if sent.is_some() {
            self.stage = Stage::Begun;
        }
        Ok(sent.is_some())
    }

    fn check_answer(&self) -> Outcome<()> {
        let head = &self.head[..self.filled];
        if head.starts_with(b"HTTP/1.1 200 ") || head.starts_with(b"HTTP/1.0 200 ") {
            return Ok(());
        }
        Err(self.refused("CONNECT was not answered with 200"))
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::new(format!("{why}: {:?}", String::from_utf8_lossy(&self.head[..self.filled])))
    }
}

/// Opens `count` tunnels, at most 64 at a time, and hands them over in order of completion.
pub(crate) fn open_all(route: &Route, count: usize, mode: Mode) -> Outcome<Vec<OwnedFd>> {
    let mut poll = Poll::new().during("epoll")?;
    let mut under_way: Vec<Option<SetUp>> = Vec::with_capacity(count);
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        while under_way.len() < count && under_way.len() - open.len() < 64 {
            let turn = under_way.len();
            under_way.push(Some(SetUp::begin(route, turn, mode, &poll, turn)?));
        }
        let ready = poll.wait(crate::load::STALL).during("epoll")?;
        if ready == 0 {
            return Err(Failure::new(format!("no progress after {} of {count} tunnels were open", open.len())));
        }
        for index in 0..ready {
            let token = poll.token(index);
            let Some(set_up) = under_way[token].as_mut() else {
                continue;
            };
            if set_up.step(route, &poll, token)? == Step::Open {
                // The socket goes on in the caller's own epoll; left in this one, its data would wake it.
                poll.forget(&set_up.fd).during("epoll")?;
                open.extend(under_way[token].take().map(SetUp::into_tunnel));
            }
        }
    }
    Ok(open)
}
