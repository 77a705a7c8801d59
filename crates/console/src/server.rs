//! The console's listener: HTTP/1.1 with deadlines, a bound on connections and a graceful end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::api::own::Peer;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// From the first byte to the blank line.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How large a request's head may be.
const HEAD_SIZE: usize = 32 << 10;

/// How long open requests may go on after the shutdown began.
const FAREWELL: Duration = Duration::from_secs(5);

/// After a failed accept (out of file descriptors): long enough not to spin, short enough not to be noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound listener that doesn't serve yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// On a listener that is there already.
    pub fn on(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener: TcpListener::from_std(listener)?, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves, then lets open requests finish.
    pub async fn serve(self, router: Router, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let (ending, ended) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accept = async {
                // Never closed, so a slot always comes.
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            tokio::select! {
                () = &mut shutdown => break,
                (slot, accepted) = accept => match accepted {
                    Ok((stream, peer)) => {
                        let router = router.clone().layer(Extension(Peer(peer)));
                        let serving = connection(stream, router, ended.clone());
                        connections.spawn(async move {
                            let _slot = slot;
                            serving.await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the console could not accept a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        let _ = ending.send(true);
        let farewell = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("the console closed connections with open requests");
        }
    }
}

async fn connection(stream: TcpStream, router: Router, mut ended: watch::Receiver<bool>) {
    // Small answers are written at once; without it each could wait for the ACK of the one before.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_SIZE);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    // Nothing of the watch's guard may live on into the wait for the connection's end.
    let end = async { drop(ended.wait_for(|ended| *ended).await) };
    let result = tokio::select! {
        result = &mut serving => result,
        () = end => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection of the console ended badly");
    }
}
