//! Which protocol a port speaks, found out by speaking each of them to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outgate_client::classify::Foreign;
use outgate_client::connect::Scheme;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::exchange::Means;
use crate::look::Look;

/// How long a port may take to show what it speaks.
const PATIENCE: Duration = Duration::from_secs(3);
/// A SOCKS5 greeting that offers a connection without a login, and one with.
const SOCKS5: &[u8] = &[5, 2, 0, 2];
/// A request that any HTTP server answers, and that no proxy needs a name for.
const HTTP: &[u8] = b"OPTIONS * HTTP/1.1\r\nHost: outgate-doctor.invalid\r\nConnection: close\r\n\r\n";

/// What a port speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spoken {
    /// TLS.
    Tls,
    /// SOCKS5.
    Socks5,
    /// HTTP in clear.
    Http,
    /// Something else, known by its first bytes.
    Other(Foreign),
    /// It closes every connection without a word.
    Closes,
    /// It takes connections and says nothing.
    Silent,
    /// It takes no connection.
    Nothing,
}

impl Spoken {
    /// The scheme that a proxy's URL needs for it.
    pub(crate) fn scheme(self) -> Option<Scheme> {
        match self {
            Spoken::Tls => Some(Scheme::Https),
            Spoken::Socks5 => Some(Scheme::Socks5h),
            Spoken::Http => Some(Scheme::Http),
            Spoken::Other(_) | Spoken::Closes | Spoken::Silent | Spoken::Nothing => None,
        }
    }
}

/// What came of one attempt.
enum Heard {
    Bytes(Foreign),
    Tls,
    Closed,
    Silence,
    NoConnection,
}

/// Speaks each protocol to the port on a connection of its own, all at once.
pub(crate) async fn spoken(address: SocketAddr, means: &Means) -> Spoken {
    let patience = means.limit.min(PATIENCE);
    let (tls, socks, http) = tokio::join!(
        timeout(patience, greet_in_tls(address, means)),
        timeout(patience, say(address, SOCKS5)),
        timeout(patience, say(address, HTTP)),
    );
    let heard = [tls, socks, http].map(|heard| heard.unwrap_or(Heard::Silence));
    let bytes: Vec<Foreign> =
        heard.iter().filter_map(|heard| if let Heard::Bytes(f) = heard { Some(*f) } else { None }).collect();
    // A TLS port may answer HTTP in clear with a complaint, so the strictest protocol goes first.
    match &heard {
        [Heard::Tls, ..] => Spoken::Tls,
        _ if bytes.contains(&Foreign::Socks5) => Spoken::Socks5,
        _ if bytes.contains(&Foreign::Http) => Spoken::Http,
        _ if !bytes.is_empty() => Spoken::Other(bytes[0]),
        all if all.iter().all(|heard| matches!(heard, Heard::NoConnection)) => Spoken::Nothing,
        all if all.iter().any(|heard| matches!(heard, Heard::Silence)) => Spoken::Silent,
        _ => Spoken::Closes,
    }
}

async fn say(address: SocketAddr, words: &[u8]) -> Heard {
    let Ok(mut stream) = TcpStream::connect(address).await else { return Heard::NoConnection };
    if stream.write_all(words).await.is_err() {
        return Heard::Closed;
    }
    let mut first = Vec::with_capacity(64);
    // Enough to tell every protocol by: SOCKS5 says two bytes and waits.
    while first.len() < 2 {
        match stream.read_buf(&mut first).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    Foreign::of(&first).map_or(Heard::Closed, Heard::Bytes)
}

async fn greet_in_tls(address: SocketAddr, means: &Means) -> Heard {
    let Ok(stream) = TcpStream::connect(address).await else { return Heard::NoConnection };
    let look = Look::new(&means.roots);
    let Some(config) = look.client() else { return Heard::Closed };
    let connector = TlsConnector::from(Arc::new(config));
    match connector.connect(ServerName::from(address.ip()), stream).await {
        Ok(_) => Heard::Tls,
        // Whoever sends an alert speaks TLS, and only doesn't like the greeting.
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(_)) => Heard::Tls,
            _ => Heard::Closed,
        },
    }
}
