//! Non-blocking TCP over epoll: just what the origin and the generator need.
//!
//! On ports. A set-up rate of 15,000/s leaves as many sockets in TIME_WAIT each second. Both legs end in an orderly close (a
//! reset would send every proxy down its error path and measure that), so the closer of the client leg is the generator
//! and the closer of the origin leg is the proxy. Linux reuses a TIME_WAIT port on loopback after one second
//! (`tcp_tw_reuse` = 2, the default since 4.19), which allows some 28,000 set-ups per second and address pair; the origin
//! answers on all of 127.0.0.0/8 and targets rotate over sixteen addresses of it, which takes care of the proxy's own
//! leg. No source address is bound: `bind` before `connect` picks the port too early and exhausts them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

const NON_BLOCKING: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A loopback listener on every address of 127.0.0.0/8 (and the rest); port 0 picks a free one.
pub(crate) fn listen(port: u16) -> io::Result<(OwnedFd, u16)> {
    let fd = net::socket_with(AddressFamily::INET, SocketType::STREAM, NON_BLOCKING, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    net::bind(&fd, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    net::listen(&fd, 4096)?;
    let bound = SocketAddrV4::try_from(net::getsockname(&fd)?)?;
    Ok((fd, bound.port()))
}

/// The next waiting connection, or `None`.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    match net::accept_with(listener, NON_BLOCKING) {
        Ok(fd) => {
            sockopt::set_tcp_nodelay(&fd, true)?;
            Ok(Some(fd))
        }
        Err(Errno::AGAIN | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Begins connecting. On loopback the handshake is over when this returns, so a [`send`] right away mostly succeeds.
pub(crate) fn connect(to: SocketAddrV4) -> io::Result<OwnedFd> {
    let fd = net::socket_with(AddressFamily::INET, SocketType::STREAM, NON_BLOCKING, None)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match net::connect(&fd, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// Bytes taken by the kernel; `None` when it takes none now.
pub(crate) fn send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    match net::send(fd, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(Some(sent)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Bytes read into `buffer` (0 at the end of the stream); `None` when there is nothing yet.
pub(crate) fn recv(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    recv_with(fd, buffer, RecvFlags::empty())
}

/// Like [`recv`], but the kernel drops the bytes instead of copying them: `buffer` only says how many at most.
pub(crate) fn discard(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    recv_with(fd, buffer, RecvFlags::TRUNC)
}

fn recv_with(fd: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Option<usize>> {
    match net::recv(fd, buffer, flags) {
        Ok((_, read)) => Ok(Some(read)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a socket is watched for; level-triggered.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Read => epoll::EventFlags::IN,
            Self::Write => epoll::EventFlags::OUT,
        }
    }
}

/// One epoll instance. Closing a socket is enough to forget it.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token as u64), interest.flags())?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token as u64), interest.flags())?)
    }

    /// Stops watching a socket that stays open.
    pub(crate) fn forget(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits at most `patience` and returns how many sockets are ready; [`Poll::token`] names them.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<usize> {
        self.events.clear();
        let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)) {
            Ok(ready) => Ok(ready),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The token of the `index`th ready socket. `index` must be below the last [`Poll::wait`]'s result.
    pub(crate) fn token(&self, index: usize) -> usize {
        self.events[index].data.u64() as usize
    }
}
