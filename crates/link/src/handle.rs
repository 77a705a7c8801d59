//! Handles: how the rest of a program uses a link. All are `Send`; sessions on any core may hold them.

use std::{fmt, future::poll_fn, sync::Arc, time::Duration};

use crate::{
    mux::{AnswerError, OpenError, Stats},
    tunnel::{Shared, Tunnel},
    words::{Connect, Connected, Goodbye, LinkEnd, News, Refusal, ResetReason, Rotate, Rotated},
};

/// A live link. Clones are handles to the same one; it lives as long as its [`crate::shell::Driver`] runs.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>) -> Link {
        Link { shared }
    }

    /// Gateway side: asks the exit for a tunnel. Dropping the future takes the question back.
    ///
    /// It waits as long as the exit does; deadlines are the caller's.
    ///
    /// # Errors
    /// No tunnel; the error says at which end and why.
    pub async fn connect(&self, connect: Connect) -> Result<(Tunnel, Connected), ConnectError> {
        let now = std::time::Instant::now();
        let id = self.shared.with(|mux| mux.open(&connect, now)).map_err(|error| match error {
            OpenError::Full => ConnectError::Full,
            OpenError::Draining => ConnectError::Draining,
            OpenError::Lost => ConnectError::Lost(self.end_reason()),
            OpenError::TooLong => ConnectError::TooLong,
        })?;
        // From here on the drop of `tunnel` takes the question back.
        let tunnel = Tunnel::new(Arc::clone(&self.shared), id);
        let connected =
            poll_fn(|cx| self.shared.with(|mux| mux.poll_answer(id, cx.waker()))).await.map_err(|error| match error {
                AnswerError::Refused(refusal) => ConnectError::Refused(refusal),
                AnswerError::Reset(reason) => ConnectError::Reset(reason),
                AnswerError::Lost => ConnectError::Lost(self.end_reason()),
            })?;
        Ok((tunnel, connected))
    }

    /// Tunnels asked for or open.
    #[must_use]
    pub fn open_tunnels(&self) -> usize {
        self.shared.with(|mux| mux.open_tunnels())
    }

    /// Most tunnels it carries at once.
    #[must_use]
    pub fn max_tunnels(&self) -> usize {
        self.shared.with(|mux| mux.max_tunnels())
    }

    /// Last measured round trip.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.with(|mux| mux.rtt())
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.with(|mux| mux.stats())
    }

    /// No new tunnels from now on; the peer is told.
    pub fn drain(&self) {
        self.shared.with(|mux| mux.drain());
    }

    /// Has either end asked for no new tunnels?
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.with(|mux| mux.is_draining())
    }

    /// Ends the link and all its tunnels now.
    pub fn close(&self, why: Goodbye) {
        self.shared.with(|mux| mux.close(why));
    }

    /// Is it over?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.with(|mux| mux.end_reason().is_some())
    }

    /// Waits for its end.
    pub async fn closed(&self) -> LinkEnd {
        self.until(|link| link.shared.with(|mux| mux.end_reason().cloned())).await
    }

    /// Waits until no tunnel is open (or the link is over).
    pub async fn idle(&self) {
        self.until(|link| (link.is_closed() || link.open_tunnels() == 0).then_some(())).await;
    }

    /// Waits until either end drains (or the link is over).
    pub async fn draining(&self) {
        self.until(|link| (link.is_closed() || link.is_draining()).then_some(())).await;
    }

    /// Gateway side: asks the exit to change its address. Only for exits that can ([`crate::Hello::rotate_ms`]).
    pub fn ask_rotate(&self, rotate: &Rotate) {
        self.shared.with(|mux| mux.ask_rotate(rotate));
    }

    /// Gateway side: the answer to [`Link::ask_rotate`]; `None` when the link ended first. Cancelling it loses nothing.
    pub async fn rotated(&self) -> Option<Rotated> {
        self.until(|link| {
            let rotated = link.shared.with(|mux| mux.take_rotated());
            if rotated.is_some() { Some(rotated) } else { link.is_closed().then_some(None) }
        })
        .await
    }

    /// Exit side: the next question to change the address; `None` when the link is over. Cancelling it loses nothing.
    pub async fn rotate_asked(&self) -> Option<Rotate> {
        self.until(|link| {
            let rotate = link.shared.with(|mux| mux.take_rotate());
            if rotate.is_some() { Some(rotate) } else { link.is_closed().then_some(None) }
        })
        .await
    }

    /// Exit side: the answer to [`Link::rotate_asked`].
    pub fn answer_rotate(&self, rotated: Rotated) {
        self.shared.with(|mux| mux.answer_rotate(rotated));
    }

    /// Exit side, between gateways: tells the other of an exit. `false`: the link is over. Cancelling it tells nothing.
    pub async fn tell(&self, news: &News) -> bool {
        poll_fn(|cx| self.shared.with(|mux| mux.poll_tell(news, cx.waker()))).await
    }

    /// Gateway side, between gateways: what was told since the last look, in order; `None` when the link is over.
    /// Cancelling it loses nothing.
    pub async fn news(&self) -> Option<Vec<News>> {
        self.until(|link| {
            let news = link.shared.with(|mux| mux.take_news());
            if news.is_empty() { link.is_closed().then_some(None) } else { Some(Some(news)) }
        })
        .await
    }

    async fn until<T>(&self, look: impl Fn(&Link) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(self) {
                return found;
            }
            changed.await;
        }
    }

    fn end_reason(&self) -> LinkEnd {
        self.shared.with(|mux| mux.end_reason().cloned()).unwrap_or(LinkEnd::Dropped)
    }

    /// Are both handles to the same link?
    #[must_use]
    pub fn same(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("open_tunnels", &self.open_tunnels()).finish_non_exhaustive()
    }
}

/// Why [`Link::connect`] gave no tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// The exit found a fault.
    Refused(Refusal),
    /// The exit broke the tunnel off without an answer.
    Reset(ResetReason),
    /// The link ended first.
    Lost(LinkEnd),
    /// The link carries its most already; nothing was sent.
    Full,
    /// The link is draining; nothing was sent.
    Draining,
    /// Host or request id longer than the protocol can say; nothing was sent.
    TooLong,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Refused(refusal) => refusal.fmt(f),
            ConnectError::Reset(reason) => reason.fmt(f),
            ConnectError::Lost(end) => write!(f, "link lost: {end}"),
            ConnectError::Full => write!(f, "the link carries its most tunnels already"),
            ConnectError::Draining => write!(f, "the link is draining"),
            ConnectError::TooLong => write!(f, "the target's name is too long"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Exit side: the tunnels the gateway asks for. Bounded by the link's most tunnels.
#[derive(Debug)]
pub struct Incoming {
    link: Link,
}

impl Incoming {
    pub(crate) fn new(link: Link) -> Incoming {
        Incoming { link }
    }

    /// The next one; `None` when the link is over. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Asked> {
        let shared = &self.link.shared;
        let (id, connect) = poll_fn(|cx| shared.with(|mux| mux.poll_incoming(cx.waker()))).await?;
        Some(Asked { connect, tunnel: Tunnel::new(Arc::clone(shared), id) })
    }
}

/// A tunnel asked for and not yet answered. Dropping it resets it.
#[derive(Debug)]
pub struct Asked {
    /// What the gateway wants.
    pub connect: Connect,
    tunnel: Tunnel,
}

impl Asked {
    /// The target accepted: data may flow.
    #[must_use]
    pub fn accept(self, connected: &Connected) -> Tunnel {
        let (shared, id) = self.tunnel.parts();
        shared.with(|mux| mux.accept(id, connected));
        self.tunnel
    }

    /// No tunnel, and why.
    pub fn refuse(self, refusal: Refusal) {
        let (shared, id) = self.tunnel.parts();
        shared.with(|mux| mux.refuse(id, refusal));
    }

    /// Resolves when the gateway takes the question back or the link ends.
    pub async fn cancelled(&self) {
        let (shared, id) = self.tunnel.parts();
        poll_fn(|cx| shared.with(|mux| mux.poll_cancelled(id, cx.waker()))).await;
    }
}

impl Tunnel {
    fn parts(&self) -> (&Arc<Shared>, u32) {
        (self.shared(), self.id())
    }
}
