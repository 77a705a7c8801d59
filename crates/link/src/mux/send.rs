//! Sending: bytes of tunnels in, batches out.
//!
//! While the link keeps up, a write goes straight into the next batch (one copy). When the batch is full, tunnels
//! queue up in a ring and take turns of one quantum.

use std::{
    collections::VecDeque,
    mem,
    task::{Poll, Waker},
};

use super::{Ending, Entry, Mux, Phase, StreamError, remember};
use crate::{
    frame::{self, HEADER, Kind},
    words::{ResetReason, encode_json},
};

/// Control frames of one batch, in bytes: with a full batch of data still half of what a peer takes as one message.
const CONTROL: usize = 128 * 1024;

impl Mux {
    /// How much a write would take now; `Pending` when that is nothing.
    pub fn poll_writable(&mut self, id: u32, waker: &Waker) -> Poll<Result<usize, StreamError>> {
        let lost = self.end.is_some();
        let link_room = self.limits.unsent_per_link.saturating_sub(self.unsent);
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return Poll::Ready(Err(StreamError::Lost));
        };
        if entry.reset.is_some() {
            return Poll::Ready(Err(StreamError::Reset));
        }
        if lost {
            return Poll::Ready(Err(StreamError::Lost));
        }
        if entry.ending != Ending::Not {
            return Poll::Ready(Err(StreamError::Ended));
        }
        let own_room = self.limits.unsent_per_tunnel.saturating_sub(entry.unsent.len());
        let room = own_room.min(link_room).min(entry.credit as usize);
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        remember(&mut entry.writer, waker);
        if entry.tells_blocked() {
            frame::encode(&mut self.control, Kind::Blocked, id, &[]);
            self.wakes.extend(self.driver.take());
        }
        if link_room == 0 && !mem::replace(&mut entry.starved, true) {
            self.starved.push(id);
        }
        Poll::Pending
    }

    /// Takes as much of `data` as credit and bounds allow; `Pending` when that is nothing.
    pub fn poll_write(&mut self, id: u32, data: &[u8], waker: &Waker) -> Poll<Result<usize, StreamError>> {
        let room = match self.poll_writable(id, waker) {
            Poll::Ready(Ok(room)) => room,
            other => return other,
        };
        let straight = self.ring.is_empty() && self.staged.len() < self.limits.batch;
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return Poll::Ready(Err(StreamError::Lost));
        };
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        debug_assert!(matches!(entry.phase, Phase::Open), "a handle exists only for open tunnels");
        let taken = data.len().min(room);
        entry.credit -= taken as u32;
        entry.wrote = true;
        let (now, later) = data[..taken].split_at(if straight { taken.min(frame::MAX_DATA) } else { 0 });
        if !now.is_empty() {
            frame::encode(&mut self.staged, Kind::Data, id, now);
        }
        if !later.is_empty() {
            entry.unsent.extend(later);
            self.unsent += later.len();
            if !mem::replace(&mut entry.scheduled, true) {
                self.ring.push_back(id);
            }
        }
        self.wake_driver();
        Poll::Ready(Ok(taken))
    }

    /// Is there anything to send?
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.control.is_empty() || self.pong.is_some() || !self.staged.is_empty() || !self.ring.is_empty()
    }

    /// Fills one batch: control frames are appended to `head`, data goes to `body` (empty, its memory is reused); the
    /// message is both in this order. `false` when there is nothing to send.
    ///
    /// Control frames overtake data. That is harmless: what must stay behind its data (`End`) travels as data.
    pub fn poll_output(&mut self, head: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        debug_assert!(body.is_empty(), "the last batch is out");
        if !self.has_output() {
            return false;
        }
        let before = head.len();
        if let Some(pong) = self.pong.take() {
            frame::encode(head, Kind::Pong, 0, &pong);
        }
        self.take_control(head);
        self.wake_teller();
        // Data must not overtake the `Connected` of its tunnel.
        if self.control.is_empty() {
            mem::swap(body, &mut self.staged);
            while body.len() < self.limits.batch
                && let Some(id) = self.ring.pop_front()
            {
                self.take_turn(id, body);
            }
            self.feed_starved();
        }
        let bytes = head.len() - before + body.len();
        self.stats.messages_out += 1;
        self.stats.bytes_out += bytes as u64;
        // A stale id in the ring may leave nothing to say.
        bytes > 0
    }

    /// Whole frames, until [`CONTROL`] is reached.
    fn take_control(&mut self, head: &mut Vec<u8>) {
        if self.control.len() <= CONTROL {
            return head.append(&mut self.control);
        }
        let mut end = 0;
        while end < CONTROL {
            end += frame::length(&self.control[end..]);
        }
        head.extend(self.control.drain(..end));
    }

    fn take_turn(&mut self, id: u32, body: &mut Vec<u8>) {
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return;
        };
        let length = entry.unsent.len().min(self.limits.quantum);
        if length > 0 {
            frame::encode_header(body, Kind::Data, id, length);
            let (first, second) = entry.unsent.as_slices();
            let cut = first.len().min(length);
            body.extend_from_slice(&first[..cut]);
            body.extend_from_slice(&second[..length - cut]);
            entry.unsent.drain(..length);
            self.unsent -= length;
        }
        if entry.unsent.is_empty() {
            entry.scheduled = false;
            entry.unsent = VecDeque::new();
            if entry.ending == Ending::Queued {
                frame::encode(body, Kind::End, id, &[]);
                entry.ending = Ending::Sent;
                let abandoned = !entry.held && !entry.end_received;
                self.settle(id);
                if abandoned {
                    encode_json(body, Kind::Reset, id, &ResetReason::default());
                    self.remove(id);
                }
                return;
            }
        } else {
            self.ring.push_back(id);
        }
        if entry.tells_blocked() {
            frame::encode(&mut self.control, Kind::Blocked, id, &[]);
        }
        if entry.credit > 0 {
            let writer = entry.writer.take();
            self.wakes.extend(writer);
        }
    }

    /// `End` of a tunnel with nothing unsent goes behind what is staged.
    pub(super) fn send_end(&mut self, id: u32) {
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return;
        };
        entry.ending = Ending::Sent;
        self.staged.reserve(HEADER);
        frame::encode(&mut self.staged, Kind::End, id, &[]);
        self.settle(id);
    }

    /// Wakes the writers that found the link's bound reached, once half of it is free.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() || self.unsent > self.limits.unsent_per_link / 2 {
            return;
        }
        for id in mem::take(&mut self.starved) {
            if let Some(entry) = self.tunnels.get_mut(&id) {
                entry.starved = false;
                self.wakes.extend(entry.writer.take());
            }
        }
    }

    /// Lets go of memory kept for the next batch; the shell calls it on a quiet link.
    pub fn shrink(&mut self) {
        if self.staged.is_empty() {
            self.staged = Vec::new();
        }
        if self.control.is_empty() {
            self.control = Vec::new();
        }
        self.wakes.shrink_to(4);
        self.ring.shrink_to(4);
    }
}

impl Entry {
    /// Is the peer's window, and nothing else, what a waiting writer waits for? True once per grant.
    fn tells_blocked(&mut self) -> bool {
        self.credit == 0 && self.unsent.is_empty() && self.writer.is_some() && !mem::replace(&mut self.told_blocked, true)
    }
}
