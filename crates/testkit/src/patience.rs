//! Waiting for a condition, with a guard that only ends a test that hangs.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen anyway. Long enough for a loaded two-core machine: a test that
/// passes never comes near it, so it is no part of what the test measures.
pub const HANG: Duration = Duration::from_secs(30);

/// How long between two looks at a condition that cannot wake anyone, such as a file another process writes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Blocks until `look` finds something.
///
/// # Panics
/// After [`HANG`], saying `what` never came.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < HANG, "waited {HANG:?} in vain for {what}");
        pause();
    }
}

/// Like [`wait_for`], for a test whose own event loop must go on turning meanwhile.
///
/// # Panics
/// After [`HANG`], saying `what` never came.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < HANG, "waited {HANG:?} in vain for {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The output of `future`, which must come.
///
/// # Panics
/// After [`HANG`], saying `what` never came.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {HANG:?} in vain for {what}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that polls: the condition decides, not the pause")]
fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_until_the_condition_holds() {
        let mut looks = 0;
        let found = wait_for("the third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, 3);
    }

    #[tokio::test]
    async fn waits_without_blocking_the_event_loop() {
        let (sender, mut receiver) = tokio::sync::oneshot::channel();
        let (found, ()) = tokio::join!(until("the message", || receiver.try_recv().ok()), async {
            tokio::task::yield_now().await;
            sender.send(7).expect("the receiver is held above");
        });
        assert_eq!(found, 7);
    }
}
