//! Credit: what readers take goes back to the peer as windows, within one budget for the link.
//!
//! Credit is strict: `committed`, the sum of all windows, is what the peer could make us buffer, and it stays within
//! the budget. A window doubles when its reader keeps up and the sender says that it was the limit (`Blocked`); under
//! scarcity windows above their fair share shrink as they are used, and idle ones are given back by the sender
//! (`Return`).

use std::{
    collections::VecDeque,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Ending, Limits, Mux, StreamError, remember};
use crate::frame::{self, Kind};

/// A reader keeps up while its queue was empty this recently: longer than a busy core takes to come round to it.
const PROMPT: Duration = Duration::from_millis(20);

impl Mux {
    /// The next chunk, or `None` at the peer's end. Its credit goes back at once: whoever takes a chunk has room for it.
    pub fn poll_chunk(&mut self, id: u32, waker: &Waker, now: Instant) -> Poll<Result<Option<Bytes>, StreamError>> {
        let lost = self.end.is_some();
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return Poll::Ready(Err(StreamError::Lost));
        };
        if let Some(chunk) = entry.queue.pop_front() {
            // Its reader was the limit, not its window.
            if now.duration_since(entry.drained_at) >= PROMPT {
                entry.blocked = false;
            }
            if entry.queue.is_empty() {
                entry.queue = VecDeque::new();
                entry.drained_at = now;
            }
            self.on_consumed(id, chunk.len() as u32);
            return Poll::Ready(Ok(Some(chunk)));
        }
        if entry.end_received {
            return Poll::Ready(Ok(None));
        }
        if entry.reset.is_some() {
            return Poll::Ready(Err(StreamError::Reset));
        }
        if lost {
            return Poll::Ready(Err(StreamError::Lost));
        }
        remember(&mut entry.reader, waker);
        Poll::Pending
    }

    fn on_consumed(&mut self, id: u32, length: u32) {
        self.buffered -= length as usize;
        let room = self.room();
        let fair = self.fair_window();
        let Some(entry) = self.tunnels.get_mut(&id) else {
            return;
        };
        entry.buffered -= length;
        if entry.end_received || self.end.is_some() {
            entry.window -= length;
            self.committed -= length as usize;
            return;
        }
        entry.accrued += length;
        if entry.accrued < entry.window / 2 {
            return;
        }
        let mut grant = std::mem::take(&mut entry.accrued);
        if room > 0 && std::mem::take(&mut entry.blocked) {
            let most = self.limits.max_window.saturating_sub(entry.window).min(entry.window);
            let grow = most.min(room.try_into().unwrap_or(u32::MAX));
            entry.window += grow;
            self.committed += grow as usize;
            grant += grow;
        } else if room == 0 && entry.window > fair {
            let cut = (grant / 2).min(entry.window - fair);
            entry.window -= cut;
            self.committed -= cut as usize;
            grant -= cut;
        }
        entry.outstanding += grant;
        frame::encode(&mut self.control, Kind::Window, id, &grant.to_be_bytes());
        self.wake_driver();
    }

    /// What may still be lent: the budget less all windows, less the floor of every tunnel that could still come.
    fn room(&self) -> usize {
        let to_come = (self.limits.max_tunnels + Limits::SLACK).saturating_sub(self.tunnels.len());
        self.limits.receive_budget.saturating_sub(self.committed + to_come * self.limits.floor_window as usize)
    }

    pub(super) fn first_window(&self) -> u32 {
        let Limits { floor_window, initial_window, .. } = self.limits;
        let extra = self.room().min((initial_window - floor_window) as usize);
        floor_window + extra as u32
    }

    fn fair_window(&self) -> u32 {
        let share = self.limits.receive_budget / 2 / self.tunnels.len().max(1);
        share.try_into().unwrap_or(u32::MAX).max(self.limits.floor_window)
    }

    /// Once per heartbeat: a tunnel that wrote nothing since the last one returns the credit above the first window.
    pub(super) fn return_idle_credit(&mut self) {
        let keep = self.limits.initial_window;
        for (id, entry) in &mut self.tunnels {
            let idle = !std::mem::take(&mut entry.wrote) && entry.unsent.is_empty();
            if idle && entry.ending == Ending::Not && entry.reset.is_none() && entry.credit > 2 * keep {
                let back = entry.credit - keep;
                entry.credit = keep;
                frame::encode(&mut self.control, Kind::Return, *id, &back.to_be_bytes());
            }
        }
    }
}
