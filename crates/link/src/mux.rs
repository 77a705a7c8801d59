//! Mux: many tunnels over one ordered byte stream, without a socket or a clock.
//!
//! Messages and `now` go in, batches of frames and wakers to call come out. Everything a peer can make us hold is
//! bounded by [`Limits`]:
//! - received and not yet read: the windows of all tunnels together never exceed `receive_budget`; every tunnel the
//!   link could still open has `floor_window` of it set aside, the rest is lent to tunnels whose reader keeps up
//!   ([`receive`]);
//! - written and not yet sent: `unsent_per_tunnel` and `unsent_per_link`, and one batch ([`send`]);
//! - answers to the peer's frames: 256 KiB, then it is a flood.
//!
//! A chunk that was handed out is its reader's memory; it weighs at most [`crate::frame::MAX_DATA`].

mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    mem,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    frame::{self, Kind},
    words::{Connect, ConnectWire, Connected, ConnectedWire, Fit, Goodbye, LinkEnd, Refusal, ResetReason, encode_json},
};

/// What a link may hold and how it keeps time. The defaults suit a gateway; a small device may say less.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most tunnels at once.
    pub max_tunnels: usize,
    /// Window a tunnel begins with while the budget is not scarce, in bytes.
    pub initial_window: u32,
    /// Window every tunnel is sure of, in bytes.
    pub floor_window: u32,
    /// Largest window of a tunnel, in bytes.
    pub max_window: u32,
    /// All windows of the link together, in bytes.
    pub receive_budget: usize,
    /// Written and unsent of one tunnel, in bytes.
    pub unsent_per_tunnel: usize,
    /// Written and unsent of all tunnels, in bytes.
    pub unsent_per_link: usize,
    /// Size a batch is filled up to, in bytes.
    pub batch: usize,
    /// Most of one tunnel in one turn of a batch, in bytes.
    pub quantum: usize,
    /// The exit pings this often.
    pub heartbeat: Duration,
    /// Silence that means the peer is dead.
    pub dead: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_tunnels: 4096,
            initial_window: 32 * 1024,
            floor_window: 4 * 1024,
            max_window: 1024 * 1024,
            receive_budget: 32 * 1024 * 1024,
            unsent_per_tunnel: 256 * 1024,
            unsent_per_link: 8 * 1024 * 1024,
            batch: 64 * 1024,
            quantum: 32 * 1024,
            heartbeat: Duration::from_secs(3),
            dead: Duration::from_secs(9),
        }
    }
}

impl Limits {
    /// Frames in flight let the exit see a tunnel open before another one's end: it tolerates this many more.
    const SLACK: usize = 64;

    /// Makes the numbers fit each other: a budget that covers every floor, windows in order.
    #[must_use]
    pub fn consistent(mut self) -> Limits {
        self.max_tunnels = self.max_tunnels.clamp(1, 1 << 20);
        self.floor_window = self.floor_window.clamp(1024, 1 << 20);
        self.initial_window = self.initial_window.clamp(self.floor_window, 1 << 24);
        self.max_window = self.max_window.clamp(self.initial_window, 1 << 24);
        let floors = (self.max_tunnels + Limits::SLACK) * self.floor_window as usize;
        self.receive_budget = self.receive_budget.max(floors + self.initial_window as usize);
        self.quantum = self.quantum.clamp(1024, frame::MAX_DATA);
        self.batch = self.batch.clamp(self.quantum, 256 * 1024);
        self.unsent_per_tunnel = self.unsent_per_tunnel.max(self.quantum);
        self.unsent_per_link = self.unsent_per_link.max(self.unsent_per_tunnel);
        self
    }
}

/// Which end of the link this is: the gateway opens tunnels, the exit answers and pings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Opens tunnels.
    Gateway,
    /// Answers.
    Exit,
}

/// Why a tunnel's stream failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamError {
    /// The peer broke it off; [`Mux::reset_reason`] knows why.
    Reset,
    /// The link ended under it.
    Lost,
    /// This side had already ended its writing.
    Ended,
}

/// Why a tunnel could not be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// As many tunnels as the link carries.
    Full,
    /// One of the two ends takes no new ones.
    Draining,
    /// The link is over.
    Lost,
    /// Host or request id too long.
    TooLong,
}

/// Frames and bytes of a link since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Messages received.
    pub messages_in: u64,
    /// Batches sent.
    pub messages_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frame bytes received, headers included.
    pub bytes_in: u64,
    /// Frame bytes sent, headers included.
    pub bytes_out: u64,
    /// Tunnels opened.
    pub tunnels: u64,
    /// Bytes received and not yet read, now.
    pub buffered: usize,
    /// Windows of all tunnels, now.
    pub committed: usize,
    /// Bytes written and not yet sent, now.
    pub unsent: usize,
}

/// How far a tunnel's opening has come.
enum Phase {
    /// Gateway: asked, no answer yet.
    Asking,
    /// Gateway: answered yes, the asker has not looked yet.
    Answered(Connected),
    /// Gateway: answered no.
    Refused(Box<Refusal>),
    /// Exit: asked, not yet answered.
    Asked,
    /// Carries data.
    Open,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Ending {
    Not,
    /// `End` follows the unsent bytes.
    Queued,
    Sent,
}

/// One tunnel. Idle it owns no heap memory.
struct Entry {
    phase: Phase,
    /// A handle will still come back to it.
    held: bool,
    finished: bool,
    reset: Option<Box<ResetReason>>,
    reader: Option<Waker>,
    writer: Option<Waker>,

    queue: VecDeque<Bytes>,
    /// Bytes in `queue`. `buffered + outstanding + accrued == window`, always.
    buffered: u32,
    /// Credit the peer holds.
    outstanding: u32,
    /// Read by us, not yet granted again.
    accrued: u32,
    window: u32,
    /// When `queue` was last empty.
    drained_at: Instant,
    /// The peer could have used a larger window.
    blocked: bool,
    end_received: bool,

    /// Credit we hold beyond the bytes in `unsent`.
    credit: u32,
    unsent: VecDeque<u8>,
    /// In the ring of tunnels with unsent bytes.
    scheduled: bool,
    /// The peer knows that its window is our limit.
    told_blocked: bool,
    /// In the list of writers waiting for the link's bound.
    starved: bool,
    wrote: bool,
    ending: Ending,
}

/// The state of one end of a link.
pub struct Mux {
    side: Side,
    limits: Limits,
    started: Instant,

    tunnels: HashMap<u32, Entry>,
    latest: u32,
    finished: usize,
    incoming: VecDeque<(u32, Connect)>,
    incoming_waker: Option<Waker>,

    /// Sum of all windows.
    committed: usize,
    buffered: usize,

    /// Control frames, sent before any data.
    control: Vec<u8>,
    pong: Option<[u8; frame::PONG]>,
    /// Data frames written straight through, next to be sent.
    staged: Vec<u8>,
    ring: VecDeque<u32>,
    unsent: usize,
    starved: Vec<u32>,

    heard: Instant,
    next_ping: Instant,
    rtt: Option<Duration>,
    draining: bool,
    peer_draining: bool,
    end: Option<LinkEnd>,
    stats: Stats,

    driver: Option<Waker>,
    wakes: Vec<Waker>,
    changed: bool,
}

impl Mux {
    /// A link that has just been welcomed.
    #[must_use]
    pub fn new(side: Side, limits: Limits, now: Instant) -> Mux {
        let limits = limits.consistent();
        Mux {
            side,
            started: now,
            tunnels: HashMap::new(),
            latest: 0,
            finished: 0,
            incoming: VecDeque::new(),
            incoming_waker: None,
            committed: 0,
            buffered: 0,
            control: Vec::new(),
            pong: None,
            staged: Vec::new(),
            ring: VecDeque::new(),
            unsent: 0,
            starved: Vec::new(),
            heard: now,
            next_ping: now,
            rtt: None,
            draining: false,
            peer_draining: false,
            end: None,
            stats: Stats::default(),
            driver: None,
            wakes: Vec::new(),
            changed: false,
            limits,
        }
    }

    // ---- opening -------------------------------------------------------------------------------------------------

    /// Gateway: asks for a tunnel; the answer comes by [`Mux::poll_answer`].
    ///
    /// # Errors
    /// Nothing was sent.
    pub fn open(&mut self, connect: &Connect, now: Instant) -> Result<u32, OpenError> {
        if self.end.is_some() {
            return Err(OpenError::Lost);
        }
        if self.draining || self.peer_draining {
            return Err(OpenError::Draining);
        }
        if self.open_tunnels() >= self.limits.max_tunnels {
            return Err(OpenError::Full);
        }
        let mut id = self.latest.wrapping_add(1);
        while id == 0 || self.tunnels.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        let window = self.first_window();
        let wire = ConnectWire::new(connect, window).ok_or(OpenError::TooLong)?;
        if !encode_json(&mut self.control, Kind::Connect, id, &wire) {
            return Err(OpenError::TooLong);
        }
        self.latest = id;
        self.insert(id, Phase::Asking, window, 0, now);
        self.wake_driver();
        Ok(id)
    }

    /// Gateway: the answer to [`Mux::open`]. After `Ok` the tunnel carries data; after `Err` it is gone.
    pub fn poll_answer(&mut self, id: u32, waker: &Waker) -> Poll<Result<Connected, AnswerError>> {
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return Poll::Ready(Err(AnswerError::Lost));
        };
        let error = match mem::replace(&mut entry.phase, Phase::Open) {
            Phase::Answered(connected) => return Poll::Ready(Ok(connected)),
            Phase::Refused(refusal) => AnswerError::Refused(*refusal),
            phase => {
                if let Some(reason) = &entry.reset {
                    AnswerError::Reset((**reason).clone())
                } else if self.end.is_some() {
                    AnswerError::Lost
                } else {
                    entry.phase = phase;
                    remember(&mut entry.reader, waker);
                    return Poll::Pending;
                }
            }
        };
        self.remove(id);
        Poll::Ready(Err(error))
    }

    /// Exit: the next tunnel asked for; `None` when the link is over.
    pub fn poll_incoming(&mut self, waker: &Waker) -> Poll<Option<(u32, Connect)>> {
        while let Some((id, connect)) = self.incoming.pop_front() {
            if let Some(entry) = self.tunnels.get_mut(&id) {
                entry.held = true;
                return Poll::Ready(Some((id, connect)));
            }
        }
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        remember(&mut self.incoming_waker, waker);
        Poll::Pending
    }

    /// Exit: ready once the gateway no longer wants an answer.
    pub fn poll_cancelled(&mut self, id: u32, waker: &Waker) -> Poll<()> {
        match self.tunnels.get_mut(&id) {
            Some(entry) if entry.reset.is_none() && self.end.is_none() => {
                remember(&mut entry.reader, waker);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Exit: answers yes. A tunnel reset meanwhile stays reset: its first read says so.
    pub fn accept(&mut self, id: u32, connected: &Connected) {
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return;
        };
        if entry.reset.is_none() && matches!(entry.phase, Phase::Asked) {
            entry.phase = Phase::Open;
            let window = entry.window;
            // Bounded by its types: an address and three numbers.
            encode_json(&mut self.control, Kind::Connected, id, &ConnectedWire::new(connected, window));
            self.wake_driver();
        }
    }

    /// Exit: answers no.
    pub fn refuse(&mut self, id: u32, refusal: Refusal) {
        if self.tunnels.get(&id).is_some_and(|entry| entry.reset.is_none()) {
            encode_json(&mut self.control, Kind::Refused, id, &refusal.fit());
            self.wake_driver();
        }
        self.remove(id);
    }

    // ---- ending --------------------------------------------------------------------------------------------------

    /// Half-close: `End` follows what was written. Idempotent.
    pub fn end(&mut self, id: u32) -> Result<(), StreamError> {
        let lost = self.end.is_some();
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return Err(StreamError::Lost);
        };
        if entry.reset.is_some() {
            return Err(StreamError::Reset);
        }
        if entry.ending != Ending::Not {
            return Ok(());
        }
        if lost {
            return Err(StreamError::Lost);
        }
        entry.ending = Ending::Queued;
        if entry.unsent.is_empty() {
            self.send_end(id);
            self.wake_driver();
        }
        Ok(())
    }

    /// Breaks a tunnel off both ways; its handle is done with it.
    pub fn reset(&mut self, id: u32, reason: ResetReason) {
        let Some(entry) = self.tunnels.get(&id) else {
            return;
        };
        if entry.reset.is_none() && !entry.finished && self.end.is_none() {
            encode_json(&mut self.control, Kind::Reset, id, &reason.fit());
            self.wake_driver();
        }
        self.remove(id);
    }

    /// The handle is dropped: a tunnel ended by both sides goes quietly, any other is reset. What was
    /// written before an [`Mux::end`] still arrives: the reset travels behind it.
    pub fn release(&mut self, id: u32) {
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return;
        };
        if entry.reset.is_none() && !entry.finished && self.end.is_none() {
            match entry.ending {
                Ending::Not => {}
                Ending::Queued => {
                    entry.held = false;
                    return;
                }
                Ending::Sent => {
                    encode_json(&mut self.staged, Kind::Reset, id, &ResetReason::default());
                    self.wake_driver();
                    self.remove(id);
                    return;
                }
            }
        }
        self.reset(id, ResetReason::default());
    }

    /// Why the peer reset this tunnel.
    #[must_use]
    pub fn reset_reason(&self, id: u32) -> Option<ResetReason> {
        self.tunnels.get(&id)?.reset.as_deref().cloned()
    }

    /// No new tunnels from now on; tells the peer. Idempotent.
    pub fn drain(&mut self) {
        if !self.draining && self.end.is_none() {
            self.draining = true;
            self.changed = true;
            frame::encode(&mut self.control, Kind::Drain, 0, &[]);
            self.wake_driver();
        }
    }

    /// Ends the link from this side; the shell sends the goodbye.
    pub fn close(&mut self, why: Goodbye) {
        if self.end.is_none() {
            let why = why.fit();
            encode_json(&mut self.control, Kind::Goodbye, 0, &why);
            self.fail(LinkEnd::Closed(why));
            self.wake_driver();
        }
    }

    /// The link is over: every tunnel and waiter learns it. The first reason stays.
    pub fn fail(&mut self, end: LinkEnd) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        self.changed = true;
        self.incoming.clear();
        self.ring.clear();
        self.staged = Vec::new();
        self.unsent = 0;
        self.wakes.extend(self.incoming_waker.take());
        let wakes = &mut self.wakes;
        self.tunnels.retain(|_, entry| {
            entry.unsent = VecDeque::new();
            wakes.extend(entry.reader.take());
            wakes.extend(entry.writer.take());
            entry.held
        });
        self.starved.clear();
        self.committed = self.tunnels.values().map(|entry| entry.window as usize).sum();
        self.buffered = self.tunnels.values().map(|entry| entry.buffered as usize).sum();
        self.finished = self.tunnels.values().filter(|entry| entry.finished).count();
    }

    // ---- what it knows -------------------------------------------------------------------------------------------

    /// Why the link is over, once it is.
    #[must_use]
    pub fn end_reason(&self) -> Option<&LinkEnd> {
        self.end.as_ref()
    }

    /// Tunnels asked for or open, finished ones excluded.
    #[must_use]
    pub fn open_tunnels(&self) -> usize {
        self.tunnels.len() - self.finished
    }

    /// Most tunnels it carries.
    #[must_use]
    pub fn max_tunnels(&self) -> usize {
        self.limits.max_tunnels
    }

    /// Last measured round trip.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Has either end asked for no new tunnels?
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining || self.peer_draining
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { buffered: self.buffered, committed: self.committed, unsent: self.unsent, ..self.stats }
    }

    // ---- wakers --------------------------------------------------------------------------------------------------

    /// Whom to wake when there is output; taken at the first wake.
    pub fn set_driver(&mut self, waker: &Waker) {
        remember(&mut self.driver, waker);
    }

    /// Takes one waker due; call them outside the lock until there is none.
    pub fn next_wake(&mut self) -> Option<Waker> {
        self.wakes.pop()
    }

    /// Takes all wakers due but for the common case of one ([`Mux::next_wake`]), which would cost an allocation.
    pub(crate) fn more_wakes(&mut self) -> Vec<Waker> {
        if self.wakes.is_empty() { Vec::new() } else { mem::take(&mut self.wakes) }
    }

    /// Did the link's own state (end, draining, emptiness) change since the last look?
    pub fn take_changed(&mut self) -> bool {
        mem::take(&mut self.changed)
    }

    fn wake_driver(&mut self) {
        self.wakes.extend(self.driver.take());
    }

    // ---- entries -------------------------------------------------------------------------------------------------

    fn insert(&mut self, id: u32, phase: Phase, window: u32, credit: u32, now: Instant) {
        self.committed += window as usize;
        self.stats.tunnels += 1;
        let held = matches!(phase, Phase::Asking);
        let entry = Entry {
            phase,
            held,
            finished: false,
            reset: None,
            reader: None,
            writer: None,
            queue: VecDeque::new(),
            buffered: 0,
            outstanding: window,
            accrued: 0,
            window,
            drained_at: now,
            blocked: false,
            end_received: false,
            credit,
            unsent: VecDeque::new(),
            scheduled: false,
            told_blocked: false,
            starved: false,
            wrote: false,
            ending: Ending::Not,
        };
        self.tunnels.insert(id, entry);
    }

    /// Counts a tunnel out once it carries nothing any more, and forgets it if nobody holds it.
    fn settle(&mut self, id: u32) {
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return;
        };
        let over = entry.reset.is_some() || (entry.ending == Ending::Sent && entry.end_received);
        if !over {
            return;
        }
        let (held, asked) = (entry.held, matches!(entry.phase, Phase::Asked));
        if !mem::replace(&mut entry.finished, true) {
            self.finished += 1;
            self.changed |= self.finished == self.tunnels.len();
        }
        if !held {
            // Still waiting to be taken by poll_incoming: a gateway that asks and resets must not fill the queue.
            if asked {
                self.incoming.retain(|(waiting, _)| *waiting != id);
            }
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u32) {
        let Some(entry) = self.tunnels.remove(&id) else {
            return;
        };
        self.committed -= entry.window as usize;
        self.buffered -= entry.buffered as usize;
        self.unsent = self.unsent.saturating_sub(entry.unsent.len());
        self.finished -= usize::from(entry.finished);
        self.changed |= self.finished == self.tunnels.len();
        self.feed_starved();
    }

    /// Was this id ever opened? Serial-number arithmetic (RFC 1982), so ids may wrap.
    fn was_opened(&self, id: u32) -> bool {
        self.stats.tunnels > 0 && self.latest.wrapping_sub(id) < 1 << 31
    }
}

/// The answer to [`Mux::open`] when it is not yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AnswerError {
    /// A fault found at the exit.
    Refused(Refusal),
    /// The exit broke it off without an answer.
    Reset(ResetReason),
    /// The link ended first.
    Lost,
}

fn remember(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) if known.will_wake(waker) => {}
        _ => *slot = Some(waker.clone()),
    }
}
