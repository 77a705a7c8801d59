//! A domain's circuit: closed, open, or being probed.
//!
//! Counted are requests, not attempts: one that failed through an exit and then went well through another tells something about
//! the exit. A request counts as failed when it ends so. That is slow where nothing gets through at all, so the circuit also
//! opens when as many attempts as make a sample failed one after the other.

use std::time::Duration;

use outgate_faults::Slug;

use super::kept::Ends;
use super::now::Moment;
use super::rules::BreakerRules;

/// Into how many parts the window is cut; the oldest is forgotten whole.
const PARTS: u32 = 10;

/// What is known about a domain.
#[derive(Debug)]
pub(super) struct Circuit {
    parts: Vec<Part>,
    /// Attempts that failed since the last that went well.
    run: u32,
    state: State,
    /// The next cooldown.
    cooldown: Duration,
    seen: Moment,
    pub(super) slug: Option<Slug>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    number: u128,
    requests: u32,
    failed: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Open { until: Moment },
    Probing { serial: u64, lost: Moment },
}

/// What a circuit says to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Says {
    /// Go on.
    Pass,
    /// Go on as the probe.
    Probe,
    /// No, until then.
    No(Moment),
}

impl Circuit {
    pub(super) fn new(rules: &BreakerRules) -> Self {
        Self { parts: Vec::new(), run: 0, state: State::Closed, cooldown: rules.cooldown, seen: Moment::ZERO, slug: None }
    }

    /// Whether a request may go.
    pub(super) fn says(&self, now: Moment) -> Says {
        match self.state {
            State::Closed => Says::Pass,
            State::Open { until } if now < until => Says::No(until),
            State::Probing { lost, .. } if now < lost => Says::No(lost),
            State::Open { .. } | State::Probing { .. } => Says::Probe,
        }
    }

    /// Whether it opened and no probe has failed yet.
    pub(super) fn just_opened(&self, rules: &BreakerRules) -> bool {
        self.cooldown <= rules.cooldown.saturating_mul(2)
    }

    /// An attempt goes as the probe.
    pub(super) fn probe(&mut self, now: Moment, serial: u64, patience: Duration) {
        self.state = State::Probing { serial, lost: now.saturating_add(patience) };
    }

    /// An attempt reached the target and got what counts as an answer.
    pub(super) fn answered(&mut self, now: Moment, serial: u64, rules: &BreakerRules) {
        self.seen = now;
        self.run = 0;
        match self.state {
            State::Closed => {}
            // One from before the circuit opened is no probe: the many that failed weigh more.
            State::Open { .. } => {}
            State::Probing { serial: probe, .. } if probe == serial => {
                self.state = State::Closed;
                self.cooldown = rules.cooldown;
                self.parts.clear();
            }
            State::Probing { .. } => {}
        }
    }

    /// An attempt failed on the target's side.
    pub(super) fn failed(&mut self, now: Moment, serial: u64, slug: Slug, rules: &BreakerRules) {
        self.seen = now;
        self.run = self.run.saturating_add(1);
        match self.state {
            State::Closed if self.run >= rules.samples => self.open(now, slug, rules),
            State::Probing { serial: probe, .. } if probe == serial => self.open(now, slug, rules),
            State::Closed | State::Open { .. } | State::Probing { .. } => {}
        }
    }

    /// A probe ended without telling anything about the target.
    pub(super) fn told_nothing(&mut self, now: Moment, serial: u64) {
        if matches!(self.state, State::Probing { serial: probe, .. } if probe == serial) {
            self.state = State::Open { until: now };
        }
    }

    /// A request ended.
    pub(super) fn ended(&mut self, now: Moment, failed: Option<Slug>, rules: &BreakerRules) {
        self.seen = now;
        let part = (rules.window / PARTS).as_nanos().max(1);
        let number = now.as_nanos() / part;
        self.parts.retain(|part| part.number + u128::from(PARTS) > number);
        if self.parts.last().is_none_or(|last| last.number != number) {
            self.parts.push(Part { number, requests: 0, failed: 0 });
        }
        if let Some(last) = self.parts.last_mut() {
            last.requests = last.requests.saturating_add(1);
            last.failed = last.failed.saturating_add(u32::from(failed.is_some()));
        }
        let (requests, fails) = self
            .parts
            .iter()
            .fold((0_u64, 0_u64), |(all, bad), part| (all + u64::from(part.requests), bad + u64::from(part.failed)));
        let over = requests >= u64::from(rules.samples) && fails * 100 > requests * u64::from(rules.share);
        if let (Some(slug), State::Closed, true) = (failed, self.state, over) {
            self.open(now, slug, rules);
        }
    }

    fn open(&mut self, now: Moment, slug: Slug, rules: &BreakerRules) {
        self.state = State::Open { until: now.saturating_add(self.cooldown) };
        self.cooldown = self.cooldown.saturating_mul(2).min(rules.cooldown_longest);
        self.slug = Some(slug);
        self.run = 0;
        self.parts.clear();
    }
}

impl Ends for Circuit {
    fn ends(&self) -> Moment {
        let open = match self.state {
            State::Closed => Moment::ZERO,
            State::Open { until } => until,
            State::Probing { lost, .. } => lost,
        };
        // Longer than any window or cooldown that makes sense: an hour without a word.
        self.seen.max(open).saturating_add(Duration::from_secs(3600))
    }
}
