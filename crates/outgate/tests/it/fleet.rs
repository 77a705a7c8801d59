//! Pools, places, sessions and health with a fleet of exits over real links: what the single exits of the other tests cannot show.
//!
//! [`targeting`] asks a fleet of two hundred for places; [`choosing`] holds tunnels open and counts who carries them;
//! [`sessions`] keeps to exits and loses them; [`chaos`] harms a fleet under load. The fleet is that of `outgate-fleetkit`.

mod chaos;
mod choosing;
mod sessions;
mod targeting;

use outgate_fleetkit::load::Served;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::wire::{Reply, Wire};

use crate::provocations::outputs::connect;

/// A tunnel that must be granted, and who serves it.
async fn tunnel(gateway: &GatewayProcess, modifiers: &str, target: &str) -> (Wire, Served) {
    let (wire, reply) = connect(gateway, modifiers, target).await;
    let served = granted(modifiers, &reply);
    (wire, served)
}

fn granted(modifiers: &str, reply: &Reply) -> Served {
    assert_eq!((reply.status, reply.header("X-Proxy-Error")), (200, None), "{modifiers}: {}", reply.text());
    Served::of(reply).unwrap_or_else(|| panic!("{modifiers}: {reply:?} names no exit"))
}

/// The slug of a fault that was told instead of a tunnel.
async fn refused(gateway: &GatewayProcess, modifiers: &str, target: &str) -> Option<String> {
    let (_wire, reply) = connect(gateway, modifiers, target).await;
    reply.header("X-Proxy-Error").map(str::to_owned)
}
