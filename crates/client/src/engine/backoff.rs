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

#[cfg(test)]
mod tests {
    use super::{ceiling, wait};
    use crate::engine::Rules;
    use crate::engine::random::Random;
    use std::time::Duration;

    #[test]
    fn it_doubles_up_to_a_minute() {
        let seconds: Vec<u64> = (0..9).map(|made| ceiling(&Rules::default(), made).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(ceiling(&Rules::default(), u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn jitter_is_full() {
        let mut random = Random::new(5);
        let waits: Vec<Duration> = (0..1000).map(|_| wait(&Rules::default(), 3, &mut random)).collect();
        let of = |low: u64, high: u64| waits.iter().filter(|wait| (low..high).contains(&(wait.as_millis() as u64))).count();
        for eighth in 0..8 {
            assert!(of(eighth * 1000, (eighth + 1) * 1000) > 80, "few in second {eighth}");
        }
        assert_eq!(of(0, 8001), 1000);
    }
}
