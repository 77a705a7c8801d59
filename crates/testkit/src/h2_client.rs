//! An HTTP/2 client that keeps the rules: requests and their answers, tunnels and how they end.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request};
use tokio::task::JoinHandle;

use crate::patience::within;
use crate::wire::{Ending, Reply, Wire};

/// One connection.
#[derive(Debug)]
pub struct H2Client {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A stream whose answer has begun: a tunnel, or a body that comes.
#[derive(Debug)]
pub struct H2Stream {
    up: SendStream<Bytes>,
    down: RecvStream,
    pending: Vec<u8>,
    /// Why it was reset, once it was.
    pub reset: Option<Reason>,
}

impl H2Client {
    /// Speaks HTTP/2 over a connection, mostly one with TLS and ALPN `h2`.
    ///
    /// # Panics
    /// If the peer does not.
    pub async fn over(wire: Wire) -> Self {
        let (stream, pending) = wire.into_parts();
        assert!(pending.is_empty(), "a server of HTTP/2 speaks TLS, then waits for the preface");
        let (requests, connection) = within("the handshake", h2::client::handshake(stream)).await.expect("it speaks HTTP/2");
        let driver = tokio::spawn(async {
            // How the connection ended is seen by its streams.
            drop(connection.await);
        });
        Self { requests, driver }
    }

    /// Sends a request without a body (CONNECT: with its stream left open) and reads the head of its answer.
    ///
    /// # Errors
    /// When the stream or the connection is ended instead, with the reason.
    pub async fn open(&mut self, request: Request<()>) -> Result<(Reply, H2Stream), Option<Reason>> {
        let ends = request.method() != Method::CONNECT;
        let sent = async {
            std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await?;
            let (answer, up) = self.requests.send_request(request, ends)?;
            Ok::<_, h2::Error>((answer.await?, up))
        };
        let (answer, up) = within("an answer's head", sent).await.map_err(|error| error.reason())?;
        let (parts, down) = answer.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let reply = Reply {
            version: "HTTP/2".to_owned(),
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            ..Reply::default()
        };
        Ok((reply, H2Stream { up, down, pending: Vec::new(), reset: None }))
    }

    /// The same, and the whole body, unless the answer opens a tunnel.
    ///
    /// # Errors
    /// As [`H2Client::open`].
    pub async fn ask(&mut self, request: Request<()>) -> Result<(Reply, H2Stream), Option<Reason>> {
        let is_connect = request.method() == Method::CONNECT;
        let (mut reply, mut stream) = self.open(request).await?;
        if !(is_connect && (200..300).contains(&reply.status)) {
            let (body, ending) = stream.ending().await;
            if ending == Ending::Reset {
                return Err(stream.reset);
            }
            reply.body = body;
        }
        Ok((reply, stream))
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl H2Stream {
    /// Sends bytes; `ends` says that they are the last.
    ///
    /// # Panics
    /// If the stream is over.
    pub fn send(&mut self, bytes: &[u8], ends: bool) {
        self.up.send_data(Bytes::copy_from_slice(bytes), ends).expect("the stream is open");
    }

    /// Resets the stream.
    pub fn cancel(&mut self) {
        self.up.send_reset(Reason::CANCEL);
    }

    /// At least so many bytes, or what came before the stream's end.
    pub async fn at_least(&mut self, length: usize) -> &[u8] {
        while self.pending.len() < length && self.more().await {}
        &self.pending
    }

    /// Everything until the stream ends, and how it did: [`Ending::Fin`] is END_STREAM.
    pub async fn ending(&mut self) -> (Vec<u8>, Ending) {
        while self.more().await {}
        let ending = if self.reset.is_some() { Ending::Reset } else { Ending::Fin };
        (std::mem::take(&mut self.pending), ending)
    }

    async fn more(&mut self) -> bool {
        match within("more of a stream", self.down.data()).await {
            Some(Ok(data)) => {
                // An error says that the stream is over, which the next read tells better.
                drop(self.down.flow_control().release_capacity(data.len()));
                self.pending.extend_from_slice(&data);
                true
            }
            Some(Err(error)) => {
                self.reset = Some(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
                false
            }
            None => false,
        }
    }
}
