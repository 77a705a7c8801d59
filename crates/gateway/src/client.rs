//! A client's connection: heads read from it, answers written to it, and the ways to end it.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, raise};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use crate::foreign::Foreign;
use crate::framing::Framing;
use crate::head::{HeadLimits, end_of_head};
use crate::identify::Login;
use crate::pump::Scratch;
use crate::settings::Timeouts;
use crate::stream::Stream;

/// The most a lingering close reads away before it gives up on a client.
const LINGER_BYTES: usize = 256 * 1024;

/// The most that a client may send before its tunnel is open; the rest waits in its connection.
const EARLY_BYTES: usize = 16 * 1024;

/// How long a client that has said its last word goes on being served. Half-closing after a request is legal TCP that nothing
/// in RFC 9112 forbids; closing looks the same from here. nginx, Squid and Envoy take both for gone at once, HAProxy by
/// default neither: here an answer that comes soon is still delivered, and who is really gone holds a thread no longer.
const HALF_CLOSED: Duration = Duration::from_secs(3);

/// The most of a refused request's body that is read for the sake of the next request.
pub(crate) const MOST_UNWANTED: usize = 64 * 1024;

/// A client's connection.
pub(crate) struct Client {
    pub(crate) io: Stream,
    pub(crate) peer: SocketAddr,
    /// Read and not yet used: the start of the next head, or of a body.
    pub(crate) buffer: Vec<u8>,
    /// The peer's address as records show it.
    pub(crate) source: Box<str>,
    /// Who spoke on it last.
    pub(crate) login: Option<Login>,
    /// How long its TLS handshake took, until a request's record says it.
    pub(crate) handshake: Option<Duration>,
    /// Whether a request has been answered on it before.
    pub(crate) reused: bool,
    /// How long it may take to make room for what is written to it.
    patience: Duration,
}

/// Why there is no head.
pub(crate) enum NoHead {
    /// The client closed, failed or fell silent between requests: there is nothing to answer.
    Gone,
    /// It came and said nothing for too long. Not answered: it may be about to ask, and would take it for the answer to that.
    Silent(Fault),
    /// It speaks another protocol.
    Foreign(Foreign),
    /// It sent something that is answered with a fault.
    Fault(Fault),
}

/// Why bytes that were waited for did not come.
pub(crate) enum Unread {
    /// The client closed or failed.
    Gone,
    /// Not in time.
    TooLate,
}

impl Client {
    pub(crate) fn new(io: Stream, peer: SocketAddr, timeouts: &Timeouts) -> Self {
        let source = peer.ip().to_canonical().to_string().into();
        Self { io, peer, buffer: Vec::new(), source, login: None, handshake: None, reused: false, patience: timeouts.idle }
    }

    /// Reads up to the end of a head; returns its length in the buffer.
    pub(crate) async fn read_head(
        &mut self,
        scratch: &Scratch,
        limits: HeadLimits,
        timeouts: &Timeouts,
    ) -> Result<usize, NoHead> {
        let mut searched = 0;
        // Until the first byte the client is merely idle; from then on it has a deadline.
        let mut begun = !self.buffer.is_empty();
        let mut deadline = Instant::now() + if begun { timeouts.head } else { timeouts.keep_alive };
        loop {
            // RFC 9112, section 2.2: an empty line before a request is noise of old clients.
            while searched == 0 && self.buffer.starts_with(b"\r\n") {
                self.buffer.drain(..2);
            }
            if !self.reused
                && let Some(foreign) = Foreign::recognise(&self.buffer)
            {
                return Err(NoHead::Foreign(foreign));
            }
            if let Some(length) = end_of_head(&self.buffer, searched, limits).map_err(NoHead::Fault)? {
                return Ok(length);
            }
            searched = self.buffer.len();
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            let read = poll_fn(|cx| scratch.poll_append(cx, io, buffer, limits.head));
            match timeout_at(deadline, read).await {
                Ok(Ok(0)) | Ok(Err(_)) if searched == 0 => return Err(NoHead::Gone),
                Ok(Ok(0)) => return Err(NoHead::Fault(raise::malformed_request("the connection ended inside the head"))),
                Ok(Err(_)) => return Err(NoHead::Gone),
                // Once only: empty lines, which are thrown away, buy no time.
                Ok(Ok(_)) if !begun => (begun, deadline) = (true, Instant::now() + timeouts.head),
                Ok(Ok(_)) => {}
                Err(_) if searched == 0 && begun | self.reused => return Err(NoHead::Gone),
                Err(_) if searched == 0 => return Err(NoHead::Silent(raise::request_timeout(Seconds(timeouts.keep_alive)))),
                Err(_) => return Err(NoHead::Fault(raise::request_timeout(Seconds(timeouts.head)))),
            }
        }
    }

    /// Reads so many bytes.
    pub(crate) async fn read_exactly(&mut self, scratch: &Scratch, length: usize, deadline: Instant) -> Result<Vec<u8>, Unread> {
        while self.buffer.len() < length {
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            match timeout_at(deadline, poll_fn(|cx| scratch.poll_append(cx, io, buffer, EARLY_BYTES))).await {
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => return Err(Unread::Gone),
                Err(_) => return Err(Unread::TooLate),
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads away a body that nobody wants, so that the next request can come; false if it can't: too much, too late, or none.
    pub(crate) async fn discard(&mut self, scratch: &Scratch, body: &mut Framing, deadline: Instant) -> bool {
        let mut away = 0;
        loop {
            let Ok(scan) = body.scan(&self.buffer) else { return false };
            self.buffer.drain(..scan.body);
            away += scan.body;
            if scan.ended || away > MOST_UNWANTED {
                return scan.ended;
            }
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            match timeout_at(deadline, poll_fn(|cx| scratch.poll_append(cx, io, buffer, EARLY_BYTES))).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return false,
            }
        }
    }

    /// Writes all of it, in one write if the kernel takes it. A client that asks and never reads is let go.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.io.write_all(bytes).await?;
            // TLS keeps what the kernel did not take, and a client that waits for it would not make us write again.
            self.io.flush().await
        };
        match timeout(self.patience, write).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ready once the client has closed or failed. Bytes that it sends ahead of an answer say that it is there; they wait in
    /// the buffer.
    pub(crate) async fn gone(&mut self, scratch: &Scratch) {
        while self.buffer.len() < EARLY_BYTES {
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            let most = EARLY_BYTES - buffer.len();
            match poll_fn(|cx| scratch.poll_append(cx, io, buffer, most)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        pending().await
    }

    /// Ready once the client has left: failed, or finished for longer than [`HALF_CLOSED`].
    pub(crate) async fn left(&mut self, scratch: &Scratch) {
        let mut vigil = Vigil::default();
        poll_fn(|cx| vigil.poll(cx, self, scratch)).await;
    }

    /// Closes so that the last answer arrives: says goodbye, then reads on what the client is still
    /// sending. Closing at once would make the kernel answer that with a reset, and a reset destroys
    /// what the client has not read yet.
    pub(crate) async fn linger(mut self, scratch: &Scratch, patience: Duration) {
        let deadline = Instant::now() + patience;
        // Under TLS even a goodbye waits for a client that does not read.
        if !matches!(timeout_at(deadline, self.io.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let mut away = 0;
        while away < LINGER_BYTES {
            self.buffer.clear();
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            match timeout_at(deadline, poll_fn(|cx| scratch.poll_append(cx, io, buffer, usize::MAX))).await {
                Ok(Ok(read)) if read > 0 => away += read,
                _ => return,
            }
        }
    }

    /// Ends it so that nobody takes what came for complete.
    pub(crate) fn reset(mut self) {
        self.io.reset();
    }
}

/// Notices that a client leaves while it waits for its answer.
#[derive(Default)]
pub(crate) struct Vigil {
    /// Since it finished.
    grace: Option<Pin<Box<Sleep>>>,
}

impl Vigil {
    /// Ready once it has left. To be polled when its request is read: what it sends ahead of the next waits in the buffer, and
    /// beyond [`EARLY_BYTES`] in its connection.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client, scratch: &Scratch) -> Poll<()> {
        // The end of an HTTP/2 stream's request is no sign: it ends with every request.
        if let Stream::H2(exchange) = &mut client.io {
            return exchange.poll_reset(cx);
        }
        loop {
            if let Some(grace) = &mut self.grace {
                return grace.as_mut().poll(cx);
            }
            let Some(most) = EARLY_BYTES.checked_sub(client.buffer.len()).filter(|most| *most > 0) else { return Poll::Pending };
            match ready!(scratch.poll_append(cx, &mut client.io, &mut client.buffer, most)) {
                Ok(0) => self.grace = Some(Box::pin(sleep(HALF_CLOSED))),
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outgate_testkit::ca::{Ca, Validity};
    use outgate_testkit::patience::within;
    use rustls::pki_types::ServerName;
    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::{join, try_join};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    const SOON: Duration = Duration::from_millis(50);

    /// A client over TLS that takes little, and what is not read from on its side.
    async fn over_tls() -> (Client, tokio_rustls::client::TlsStream<TcpStream>) {
        let (ca, socket) = (Ca::new(), TcpSocket::new_v4().unwrap());
        socket.set_recv_buffer_size(4096).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (accepted, theirs) = join!(listener.accept(), socket.connect(listener.local_addr().unwrap()));
        let (ours, peer) = accepted.unwrap();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        let acceptor = TlsAcceptor::from(ca.server(&["localhost"], Validity::Current, &[]));
        let connector = TlsConnector::from(ca.client(&[]));
        let name = ServerName::try_from("localhost").unwrap();
        let (ours, theirs) = try_join!(acceptor.accept(ours), connector.connect(name, theirs.unwrap())).unwrap();
        let timeouts = Timeouts { idle: SOON, ..Timeouts::default() };
        (Client::new(Stream::Tls(Box::new(ours)), peer, &timeouts), theirs)
    }

    #[tokio::test]
    async fn under_tls_an_answer_is_out_when_it_is_written_and_a_goodbye_does_not_wait_for_ever() {
        let (mut client, _never_read) = over_tls().await;
        while client.write(&[b'x'; 1000]).await.is_ok() {
            let Stream::Tls(stream) = &client.io else { panic!("it is TLS") };
            assert!(!stream.get_ref().1.wants_write(), "a part is held back until the next answer");
        }
        within("the goodbye to be given up", client.linger(&Scratch::new(), SOON)).await;
    }
}
