//! The retry budget: when much fails, retries must not become most of the load.

use super::now::Moment;
use super::rules::BudgetRules;

/// A bucket of hundredths of a retry: filled by requests and time, emptied by retries.
#[derive(Debug)]
pub(super) struct Budget {
    hundredths: u64,
    seen: Moment,
}

impl Budget {
    pub(super) fn new(rules: &BudgetRules) -> Self {
        Self { hundredths: u64::from(rules.most) * 100, seen: Moment::ZERO }
    }

    /// A request began.
    pub(super) fn earn(&mut self, now: Moment, rules: &BudgetRules) {
        self.fill(now, rules, u64::from(rules.per_request));
    }

    /// Takes one retry out, if there is one.
    pub(super) fn spend(&mut self, now: Moment, rules: &BudgetRules) -> bool {
        self.fill(now, rules, 0);
        match self.hundredths.checked_sub(100) {
            Some(left) => {
                self.hundredths = left;
                true
            }
            None => false,
        }
    }

    fn fill(&mut self, now: Moment, rules: &BudgetRules, more: u64) {
        let millis = u64::try_from(now.saturating_sub(self.seen).as_millis()).unwrap_or(u64::MAX);
        let by_time = millis.saturating_mul(u64::from(rules.per_second)) / 1000;
        if by_time > 0 || more > 0 {
            // Time that earned less than a hundredth is kept for later.
            if by_time > 0 {
                self.seen = self.seen.max(now);
            }
            let most = u64::from(rules.most) * 100;
            self.hundredths = self.hundredths.saturating_add(by_time).saturating_add(more).min(most);
        }
    }
}
