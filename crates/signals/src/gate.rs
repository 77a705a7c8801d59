//! Raises and clears one signal so that it doesn't flap: raised when several of the last looks found it, cleared when it was well
//! below its threshold for a while.

use std::time::Duration;

use jiff::Timestamp;

use crate::rules::Raise;
use crate::signal::State;

/// The state of one signal between looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// One bit per look, the newest lowest: whether it was over the threshold.
    recent: u32,
    /// When the looks that are in `recent` began to be over it.
    began: Option<Timestamp>,
    /// Since when it is below the lower bound.
    below: Option<Timestamp>,
    raised: bool,
    /// The last change between raised and not.
    pub(crate) since: Option<Timestamp>,
}

/// What one look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Over the threshold.
    Over,
    /// Between the lower bound and the threshold.
    Between,
    /// Below the lower bound, or nothing to measure.
    Below,
}

/// A change of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Edge {
    /// It is raised; it had been over its threshold since then.
    Raised(Timestamp),
    /// It is cleared.
    Cleared,
}

impl Gate {
    /// One that was raised before this run began.
    pub(crate) fn raised_since(since: Timestamp) -> Self {
        Self { raised: true, since: Some(since), ..Self::default() }
    }

    /// Takes in a look.
    pub(crate) fn look(&mut self, now: Timestamp, found: Found, raise: Raise, clear_after: Duration) -> Option<Edge> {
        let mask = u32::MAX >> (32 - raise.of.clamp(1, 32));
        self.recent = (self.recent << 1 | u32::from(found == Found::Over)) & mask;
        self.began = if self.recent == 0 { None } else { self.began.or(Some(now)) };
        if !self.raised {
            if self.recent.count_ones() < raise.times.clamp(1, raise.of.clamp(1, 32)) {
                return None;
            }
            (self.raised, self.since, self.below) = (true, Some(now), None);
            return Some(Edge::Raised(self.began.unwrap_or(now)));
        }
        match found {
            Found::Below => {
                let since = *self.below.get_or_insert(now);
                // The look itself spans the time before it.
                if now.duration_since(since).unsigned_abs() < clear_after {
                    return None;
                }
                *self = Self { since: Some(now), ..Self::default() };
                Some(Edge::Cleared)
            }
            Found::Over | Found::Between => {
                self.below = None;
                None
            }
        }
    }

    /// How it stands, when the last look had something to measure or not.
    pub(crate) fn state(&self, measured: bool) -> State {
        match (self.raised, self.below, self.recent, measured) {
            (true, None, _, _) => State::Raised,
            (true, Some(_), _, _) => State::Clearing,
            (false, _, _, false) => State::Unknown,
            (false, _, 0, true) => State::Fine,
            (false, _, _, true) => State::Pending,
        }
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        !self.raised && self.recent == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAISE: Raise = Raise { times: 2, of: 3 };
    const CLEAR: Duration = Duration::from_secs(30);

    /// Looks every ten seconds; what came of each.
    fn play(looks: &str) -> String {
        let mut gate = Gate::default();
        let mut told = String::new();
        for (number, look) in looks.chars().enumerate() {
            let now = Timestamp::from_second(number as i64 * 10).unwrap();
            let found = match look {
                'o' => Found::Over,
                '-' => Found::Between,
                _ => Found::Below,
            };
            told.push(match gate.look(now, found, RAISE, CLEAR) {
                Some(Edge::Raised(began)) => {
                    assert!(began < now, "two looks at least");
                    'R'
                }
                Some(Edge::Cleared) => 'C',
                None => match gate.state(true) {
                    State::Raised => 'r',
                    State::Clearing => 'c',
                    State::Pending => 'p',
                    _ => '.',
                },
            });
        }
        told
    }

    #[test]
    fn raised_by_several_looks_and_cleared_by_calm() {
        let table = [
            ("______", "......"),
            // Once is not enough, nor is twice far apart.
            ("o___o___", "ppp.ppp."),
            ("oo", "pR"),
            ("o_o", "ppR"),
            // Just below the threshold is not calm.
            ("oo----------", "pRrrrrrrrrrr"),
            ("oo____", "pRcccC"),
            // Calm that is interrupted begins anew.
            ("oo__-____", "pRccrcccC"),
            ("oo__o____", "pRccrcccC"),
            // What was cleared is raised by new looks only.
            ("oo____o_oo", "pRcccCppRr"),
        ];
        for (looks, expected) in table {
            assert_eq!(play(looks), expected, "{looks}");
        }
    }
}
