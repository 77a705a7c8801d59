//! What the console's pages look at, taken from the running gateway.

use std::sync::Arc;

use outgate_console::Sight;
use outgate_gateway::Running;
use outgate_gateway::settings::Settings;

/// What a gateway's pages see. `settings` are those that it was started with.
pub(crate) fn sight(running: &Running, settings: &Settings) -> Arc<Sight> {
    let gateway = running.gateway.clone();
    let listeners = settings.listeners.iter().zip(&running.bound.listeners);
    let proxies = listeners.map(|(listener, address)| {
        let scheme = match (&listener.tls, listener.protocols.http) {
            (Some(_), _) => "https",
            (None, true) => "http",
            (None, false) => "socks5h",
        };
        format!("{scheme}://{address}")
    });
    Arc::new(Sight { name: settings.name.clone(), gauges: Box::new(move || gateway.gauges()), proxies: proxies.collect() })
}
