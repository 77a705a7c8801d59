//! Socket activation: listeners that a service manager opened and passes (sd_listen_fds(3)). It keeps them over a restart, so
//! that whoever connects meanwhile waits instead of being refused.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::config::Config;

/// The listeners that were passed and are not in use yet.
pub(crate) struct Passed(Vec<(SocketAddr, TcpListener)>);

impl Passed {
    /// None.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Those that `LISTEN_FDS` counts. The variables are removed, so that no child takes itself for the one who is meant.
    pub(crate) fn of_environment() -> Result<Self, String> {
        let mut fds = ListenFd::from_env();
        let mut passed = Vec::new();
        for number in 0..fds.len() {
            let told = |e| {
                format!("socket {number} of those that the service manager passed can't be used: {e}; it takes ListenStream=")
            };
            let listener = fds.take_tcp_listener(number).map_err(told)?;
            if let Some(listener) = listener {
                passed.push((listener.local_addr().map_err(told)?, listener));
            }
        }
        Ok(Self(passed))
    }

    /// Whether everything that was passed has its place in the configuration.
    pub(crate) fn check(&self, config: &Config) -> Result<(), String> {
        let settings = &config.settings;
        let listeners: Vec<SocketAddr> = settings.listeners.iter().map(|listener| listener.address).collect();
        let exits = settings.exits.as_ref().map(|door| door.address);
        let cluster = settings.cluster.as_ref().map(|cluster| cluster.address);
        let mut known =
            listeners.into_iter().chain(exits).chain(cluster).chain([config.console.address]).chain(config.console.status);
        match self.0.iter().find(|(address, _)| !known.clone().any(|known| known == *address)) {
            None => Ok(()),
            Some((address, _)) => Err(format!(
                "the service manager passed a socket on {address}, and the configuration has nothing there: \
                 add [[listen]] with address = \"{address}\", or change its ListenStream= to one of {}",
                known.by_ref().map(|known| known.to_string()).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// The one with this address.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.0.iter().position(|(passed, _)| *passed == address)?;
        Some(self.0.remove(at).1)
    }

    /// Those that are left.
    pub(crate) fn into_listeners(self) -> Vec<TcpListener> {
        self.0.into_iter().map(|(_, listener)| listener).collect()
    }
}
