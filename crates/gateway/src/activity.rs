//! What one event loop has in hand: whether it would cut somebody short by ending now.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// After this long without a sign of them, connections have nothing on its way to us: a client that is about to send its next
/// request on a connection has done so, and one that has just connected has asked.
const QUIET: Duration = Duration::from_millis(250);

/// What is in hand.
pub(crate) struct Activity {
    open: Cell<usize>,
    last: Cell<Instant>,
}

/// Something in hand; it counts until it drops.
pub(crate) struct InHand(Rc<Activity>);

impl Activity {
    pub(crate) fn new() -> Self {
        Self { open: Cell::new(0), last: Cell::new(Instant::now()) }
    }

    /// Notes that a client showed itself.
    pub(crate) fn stir(&self) {
        self.last.set(Instant::now());
    }

    /// Counts a request, or a handshake.
    pub(crate) fn begin(self: &Rc<Self>) -> InHand {
        self.stir();
        self.open.set(self.open.get() + 1);
        InHand(self.clone())
    }

    /// How much there is; one more while the last of it is not over for [`QUIET`].
    pub(crate) fn busy(&self) -> usize {
        self.open.get() + usize::from(self.last.get().elapsed() < QUIET)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.stir();
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_counts_and_so_does_its_echo() {
        let activity = Rc::new(Activity::new());
        let (one, other) = (activity.begin(), activity.begin());
        assert_eq!(activity.busy(), 3);
        drop((one, other));
        assert_eq!(activity.busy(), 1);
        activity.last.set(Instant::now() - QUIET);
        assert_eq!(activity.busy(), 0);
    }
}
