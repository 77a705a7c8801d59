//! A server that sends back whatever it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::listener::{LOOPBACK, accept_each, listen};
use crate::server_thread::ServerThread;

/// A running one, on a thread of its own: a test whose event loop is busy still finds its target awake.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _thread: ServerThread,
}

impl Echo {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let (listener, address) = listen(LOOPBACK);
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let thread = ServerThread::run("echo", move || {
            accept_each(listener, move |mut tcp| {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    // A peer that goes away is that peer's choice.
                    while let Ok(length @ 1..) = tcp.read(&mut buffer).await {
                        if tcp.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                    }
                });
            })
        });
        Self { address, accepted, _thread: thread }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it was given so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}
