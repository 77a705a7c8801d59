//! Mux: many tunnels over one ordered byte stream, without a socket or a clock.
//!
//! Messages and `now` go in, batches of frames and wakers to call come out. Everything a peer can make us hold is
//! bounded by [`Limits`]:
//! - received and not yet read: the windows of all tunnels together never exceed `receive_budget`; every tunnel the
//!   link could still open has `floor_window` of it set aside, the rest is lent to tunnels whose reader keeps up
//!   (`mux/credit.rs`);
//! - written and not yet sent: `unsent_per_tunnel` and `unsent_per_link`, and one batch (`mux/send.rs`);
//! - answers to the peer's frames: 256 KiB, then it is a flood;
//! - exits offered and not yet looked at: `offers` of them (`mux/offers.rs`).
//!
//! A chunk that was handed out is its reader's memory; it weighs at most [`crate::frame::MAX_DATA`].

mod credit;
mod lifecycle;
mod limits;
mod offers;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    mem,
    task::Waker,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    frame,
    words::{Connect, Connected, LinkEnd, News, Refusal, ResetReason, Rotate, Rotated},
};

pub use limits::Limits;

/// Answers the peer has caused and not read, in bytes; more is a flood.
const FLOOD: usize = 256 * 1024;

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

/// What a tunnel that was broken off still has to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Everything that was sent, up to its end.
    Whole,
    /// Nothing that could be taken for the whole.
    Lost,
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
    /// Exit: asked for and not yet taken. One is enough: a gateway asks again only after the answer.
    rotate: Option<Rotate>,
    /// Gateway: the last answer.
    rotated: Option<Rotated>,
    /// Gateway: what the gateway at the other end told of its exits and nobody has looked at.
    news: Vec<News>,
    /// Exit: whoever waits for room to tell more.
    teller: Option<Waker>,
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
            rotate: None,
            rotated: None,
            news: Vec::new(),
            teller: None,
            end: None,
            stats: Stats::default(),
            driver: None,
            wakes: Vec::new(),
            changed: false,
            limits,
        }
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
