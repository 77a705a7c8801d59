//! Webhooks: incidents are posted as JSON, with retries, in a queue of its own for each receiver.
//!
//! A receiver that is slow or gone holds up nobody: its queue is bounded, and what doesn't fit is dropped and said so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use outgate_store::Secret;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_rustls::TlsConnector;

/// Messages that wait for one receiver.
const QUEUE: usize = 64;
/// Attempts at one message.
const ATTEMPTS: u32 = 8;
/// One attempt, from the name to the status.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest wait after the first failure; it doubles, and the wait itself is anything below (full jitter).
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait at all, whatever the receiver asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One receiver as configured.
pub(crate) struct Webhook {
    /// Where.
    pub(crate) url: Url,
    /// Signs every message.
    pub(crate) secret: Option<Secret<String>>,
    /// Whom it trusts over TLS; the system's authorities without.
    pub(crate) authorities: Option<Arc<ClientConfig>>,
    /// Of what it is told.
    pub(crate) told: Told,
}

/// Where a webhook goes. Its path may be a secret (chat programs do that), so that only the host is ever shown.
pub(crate) struct Url {
    tls: bool,
    host: String,
    port: u16,
    target: Secret<String>,
}

impl Url {
    /// `http://HOST[:PORT]/PATH` or `https://…`. What is wrong with it is told without it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "not a URL; write https://HOST/PATH")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("write it with http:// or https://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials don't belong into it: messages can be signed with secret_file");
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: authority.host().to_owned(), port, target: Secret::new(target) })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

/// Of what a receiver is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    opened: bool,
    changed: bool,
    closed: bool,
}

/// What happened to an incident.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Opened,
    Changed,
    Closed,
}

impl Event {
    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Event::Opened => "incident.opened",
            Event::Changed => "incident.changed",
            Event::Closed => "incident.closed",
        }
    }
}

impl Default for Told {
    fn default() -> Self {
        Self { opened: true, changed: false, closed: true }
    }
}

impl Told {
    pub(crate) const NOTHING: Told = Told { opened: false, changed: false, closed: false };

    /// `opened`, `changed` or `closed`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "opened" => Ok(Self { opened: true, ..Self::NOTHING }),
            "changed" => Ok(Self { changed: true, ..Self::NOTHING }),
            "closed" => Ok(Self { closed: true, ..Self::NOTHING }),
            _ => Err("\"opened\", \"changed\" or \"closed\""),
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { opened: self.opened || other.opened, changed: self.changed || other.changed, closed: self.closed || other.closed }
    }

    fn of(self, event: Event) -> bool {
        match event {
            Event::Opened => self.opened,
            Event::Changed => self.changed,
            Event::Closed => self.closed,
        }
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// What happened.
    pub(crate) event: Event,
    /// The same however often it is sent, so that a receiver can tell.
    pub(crate) id: String,
    /// JSON.
    pub(crate) body: Bytes,
}

/// The queues to all receivers. When it drops, what is queued is still delivered while the program runs.
pub(crate) struct Hooks(Vec<(Arc<Webhook>, Sender<Message>)>);

impl Hooks {
    /// Starts a task for each receiver, on this event loop.
    pub(crate) fn start(webhooks: &[Arc<Webhook>]) -> Self {
        let start = |webhook: &Arc<Webhook>| {
            let (sender, receiver) = channel(QUEUE);
            tokio::task::spawn_local(deliver_all(webhook.clone(), receiver));
            (webhook.clone(), sender)
        };
        Self(webhooks.iter().map(start).collect())
    }

    /// Queues a message for whoever wants to be told.
    pub(crate) fn tell(&self, message: &Message) {
        for (webhook, queue) in self.0.iter().filter(|(webhook, _)| webhook.told.of(message.event)) {
            if queue.try_send(message.clone()).is_err() {
                tracing::error!(to = %webhook.url, message = message.id, "a webhook's queue is full: the message is dropped");
            }
        }
    }
}

async fn deliver_all(webhook: Arc<Webhook>, mut messages: Receiver<Message>) {
    let tls = match &webhook.authorities {
        Some(own) => Ok(own.clone()),
        None if webhook.url.tls => crate::tls::client(None),
        None => Err(String::new()),
    };
    while let Some(message) = messages.recv().await {
        deliver(&webhook, &tls, &message).await;
    }
}

/// Attempts a message until it is taken, refused for good, or was attempted often enough.
async fn deliver(webhook: &Webhook, tls: &Result<Arc<ClientConfig>, String>, message: &Message) {
    let mut why = String::new();
    for attempt in 1..=ATTEMPTS {
        let outcome = tokio::time::timeout(PATIENCE, post(webhook, tls, message)).await;
        let wait = match outcome {
            Ok(Ok(Answer { status: 200..=299, .. })) => {
                tracing::debug!(to = %webhook.url, message = message.id, attempt, "a webhook was delivered");
                return;
            }
            Ok(Ok(Answer { status, wait })) => {
                why = format!("it answered {status}");
                // Any other 4xx stays what it is, however often it is asked.
                if matches!(status, 400..=499) && status != 408 && status != 429 {
                    break;
                }
                wait
            }
            Ok(Err(error)) => {
                why = error;
                None
            }
            Err(_) => {
                why = format!("no answer within {} s", PATIENCE.as_secs());
                None
            }
        };
        if attempt < ATTEMPTS {
            tracing::debug!(to = %webhook.url, message = message.id, attempt, why, "a webhook was not delivered; trying again");
            tokio::time::sleep(wait.unwrap_or_else(|| jittered(attempt)).min(LONGEST_WAIT)).await;
        }
    }
    tracing::error!(to = %webhook.url, message = message.id, event = message.event.name(), why, "a webhook could not be delivered");
}

struct Answer {
    status: u16,
    wait: Option<Duration>,
}

async fn post(webhook: &Webhook, tls: &Result<Arc<ClientConfig>, String>, message: &Message) -> Result<Answer, String> {
    let Url { host, port, .. } = &webhook.url;
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, *port)).await.map_err(|error| error.to_string())?;
    let request = request(webhook, message).map_err(|error| error.to_string())?;
    if !webhook.url.tls {
        return exchange(TokioIo::new(stream), request).await;
    }
    let config = tls.clone()?;
    let name = ServerName::try_from(address.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(TokioIo::new(stream), request).await
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let seconds = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        Ok(Answer { status: response.status().as_u16(), wait: seconds.map(Duration::from_secs) })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end first; what it has read is still the exchange's to take.
        ended = &mut connection => {
            ended.map_err(|error: hyper::Error| error.to_string())?;
            answer.await
        }
    }
}

fn request(webhook: &Webhook, message: &Message) -> Result<Request<Full<Bytes>>, http::Error> {
    let Url { host, port, target, .. } = &webhook.url;
    let mut request = Request::post(target.expose().as_str())
        .header(HOST, format!("{host}:{port}"))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("outgate/", env!("CARGO_PKG_VERSION")))
        .header("outgate-event", message.event.name())
        .header("outgate-message-id", &message.id);
    if let Some(secret) = &webhook.secret {
        request = request.header("outgate-signature", signature(secret, Timestamp::now().as_second(), &message.body));
    }
    request.body(Full::new(message.body.clone()))
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot and the body. The time is in it so that an old message can't be sent again.
fn signature(secret: &Secret<String>, at: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{at}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

fn jittered(attempt: u32) -> Duration {
    let most = FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(10)).min(LONGEST_WAIT);
    let mut random = [0; 2];
    // Without randomness the longest wait does.
    let part =
        SystemRandom::new().fill(&mut random).map_or(1.0, |()| f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX));
    most.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_never_shown_whole() {
        let table = [
            ("https://hooks.example/services/T0/B0/secret?x=1", Ok("https://hooks.example:443")),
            ("http://127.0.0.1:9000", Ok("http://127.0.0.1:9000")),
            ("http://[::1]:9000/a", Ok("http://[::1]:9000")),
            ("ftp://hooks.example/a", Err("write it with http:// or https://")),
            (
                "https://user:pass@hooks.example/a",
                Err("credentials don't belong into it: messages can be signed with secret_file"),
            ),
            ("/a", Err("write it with http:// or https://")),
            ("a b", Err("not a URL; write https://HOST/PATH")),
        ];
        for (text, expected) in table {
            let url = Url::parse(text).map(|url| url.to_string());
            assert_eq!(url, expected.map(str::to_owned).map_err(|why: &str| why), "{text}");
        }
    }

    #[test]
    fn a_signature_is_over_the_time_and_the_body() {
        let secret = Secret::new("0123456789abcdef".to_owned());
        // echo -n '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        assert_eq!(signature(&secret, 1_700_000_000, b"{\"a\":1}"), expected);
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        for attempt in 1..ATTEMPTS {
            let most = Duration::from_secs(1 << (attempt - 1)).min(LONGEST_WAIT);
            assert!((0..64).all(|_| jittered(attempt) <= most), "{attempt}");
        }
    }
}
