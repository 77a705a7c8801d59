//! The newest stretches of time, and what they say together about one scope.

use std::collections::VecDeque;
use std::time::Duration;

use outgate_meter::{Country, Histogram};

use crate::history::Grain;
use crate::rules::Rules;
use crate::slice::{Counts, Series, Slice};

/// The newest slices of ten seconds each, newest last.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slices: VecDeque<Slice>,
}

/// A window is made longer until it has so many times the samples that are the least: a few failures together (an exit that is
/// lost with its tunnels) must not make up a window.
const AMPLE: u64 = 4;

/// How far back a value is taken from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// At least so many slices.
    least: usize,
    /// At most so many.
    most: usize,
    /// More than the least only while there are fewer samples.
    samples: u64,
}

impl Reach {
    /// As the rules say.
    pub(crate) fn of(rules: &Rules) -> Self {
        Self::over(rules.window, rules)
    }

    /// For what is compared with the usual.
    pub(crate) fn of_jumps(rules: &Rules) -> Self {
        Self::over(rules.window.max(Rules::JUMP_WINDOW), rules)
    }

    /// For what is well again: as few as say something.
    pub(crate) fn of_newest(rules: &Rules) -> Self {
        Self { samples: rules.samples, ..Self::of(rules) }
    }

    fn over(window: Duration, rules: &Rules) -> Self {
        Self { least: slices(window), most: slices(rules.look_back.max(window)), samples: rules.samples * AMPLE }
    }
}

fn slices(span: Duration) -> usize {
    (span.as_secs() / Grain::TenSeconds.seconds().unsigned_abs()).max(1) as usize
}

impl Window {
    /// Adds the newest slice; what is farther back than anybody looks goes.
    pub(crate) fn push(&mut self, slice: Slice, rules: &Rules) {
        self.slices.push_back(slice);
        while self.slices.len() > Reach::of_jumps(rules).most {
            self.slices.pop_front();
        }
    }

    /// Forgets everything: the clock was set.
    pub(crate) fn clear(&mut self) {
        self.slices.clear();
    }

    /// The newest slice.
    pub(crate) fn newest(&self) -> Option<&Slice> {
        self.slices.back()
    }

    /// All slices of the least reach as one.
    pub(crate) fn least(&self, reach: Reach) -> Slice {
        let mut all = Slice::default();
        self.slices.iter().rev().take(reach.least).for_each(|slice| all.merge(slice));
        all
    }

    /// Every scope that something happened in: pools, and pools with countries.
    pub(crate) fn scopes(&self) -> (Vec<String>, Vec<(String, Country)>) {
        let mut pools: Vec<String> = self.slices.iter().flat_map(|s| s.pools.keys().map(|p| p.to_string())).collect();
        pools.sort_unstable();
        pools.dedup();
        let countries = self.slices.iter().flat_map(|s| s.countries.keys().map(|(pool, country)| (pool.to_string(), *country)));
        let mut countries: Vec<(String, Country)> = countries.collect();
        countries.sort_unstable();
        countries.dedup();
        (pools, countries)
    }

    /// What became of requests, over as many slices as needed.
    pub(crate) fn series(&self, reach: Reach, of: impl Fn(&Slice) -> Option<&Series>) -> Series {
        self.gather(
            reach,
            Series::default(),
            |sum, slice| of(slice).into_iter().for_each(|one| sum.merge(one)),
            |sum| sum.counts.asked(),
        )
    }

    /// Counts, over as many slices as needed.
    pub(crate) fn counts(&self, reach: Reach, of: impl Fn(&Slice) -> Option<&Counts>) -> Counts {
        self.gather(reach, Counts::default(), |sum, slice| of(slice).into_iter().for_each(|one| sum.merge(one)), Counts::asked)
    }

    /// A distribution, over as many slices as needed.
    pub(crate) fn histogram(&self, reach: Reach, of: impl Fn(&Slice) -> &Histogram) -> Histogram {
        self.gather(reach, Histogram::default(), |sum, slice| sum.merge(of(slice)), Histogram::count)
    }

    fn gather<T>(&self, reach: Reach, mut sum: T, add: impl Fn(&mut T, &Slice), samples: impl Fn(&T) -> u64) -> T {
        for (number, slice) in self.slices.iter().rev().take(reach.most).enumerate() {
            if number >= reach.least && samples(&sum) >= reach.samples {
                break;
            }
            add(&mut sum, slice);
        }
        sum
    }
}
