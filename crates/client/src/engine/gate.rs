//! A limit that somebody named or showed: nothing passes until it ends, then one, then one after the other.
//!
//! A gate is closed until its wait is over. Then one attempt passes as a probe, and the others wait for what it finds: if it
//! meets the limit again, the gate closes for longer; if it gets through, they follow at a pace that quickens with every
//! success and is lost when it no longer matters. So a hundred waiters don't all run into the same limit again.

use std::time::Duration;

use outgate_faults::Slug;

use super::kept::Ends;
use super::now::Moment;
use super::rules::Rules;

/// How far apart waiters are told to ask again. Small: it orders them and is no pace.
const STEP: Duration = Duration::from_millis(10);

/// The pace after a first limit; each further one halves it, each success quickens it by a tenth.
const FIRST_PACE: Duration = Duration::from_millis(10);

/// A pace slower than this would hold longer than the limit itself.
const SLOWEST_PACE: Duration = Duration::from_millis(250);

/// A pace quicker than this holds nobody: the gate is gone.
const QUICKEST_PACE: Duration = Duration::from_millis(1);

/// A limit on one account, proxy, domain, or exit and domain.
#[derive(Debug)]
pub(super) struct Gate {
    /// Nothing passes before.
    pub(super) until: Moment,
    /// What was said.
    pub(super) slug: Slug,
    pub(super) why: String,
    /// Whether the answer named the wait.
    named: bool,
    /// When it last closed: only attempts that began later say something new.
    since: Moment,
    /// How often in a row it was met.
    pub(super) strikes: u32,
    stage: Stage,
    pace: Duration,
    /// When the next may pass, at the pace.
    next: Moment,
    /// The last place in the queue that was given out.
    last: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nobody has passed since it closed.
    Closed,
    /// One has, and is on its way.
    Probing { serial: u64, lost: Moment },
    /// The limit is over as far as is known.
    Pacing,
}

impl Gate {
    /// A gate for a limit that was just met for the first time.
    pub(super) fn new(now: Moment, slug: Slug, why: String) -> Self {
        Self {
            until: now,
            slug,
            why,
            named: false,
            since: now,
            strikes: 0,
            stage: Stage::Pacing,
            pace: QUICKEST_PACE,
            next: now,
            last: Moment::ZERO,
        }
    }

    /// Whether one may pass now that was given this place before, if any.
    pub(super) fn passes(&self, now: Moment, place: Option<Moment>) -> bool {
        if now < self.until {
            return false;
        }
        let free = match self.stage {
            Stage::Closed => true,
            Stage::Probing { lost, .. } => now >= lost,
            Stage::Pacing => now >= self.next,
        };
        // Whoever comes new goes behind those that wait.
        free && (self.last < now || place.is_some_and(|place| place <= now))
    }

    /// A place in the queue: when to ask again.
    pub(super) fn queue(&mut self, now: Moment, place: Option<Moment>) -> Moment {
        match place {
            Some(place) if place > now && place >= self.until => place,
            _ => {
                self.last = self.until.max(self.last.saturating_add(STEP)).max(now.saturating_add(STEP));
                self.last
            }
        }
    }

    /// An attempt passed.
    pub(super) fn pass(&mut self, now: Moment, serial: u64, rules: &Rules) {
        match self.stage {
            Stage::Closed | Stage::Probing { .. } => {
                self.stage = Stage::Probing { serial, lost: now.saturating_add(rules.probe) };
            }
            Stage::Pacing => self.next = now.saturating_add(self.pace),
        }
    }

    /// The limit was met by an attempt that began then. `wait` is what the answer named; `guess` what to wait if it named none.
    pub(super) fn meet(&mut self, now: Moment, began: Moment, wait: Option<Duration>, guess: Duration) {
        // What was on its way when the gate closed tells nothing that was not known then, but a longer wait counts.
        let news = self.strikes == 0 || began >= self.since;
        if news {
            self.strikes = self.strikes.saturating_add(1);
            self.pace = if self.strikes == 1 { self.pace.max(FIRST_PACE) } else { self.pace.saturating_mul(2).min(SLOWEST_PACE) };
            self.since = now;
            self.stage = Stage::Closed;
            self.named = wait.is_some();
            self.until = now.saturating_add(wait.unwrap_or(guess));
        } else if let Some(wait) = wait {
            self.named = true;
            self.until = self.until.max(now.saturating_add(wait));
        }
    }

    /// An attempt that began then came through. True if the gate holds nobody any more.
    pub(super) fn came_through(&mut self, now: Moment, began: Moment) -> bool {
        if began < self.since {
            // An attempt from before the limit. A wait that the answer named is kept; one that was only guessed was wrong.
            if !self.named && now < self.until {
                self.until = now;
            }
            return false;
        }
        self.strikes = 0;
        if self.stage != Stage::Pacing {
            self.stage = Stage::Pacing;
            self.next = now;
        }
        self.pace = self.pace.saturating_mul(9) / 10;
        self.pace < QUICKEST_PACE && self.last <= now
    }

    /// The probe ended without telling anything about the limit: the next one is the probe.
    pub(super) fn told_nothing(&mut self, serial: u64) {
        if matches!(self.stage, Stage::Probing { serial: probe, .. } if probe == serial) {
            self.stage = Stage::Closed;
        }
    }
}

impl Ends for Gate {
    fn ends(&self) -> Moment {
        // A minute after its wait the pace is worth nothing either.
        self.until.saturating_add(Duration::from_secs(60))
    }
}
