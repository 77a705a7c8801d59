//! The numbers that the engine decides by, each with its origin.

use std::time::Duration;

/// All limits. The defaults are the documented ones.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Retries of each transient class (`now`, `backoff`, `rotate`) that one request may have.
    pub transient: u8,
    /// Retries of class `fix` where a second look can differ.
    pub fix: u8,
    /// Attempts of one request in all, whatever the classes.
    pub attempts: u32,
    /// The first backoff; each further one doubles it.
    pub backoff_first: Duration,
    /// No backoff is longer.
    pub backoff_longest: Duration,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How long a deterministic refusal is remembered; confirmed again, twice as long.
    pub remember: Duration,
    /// No refusal is remembered longer than this without being asked again.
    pub remember_longest: Duration,
    /// A wait that an answer names counts up to here; beyond, it is nonsense or an outage.
    pub longest_wait: Duration,
    /// How long an exit that a target refuses is not used for it.
    pub ban: Duration,
    /// The retry budget.
    pub budget: BudgetRules,
    /// The circuit breaker of each domain.
    pub breaker: BreakerRules,
    /// Failures of one proxy in a row, without a success, that hold it; and answers 503 of one domain that name no wait.
    pub in_a_row: u32,
    /// The first hold of a proxy that failed so often; doubled by each probe that fails.
    pub hold: Duration,
    /// The longest hold of a proxy.
    pub hold_longest: Duration,
    /// How long the others wait for the first one after a limit. A refusal comes quickly: one that took longer got in.
    pub probe: Duration,
    /// Whether and when slow attempts get a second one beside them.
    pub hedging: Hedging,
    /// How many domains, targets, sessions and refusals are kept in mind of each kind.
    pub most_kept: usize,
}

/// The retry budget: a bucket that requests fill and retries empty.
#[derive(Clone, Debug)]
pub struct BudgetRules {
    /// What each request adds, in hundredths of a retry.
    pub per_request: u32,
    /// What each second adds, in hundredths of a retry.
    pub per_second: u32,
    /// How many retries the bucket holds.
    pub most: u32,
}

/// When a domain's circuit opens and closes.
#[derive(Clone, Debug)]
pub struct BreakerRules {
    /// The window over which requests are counted.
    pub window: Duration,
    /// It opens above this share of failed requests, in hundredths.
    pub share: u32,
    /// Below so many requests in the window it stays closed.
    pub samples: u32,
    /// How long it is open before one probe is let through; doubled by each probe that fails.
    pub cooldown: Duration,
    /// The longest cooldown.
    pub cooldown_longest: Duration,
}

/// Whether slow attempts get a second one beside them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hedging {
    /// No.
    Off,
    /// After this time, for requests that are safe to repeat, out of the retry budget.
    After(Duration),
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            transient: 3,
            fix: 1,
            attempts: 8,
            backoff_first: Duration::from_secs(1),
            backoff_longest: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(60),
            remember: Duration::from_secs(60),
            remember_longest: Duration::from_secs(600),
            longest_wait: Duration::from_secs(3600),
            ban: Duration::from_secs(600),
            budget: BudgetRules { per_request: 60, per_second: 1000, most: 200 },
            breaker: BreakerRules {
                window: Duration::from_secs(300),
                share: 30,
                samples: 20,
                cooldown: Duration::from_secs(5),
                cooldown_longest: Duration::from_secs(300),
            },
            in_a_row: 5,
            hold: Duration::from_millis(500),
            hold_longest: Duration::from_secs(30),
            probe: Duration::from_secs(1),
            hedging: Hedging::Off,
            most_kept: 10_000,
        }
    }
}
