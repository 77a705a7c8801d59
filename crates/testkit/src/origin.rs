//! A well-behaved HTTP/1.1 origin that remembers what it was sent, and answers by path.
//!
//! | path | answer |
//! |---|---|
//! | `/ok` | `ok` and a newline |
//! | `/status/N` | status N with a one-line body (none for 204 and 304) |
//! | `/with?NAME=VALUE&…` | 200 with these fields in its head (values percent-decoded) |
//! | `/bytes/N` | the first N bytes of the [`payload`](crate::payload), `Content-Length` and `X-Checksum` |
//! | `/chunked/N` | the same in chunks, its checksum as a trailer `X-Checksum` |
//! | `/until-close/N` | the same without any framing, ended by a FIN |
//! | `/upload` | reads a body of any size: JSON with its `length` and `checksum` |
//! | `/echo` | JSON: `method`, `target`, `headers`, `trailers`, `body` as received |
//! | `/1xx` | 103 with a `Link`, then 200 |
//! | `/reject-expect` | 417 without reading the body (every other path sends 100 when asked to) |
//! | `/slow` | nothing until [`Origin::release`], then as `/ok` |
//! | `/upgrade` | 101 to the protocol asked for, which echoes every byte; 426 when none was |
//! | `/keepalive` | JSON: number of this `connection` and of this `request` on it |
//! | `/close` | as `/ok`, with `Connection: close` |
//! | `/http10` | as `/ok`, in HTTP/1.0 |

mod answer;
mod connection;
mod received;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::listener::{LOOPBACK, accept_each, listen};
use crate::server_thread::ServerThread;
use crate::stream::Stream;

use self::connection::Connection;
pub use self::received::Received;

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: ServerThread,
}

#[derive(Debug)]
struct Shared {
    connections: Mutex<usize>,
    received: Mutex<Vec<Received>>,
    gate: Semaphore,
}

impl Origin {
    /// Starts in clear, on a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(LOOPBACK, None)
    }

    /// Starts in clear at another loopback address, such as `[::1]:0` or `127.0.0.2:0`.
    ///
    /// # Panics
    /// If the machine lacks that address, or the port is taken.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        Self::launch(address, None)
    }

    /// Starts inside TLS, with settings from [`crate::ca::Ca::server`].
    #[must_use]
    pub fn start_tls(tls: Arc<ServerConfig>) -> Self {
        Self::launch(LOOPBACK, Some(tls))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request so far whose head and body came whole, in that order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// The latest of them.
    #[must_use]
    pub fn last(&self) -> Option<Received> {
        lock(&self.shared.received).last().cloned()
    }

    /// How many connections were made to it, with or without a request.
    #[must_use]
    pub fn connections(&self) -> usize {
        *lock(&self.shared.connections)
    }

    /// Lets one request to `/slow` be answered.
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    fn launch(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let (listener, address) = listen(address);
        let shared = Arc::new(Shared { connections: Mutex::new(0), received: Mutex::new(Vec::new()), gate: Semaphore::new(0) });
        let seen = Arc::clone(&shared);
        let thread = ServerThread::run("origin", move || accept(listener, tls, seen));
        Self { address, shared, _thread: thread }
    }
}

async fn accept(listener: std::net::TcpListener, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    accept_each(listener, |tcp| {
        // Small answers of large tests would wait for delayed ACKs otherwise.
        drop(tcp.set_nodelay(true));
        let number = {
            let mut connections = lock(&shared.connections);
            *connections += 1;
            *connections - 1
        };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            let stream = match tls {
                None => Stream::Plain(tcp),
                Some(config) => match TlsAcceptor::from(config).accept(Stream::Plain(tcp)).await {
                    Ok(tls) => Stream::Tls(Box::new(TlsStream::Server(tls))),
                    // Not TLS, or not for this certificate: the client knows.
                    Err(_) => return,
                },
            };
            let connection = Connection { stream, pending: Vec::new(), number, shared };
            // A client that goes away mid-request is the test's own doing.
            drop(connection.serve().await);
        });
    })
    .await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
