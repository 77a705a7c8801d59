//! Counts outcomes: one counter per slug of the catalogue, and one for what went well.

use std::sync::atomic::{AtomicU64, Ordering};

use outgate_faults::Slug;

/// The counters. The label of each is the slug itself.
pub struct Tally {
    well: AtomicU64,
    faults: Vec<AtomicU64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { well: AtomicU64::new(0), faults: (0..Slug::COUNT).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(crate) fn count(&self, outcome: Option<Slug>) {
        let counter = outcome.map_or(&self.well, |slug| &self.faults[slug.index()]);
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that went well, then every slug that occurred, with its count.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let faults = Slug::ALL.iter().map(|slug| (slug.name(), self.faults[slug.index()].load(Ordering::Relaxed)));
        std::iter::once(("ok", self.well.load(Ordering::Relaxed))).chain(faults.filter(|(_, count)| *count > 0))
    }
}
