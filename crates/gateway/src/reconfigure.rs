//! A changed configuration, put in force under way: what is open goes on as it was begun, what begins next goes by the new one.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use outgate_egress::{Egress, EgressSettings};

use crate::doors::{Bound, ClientDoor};
use crate::gateway::{Command, Gateway};
use crate::settings::{Limits, Settings};

/// What one event loop is told.
pub(crate) struct NewConfiguration {
    pub(crate) settings: Arc<Settings>,
    pub(crate) egress: Egress,
    /// All of its doors from now on.
    pub(crate) doors: Vec<ClientDoor>,
}

/// What a reload did to the listeners.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reconfigured {
    /// Listeners that were opened.
    pub opened: Vec<SocketAddr>,
    /// Listeners that were closed.
    pub closed: Vec<SocketAddr>,
}

impl Gateway {
    /// Puts these settings in force, but for the name, the number of event loops, the pools, the records, the echo target's
    /// certificate and the addresses for exits and other gateways, which stay as they were at the start. Requests and tunnels that are open keep to
    /// the settings that they began under.
    ///
    /// # Errors
    /// A new address can't be listened on, or DNS can't be set up; nothing was changed.
    pub async fn reconfigure(&self, settings: Settings) -> Result<Reconfigured, String> {
        let settings = settings.reloaded_over(&self.settings());
        let mut entrances = self.entrances.lock().await;
        let mut plan = entrances.plan(&settings.listeners)?;
        let bound = entrances.bound_with(&plan);
        let egress = way_out(&settings, &bound);
        let egresses = plan.doors.iter().map(|_| Egress::new(egress.clone())).collect::<Result<Vec<_>, _>>()?;

        // From here on nothing fails.
        let doors = std::mem::take(&mut plan.doors);
        let (opened, closed) = entrances.adopt(&mut plan);
        self.bound(&settings.limits);
        if let Some(cluster) = &settings.cluster {
            self.peers.put(cluster.peers.clone());
        }
        let settings = Arc::new(settings);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings.clone();
        for ((event_loop, egress), doors) in self.event_loops().into_iter().zip(egresses).zip(doors) {
            let new = Box::new(NewConfiguration { settings: settings.clone(), egress, doors });
            let _ended = event_loop.send(Command::Reconfigure(new)).await;
        }
        // An answer to any question says that the order before it was carried out.
        self.in_flight().await;
        Ok(Reconfigured { opened, closed })
    }

    fn bound(&self, limits: &Limits) {
        self.places.bound(limits.connections, limits.connections_per_source);
        self.exit_places.bound(limits.exit_connections, limits.connections_per_source);
        self.load.bound(limits);
    }
}

/// How an event loop gets out; what listens here is not to be dialled.
pub(crate) fn way_out(settings: &Settings, bound: &Bound) -> EgressSettings {
    EgressSettings {
        dns: settings.dns.clone(),
        guard: settings.guard.clone(),
        connect_timeout: settings.timeouts.connect,
        sources: settings.sources.clone(),
        own: bound.listeners.iter().chain(&bound.exits).chain(&bound.cluster).copied().collect(),
    }
}
