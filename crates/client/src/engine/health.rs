//! How well a proxy did lately.

/// One proxy's recent past.
#[derive(Debug)]
pub(super) struct Health {
    /// Failures since the last success.
    pub(super) in_a_row: u32,
    /// The share of successes, in thousandths, the recent ones counting most.
    share: u32,
    /// When an attempt through it last came through to a target.
    pub(super) well: Option<super::now::Moment>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { in_a_row: 0, share: 1000, well: None }
    }

    pub(super) fn share(&self) -> u32 {
        self.share
    }

    pub(super) fn went_well(&mut self) {
        self.in_a_row = 0;
        self.share = self.share * 9 / 10 + 100;
    }

    pub(super) fn failed(&mut self) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.share = self.share * 9 / 10;
    }
}
