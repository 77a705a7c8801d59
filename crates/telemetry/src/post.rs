//! Sends one message to a collector over HTTP, and says what became of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::environment::{Encoding, Endpoint};

/// What is read of an answer: its words are not used.
const ANSWER: usize = 64 * 1024;

/// The way to one endpoint; keeps its connection.
pub(crate) struct Post {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// Why a message did not arrive.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// It may arrive later; the collector may have said when.
    Later(String, Option<Duration>),
    /// It never will.
    Never(String),
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(why, _) | Self::Never(why) => f.write_str(why),
        }
    }
}

impl Post {
    /// The way to an endpoint.
    ///
    /// # Errors
    /// No certificate to trust can be read: in words.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, String> {
        let tls = match endpoint.uri.scheme_str() {
            Some("https") => Some(TlsConnector::from(Arc::new(trusting(endpoint.authority.as_deref())?))),
            _ => None,
        };
        Ok(Self { endpoint, tls, kept: None })
    }

    /// How a message is to be written.
    pub(crate) fn encoding(&self) -> Encoding {
        self.endpoint.encoding
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), Undelivered> {
        match tokio::time::timeout(self.endpoint.timeout, self.exchange(message)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.kept = None;
                Err(Undelivered::Later(format!("no answer within {:?}", self.endpoint.timeout), None))
            }
        }
    }

    async fn exchange(&mut self, message: Bytes) -> Result<(), Undelivered> {
        let later = |error: &dyn fmt::Display| Undelivered::Later(error.to_string(), None);
        let kept = match self.kept.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let mut sender = match kept {
            Some(kept) => kept,
            None => self.connect().await.map_err(|why| later(&why))?,
        };
        let answer = sender.send_request(self.request(message)).await.map_err(|error| later(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let whole = Limited::new(answer.into_body(), ANSWER).collect().await;
        if whole.is_ok() {
            self.kept = Some(sender);
        }
        match status {
            status if status.is_success() => Ok(()),
            // As the protocol says (OTLP/HTTP, "Retryable Response Codes").
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let wait = headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
                Err(Undelivered::Later(format!("the collector answered {status}"), wait.map(Duration::from_secs)))
            }
            status => Err(Undelivered::Never(format!("the collector answered {status}"))),
        }
    }

    fn request(&self, message: Bytes) -> Request<Full<Bytes>> {
        let kind = match self.endpoint.encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = Method::POST;
        let path = self.endpoint.uri.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let fields = request.headers_mut();
        if let Some(host) = self.endpoint.uri.authority().and_then(|host| host.as_str().rsplit('@').next()?.parse().ok()) {
            fields.insert(HOST, host);
        }
        fields.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
        fields.insert(USER_AGENT, http::HeaderValue::from_static(concat!("outgate/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.endpoint.headers {
            fields.insert(name.clone(), value.clone());
        }
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let uri = &self.endpoint.uri;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        match &self.tls {
            None => speak(tcp).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
                speak(tls.connect(name, tcp).await.map_err(|error| format!("{host}:{port}: {error}"))?).await
            }
        }
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // What goes wrong with it, the sender says.
    tokio::spawn(connection);
    Ok(sender)
}

/// Trusts a file's certificates, or the system's.
fn trusting(file: Option<&str>) -> Result<ClientConfig, String> {
    let certificates: Vec<CertificateDer<'static>> = match file {
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            read.map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {file}: {error}"))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 {
        return Err(match file {
            Some(file) => format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {file}: there is no certificate in it"),
            None => "https to the collector: this system trusts no certificates (ca-certificates)".to_owned(),
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}
