//! Receiving: what each frame of the peer does, or why it is a violation.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};

use super::{Entry, FLOOD, Limits, Mux, Phase, Side};
use crate::{
    frame::{self, Frame, Kind, Violation},
    words::{ConnectWire, ConnectedWire, Fit, Goodbye, LinkEnd, News, Refusal, ResetReason, Rotated, WithdrawWire, decode_json},
};

/// Chunks of at least this length may stay slices of their message …
const SLICE: usize = 32 * 1024;
/// … while the link holds less than this; others are copied. So chunks that nobody reads pin at most 64 messages.
const SLICE_WHILE_BELOW: usize = 2 * 1024 * 1024;

impl Mux {
    /// Takes one message: whole frames.
    ///
    /// # Errors
    /// The link is over: a violation, or a goodbye. [`Mux::end_reason`] says the same.
    pub fn on_message(&mut self, mut message: Bytes, now: Instant) -> Result<(), LinkEnd> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        self.heard = now;
        self.stats.messages_in += 1;
        self.stats.bytes_in += message.len() as u64;
        loop {
            let step = match frame::decode(&mut message) {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => self.on_frame(frame, now),
                Err(violation) => Err(violation),
            };
            if let Err(violation) = step {
                self.breach(&violation.to_string());
            }
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
        }
    }

    fn on_frame(&mut self, frame: Frame, now: Instant) -> Result<(), Violation> {
        let Frame { kind, tunnel, payload } = frame;
        self.stats.frames_in += 1;
        match (kind, self.side) {
            (Kind::Data, _) => self.on_data(tunnel, payload, now)?,
            (Kind::Window, _) => self.on_window(tunnel, payload)?,
            (Kind::Return, _) => self.on_return(tunnel, payload)?,
            (Kind::Blocked, _) => {
                if let Some(entry) = self.subject(kind, tunnel)? {
                    entry.blocked = true;
                }
            }
            (Kind::End, _) => self.on_end(tunnel)?,
            (Kind::Reset, _) => self.on_reset(tunnel, decode_json(kind, &payload)?)?,
            (Kind::Connected, Side::Gateway) => self.on_connected(tunnel, decode_json(kind, &payload)?)?,
            (Kind::Refused, Side::Gateway) => self.on_refused(tunnel, decode_json(kind, &payload)?)?,
            (Kind::Connect, Side::Exit) => self.on_connect(tunnel, decode_json(kind, &payload)?, now)?,
            (Kind::Ping, Side::Gateway) => self.on_ping(payload),
            (Kind::Pong, Side::Exit) => self.on_pong(payload, now),
            (Kind::Drain, _) => {
                self.peer_draining = true;
                self.changed = true;
            }
            (Kind::Rotate, Side::Exit) => {
                self.rotate = Some(decode_json(kind, &payload)?);
                self.changed = true;
            }
            (Kind::Rotated, Side::Gateway) => {
                // It is shown to people: what a well-built exit would never send is cut here, too.
                self.rotated = Some(decode_json::<Rotated>(kind, &payload)?.fit());
                self.changed = true;
            }
            (Kind::Offer, Side::Gateway) => self.on_news(News::Offer(decode_json(kind, &payload)?))?,
            (Kind::Withdraw, Side::Gateway) => {
                self.on_news(News::Withdraw(decode_json::<WithdrawWire>(kind, &payload)?.exit))?;
            }
            (Kind::Goodbye, _) => {
                let why: Goodbye = decode_json(kind, &payload)?;
                self.fail(LinkEnd::Goodbye(why));
            }
            (Kind::Hello | Kind::Welcome, _)
            | (Kind::Connect | Kind::Pong | Kind::Rotate, Side::Gateway)
            | (Kind::Connected | Kind::Refused | Kind::Ping | Kind::Rotated | Kind::Offer | Kind::Withdraw, Side::Exit) => {
                return Err(Violation::OutOfPlace { kind, tunnel });
            }
        }
        if self.control.len() > FLOOD {
            return Err(Violation::Flood);
        }
        Ok(())
    }

    /// The entry a tunnel frame is for; `None` when it is late (the tunnel was opened and is gone or broken off).
    fn subject(&mut self, kind: Kind, tunnel: u32) -> Result<Option<&mut Entry>, Violation> {
        if !self.was_opened(tunnel) {
            return Err(Violation::UnknownTunnel { kind, tunnel });
        }
        Ok(self.tunnels.get_mut(&tunnel).filter(|entry| entry.reset.is_none()))
    }

    fn on_data(&mut self, tunnel: u32, payload: Bytes, now: Instant) -> Result<(), Violation> {
        let held_by_link = self.buffered;
        let Some(entry) = self.subject(Kind::Data, tunnel)? else {
            return Ok(());
        };
        // The exit may send data right behind its Connected, before our asker has looked.
        if !matches!(entry.phase, Phase::Open | Phase::Answered(_)) || entry.end_received {
            return Err(Violation::OutOfPlace { kind: Kind::Data, tunnel });
        }
        let length = payload.len() as u32;
        if length > entry.outstanding {
            return Err(Violation::OverCredit { tunnel });
        }
        if length == 0 {
            return Ok(());
        }
        if entry.queue.is_empty() {
            entry.drained_at = now;
        }
        entry.outstanding -= length;
        entry.buffered += length;
        let slice = payload.len() >= SLICE && held_by_link < SLICE_WHILE_BELOW;
        // Crumbs of a slow reader are joined, or their bookkeeping would outweigh them.
        let joined = !slice && entry.join(&payload);
        if !joined {
            entry.queue.push_back(if slice { payload } else { Bytes::copy_from_slice(&payload) });
        }
        let reader = entry.reader.take();
        self.buffered += length as usize;
        self.wakes.extend(reader);
        Ok(())
    }

    fn on_window(&mut self, tunnel: u32, mut payload: Bytes) -> Result<(), Violation> {
        let grant = payload.get_u32();
        let Some(entry) = self.subject(Kind::Window, tunnel)? else {
            return Ok(());
        };
        match entry.phase {
            Phase::Open | Phase::Answered(_) => {}
            Phase::Asking | Phase::Asked | Phase::Refused(_) => {
                return Err(Violation::OutOfPlace { kind: Kind::Window, tunnel });
            }
        }
        entry.credit =
            entry.credit.checked_add(grant).filter(|credit| *credit <= 1 << 30).ok_or(Violation::CreditOverflow { tunnel })?;
        entry.told_blocked = false;
        let writer = entry.writer.take();
        self.wakes.extend(writer);
        Ok(())
    }

    fn on_return(&mut self, tunnel: u32, mut payload: Bytes) -> Result<(), Violation> {
        let back = payload.get_u32();
        let Some(entry) = self.subject(Kind::Return, tunnel)? else {
            return Ok(());
        };
        if back > entry.outstanding {
            return Err(Violation::CreditOverflow { tunnel });
        }
        // The peer is idle: what was read and not granted again is not granted any more, either.
        let void = back + std::mem::take(&mut entry.accrued);
        entry.outstanding -= back;
        entry.window -= void;
        self.committed -= void as usize;
        Ok(())
    }

    fn on_end(&mut self, tunnel: u32) -> Result<(), Violation> {
        let Some(entry) = self.subject(Kind::End, tunnel)? else {
            return Ok(());
        };
        if !matches!(entry.phase, Phase::Open | Phase::Answered(_)) || entry.end_received {
            return Err(Violation::OutOfPlace { kind: Kind::End, tunnel });
        }
        entry.end_received = true;
        let void = entry.outstanding + entry.accrued;
        entry.outstanding = 0;
        entry.accrued = 0;
        entry.window -= void;
        let reader = entry.reader.take();
        self.committed -= void as usize;
        self.wakes.extend(reader);
        self.settle(tunnel);
        Ok(())
    }

    fn on_reset(&mut self, tunnel: u32, reason: ResetReason) -> Result<(), Violation> {
        let Some(entry) = self.subject(Kind::Reset, tunnel)? else {
            return Ok(());
        };
        let unsent = std::mem::take(&mut entry.unsent).len();
        let mut freed = 0;
        let mut void = entry.outstanding + entry.accrued;
        // What the peer had sent to its end is whole and may still be read; a part must not pass for the whole.
        if !entry.end_received {
            entry.queue = VecDeque::new();
            freed = entry.buffered;
            entry.buffered = 0;
            void += freed;
        }
        entry.outstanding = 0;
        entry.accrued = 0;
        entry.window -= void;
        entry.reset = Some(Box::new(reason));
        let wakes = [entry.reader.take(), entry.writer.take()];
        self.committed -= void as usize;
        self.buffered -= freed as usize;
        self.unsent -= unsent;
        self.wakes.extend(wakes.into_iter().flatten());
        self.settle(tunnel);
        self.feed_starved();
        Ok(())
    }

    fn on_connected(&mut self, tunnel: u32, wire: ConnectedWire) -> Result<(), Violation> {
        let Some(entry) = self.subject(Kind::Connected, tunnel)? else {
            return Ok(());
        };
        if !matches!(entry.phase, Phase::Asking) {
            return Err(Violation::OutOfPlace { kind: Kind::Connected, tunnel });
        }
        entry.phase = Phase::Answered(wire.connected());
        entry.credit = wire.window;
        let reader = entry.reader.take();
        self.wakes.extend(reader);
        Ok(())
    }

    fn on_refused(&mut self, tunnel: u32, refusal: Refusal) -> Result<(), Violation> {
        let Some(entry) = self.subject(Kind::Refused, tunnel)? else {
            return Ok(());
        };
        if !matches!(entry.phase, Phase::Asking) {
            return Err(Violation::OutOfPlace { kind: Kind::Refused, tunnel });
        }
        entry.phase = Phase::Refused(Box::new(refusal));
        let reader = entry.reader.take();
        self.wakes.extend(reader);
        Ok(())
    }

    fn on_connect(&mut self, tunnel: u32, wire: ConnectWire, now: Instant) -> Result<(), Violation> {
        if self.was_opened(tunnel) {
            return Err(Violation::OutOfPlace { kind: Kind::Connect, tunnel });
        }
        self.latest = tunnel;
        let full = self.open_tunnels() >= self.limits.max_tunnels + Limits::SLACK
            // Broken off, but their tasks have not noticed yet.
            || self.tunnels.len() >= 2 * self.limits.max_tunnels + Limits::SLACK;
        if self.draining || full {
            // One that leaves has not failed: nobody should hold it against it.
            let (slug, why) = match self.draining {
                true => ("draining", "the exit is draining"),
                false => ("exit_refused", "the exit's tunnel limit is reached"),
            };
            self.stats.tunnels += 1;
            let refusal = Refusal::new(slug).with_detail(why);
            crate::words::encode_json(&mut self.control, Kind::Refused, tunnel, &refusal);
            return Ok(());
        }
        let window = self.first_window();
        self.insert(tunnel, Phase::Asked, window, wire.window, now);
        self.incoming.push_back((tunnel, wire.into_connect()));
        let waiter = self.incoming_waker.take();
        self.wakes.extend(waiter);
        Ok(())
    }

    fn on_ping(&mut self, mut payload: Bytes) {
        let mut pong = [0; frame::PONG];
        payload.copy_to_slice(&mut pong);
        let rtt = payload.get_u32();
        if rtt > 0 {
            self.rtt = Some(Duration::from_micros(rtt.into()));
        }
        // Only the latest is answered, so that pings cannot pile up answers.
        self.pong = Some(pong);
        self.return_idle_credit();
    }

    fn on_pong(&mut self, mut payload: Bytes, now: Instant) {
        let sent = payload.get_u64();
        let clock = now.duration_since(self.started).as_micros() as u64;
        if let Some(micros) = clock.checked_sub(sent) {
            self.rtt = Some(Duration::from_micros(micros.max(1)));
        }
    }
}

impl Entry {
    /// Appends to the last chunk when that is small and ours alone.
    fn join(&mut self, payload: &Bytes) -> bool {
        const JOINED: usize = 4 * 1024;
        let Some(last) = self.queue.back_mut() else {
            return false;
        };
        if last.len() + payload.len() > JOINED {
            return false;
        }
        match std::mem::take(last).try_into_mut() {
            Ok(mut own) => {
                own.extend_from_slice(payload);
                *last = own.freeze();
                true
            }
            Err(shared) => {
                *last = shared;
                false
            }
        }
    }
}
