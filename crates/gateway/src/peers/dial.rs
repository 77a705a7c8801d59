//! Dials another gateway, again and again, and offers it the exits that are linked here.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outgate_link::shell::{self, HandshakeError, Joined};
use outgate_link::upgrade::{UpgradeError, ask_known_link};
use outgate_link::words::VERSION;
use outgate_link::{Hello, Limits};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PATH;
use super::offering::offer;
use super::serve::serve;
use crate::core::Core;
use crate::settings::PeerAddress;

/// From dialing to a welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The wait before another attempt is drawn from below this, which doubles …
const LEAST: Duration = Duration::from_millis(250);
/// … up to this: a gateway that is back should not wait long for its neighbours' exits.
const MOST: Duration = Duration::from_secs(5);
/// A link that lasted this long starts the waits anew.
const STABLE: Duration = Duration::from_secs(10);

/// Keeps one link up for as long as the peer is wanted.
pub(super) async fn keep_link(core: Rc<Core>, peer: PeerAddress) {
    let mut failures = 0;
    let mut told = String::new();
    while core.gateway.peers.wants(&peer) {
        let linked = timeout(HANDSHAKE, link(&core, &peer)).await;
        match linked.unwrap_or_else(|_| Err(format!("no answer within {} s", HANDSHAKE.as_secs()))) {
            Ok(joined) => {
                told.clear();
                let since = Instant::now();
                carry(&core, joined, &peer).await;
                if since.elapsed() >= STABLE {
                    failures = 0;
                }
            }
            // A peer that is down for hours is told once.
            Err(why) if why == told => tracing::debug!(%peer, why, "no link to the gateway"),
            Err(why) => {
                tracing::warn!(%peer, why, "no link to the gateway: it can't use the exits that are linked here");
                told = why;
            }
        }
        sleep(back_off(&core, failures)).await;
        failures = failures.saturating_add(1);
    }
    tracing::info!(%peer, "no longer dialed");
}

async fn link(core: &Core, peer: &PeerAddress) -> Result<Joined<TlsStream<TcpStream>>, String> {
    let settings = core.settings();
    let cluster = settings.cluster.as_ref().ok_or("there is no [cluster]")?;
    let name = ServerName::try_from(peer.host.clone()).map_err(|_| "the host is no name that a certificate could carry")?;
    let tcp = TcpStream::connect((peer.host.as_str(), peer.port)).await.map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let connecting = TlsConnector::from(cluster.client.clone()).connect(name, tcp);
    let mut stream = connecting.await.map_err(|error| explain(&error))?;
    let behind = ask_known_link(&mut stream, &peer.to_string(), PATH).await.map_err(|error| match &error {
        UpgradeError::Io(error) => explain(error),
        UpgradeError::Malformed(_) | UpgradeError::Tls | UpgradeError::Refused { .. } => error.to_string(),
    })?;
    let most = settings.limits.tunnels_per_link;
    let hello = Hello {
        version: VERSION,
        agent: concat!("outgate/", env!("CARGO_PKG_VERSION")).to_owned(),
        max_tunnels: u32::try_from(most).unwrap_or(u32::MAX),
        gateway: Some(settings.name.clone()),
        ..Hello::default()
    };
    let limits = Limits { max_tunnels: most, ..Limits::default() };
    shell::join(stream, behind, &hello, limits).await.map_err(|error| match error {
        HandshakeError::Goodbye(why) => why.text,
        HandshakeError::Io(_) | HandshakeError::Protocol(_) => error.to_string(),
    })
}

/// Serves a link to its end.
async fn carry(core: &Rc<Core>, joined: Joined<TlsStream<TcpStream>>, peer: &PeerAddress) {
    let Joined { welcome, link, incoming, driver } = joined;
    let gateway: Arc<str> = welcome.gateway.into();
    tracing::info!(%peer, %gateway, "linked to the gateway");
    let _up = core.gateway.peers.up(&link);
    if core.gateway.drain.has_begun() {
        link.drain();
    }
    let offering = async {
        tokio::select! {
            () = offer(&core.gateway.fleet, &link) => {}
            // Nothing may have changed for hours.
            _ = link.closed() => {}
        }
    };
    // All end with the link.
    let (end, (), ()) = tokio::join!(driver.run(), serve(core.clone(), incoming, gateway.clone()), offering);
    tracing::warn!(%peer, %gateway, %end, "the link to the gateway is over");
}

/// What went wrong with TLS, and what may help.
fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => format!(
            "its certificate is not trusted ({why}): it must be of the authority in cluster.ca and name the host that is dialed"
        ),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("it refuses this gateway's certificate ({alert:?}): it must be of the authority in its cluster.ca")
        }
        Some(rustls::Error::InvalidMessage(_)) => "what answers there does not speak TLS: is it the cluster.address?".to_owned(),
        Some(_) | None => error.to_string(),
    }
}

/// Exponential with full jitter: gateways that lost one of them must not come back as one wave.
fn back_off(core: &Core, failures: u32) -> Duration {
    let ceiling = LEAST.saturating_mul(1 << failures.min(16)).min(MOST);
    ceiling.mul_f64((core.random() >> 11) as f64 / (1u64 << 53) as f64)
}
