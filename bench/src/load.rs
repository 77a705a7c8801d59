//! One measurement: the phases all of them share, and the choice among them.

mod bulk;
mod gets;
mod idle;
mod latency;
mod setups;

use std::io::Write;
use std::time::{Duration, Instant};

use crate::cli::LoadLine;
use crate::failure::{During, Failure, Outcome};
use crate::keys::Logins;
use crate::measure::{Measure, Reading};
use crate::process::{self, Usage, Watched};
use crate::route::{Route, origin_addresses};

/// Nothing at all happened for this long: the proxy hangs.
pub(crate) const STALL: Duration = Duration::from_secs(15);
/// How long a wait for readiness may take before the clock is looked at again.
const PATIENCE: Duration = Duration::from_millis(50);

/// Runs one measurement and prints its [`Reading`] as one line of JSON.
pub(crate) fn run(line: &LoadLine) -> Outcome<()> {
    process::end_with_parent().during("asking to end with the parent")?;
    process::pin(line.core)?;
    process::raise_open_files()?;
    let origins = origin_addresses(line.origin);
    let route = match &line.proxy {
        Some(url) => Route::proxy(url, origins)?.logging_in(line.keys.map(Logins::among)),
        None => Route::relay(line.relay.clone(), origins),
    };
    let clock = Clock::new(line.seconds, Watched { pids: line.watch.clone(), core: line.watch_core });
    let reading = match line.measure {
        Measure::Setups => setups::run(&route, line.concurrency, clock)?,
        Measure::Gets => gets::run(&route, line.concurrency, clock)?,
        Measure::Down => bulk::down(&route, line.tunnels.unwrap_or(8), clock)?,
        Measure::Up => bulk::up(&route, line.tunnels.unwrap_or(8), clock)?,
        Measure::Latency => latency::run(&route, line.rate, clock)?,
        Measure::Idle => idle::run(&route, line.tunnels.unwrap_or(2000), &clock.watched)?,
    };
    let reading = serde_json::json!(reading);
    writeln!(std::io::stdout(), "{reading}").during("printing the reading")
}

/// Warm-up, then the measured span, with the watched processes' usage taken at both ends of the latter.
pub(crate) struct Clock {
    watched: Watched,
    span: Duration,
    warm_until: Instant,
    /// Set when the measured span begins.
    begun: Option<Usage>,
    moved: Instant,
    progress: u64,
}

/// What a look at the [`Clock`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tick {
    Steady,
    /// The measured span begins: counters start from zero.
    Begin,
    /// It is over.
    End,
}

impl Clock {
    fn new(seconds: f64, watched: Watched) -> Self {
        let span = Duration::from_secs_f64(seconds);
        let now = Instant::now();
        let warm_up = (span / 5).max(Duration::from_millis(300));
        Self { watched, span, warm_until: now + warm_up, begun: None, moved: now, progress: 0 }
    }

    /// Starts the warm-up anew, for measures that first open tunnels.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.span.as_secs_f64(), self.watched.clone());
    }

    /// To be called once per turn of the event loop with a count that grows while things work.
    pub(crate) fn tick(&mut self, progress: u64) -> Outcome<Tick> {
        let now = Instant::now();
        if progress != self.progress {
            (self.progress, self.moved) = (progress, now);
        } else if now - self.moved > STALL {
            return Err(Failure::new(format!("nothing happened for {} s", STALL.as_secs())));
        }
        match &self.begun {
            None if now >= self.warm_until => {
                self.begun = Some(self.watched.usage()?);
                Ok(Tick::Begin)
            }
            Some(_) if now >= self.warm_until + self.span => Ok(Tick::End),
            _ => Ok(Tick::Steady),
        }
    }

    /// Usage over the measured span; to be called right after [`Tick::End`].
    pub(crate) fn reading(&self) -> Outcome<Reading> {
        let mut reading = Reading::new();
        let now = self.watched.usage()?;
        let begun = self.begun.as_ref().ok_or_else(|| Failure::new("the measured span never began"))?;
        now.since(begun, &mut reading);
        Ok(reading)
    }
}

/// Adds `per_second` and `cpu_us_each` for `count` operations in the span already in `reading`.
fn add_rate(reading: &mut Reading, count: u64) {
    let count_f = count as f64;
    let cpu = reading["cpu_user"] + reading["cpu_system"];
    reading.insert("count".into(), count_f);
    reading.insert("per_second".into(), count_f / reading["seconds"]);
    if count > 0 {
        reading.insert("cpu_us_each".into(), cpu * 1e6 / count_f);
        reading.insert("user_us_each".into(), reading["cpu_user"] * 1e6 / count_f);
    }
}
