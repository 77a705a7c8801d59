//! A TCP middle-man that can fall silent, dawdle or cut: a bad network without privileges.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::listener::{LOOPBACK, accept_each, listen};
use crate::server_thread::ServerThread;

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// They go through at once.
    Fair,
    /// Nothing goes through in either direction and nobody is told: no FIN, no RST. What was on its way waits, as TCP would
    /// send it again, and goes through once the weather is better.
    Partition,
    /// Each piece waits this long.
    Slow(Duration),
    /// Every connection ends with an RST, and new ones do so at once.
    Cut,
}

/// Forwards every connection to one address, by the present weather.
#[derive(Debug)]
pub struct Middleman {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    weather: watch::Sender<Weather>,
    _thread: ServerThread,
}

impl Middleman {
    /// Stands in front of `upstream`, in fair weather.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        let (listener, address) = listen(LOOPBACK);
        let (weather, seen) = watch::channel(Weather::Fair);
        let (upstream, leads_to) = watch::channel(upstream);
        let thread = ServerThread::run("middleman", move || {
            accept_each(listener, move |client| {
                tokio::spawn(between(client, *leads_to.borrow(), seen.clone()));
            })
        });
        Self { address, upstream, weather, _thread: thread }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards new connections to another address.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Changes the weather for all connections.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// One connection, both ways, until both have ended or the weather cuts it.
async fn between(mut client: TcpStream, upstream: SocketAddr, weather: watch::Receiver<Weather>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    for tcp in [&client, &server] {
        // Small frames must not wait for each other: the delay is the weather's.
        drop(tcp.set_nodelay(true));
    }
    let mut cut = weather.clone();
    let carried = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let both = async {
            tokio::try_join!(carry(client_read, server_write, weather.clone()), carry(server_read, client_write, weather.clone()))
                .is_ok()
        };
        tokio::select! {
            whole = both => whole,
            _ = cut.wait_for(|now| *now == Weather::Cut) => false,
        }
    };
    if !carried {
        // What ends early ends with an RST: a cut line has no FIN.
        drop(client.set_zero_linger());
        drop(server.set_zero_linger());
    }
}

/// Carries one direction.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut weather: watch::Receiver<Weather>) -> io::Result<()> {
    let mut buffer = vec![0; 16_384];
    loop {
        passable(&mut weather).await;
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            // Look again: it may be a partition now.
            _ = weather.changed() => continue,
        };
        let slow = match *weather.borrow() {
            Weather::Slow(pause) => Some(pause),
            Weather::Fair | Weather::Partition | Weather::Cut => None,
        };
        if let Some(pause) = slow {
            tokio::time::sleep(pause).await;
        }
        passable(&mut weather).await;
        match read? {
            0 => return to.shutdown().await,
            length => to.write_all(&buffer[..length]).await?,
        }
    }
}

/// Waits while nothing goes through.
async fn passable(weather: &mut watch::Receiver<Weather>) {
    // An error means that the handle is gone, and this task with it.
    drop(weather.wait_for(|now| *now != Weather::Partition).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Echo;
    use crate::wire::{Ending, Wire};

    #[tokio::test]
    async fn bytes_wait_out_a_partition_and_do_not_survive_a_cut() {
        let echo = Echo::start();
        let middleman = Middleman::start(echo.address());
        let mut wire = Wire::connect(middleman.address()).await.expect("it listens");
        wire.send(b"one").await.expect("open");
        assert_eq!(wire.exactly(3).await.expect("the echo"), b"one");
        middleman.set(Weather::Partition);
        wire.send(b"two").await.expect("open");
        let early = tokio::time::timeout(Duration::from_millis(50), wire.some()).await;
        assert!(early.is_err(), "nothing goes through a partition: {early:?}");
        middleman.set(Weather::Slow(Duration::from_millis(1)));
        assert_eq!(wire.exactly(3).await.expect("what waited"), b"two");
        middleman.set(Weather::Cut);
        assert_eq!(wire.ending().await.expect("an end"), (Vec::new(), Ending::Reset));
        middleman.set(Weather::Fair);
        let mut wire = Wire::connect(middleman.address()).await.expect("it listens");
        wire.send(b"x").await.expect("open");
        wire.finish().await.expect("open");
        assert_eq!(wire.ending().await.expect("an end"), (b"x".to_vec(), Ending::Fin));
    }
}
