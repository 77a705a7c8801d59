//! How long a request waits of itself: exponential, with full jitter.

use std::time::Duration;

use super::random::Random;
use super::rules::Rules;

/// A wait before the retry that follows `made` earlier ones of its kind: anything from nothing to twice as much as the last time.
pub(super) fn wait(rules: &Rules, made: u32, random: &mut Random) -> Duration {
    random.up_to(ceiling(rules, made))
}

/// The longest that [`wait`] can be.
pub(super) fn ceiling(rules: &Rules, made: u32) -> Duration {
    rules.backoff_first.saturating_mul(1_u32.checked_shl(made).unwrap_or(u32::MAX)).min(rules.backoff_longest)
}
