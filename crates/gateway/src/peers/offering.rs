//! Tells another gateway of the exits that are linked here: all of them first, then whatever changes.

use std::collections::HashSet;

use outgate_fleet::Offered;
use outgate_link::{Link, News, Offer, Standing};
use outgate_store::ExitId;

use crate::fleet::Fleet;

/// Tells until the link is over.
pub(super) async fn offer(fleet: &Fleet, link: &Link) {
    // Before the first look, so that nothing falls between the two.
    let watch = fleet.changes.watch();
    let mut told: HashSet<ExitId> = HashSet::new();
    let mut due: HashSet<ExitId> = fleet.own_exits().into_iter().collect();
    loop {
        for exit in due {
            let news = match describe(fleet, &exit) {
                Some(offer) => {
                    told.insert(exit);
                    News::Offer(offer)
                }
                None if told.remove(&exit) => News::Withdraw(exit.to_string()),
                None => continue,
            };
            if !link.tell(&news).await {
                return;
            }
        }
        due = watch.changed().await;
    }
}

fn describe(fleet: &Fleet, exit: &ExitId) -> Option<Offer> {
    let own = fleet.own(exit)?;
    let oldest = own.links.iter().min_by_key(|online| online.since)?;
    Some(Offer {
        exit: exit.to_string(),
        pool: own.pool.to_string(),
        country: own.labels.country.map(|country| country.to_string()),
        state: own.labels.state,
        city: own.labels.city,
        asn: own.labels.asn,
        carrier: own.labels.carrier,
        weight: own.weight,
        max_tunnels: own.max_tunnels,
        standing: match own.offered {
            Offered::Usable => Standing::Usable,
            Offered::Aside => Standing::Aside,
            Offered::Draining => Standing::Draining,
            Offered::No => return None,
        },
        agent: oldest.agent.clone(),
        since: oldest.since.as_second(),
    })
}
