//! Health: what set-ups and checks tell of an exit, and when it is set aside for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::member::{Lease, Member};

const SECOND: u64 = 1_000_000_000;
/// The rate of successes is judged over this much time.
const WINDOW: u64 = 60 * SECOND;
/// Fewer outcomes than this in the window are no rate.
const SAMPLES: u64 = 20;
/// An exit that stayed well for this long after its return starts again with the shortest time out.
const FORGIVEN: u64 = 600 * SECOND;

/// When exits are set aside. Times are nanoseconds.
#[derive(Clone, Debug)]
pub struct HealthSettings {
    /// Failures in a row that eject.
    pub eject_after: u32,
    /// The first time out; it doubles with each ejection in a row.
    pub eject_for: u64,
    /// The longest time out.
    pub eject_most: u64,
    /// How long an exit that was let back takes less than its share.
    pub slow_start: u64,
    /// An exit that delivered nothing for this long is checked.
    pub check_interval: u64,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            eject_after: 3,
            eject_for: 10 * SECOND,
            eject_most: 300 * SECOND,
            slow_start: 60 * SECOND,
            check_interval: 30 * SECOND,
        }
    }
}

impl HealthSettings {
    /// The time out of the `nth` ejection in a row, from 1.
    pub(crate) fn time_out(&self, nth: u32) -> u64 {
        let doubled = 1u64.checked_shl(nth.saturating_sub(1)).unwrap_or(u64::MAX);
        self.eject_for.saturating_mul(doubled).min(self.eject_most.max(self.eject_for))
    }
}

/// What became of a set-up, as far as it is the exit's doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The tunnel was opened, after this many nanoseconds.
    Opened(u64),
    /// Bytes of the target came through the tunnel: the proof that an open tunnel alone is not.
    Delivered,
    /// Bytes went to the target and none came back. Perhaps none were due; perhaps it only says that it opens tunnels. A check
    /// tells the two apart.
    Mute,
    /// The exit failed.
    Failed(Ailment),
}

/// How an exit failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ailment {
    /// Its link ended. Counts once for each link, however many set-ups it took with it.
    Lost,
    /// It refused.
    Refused,
    /// It did not answer in time.
    TimedOut,
    /// Another exit that was asked later opened the tunnel first.
    Outrun,
    /// It blamed the target, which another exit then reached.
    Disproved,
    /// It failed an active check.
    Check,
    /// Too few of its set-ups succeeded.
    Rate,
}

impl Ailment {
    /// In words for the operator.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Lost => "its links broke during set-ups",
            Self::Refused => "it refused tunnels",
            Self::TimedOut => "it did not answer in time",
            Self::Outrun => "other exits were faster by far",
            Self::Disproved => "it could not reach targets that other exits reached",
            Self::Check => "it failed active checks",
            Self::Rate => "too few of its set-ups succeeded",
        }
    }
}

/// How an exit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// Takes its share.
    Healthy,
    /// Let back at this time, and taking less than its share until the other.
    SlowStart {
        /// Nanoseconds of the caller's clock.
        since: u64,
        /// Nanoseconds of the caller's clock.
        until: u64,
    },
    /// Takes nothing new.
    Ejected {
        /// What the last failure was.
        why: Ailment,
        /// When it is checked for its return, in nanoseconds of the caller's clock.
        until: u64,
    },
}

/// [`Health`] in a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Condition {
    /// It takes its share.
    Healthy,
    /// It takes less than its share.
    SlowStart,
    /// It takes nothing new.
    Ejected,
}

impl Health {
    /// In a word.
    pub fn condition(&self) -> Condition {
        match self {
            Health::Healthy => Condition::Healthy,
            Health::SlowStart { .. } => Condition::SlowStart,
            Health::Ejected { .. } => Condition::Ejected,
        }
    }
}

impl Condition {
    /// `healthy`, `slow_start` or `ejected`.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Healthy => "healthy",
            Condition::SlowStart => "slow_start",
            Condition::Ejected => "ejected",
        }
    }
}

/// Whether an exit is out, behind the pool's lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) ejected: Option<(Ailment, u64)>,
    /// Ejections in a row.
    times: u32,
    /// When the last one ended.
    back: u64,
}

impl Record {
    /// Sets it aside; again when it already was.
    pub(crate) fn eject(&mut self, member: &Member, why: Ailment, now: u64, settings: &HealthSettings) {
        if self.ejected.is_none() && now.saturating_sub(self.back) >= FORGIVEN {
            self.times = 0;
        }
        self.times = self.times.saturating_add(1);
        self.ejected = Some((why, now.saturating_add(settings.time_out(self.times))));
        member.forget_outcomes();
    }

    /// Lets it back, slowly.
    pub(crate) fn let_back(&mut self, member: &Member, now: u64) {
        self.ejected = None;
        self.back = now;
        member.forget_outcomes();
        member.slow_from.store(now.max(1), Relaxed);
    }

    /// Whether nothing would be lost by forgetting it.
    pub(crate) fn is_clean(&self, now: u64) -> bool {
        self.ejected.is_none() && (self.times == 0 || now.saturating_sub(self.back) >= FORGIVEN)
    }
}

impl Member {
    pub(crate) fn health(&self, record: &Record, now: u64, settings: &HealthSettings) -> Health {
        match record.ejected {
            Some((why, until)) => Health::Ejected { why, until },
            None if self.starts_slowly(now, settings) => {
                let since = self.slow_from.load(Relaxed);
                Health::SlowStart { since, until: since.saturating_add(settings.slow_start) }
            }
            None => Health::Healthy,
        }
    }

    pub(crate) fn succeeded(&self, now: u64) {
        self.failures.store(0, Relaxed);
        self.window.add(now, 1, 0);
    }

    /// Its data path works: no check is needed for a while.
    pub(crate) fn proved(&self, now: u64, settings: &HealthSettings) {
        self.failed_checks.store(0, Relaxed);
        self.check_at.store(now.saturating_add(settings.check_interval), Relaxed);
    }

    /// It is to be checked soon: not at once, so that traffic which goes one way only costs a check a second at most.
    pub(crate) fn suspect(&self, now: u64) {
        self.check_at.fetch_min(now.saturating_add(SECOND), Relaxed);
    }

    /// Counts a failed check; whether it is to be ejected for it. Counted apart: set-ups that succeed in between must not hide an
    /// exit that opens tunnels and delivers nothing.
    pub(crate) fn failed_check(&self, now: u64, settings: &HealthSettings) -> bool {
        let in_a_row = self.failed_checks.fetch_add(1, Relaxed).saturating_add(1);
        let again = (SECOND << (in_a_row - 1).min(16)).min(settings.check_interval);
        self.check_at.store(now.saturating_add(again), Relaxed);
        in_a_row >= settings.eject_after.max(1) || self.starts_slowly(now, settings)
    }

    /// Counts a failure; why it is to be ejected, if it is.
    pub(crate) fn failed(&self, why: Ailment, now: u64, settings: &HealthSettings) -> Option<Ailment> {
        let in_a_row = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let (ok, bad) = self.window.add(now, 0, 1);
        if in_a_row >= settings.eject_after.max(1) || self.starts_slowly(now, settings) {
            return Some(why);
        }
        (ok + bad >= SAMPLES && bad > ok).then_some(Ailment::Rate)
    }

    fn forget_outcomes(&self) {
        self.failures.store(0, Relaxed);
        self.failed_checks.store(0, Relaxed);
        self.window.clear();
    }
}

/// Outcomes of the last minute: its second of beginning (32 bits), successes and failures (16 bits each) in one atomic.
#[derive(Default)]
pub(crate) struct Window(AtomicU64);

impl Window {
    /// Adds and returns the sums. When the window is over, half of it is carried on: a rate has no cliff to fall from.
    fn add(&self, now: u64, ok: u64, bad: u64) -> (u64, u64) {
        let second = now / SECOND;
        let mut sums = (0, 0);
        let update = |packed: u64| {
            let (start, mut oks, mut bads) = (packed >> 32, packed >> 16 & 0xffff, packed & 0xffff);
            let passed = second.saturating_sub(start) * SECOND / WINDOW;
            let start = match passed {
                0 => start,
                1 => {
                    (oks, bads) = (oks / 2, bads / 2);
                    second
                }
                _ => {
                    (oks, bads) = (0, 0);
                    second
                }
            };
            sums = ((oks + ok).min(0xffff), (bads + bad).min(0xffff));
            Some(start << 32 | sums.0 << 16 | sums.1)
        };
        // The closure always returns a value, so this never fails.
        let _always = self.0.fetch_update(Relaxed, Relaxed, update);
        sums
    }

    fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// An active check to be made through an exit. Dropped without a result it is as if it never was.
pub struct Check<L> {
    /// The way through the exit.
    pub lease: Lease<L>,
}

impl<L> Check<L> {
    /// `None` while another one is under way.
    pub(crate) fn begin(lease: impl FnOnce() -> Option<Lease<L>>, member: &Arc<Member>) -> Option<Self> {
        member.checking.compare_exchange(false, true, Relaxed, Relaxed).ok()?;
        let Some(lease) = lease() else {
            member.checking.store(false, Relaxed);
            return None;
        };
        Some(Self { lease })
    }
}

impl<L> Drop for Check<L> {
    fn drop(&mut self) {
        self.lease.member.checking.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_double_up_to_their_most() {
        let settings = HealthSettings::default();
        let seconds: Vec<u64> = [1, 2, 3, 5, 6, 7, 64, 99, u32::MAX].map(|n| settings.time_out(n) / SECOND).to_vec();
        assert_eq!(seconds, [10, 20, 40, 160, 300, 300, 300, 300, 300]);
    }

    #[test]
    fn a_window_forgets() {
        let window = Window::default();
        assert_eq!(window.add(0, 1, 0), (1, 0));
        for _ in 0..9 {
            window.add(30 * SECOND, 0, 1);
        }
        assert_eq!(window.add(59 * SECOND, 1, 0), (2, 9));
        assert_eq!(window.add(60 * SECOND, 0, 1), (1, 5), "half of it is carried on");
        assert_eq!(window.add(200 * SECOND, 0, 1), (0, 1), "after a whole silent window nothing");
        for _ in 0..70_000 {
            window.add(200 * SECOND, 1, 0);
        }
        assert_eq!(window.add(200 * SECOND, 0, 1), (0xffff, 2), "bounded");
    }
}
