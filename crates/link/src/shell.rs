//! Shell: the one task that moves a link's messages over a connection.
//!
//! Gateway: [`accept`] after the 101, look at the [`Hello`], then [`Pending::welcome`] or [`Pending::goodbye`]. Exit:
//! [`join`]. Both give a [`Driver`] to run as a task of its own; the link lives as long as it does. Generic over the
//! connection, so TLS works. Handshake deadlines are the caller's.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    frame::{self, Kind},
    handle::{Incoming, Link},
    mux::{Limits, Mux, Side},
    tunnel::Shared,
    words::{Fit, Goodbye, Hello, LinkEnd, VERSION, Welcome, decode_json, encode_json},
};

/// Longest message accepted, fragments together, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Most bytes read at once.
const READ: usize = 128 * 1024;
/// Frames are gathered up to this before they are written; what is smaller goes out at the flush.
const GATHER: usize = 64 * 1024;
/// Rounds of [`MESSAGES`] in and as many out before other tasks of the core get a turn. Few and small: what one turn
/// moves should still be in the cache when its reader comes, and the kernel's queue is no place to overtake in (more of
/// either cost half the throughput of eight bulk tunnels).
const ROUNDS: usize = 2;
const MESSAGES: usize = 2;
/// A link that moved less than this since the last timer gives its buffers back, in bytes.
const QUIET: u64 = 64 * 1024;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection failed or ended.
    Io(io::Error),
    /// The gateway does not want this exit.
    Goodbye(Goodbye),
    /// The other end does not speak this protocol.
    Protocol(String),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Io(error) => write!(f, "connection failed: {error}"),
            HandshakeError::Goodbye(why) => {
                write!(f, "the gateway declined: {} ({})", why.slug, why.text)
            }
            HandshakeError::Protocol(what) => write!(f, "protocol error: {what}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        HandshakeError::Io(error)
    }
}

impl From<LinkEnd> for HandshakeError {
    fn from(end: LinkEnd) -> HandshakeError {
        match end {
            LinkEnd::Io(kind) => HandshakeError::Io(kind.into()),
            LinkEnd::Protocol(what) => HandshakeError::Protocol(what),
            LinkEnd::Closed(_) | LinkEnd::Goodbye(_) | LinkEnd::PeerClosed | LinkEnd::Dead | LinkEnd::Dropped => {
                HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

/// Gateway: an exit that has said hello and waits for the answer.
pub struct Pending<IO> {
    wire: Wire<IO>,
    hello: Hello,
}

/// Gateway: takes over a connection just after the 101 was written; `behind` are bytes already read from it.
///
/// # Errors
/// No proper hello came.
pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(io: IO, behind: Bytes) -> Result<Pending<IO>, HandshakeError> {
    let mut wire = Wire::new(io, behind, Role::Server).await;
    let hello: Hello = wire.expect(Kind::Hello).await?;
    if hello.version != VERSION {
        let text = format!("this gateway speaks version {VERSION} of the link protocol");
        wire.say(Kind::Goodbye, &Goodbye::new("version", text.as_str())).await?;
        return Err(HandshakeError::Protocol(format!("the exit speaks version {}", hello.version)));
    }
    Ok(Pending { wire, hello })
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Pending<IO> {
    /// What the exit says of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Accepts. Heartbeat and dead interval are the welcome's, the most tunnels the smaller of both ends'.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn welcome(mut self, welcome: &Welcome, limits: Limits) -> Result<(Link, Driver<IO>), HandshakeError> {
        self.wire.say(Kind::Welcome, welcome).await?;
        let limits = agreed(limits, &self.hello, welcome);
        Ok(self.wire.into_link(Side::Gateway, limits))
    }

    /// Declines.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn goodbye(mut self, why: Goodbye) -> Result<(), HandshakeError> {
        self.wire.say(Kind::Goodbye, &why.fit()).await?;
        self.wire.0.close(None).await.map_err(failed)?;
        Ok(())
    }
}

/// Exit: a link that was welcomed.
pub struct Joined<IO> {
    /// The gateway's answer.
    pub welcome: Welcome,
    /// The handle.
    pub link: Link,
    /// Tunnels asked for.
    pub incoming: Incoming,
    /// To be run.
    pub driver: Driver<IO>,
}

/// Exit: says hello on a connection just after the 101 was read; `behind` are bytes that came with it.
///
/// # Errors
/// The gateway declined or is none.
pub async fn join<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    behind: Bytes,
    hello: &Hello,
    limits: Limits,
) -> Result<Joined<IO>, HandshakeError> {
    let mut wire = Wire::new(io, behind, Role::Client).await;
    wire.say(Kind::Hello, hello).await?;
    let welcome: Welcome = wire.expect(Kind::Welcome).await?;
    let limits = agreed(limits, hello, &welcome);
    let (link, driver) = wire.into_link(Side::Exit, limits);
    Ok(Joined { welcome, incoming: Incoming::new(link.clone()), link, driver })
}

fn agreed(limits: Limits, hello: &Hello, welcome: &Welcome) -> Limits {
    let heartbeat = Duration::from_millis(welcome.heartbeat_ms.clamp(50, 600_000).into());
    let dead = Duration::from_millis(welcome.dead_ms.into()).max(2 * heartbeat);
    let max_tunnels = limits.max_tunnels.min(hello.max_tunnels as usize).max(1);
    Limits { max_tunnels, heartbeat, dead, ..limits }
}

/// A connection and its WebSocket framing.
struct Wire<IO>(WebSocketStream<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    async fn new(io: IO, behind: Bytes, role: Role) -> Wire<IO> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(GATHER)
            // The driver writes no message before the last one is out: two of the longest are more than it ever holds.
            .max_write_buffer_size(2 * MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Wire(WebSocketStream::from_partially_read(io, behind.into(), role, Some(config)).await)
    }

    fn into_link(self, side: Side, limits: Limits) -> (Link, Driver<IO>) {
        let now = Instant::now();
        let mux = Mux::new(side, limits, now);
        let timer = mux.next_timer();
        let shared = Shared::new(mux);
        let driver = Driver {
            wire: self,
            shared: Arc::clone(&shared),
            unflushed: false,
            timer: Box::pin(sleep_until(timer.into())),
            moved: 0,
            moved_before: 0,
        };
        (Link::new(shared), driver)
    }

    /// Sends one control frame as a message of its own (handshake only).
    async fn say(&mut self, kind: Kind, word: &impl serde::Serialize) -> Result<(), HandshakeError> {
        let mut out = Vec::new();
        if !encode_json(&mut out, kind, 0, word) {
            return Err(HandshakeError::Protocol(format!("{kind:?} too long to be said")));
        }
        self.0.send(Message::Binary(out.into())).await.map_err(failed)?;
        Ok(())
    }

    /// Waits for one control frame of this kind (handshake only).
    async fn expect<T: serde::de::DeserializeOwned>(&mut self, kind: Kind) -> Result<T, HandshakeError> {
        let protocol = |what: &dyn fmt::Display| HandshakeError::Protocol(what.to_string());
        let mut message = loop {
            match self.0.next().await.transpose().map_err(failed)? {
                Some(Message::Binary(message)) => break message,
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Text(_) | Message::Frame(_)) => return Err(protocol(&"a text message")),
                Some(Message::Close(_)) | None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        };
        let frame = frame::decode(&mut message)
            .map_err(|violation| protocol(&violation))?
            .filter(|_| message.is_empty())
            .ok_or_else(|| protocol(&"an empty or crowded first message"))?;
        if frame.kind == Kind::Goodbye {
            let why = decode_json(frame.kind, &frame.payload).map_err(|violation| protocol(&violation))?;
            return Err(HandshakeError::Goodbye(why));
        }
        if frame.kind != kind {
            return Err(protocol(&format_args!("{:?} where {kind:?} belongs", frame.kind)));
        }
        decode_json(kind, &frame.payload).map_err(|violation| protocol(&violation))
    }
}

/// The WebSocket's errors as the end of a link.
fn failed(error: WsError) -> LinkEnd {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => LinkEnd::PeerClosed,
        WsError::Io(error) => LinkEnd::Io(error.kind()),
        WsError::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            LinkEnd::PeerClosed
        }
        other => LinkEnd::Protocol(other.to_string()),
    }
}

/// How far [`Driver::poll_send`] came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Everything is written and flushed.
    All,
    /// There is more, and the connection would take it.
    Part,
}

/// The task of a link: run it to the end; dropping it ends the link.
#[must_use = "a link lives only while its driver runs"]
pub struct Driver<IO> {
    wire: Wire<IO>,
    shared: Arc<Shared>,
    unflushed: bool,
    timer: Pin<Box<Sleep>>,
    moved: u64,
    moved_before: u64,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
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
            let message = match Pin::new(&mut self.wire.0).poll_next(cx) {
                Poll::Ready(Some(message)) => message.map_err(failed)?,
                Poll::Ready(None) => return Poll::Ready(Err(LinkEnd::PeerClosed)),
                Poll::Pending if taken > 0 => break,
                Poll::Pending => return Poll::Pending,
            };
            match message {
                Message::Binary(message) => {
                    self.moved += message.len() as u64;
                    self.shared.with(|mux| mux.on_message(message, Instant::now()))?;
                }
                // The pong is queued by the WebSocket itself and goes out with the next flush.
                Message::Ping(_) => self.unflushed = true,
                Message::Pong(_) => {}
                Message::Close(_) => return Poll::Ready(Err(LinkEnd::PeerClosed)),
                Message::Text(_) | Message::Frame(_) => {
                    let breach = "a text message";
                    self.shared.with(|mux| mux.close(Goodbye::new("protocol", breach)));
                    return Poll::Ready(Err(LinkEnd::Protocol(breach.to_owned())));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends up to [`MESSAGES`] batches; pending while the connection takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sent, LinkEnd>> {
        for _ in 0..MESSAGES {
            ready!(Pin::new(&mut self.wire.0).poll_ready(cx)).map_err(failed)?;
            let (mut head, mut body) = (Vec::new(), Vec::new());
            if !self.shared.with(|mux| mux.poll_output(&mut head, &mut body)) {
                if self.unflushed {
                    ready!(Pin::new(&mut self.wire.0).poll_flush(cx)).map_err(failed)?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(Sent::All));
            }
            // Two messages rather than one copied together: they are gathered below anyway.
            for part in [head, body].into_iter().filter(|part| !part.is_empty()) {
                self.moved += part.len() as u64;
                Pin::new(&mut self.wire.0).start_send(Message::Binary(part.into())).map_err(failed)?;
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

    async fn last_words(&mut self, end: &LinkEnd) -> Result<(), WsError> {
        let code = match end {
            LinkEnd::Dead | LinkEnd::Io(_) | LinkEnd::Dropped => return Ok(()),
            LinkEnd::Protocol(_) => CloseCode::Protocol,
            LinkEnd::Closed(_) | LinkEnd::Goodbye(_) | LinkEnd::PeerClosed => CloseCode::Normal,
        };
        let mut sent = Sent::Part;
        while sent == Sent::Part {
            sent = poll_fn(|cx| self.poll_send(cx)).await.map_err(|_| WsError::ConnectionClosed)?;
        }
        self.wire.0.close(Some(CloseFrame { code, reason: "".into() })).await?;
        // Bytes still unread would turn our close into a reset that destroys the goodbye on its way.
        while let Some(Ok(_)) = self.wire.0.next().await {}
        Ok(())
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

impl<IO> fmt::Debug for Pending<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("hello", &self.hello).finish_non_exhaustive()
    }
}
