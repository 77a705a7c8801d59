//! Shell: the one task that moves a link's messages over a connection.
//!
//! Gateway: [`accept`] after the 101, look at the [`Hello`], then [`Pending::welcome`] or [`Pending::goodbye`]. Exit:
//! [`join`]. Both give a [`Driver`] to run as a task of its own; the link lives as long as it does. Generic over the
//! connection, so TLS works. Handshake deadlines are the caller's.

use std::{
    fmt, io,
    io::IoSlice,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Sleep, sleep_until, timeout},
};

use crate::{
    frame::{self, Kind},
    handle::{Incoming, Link},
    mux::{Limits, Mux, Side},
    tunnel::Shared,
    words::{Fit, Goodbye, Hello, LinkEnd, VERSION, Welcome, decode_json, encode_json},
    ws::{self, Decoder, HEADROOM, Item, Masks, Opcode, Role},
};

/// Smallest and largest read, in bytes: it doubles while reads fill it and halves when they do not.
const LEAST_READ: usize = 4 * 1024;
const MOST_READ: usize = 128 * 1024;
/// Rounds of a read and [`MESSAGES`] writes before other tasks of the core get a turn. Few and small: what one turn moves
/// should still be in the cache when its reader comes, and the kernel's queue is no place to overtake in (more of
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
    let mut wire = Wire::new(io, behind, Role::Server);
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
        self.wire.io.shutdown().await?;
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
    let mut wire = Wire::new(io, behind, Role::Client);
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
struct Wire<IO> {
    io: IO,
    decoder: Decoder,
    input: BytesMut,
    /// Clients mask.
    masks: Option<Masks>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    fn new(io: IO, behind: Bytes, role: Role) -> Wire<IO> {
        let masks = (role == Role::Client).then(Masks::new);
        Wire { io, decoder: Decoder::new(role), input: behind.into(), masks }
    }

    fn into_link(self, side: Side, limits: Limits) -> (Link, Driver<IO>) {
        let now = Instant::now();
        let mux = Mux::new(side, limits, now);
        let timer = mux.next_timer();
        let shared = Shared::new(mux);
        let driver = Driver {
            wire: self,
            shared: Arc::clone(&shared),
            want: LEAST_READ,
            head: Vec::new(),
            body: Vec::new(),
            written: 0,
            unflushed: false,
            aside: Vec::new(),
            timer: Box::pin(sleep_until(timer.into())),
            moved: 0,
            moved_before: 0,
        };
        (Link::new(shared), driver)
    }

    fn key(&mut self) -> io::Result<Option<[u8; 4]>> {
        self.masks.as_mut().map(Masks::next).transpose()
    }

    /// Sends one control frame as a message of its own (handshake only).
    async fn say(&mut self, kind: Kind, word: &impl serde::Serialize) -> Result<(), HandshakeError> {
        let mut out = vec![0; HEADROOM];
        if !encode_json(&mut out, kind, 0, word) {
            return Err(HandshakeError::Protocol(format!("{kind:?} too long to be said")));
        }
        let key = self.key()?;
        let start = seal(&mut out, &mut [], key);
        self.io.write_all(&out[start..]).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// Waits for one control frame of this kind (handshake only).
    async fn expect<T: serde::de::DeserializeOwned>(&mut self, kind: Kind) -> Result<T, HandshakeError> {
        let protocol = |what: &dyn fmt::Display| HandshakeError::Protocol(what.to_string());
        let mut message = loop {
            match self.decoder.next(&mut self.input).map_err(|breach| protocol(&breach))? {
                Some(Item::Message(message)) => break message,
                Some(Item::Ping(payload)) => {
                    let key = self.key()?;
                    let mut pong = Vec::new();
                    ws::write_control(&mut pong, Opcode::Pong, &payload, key);
                    self.io.write_all(&pong).await?;
                }
                Some(Item::Close) => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                None => {
                    // Nobody is known yet: no more memory than a hello needs.
                    if self.input.len() > 2 * frame::MAX_CONTROL {
                        return Err(protocol(&"a first message longer than any hello"));
                    }
                    self.input.reserve(1024);
                    if self.io.read_buf(&mut self.input).await? == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                }
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

/// Masks a message and writes its WebSocket header into the headroom of `head`; returns where it begins.
fn seal(head: &mut [u8], body: &mut [u8], key: Option<[u8; 4]>) -> usize {
    let Some((room, control)) = head.split_first_chunk_mut::<HEADROOM>() else {
        return 0;
    };
    if let Some(key) = key {
        ws::mask(control, key, 0);
        ws::mask(body, key, control.len());
    }
    ws::write_header(room, Opcode::Binary, control.len() + body.len(), key)
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
    want: usize,
    /// The message on its way: header and control frames, then data.
    head: Vec<u8>,
    body: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// WebSocket pongs, sent before the next message.
    aside: Vec<u8>,
    timer: Pin<Box<Sleep>>,
    moved: u64,
    moved_before: u64,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    /// Moves messages until the link is over, says the last words, and tells why it ended.
    pub async fn run(mut self) -> LinkEnd {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
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

    /// One read and all messages in it.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        let Wire { io, input, decoder, masks } = &mut self.wire;
        let spare = input.capacity() - input.len();
        let missing = Decoder::missing(input);
        if spare < missing.max(self.want / 2) {
            input.reserve(missing.max(self.want));
        }
        let offered = input.capacity() - input.len();
        let count = ready!(pin!(io.read_buf(input)).poll(cx)).map_err(|error| LinkEnd::Io(error.kind()))?;
        if count == 0 {
            return Poll::Ready(Err(LinkEnd::PeerClosed));
        }
        self.moved += count as u64;
        if count == offered {
            self.want = (self.want * 2).min(MOST_READ);
        } else if count < self.want / 4 {
            self.want = (self.want / 2).max(LEAST_READ);
        }
        let now = Instant::now();
        let aside = &mut self.aside;
        self.shared.with(|mux| {
            loop {
                match decoder.next(input) {
                    Ok(None) => return Ok(()),
                    Ok(Some(Item::Message(message))) => mux.on_message(message, now)?,
                    Ok(Some(Item::Close)) => return Err(LinkEnd::PeerClosed),
                    // Only the latest ping needs an answer (RFC 6455 §5.5.3).
                    Ok(Some(Item::Ping(payload))) => {
                        let key = masks.as_mut().map(Masks::next).transpose();
                        let key = key.map_err(|error| LinkEnd::Io(error.kind()))?;
                        aside.clear();
                        ws::write_control(aside, Opcode::Pong, &payload, key);
                    }
                    Err(breach) => {
                        mux.close(Goodbye::new("protocol", breach));
                        return Err(LinkEnd::Protocol(breach.to_owned()));
                    }
                }
            }
        })?;
        // An empty buffer that is too big for what comes is let go; the next read takes a fitting one.
        if input.is_empty() && input.capacity() > 4 * self.want {
            *input = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes up to [`MESSAGES`] messages; pending while the connection takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sent, LinkEnd>> {
        let failed = |error: io::Error| LinkEnd::Io(error.kind());
        for _ in 0..MESSAGES {
            ready!(self.poll_write_out(cx)).map_err(failed)?;
            if !self.next_message().map_err(failed)? {
                if self.unflushed {
                    ready!(Pin::new(&mut self.wire.io).poll_flush(cx)).map_err(failed)?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(Sent::All));
            }
        }
        Poll::Ready(Ok(Sent::Part))
    }

    /// Writes the message on its way to its end.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.head.len() + self.body.len() {
            let io = Pin::new(&mut self.wire.io);
            let count = if self.written >= self.head.len() {
                io.poll_write(cx, &self.body[self.written - self.head.len()..])
            } else if self.body.is_empty() {
                io.poll_write(cx, &self.head[self.written..])
            } else {
                let head = IoSlice::new(&self.head[self.written..]);
                io.poll_write_vectored(cx, &[head, IoSlice::new(&self.body)])
            };
            match ready!(count)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Puts the next message into `head` and `body`; `false` when there is none.
    fn next_message(&mut self) -> io::Result<bool> {
        self.moved += self.written as u64;
        self.written = 0;
        self.head.clear();
        self.body.clear();
        if !self.aside.is_empty() {
            self.head.append(&mut self.aside);
            return Ok(true);
        }
        self.head.resize(HEADROOM, 0);
        if !self.shared.with(|mux| mux.poll_output(&mut self.head, &mut self.body)) {
            self.head.clear();
            return Ok(false);
        }
        let key = self.wire.key()?;
        self.written = seal(&mut self.head, &mut self.body, key);
        Ok(true)
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
            if quiet {
                self.give_buffers_back();
            }
            self.timer.as_mut().reset(next.into());
        }
        Ok(())
    }

    fn give_buffers_back(&mut self) {
        if self.written >= self.head.len() + self.body.len() {
            self.head = Vec::new();
            self.body = Vec::new();
            self.written = 0;
        }
        if self.wire.input.is_empty() {
            self.wire.input = BytesMut::new();
            self.want = LEAST_READ;
        }
    }

    async fn last_words(&mut self, end: &LinkEnd) -> io::Result<()> {
        match end {
            LinkEnd::Dead | LinkEnd::Io(_) | LinkEnd::Dropped => return Ok(()),
            LinkEnd::Closed(_) | LinkEnd::Goodbye(_) | LinkEnd::PeerClosed | LinkEnd::Protocol(_) => {}
        }
        let mut sent = Sent::Part;
        while sent == Sent::Part {
            sent = std::future::poll_fn(|cx| self.poll_send(cx)).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        let key = self.wire.key()?;
        let mut close = Vec::new();
        let status: u16 = if matches!(end, LinkEnd::Protocol(_)) { 1002 } else { 1000 };
        ws::write_control(&mut close, Opcode::Close, &status.to_be_bytes(), key);
        self.wire.io.write_all(&close).await?;
        self.wire.io.shutdown().await?;
        // Bytes still unread would turn our close into a reset that destroys the goodbye on its way.
        self.wire.input.clear();
        while self.wire.io.read_buf(&mut self.wire.input).await? > 0 {
            self.wire.input.clear();
        }
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
