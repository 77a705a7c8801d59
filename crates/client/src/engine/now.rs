//! The time, as a parameter: nothing in the engine looks at a clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A moment on the engine's clock: monotonic, counted from a start that the caller chose.
pub type Moment = Duration;

/// What time it is. Decisions use `clock`, the log of attempts and HTTP dates use `wall`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic: a jump of the system's time does not shorten or stretch a wait.
    pub clock: Moment,
    /// UTC.
    pub wall: Timestamp,
}

/// A clock for shells that run in real time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins at zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        Now { clock: self.start.elapsed(), wall: Timestamp::now() }
    }

    /// The moment as an instant that a timer takes.
    pub fn instant(&self, moment: Moment) -> Instant {
        // A moment that no `Instant` can hold is farther away than any process lives: a day stands for it.
        self.start.checked_add(moment).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }

    /// The instant as a moment; one before the start is the start.
    pub fn moment(&self, instant: Instant) -> Moment {
        instant.saturating_duration_since(self.start)
    }
}
