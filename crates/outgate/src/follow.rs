//! Follows the ledger: what other gateways change in a shared one is in force here within a second.

use std::sync::Arc;
use std::time::Duration;

use outgate_console::{Desk, Followed};

/// How long after a failure the ledger is asked again: still within the second that a change may take.
const AGAIN: Duration = Duration::from_millis(500);

/// Follows for as long as the gateway runs. Never ends.
pub(crate) async fn follow(desk: Arc<Desk>) {
    let mut lost = false;
    loop {
        desk.changed().await;
        match desk.follow().await {
            Ok(followed) => {
                if std::mem::take(&mut lost) {
                    tracing::info!("the ledger is followed again");
                }
                match followed {
                    Followed::Changes(0) => {}
                    Followed::Changes(count) => tracing::debug!(count, "took over changes of other gateways"),
                    Followed::Whole(differs) => tracing::info!(%differs, "read the ledger whole: too much of it was changed"),
                }
            }
            Err(error) => {
                // Once for an outage, not once for each half second of it.
                if !std::mem::replace(&mut lost, true) {
                    tracing::warn!(%error, "the ledger can't be followed: changes made through other gateways are not known here");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
