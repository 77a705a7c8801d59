//! Lifecycle: how tunnels and links begin, stay alive and end.

use std::{
    collections::VecDeque,
    mem,
    task::{Poll, Waker},
    time::Instant,
};

use super::{AnswerError, Ending, FLOOD, Mux, OpenError, Phase, Rest, Side, StreamError, remember};
use crate::{
    frame::{self, Kind},
    words::{
        Connect, ConnectWire, Connected, ConnectedWire, Fit, Goodbye, LinkEnd, Refusal, ResetReason, Rotate, Rotated, encode_json,
    },
};

/// Control frames that may wait while new tunnels are still asked for, in bytes.
const UNSENT: usize = 1024 * 1024;

impl Mux {
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
        // The second: questions taken back count no more, but a peer that reads nothing leaves them all unsent.
        if self.open_tunnels() >= self.limits.max_tunnels || self.control.len() >= UNSENT {
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

    /// Ready once the peer has broken the tunnel off or the link is over: a relay that waits for the other side hears of it. What
    /// was sent to its end is whole all the same and may still be read.
    pub fn poll_broken(&mut self, id: u32, waker: &Waker) -> Poll<Rest> {
        let lost = self.end.is_some();
        match self.tunnels.get_mut(&id) {
            Some(entry) if entry.reset.is_none() && !lost => {
                remember(&mut entry.reader, waker);
                Poll::Pending
            }
            Some(entry) if entry.end_received => Poll::Ready(Rest::Whole),
            _ => Poll::Ready(Rest::Lost),
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

    /// Ends the link because of what the peer did; it is told. The first reason stays.
    pub(crate) fn breach(&mut self, what: &str) {
        if self.end.is_none() {
            self.close(Goodbye::new("protocol", what));
            self.end = Some(LinkEnd::Protocol(what.to_owned()));
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
        self.wakes.extend(self.teller.take());
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

    // ---- rotating ------------------------------------------------------------------------------------------------

    /// Gateway: asks the exit to change its address.
    pub fn ask_rotate(&mut self, rotate: &Rotate) {
        if self.end.is_none() {
            self.rotated = None;
            encode_json(&mut self.control, Kind::Rotate, 0, rotate);
            self.wake_driver();
        }
    }

    /// Gateway: the answer, once it is there.
    pub fn take_rotated(&mut self) -> Option<Rotated> {
        self.rotated.take()
    }

    /// Exit: what the gateway asked for, once.
    pub fn take_rotate(&mut self) -> Option<Rotate> {
        self.rotate.take()
    }

    /// Exit: tells what became of it.
    pub fn answer_rotate(&mut self, rotated: Rotated) {
        if self.end.is_none() {
            encode_json(&mut self.control, Kind::Rotated, 0, &rotated.fit());
            self.wake_driver();
        }
    }

    // ---- time ----------------------------------------------------------------------------------------------------

    /// Does what is due: pings (exit), notices silence.
    ///
    /// # Errors
    /// The peer is dead, and so is the link.
    pub fn on_timer(&mut self, now: Instant) -> Result<(), LinkEnd> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        if now.duration_since(self.heard) >= self.limits.dead {
            self.fail(LinkEnd::Dead);
            return Err(LinkEnd::Dead);
        }
        if self.side == Side::Exit && now >= self.next_ping {
            self.next_ping = now + self.limits.heartbeat;
            let clock = now.duration_since(self.started).as_micros() as u64;
            let rtt = self.rtt.map_or(0, |rtt| rtt.as_micros().try_into().unwrap_or(u32::MAX));
            let mut ping = [0; frame::PING];
            ping[..8].copy_from_slice(&clock.to_be_bytes());
            ping[8..].copy_from_slice(&rtt.to_be_bytes());
            // A peer that reads nothing gets no second ping; it will be dead soon.
            if self.control.len() < FLOOD {
                frame::encode(&mut self.control, Kind::Ping, 0, &ping);
            }
            self.return_idle_credit();
        }
        Ok(())
    }

    /// When [`Mux::on_timer`] is due next, at the latest.
    #[must_use]
    pub fn next_timer(&self) -> Instant {
        let dead = self.heard + self.limits.dead;
        match self.side {
            Side::Exit => dead.min(self.next_ping),
            Side::Gateway => dead,
        }
    }
}
