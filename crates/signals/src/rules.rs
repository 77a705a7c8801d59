//! From when on something is a signal, and until when: the thresholds, windows and hysteresis.

use std::collections::BTreeMap;
use std::time::Duration;

/// The rules. Shares are from 0 to 1.
///
/// The thresholds of time, queue and name resolution are those that document 004 gives as risk indicators; the others are
/// ours, and the comment says why.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// The mean time until an answer that is too long: 2 s.
    pub mean: Duration,
    /// The 99th percentile of it that is too long: 5 s.
    pub p99: Duration,
    /// The share of a bound (connections, requests in flight) that is too near to it: 80 %.
    pub queue: f64,
    /// The median name resolution that is too long: 200 ms.
    pub dns: Duration,
    /// The median TLS handshake with clients that is too long: 500 ms.
    pub tls: Duration,
    /// The share of requests that fail by no fault of their sender's that is too large: 5 %. The case in document 004 was 12 %;
    /// public targets through phones at home fail at 1 to 2 % on a good day.
    pub errors: f64,
    /// How many times the same hour's usual value is a jump: 3.
    pub jump: f64,
    /// How far back a value is taken from: 40 s, and farther while there are fewer than four times `samples`. Long enough that ten bad seconds
    /// stay below the threshold, short enough that it is told within a minute. What is compared with the usual is from
    /// [`Rules::JUMP_WINDOW`].
    pub window: Duration,
    /// Up to how far back samples are looked for: 15 min.
    pub look_back: Duration,
    /// Fewer requests than this say nothing: 50.
    pub samples: u64,
    /// Raised when so many of the last looks (one each 10 s) found it.
    pub raise: Raise,
    /// Cleared when it was well below its threshold for so long: 3 min.
    pub clear_after: Duration,
    /// Pools whose error rate has a threshold of its own.
    pub pools: BTreeMap<String, f64>,
    /// How long incidents are kept: 90 days.
    pub keep: Duration,
}

/// `times` of the last `of` looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raise {
    /// How many must have found it.
    pub times: u32,
    /// Of how many; at most 32.
    pub of: u32,
}

impl Rules {
    /// How far back a value is taken from that is compared with what is usual: a jump is something that lasts.
    pub const JUMP_WINDOW: Duration = Duration::from_secs(300);
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mean: Duration::from_secs(2),
            p99: Duration::from_secs(5),
            queue: 0.8,
            dns: Duration::from_millis(200),
            tls: Duration::from_millis(500),
            errors: 0.05,
            jump: 3.0,
            window: Duration::from_secs(40),
            look_back: Duration::from_secs(15 * 60),
            samples: 50,
            raise: Raise { times: 2, of: 3 },
            clear_after: Duration::from_secs(3 * 60),
            pools: BTreeMap::new(),
            keep: Duration::from_secs(90 * 86_400),
        }
    }
}
