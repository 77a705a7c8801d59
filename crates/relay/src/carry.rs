//! Carries a tunnel's bytes both ways until both sides have ended, one has broken, or nothing moves any more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::client_io::ClientIo;
use crate::visit::Visit;
use outgate_client::connect::Stream;

/// What one read takes. Two of them is what an open tunnel holds.
const BUFFER: usize = 16 * 1024;
/// How often what a tunnel moved is counted for all to see.
const REPORT: Duration = Duration::from_secs(10);

/// Which side broke.
enum Broken {
    Reading,
    Writing,
}

/// Carries a tunnel. A side that breaks is told to the other as a reset: a truncated download must not look complete.
pub(crate) async fn carry(visit: &mut Visit, client: ClientIo, mut target: impl Far, idle: Duration) {
    let open = client.open_end();
    let moved = Moved { up: Cell::new(0), down: Cell::new(0), last: Cell::new(Instant::now()) };
    let mut client = client;
    let ended = {
        let (client_read, client_write) = tokio::io::split(&mut client);
        let (target_read, target_write) = tokio::io::split(&mut target);
        let up = async { pump(client_read, target_write, &moved, &moved.up).await.map_err(|broken| (broken, "up")) };
        let down = async { pump(target_read, client_write, &moved, &moved.down).await.map_err(|broken| (broken, "down")) };
        let both = async { tokio::try_join!(up, down).map(|_| ()) };
        let mut both = std::pin::pin!(both);
        loop {
            let until = (moved.last.get() + idle).min(Instant::now() + REPORT);
            tokio::select! {
                ended = &mut both => break Some(ended),
                () = tokio::time::sleep_until(until.into()) => {
                    visit.moved(moved.up.take(), moved.down.take());
                    if moved.last.get().elapsed() >= idle {
                        break None;
                    }
                }
            }
        }
    };
    visit.moved(moved.up.get(), moved.down.get());
    match ended {
        Some(Ok(())) => visit.complete(),
        // The client's end is its own; a target that breaks, or stops taking what it is sent, broke the tunnel.
        Some(Err((Broken::Reading, "up") | (Broken::Writing, "down"))) => {
            visit.ended_by = Some("client_lost");
            target.cut();
        }
        Some(Err(_)) => {
            visit.ended_by = Some("target_lost");
            open.cut();
        }
        None => {
            visit.ended_by = Some("idle");
            open.cut();
            target.cut();
        }
    }
}

/// The far end of a tunnel.
pub(crate) trait Far: AsyncRead + AsyncWrite + Unpin {
    /// Makes its end a reset: what was sent is not complete.
    fn cut(&self);
}

impl Far for Stream {
    fn cut(&self) {
        // A socket that is gone already needs no reset.
        let _gone = self.socket().set_zero_linger();
    }
}

impl Far for TokioIo<Upgraded> {
    /// What is under an upgrade can't be reached: it ends with a FIN, and the protocol that was switched to has ends of its own.
    fn cut(&self) {}
}

struct Moved {
    up: Cell<u64>,
    down: Cell<u64>,
    last: Cell<Instant>,
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Moved,
    count: &Cell<u64>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken::Reading)?;
        if read == 0 {
            // The other way goes on: half-closed connections are how some protocols say that they are done asking.
            return to.shutdown().await.map_err(|_| Broken::Writing);
        }
        moved.last.set(Instant::now());
        to.write_all(&buffer[..read]).await.map_err(|_| Broken::Writing)?;
        to.flush().await.map_err(|_| Broken::Writing)?;
        moved.last.set(Instant::now());
        count.set(count.get() + read as u64);
    }
}
