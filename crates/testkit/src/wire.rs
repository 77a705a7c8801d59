//! A client that shows every byte, and how the connection ended.
//!
//! Strict where real clients are lenient: lines end in CRLF, framing is exactly what the head says, a body that ends
//! early is an error, and an RST is told from a FIN. Every wait is bounded by [`HANG`].

mod framing;
mod reply;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::patience::HANG;
use crate::stream::Stream;

use self::reply::parse_head;
pub use self::reply::{Credentials, Ending, Expect, Reply, WireError, basic};

/// One connection, and what was read from it but not yet asked for.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    pending: Vec<u8>,
}

impl Wire {
    /// Connects over TCP.
    ///
    /// # Errors
    /// As the system says it, or [`WireError::Hung`].
    pub async fn connect(address: SocketAddr) -> Result<Self, WireError> {
        let stream = bounded("connect", TcpStream::connect(address)).await?;
        stream.set_nodelay(true).map_err(io_error)?;
        Ok(Self::over(Stream::Plain(stream)))
    }

    /// Connects from a given local address: on Linux every address of 127.0.0.0/8 is one's own.
    ///
    /// # Errors
    /// As the system says it, or [`WireError::Hung`].
    pub async fn connect_from(source: IpAddr, address: SocketAddr) -> Result<Self, WireError> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(io_error)?;
        socket.bind(SocketAddr::new(source, 0)).map_err(io_error)?;
        let stream = bounded("connect", socket.connect(address)).await?;
        stream.set_nodelay(true).map_err(io_error)?;
        Ok(Self::over(Stream::Plain(stream)))
    }

    /// Connects to `proxy`, asks it for a tunnel to `target` (`host:port`) and returns its answer, tunnel or not.
    ///
    /// # Errors
    /// When no well-formed answer came.
    pub async fn connect_through(
        proxy: SocketAddr,
        credentials: Option<Credentials<'_>>,
        target: &str,
    ) -> Result<(Self, Reply), WireError> {
        let mut wire = Self::connect(proxy).await?;
        let authorization = credentials.map(|credentials| credentials.header_line()).unwrap_or_default();
        wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n").as_bytes()).await?;
        let reply = wire.reply(Expect::Tunnel).await?;
        Ok((wire, reply))
    }

    /// A client over a connection made elsewhere.
    #[must_use]
    pub fn over(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Speaks TLS from here on.
    ///
    /// # Errors
    /// When the handshake fails, with what the TLS stack says.
    pub async fn tls(self, name: &str, config: Arc<ClientConfig>) -> Result<Self, WireError> {
        if !self.pending.is_empty() {
            return Err(WireError::Malformed(format!("{} bytes came before the handshake", self.pending.len())));
        }
        let name = ServerName::try_from(name.to_owned()).map_err(|error| WireError::Io(error.to_string()))?;
        let tls = bounded("TLS handshake", TlsConnector::from(config).connect(name, self.stream)).await?;
        Ok(Self::over(Stream::Tls(Box::new(TlsStream::Client(tls)))))
    }

    /// Writes all of `bytes`, in as few writes as the system takes.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        bounded("write", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    /// One whole answer; its 1xx answers are in [`Reply::interim`] (101 is an answer of its own).
    ///
    /// # Errors
    /// When no well-formed answer came: the bytes that did come are in the error.
    pub async fn reply(&mut self, expect: Expect) -> Result<Reply, WireError> {
        let mut interim = Vec::new();
        loop {
            let mut reply = self.head().await?;
            if matches!(reply.status, 100 | 102..=199) {
                interim.push(reply);
                continue;
            }
            self.body(&mut reply, expect).await?;
            reply.interim = interim;
            return Ok(reply);
        }
    }

    /// One head and nothing more: what follows stays unread.
    ///
    /// # Errors
    /// As [`Wire::reply`].
    pub async fn head(&mut self) -> Result<Reply, WireError> {
        let raw = loop {
            if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                break self.take(end + 4);
            }
            self.fill().await.map_err(|gone| gone.after(&self.pending))?;
        };
        parse_head(raw)
    }

    /// Exactly `length` bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, WireError> {
        while self.pending.len() < length {
            self.fill().await.map_err(|gone| gone.after(&self.pending))?;
        }
        Ok(self.take(length))
    }

    /// At least one byte: what there is now, or what comes next. Empty at a FIN.
    ///
    /// # Errors
    /// On an RST.
    pub async fn some(&mut self) -> Result<Vec<u8>, WireError> {
        if self.pending.is_empty() {
            match self.fill().await {
                Ok(()) => {}
                Err(Gone::Fin) => return Ok(Vec::new()),
                Err(gone) => return Err(gone.after(&[])),
            }
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// Everything until the peer ends the connection, and how it did.
    ///
    /// # Errors
    /// [`WireError::Hung`] when it does not end it.
    pub async fn ending(&mut self) -> Result<(Vec<u8>, Ending), WireError> {
        let ending = loop {
            match self.fill().await {
                Ok(()) => {}
                Err(Gone::Fin) => break Ending::Fin,
                Err(Gone::Reset) => break Ending::Reset,
                Err(gone) => return Err(gone.after(&self.pending)),
            }
        };
        Ok((std::mem::take(&mut self.pending), ending))
    }

    /// Like [`Wire::ending`] for more than memory should hold: `look` sees each block once.
    ///
    /// # Errors
    /// [`WireError::Hung`] when nothing comes and nothing ends.
    pub async fn drain(&mut self, mut look: impl FnMut(&[u8])) -> Result<Ending, WireError> {
        loop {
            look(&self.pending);
            self.pending.clear();
            match self.fill().await {
                Ok(()) => {}
                Err(Gone::Fin) => return Ok(Ending::Fin),
                Err(Gone::Reset) => return Ok(Ending::Reset),
                Err(gone) => return Err(gone.after(&[])),
            }
        }
    }

    /// Sends a FIN (under TLS: the closing alert first) and goes on reading.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn finish(&mut self) -> Result<(), WireError> {
        bounded("shutdown", self.stream.shutdown()).await
    }

    /// Ends with an RST.
    pub fn reset(self) {
        self.stream.reset();
    }

    /// One's own address.
    ///
    /// # Panics
    /// Never on a connected socket.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.tcp().local_addr().expect("a connected socket has an address")
    }

    /// What was read but not asked for: must be empty after the answer to a CONNECT.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// The stream below and the bytes already read from it.
    #[must_use]
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.pending)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.pending.split_off(length);
        std::mem::replace(&mut self.pending, rest)
    }

    async fn fill(&mut self) -> Result<(), Gone> {
        self.pending.reserve(65_536);
        match tokio::time::timeout(HANG, self.stream.read_buf(&mut self.pending)).await {
            Err(_) => Err(Gone::Hung),
            Ok(Ok(0)) => Err(Gone::Fin),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if is_reset(error.kind()) => Err(Gone::Reset),
            Ok(Err(error)) => Err(Gone::Io(error.to_string())),
        }
    }
}

/// Why a read brought nothing.
enum Gone {
    Fin,
    Reset,
    Hung,
    Io(String),
}

impl Gone {
    fn after(self, got: &[u8]) -> WireError {
        match self {
            Self::Fin if got.is_empty() => WireError::Closed,
            Self::Fin => WireError::Truncated(got.to_vec()),
            Self::Reset => WireError::Reset(got.to_vec()),
            Self::Hung => WireError::Hung("read"),
            Self::Io(what) => WireError::Io(what),
        }
    }
}

async fn bounded<T>(what: &'static str, future: impl Future<Output = std::io::Result<T>>) -> Result<T, WireError> {
    match tokio::time::timeout(HANG, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_reset(error.kind()) => Err(WireError::Reset(Vec::new())),
        Ok(Err(error)) => Err(io_error(error)),
        Err(_) => Err(WireError::Hung(what)),
    }
}

fn io_error(error: std::io::Error) -> WireError {
    WireError::Io(error.to_string())
}

/// rustls reports a FIN without `close_notify` as `UnexpectedEof`: to a reader that is as bad as an RST, because
/// either could be an attacker cutting the end off.
fn is_reset(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
