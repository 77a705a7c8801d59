//! Refusals that would be repeated word for word: asked once, remembered for a short time, answered here.

use std::time::Duration;

use outgate_faults::Slug;

use super::kept::Ends;
use super::now::Moment;
use super::rules::Rules;

/// A refusal that was heard.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) slug: Slug,
    pub(super) why: String,
    /// When it is asked again.
    pub(super) until: Moment,
    /// How often in a row it was heard.
    times: u32,
    since: Moment,
    /// The one that asks again, and when it counts as lost.
    asking: Option<(u64, Moment)>,
}

impl Heard {
    pub(super) fn new(slug: Slug) -> Self {
        Self { slug, why: String::new(), until: Moment::ZERO, times: 0, since: Moment::ZERO, asking: None }
    }

    /// Whether the answer is known without asking. When its time is over, one asks and the others are still told.
    pub(super) fn stands(&self, now: Moment) -> bool {
        now < self.until || self.asking.is_some_and(|(_, lost)| now < lost)
    }

    /// When a real attempt may be made again, as far as is known.
    pub(super) fn again(&self) -> Moment {
        self.asking.map_or(self.until, |(_, lost)| lost)
    }

    /// One asks again.
    pub(super) fn ask(&mut self, now: Moment, serial: u64, rules: &Rules) {
        self.asking = Some((serial, now.saturating_add(rules.attempt_timeout)));
    }

    /// The refusal was heard (again) by an attempt that began then.
    pub(super) fn hear(&mut self, now: Moment, began: Moment, slug: Slug, why: &str, wait: Option<Duration>, rules: &Rules) {
        if self.times == 0 || began >= self.since {
            self.times = self.times.saturating_add(1);
            self.since = now;
        }
        self.asking = None;
        self.slug = slug;
        why.clone_into(&mut self.why);
        let doubled = rules.remember.saturating_mul(1_u32.checked_shl(self.times - 1).unwrap_or(u32::MAX));
        let wait = wait.map_or(doubled.min(rules.remember_longest), |wait| wait.min(rules.longest_wait));
        self.until = self.until.max(now.saturating_add(wait));
    }

    /// The one that asked told nothing about it.
    pub(super) fn told_nothing(&mut self, serial: u64) {
        if self.asking.is_some_and(|(asking, _)| asking == serial) {
            self.asking = None;
        }
    }
}

impl Ends for Heard {
    fn ends(&self) -> Moment {
        self.until.saturating_add(Duration::from_secs(60))
    }
}
