//! An origin that does exactly what its steps say, most of it wrong.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::listener::{LOOPBACK, accept_each, listen};
use crate::server_thread::ServerThread;
use crate::stream::Stream;

/// One thing to do on a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read until a blank line (CRLF CRLF).
    ReadHead,
    /// Read this many bytes.
    ReadExactly(usize),
    /// Read until the peer sends a FIN.
    ReadToEnd,
    /// Write these bytes at once.
    Write(Vec<u8>),
    /// Write this filler this many times: an answer too big to be kept.
    Repeat(Vec<u8>, usize),
    /// Write these bytes one at a time, this long apart.
    Drip(Vec<u8>, Duration),
    /// Wait until the test calls [`Script::release`], reading nothing meanwhile: a reader as slow as can be.
    Gate,
    /// Do nothing until the peer resets or the test ends.
    Stall,
    /// Send a FIN and go on with the next step.
    HalfClose,
    /// End with an RST (SO_LINGER 0).
    Reset,
    /// End with a FIN: what the last step does anyway.
    Close,
}

/// A server that plays a script on each connection.
#[derive(Debug)]
pub struct Script {
    address: SocketAddr,
    seen: Arc<Seen>,
    _thread: ServerThread,
}

#[derive(Debug)]
struct Seen {
    received: Mutex<Vec<Vec<u8>>>,
    gate: Semaphore,
}

impl Script {
    /// Plays the same steps on every connection.
    #[must_use]
    pub fn start(steps: Vec<Step>) -> Self {
        Self::launch(LOOPBACK, vec![steps], None)
    }

    /// Plays the same steps at another loopback address, such as `[::1]:0` or `127.0.0.2:0`.
    ///
    /// # Panics
    /// If the machine lacks that address, or the port is taken.
    #[must_use]
    pub fn start_at(address: SocketAddr, steps: Vec<Step>) -> Self {
        Self::launch(address, vec![steps], None)
    }

    /// Plays the first script on the first connection and so on; the last one repeats.
    #[must_use]
    pub fn start_each(scripts: Vec<Vec<Step>>) -> Self {
        Self::launch(LOOPBACK, scripts, None)
    }

    /// Plays the same steps inside TLS.
    #[must_use]
    pub fn start_tls(steps: Vec<Step>, tls: Arc<ServerConfig>) -> Self {
        Self::launch(LOOPBACK, vec![steps], Some(tls))
    }

    /// Plays the first script on the first connection and so on, inside TLS; the last one repeats.
    #[must_use]
    pub fn start_each_tls(scripts: Vec<Vec<Step>>, tls: Arc<ServerConfig>) -> Self {
        Self::launch(LOOPBACK, scripts, Some(tls))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it was given so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.seen.received).len()
    }

    /// The bytes its reading steps got so far, by connection.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        lock(&self.seen.received).clone()
    }

    /// Lets one connection pass one [`Step::Gate`].
    pub fn release(&self) {
        self.seen.gate.add_permits(1);
    }

    fn launch(address: SocketAddr, scripts: Vec<Vec<Step>>, tls: Option<Arc<ServerConfig>>) -> Self {
        let (listener, address) = listen(address);
        let seen = Arc::new(Seen { received: Mutex::new(Vec::new()), gate: Semaphore::new(0) });
        let shared = Arc::clone(&seen);
        let thread = ServerThread::run("script", move || accept(listener, scripts.into(), tls, shared));
        Self { address, seen, _thread: thread }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    mut scripts: VecDeque<Vec<Step>>,
    tls: Option<Arc<ServerConfig>>,
    seen: Arc<Seen>,
) {
    accept_each(listener, |tcp| {
        let steps = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        let connection = {
            let mut received = lock(&seen.received);
            received.push(Vec::new());
            received.len() - 1
        };
        let (seen, tls) = (Arc::clone(&seen), tls.clone());
        tokio::spawn(async move {
            let stream = match tls {
                None => Stream::Plain(tcp),
                Some(config) => match TlsAcceptor::from(config).accept(Stream::Plain(tcp)).await {
                    Ok(tls) => Stream::Tls(Box::new(TlsStream::Server(tls))),
                    // The client refused this server's certificate, or did not speak TLS: what such a test is about.
                    Err(_) => return,
                },
            };
            // A peer that goes away in the middle of a script is that peer's choice; the test looks at the peer.
            drop(play(stream, steps.unwrap_or_default(), &seen, connection).await);
        });
    })
    .await;
}

async fn play(mut stream: Stream, steps: Vec<Step>, seen: &Seen, connection: usize) -> std::io::Result<()> {
    for step in steps {
        match step {
            Step::ReadHead => {
                let mut last = [0; 4];
                while &last != b"\r\n\r\n" {
                    let byte = stream.read_u8().await?;
                    last = [last[1], last[2], last[3], byte];
                    lock(&seen.received)[connection].push(byte);
                }
            }
            Step::ReadExactly(length) => {
                let mut buffer = vec![0; length];
                stream.read_exact(&mut buffer).await?;
                lock(&seen.received)[connection].extend_from_slice(&buffer);
            }
            Step::ReadToEnd => {
                let mut buffer = vec![0; 16_384];
                loop {
                    let length = stream.read(&mut buffer).await?;
                    if length == 0 {
                        break;
                    }
                    lock(&seen.received)[connection].extend_from_slice(&buffer[..length]);
                }
            }
            Step::Write(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    stream.write_all(&bytes).await?;
                }
                stream.flush().await?;
            }
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Step::Gate => match seen.gate.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return Ok(()),
            },
            Step::Stall => {
                // Reading notices a peer that resets; what it sends meanwhile is of no interest.
                let mut buffer = vec![0; 16_384];
                while stream.read(&mut buffer).await? > 0 {}
                std::future::pending::<()>().await;
            }
            Step::HalfClose => stream.shutdown().await?,
            Step::Reset => {
                stream.reset();
                return Ok(());
            }
            Step::Close => break,
        }
    }
    // A close with unread bytes sends an RST; a script that wants one says so.
    stream.shutdown().await?;
    let mut buffer = vec![0; 16_384];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the request, then an RST where the answer should be.
#[must_use]
pub fn reset_before_response() -> Vec<Step> {
    vec![Step::ReadHead, Step::Reset]
}

/// Half of a framed body, then an RST. The gate lets the test see the half arrive first: an RST overtakes what is
/// still in flight.
#[must_use]
pub fn reset_mid_response() -> Vec<Step> {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789";
    vec![Step::ReadHead, Step::Write(half.to_vec()), Step::Gate, Step::Reset]
}

/// Reads the request, then a FIN where the answer should be.
#[must_use]
pub fn close_before_response() -> Vec<Step> {
    vec![Step::ReadHead, Step::Close]
}

/// Bytes that are no HTTP.
#[must_use]
pub fn garbage() -> Vec<Step> {
    vec![Step::ReadHead, Step::Write(b"\x16\x03\x01\x00\x00 220 smtp.example ESMTP\r\n\r\n".to_vec()), Step::Close]
}

/// A head with one field of `length` bytes.
#[must_use]
pub fn big_header(length: usize) -> Vec<Step> {
    let start = Step::Write(b"HTTP/1.1 200 OK\r\nX-Big: ".to_vec());
    let end = Step::Write(b"\r\nContent-Length: 0\r\n\r\n".to_vec());
    vec![Step::ReadHead, start, Step::Repeat(vec![b'x'; 1024], length.div_ceil(1024)), end, Step::Close]
}

/// Promises 20 bytes, sends 10, closes cleanly.
#[must_use]
pub fn truncated_length() -> Vec<Step> {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789";
    vec![Step::ReadHead, Step::Write(half.to_vec()), Step::Close]
}

/// One chunk and no last one, then a clean close.
#[must_use]
pub fn truncated_chunked() -> Vec<Step> {
    let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n";
    vec![Step::ReadHead, Step::Write(half.to_vec()), Step::Close]
}

/// A head that stops in its middle, then a clean close.
#[must_use]
pub fn truncated_head() -> Vec<Step> {
    vec![Step::ReadHead, Step::Write(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), Step::Close]
}

/// Accepts, and never says a word.
#[must_use]
pub fn silence() -> Vec<Step> {
    vec![Step::Stall]
}

/// A good answer, one byte every `pause`.
#[must_use]
pub fn drip(pause: Duration) -> Vec<Step> {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    vec![Step::ReadHead, Step::Drip(answer.to_vec(), pause), Step::Close]
}
