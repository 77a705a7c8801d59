//! How a number of requests ended, and what they carried.

use outgate_faults::{Layer, Slug};

use crate::ended::Ended;

/// How a number of requests ended, and what they carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that went well, as far as it was ours: the target's own answer may have been an error.
    pub well: u64,
    /// Those that did not, by slug, in the catalogue's order; none is zero.
    pub faults: Vec<(Slug, u64)>,
    /// By the first digit of the status that the client got; none at first: it got no status.
    pub statuses: [u64; 6],
    /// Payload from clients, in bytes.
    pub bytes_up: u64,
    /// Payload to clients, in bytes.
    pub bytes_down: u64,
    /// How often a way out was tried.
    pub attempts: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, ended: &Ended<'_>) {
        match ended.slug {
            None => self.well += 1,
            Some(slug) => self.put(slug, 1),
        }
        let digit = ended.status.map_or(0, |status| usize::from(status / 100));
        self.statuses[if digit < 6 { digit } else { 0 }] += 1;
        self.bytes_up += ended.bytes_up;
        self.bytes_down += ended.bytes_down;
        self.attempts += u64::from(ended.attempts);
    }

    fn put(&mut self, slug: Slug, more: u64) {
        match self.faults.binary_search_by_key(&slug, |(slug, _)| *slug) {
            Ok(at) => self.faults[at].1 += more,
            Err(at) => self.faults.insert(at, (slug, more)),
        }
    }

    /// How many there were.
    pub fn requests(&self) -> u64 {
        self.well + self.failed()
    }

    /// How many had a fault.
    pub fn failed(&self) -> u64 {
        self.faults.iter().map(|(_, count)| count).sum()
    }

    /// How many had this fault.
    pub fn of(&self, slug: Slug) -> u64 {
        self.faults.iter().find(|(other, _)| *other == slug).map_or(0, |(_, count)| *count)
    }

    /// How many had a fault of this layer.
    pub fn of_layer(&self, layer: Layer) -> u64 {
        self.faults.iter().filter(|(slug, _)| slug.row().layer == layer).map(|(_, count)| count).sum()
    }

    /// How many had a fault whose status in the default dialect is of this class: `5` for 500 to 599. Whichever protocol and
    /// dialect the client spoke, and whether it could still be told.
    pub fn of_class(&self, class: u16) -> u64 {
        self.faults.iter().filter(|(slug, _)| slug.row().status / 100 == class).map(|(_, count)| count).sum()
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Tally) {
        self.well += other.well;
        other.faults.iter().for_each(|(slug, count)| self.put(*slug, *count));
        self.statuses.iter_mut().zip(other.statuses).for_each(|(here, there)| *here += there);
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.attempts += other.attempts;
    }

    /// What was counted since `earlier`, an older state of the same tally.
    pub fn since(&self, earlier: &Tally) -> Tally {
        let fewer = self.faults.iter().map(|(slug, count)| (*slug, count.saturating_sub(earlier.of(*slug))));
        let mut statuses = self.statuses;
        statuses.iter_mut().zip(earlier.statuses).for_each(|(now, before)| *now = now.saturating_sub(before));
        Tally {
            well: self.well.saturating_sub(earlier.well),
            faults: fewer.filter(|(_, count)| *count > 0).collect(),
            statuses,
            bytes_up: self.bytes_up.saturating_sub(earlier.bytes_up),
            bytes_down: self.bytes_down.saturating_sub(earlier.bytes_down),
            attempts: self.attempts.saturating_sub(earlier.attempts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(slug: Option<Slug>, status: Option<u16>) -> Ended<'static> {
        Ended { slug, status, bytes_up: 3, bytes_down: 5, attempts: 2, ..Ended::default() }
    }

    #[test]
    fn outcomes_are_told_apart_by_slug_layer_and_class() {
        let mut tally = Tally::default();
        tally.count(&ended(None, Some(200)));
        tally.count(&ended(Some(Slug::DnsFailed), Some(502)));
        tally.count(&ended(Some(Slug::DnsFailed), None));
        tally.count(&ended(Some(Slug::PortDenied), Some(403)));
        tally.count(&ended(None, Some(999)));
        assert_eq!((tally.requests(), tally.failed(), tally.of(Slug::DnsFailed)), (5, 3, 2));
        assert_eq!((tally.of_layer(Layer::Target), tally.of_layer(Layer::Policy), tally.of_layer(Layer::Exit)), (2, 1, 0));
        assert_eq!((tally.of_class(5), tally.of_class(4)), (2, 1));
        assert_eq!(tally.statuses, [2, 0, 1, 0, 1, 1]);
        assert_eq!((tally.bytes_up, tally.bytes_down, tally.attempts), (15, 25, 10));
    }

    #[test]
    fn merging_and_subtracting_undo_each_other() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.count(&ended(Some(Slug::TargetRefused), Some(502)));
        other.count(&ended(Some(Slug::MalformedRequest), Some(400)));
        other.count(&ended(None, Some(200)));
        let before = one.clone();
        one.merge(&other);
        assert_eq!(one.since(&before), other);
        assert_eq!(one.since(&other), before);
    }
}
