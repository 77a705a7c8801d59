//! The door for other gateways: takes their links, and enters the exits they offer into the fleet.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outgate_link::shell::{self, Driver};
use outgate_link::upgrade::{link_answer, read_request};
use outgate_link::{Goodbye, Hello, Limits, Link, Welcome};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::PATH;
use super::taken::{MOST, Taken};
use crate::core::Core;
use crate::exit_door::turn_away;
use crate::settings::Settings;

/// From the connection to a welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The life of one connection to the door.
pub(crate) async fn admit_peer(core: Rc<Core>, io: TcpStream, from: SocketAddr) {
    let Some(tls) = core.settings().cluster.as_ref().map(|cluster| TlsAcceptor::from(cluster.server.clone())) else { return };
    let refused = |why: &str| tracing::warn!(%from, why, "a connection to the door for gateways was refused");
    match timeout(HANDSHAKE, tls.accept(io)).await {
        Ok(Ok(stream)) => {
            if let Err(why) = converse(&core, stream, from).await {
                refused(&why);
            }
        }
        Ok(Err(error)) => refused(&format!("no TLS with a certificate of this cluster's authority: {error}")),
        Err(_) => refused("the TLS handshake took too long"),
    }
}

async fn converse(core: &Rc<Core>, mut io: impl AsyncRead + AsyncWrite + Unpin, from: SocketAddr) -> Result<(), String> {
    let asked = timeout(HANDSHAKE, read_request(&mut io)).await.map_err(|_| "no request came")?;
    let (request, behind) = asked.map_err(|error| error.to_string())?;
    let answer = match request.uri().path() {
        PATH => link_answer(&request).map_err(|why| ("400 Bad Request", why)),
        _ => Err(("404 Not Found", "this is the door for other gateways: /v1/peer")),
    };
    match answer {
        Ok(answer) => io.write_all(&answer).await.map_err(|error| error.to_string())?,
        Err((status, why)) => {
            turn_away(io, status, why).await;
            return Err(why.to_owned());
        }
    }
    let welcomed = timeout(HANDSHAKE, welcome(&core.settings(), io, behind)).await;
    let (gateway, link, driver) = welcomed.map_err(|_| "no proper hello came")??;
    tracing::info!(%from, %gateway, "gateway linked; its exits are on offer");
    let mut taken = Taken::new(core.clone(), gateway.clone(), link.clone());
    let taking = async {
        if let Err(why) = taken.take_in().await {
            tracing::warn!(%from, %gateway, why, "a gateway is let go");
            link.close(Goodbye::new("malformed", why));
        }
    };
    // Both end with the link.
    let (end, ()) = tokio::join!(driver.run(), taking);
    let exits = taken.withdraw_all().await;
    tracing::info!(%from, %gateway, %end, exits, "gateway gone, and its exits with it");
    Ok(())
}

/// Welcomes a gateway by its hello, or says why not.
async fn welcome<IO>(settings: &Settings, io: IO, behind: Bytes) -> Result<(Arc<str>, Link, Driver<IO>), String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let pending = shell::accept(io, behind).await.map_err(|error| error.to_string())?;
    let gateway = match name_of(pending.hello(), &settings.name) {
        Ok(gateway) => gateway,
        Err(goodbye) => {
            let why = goodbye.text.clone();
            pending.goodbye(goodbye).await.map_err(|error| error.to_string())?;
            return Err(why);
        }
    };
    let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    let welcome = Welcome {
        exit_id: gateway.to_string(),
        gateway: settings.name.clone(),
        heartbeat_ms: ms(settings.timeouts.heartbeat),
        dead_ms: ms(settings.timeouts.dead),
    };
    // Each is told once, and may change while the rest is on its way.
    let limits = Limits { max_tunnels: settings.limits.tunnels_per_link, offers: 2 * MOST, ..Limits::default() };
    let (link, driver) = pending.welcome(&welcome, limits).await.map_err(|error| error.to_string())?;
    Ok((gateway, link, driver))
}

/// The gateway's name, as it may stand in `Proxy-Status` and in records.
fn name_of(hello: &Hello, own: &str) -> Result<Arc<str>, Goodbye> {
    let is_name =
        |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    match hello.gateway.as_deref() {
        Some(name) if name == own => {
            Err(Goodbye::new("same_name", "this gateway has the same name: is it dialing itself? Names differ in a cluster"))
        }
        Some(name) if is_name(name) => Ok(name.into()),
        Some(_) => Err(Goodbye::new("malformed", "a gateway's name is 1 to 64 letters, digits, dots and hyphens")),
        None => Err(Goodbye::new("malformed", "exits dial in at the door for exits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_says_a_name_of_its_own() {
        let long = "g".repeat(65);
        let rows = [
            (Some("gw2"), None),
            (Some("gw-2.example"), None),
            (Some("gw1"), Some("same_name")),
            (Some(""), Some("malformed")),
            (Some("gw 2\r\n"), Some("malformed")),
            (Some(long.as_str()), Some("malformed")),
            (None, Some("malformed")),
        ];
        for (name, refused) in rows {
            let hello = Hello { gateway: name.map(str::to_owned), ..Hello::default() };
            let named = name_of(&hello, "gw1");
            assert_eq!(named.as_ref().err().map(|goodbye| goodbye.slug.as_str()), refused, "{name:?}");
            assert!(named.is_err() || named.ok().as_deref() == name);
        }
    }
}
