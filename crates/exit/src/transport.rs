//! Transport: one connection to the gateway, plain or TLS.

use std::{
    fmt, io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::settings::{GatewayUrl, Security};

/// Dials one gateway again and again.
pub(crate) struct Dialer {
    url: GatewayUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why no gateway can be dialed with these settings, however often one tries.
#[derive(Debug)]
pub(crate) enum DialerError {
    /// The CA file cannot be read or holds no certificate.
    CaFile(String),
    /// The system has no trusted authorities.
    NoAuthorities,
    /// The host is no name that a certificate could carry.
    ServerName,
    /// TLS itself could not be set up.
    Tls(rustls::Error),
}

impl fmt::Display for DialerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialerError::CaFile(why) => write!(f, "the CA file cannot be used: {why}"),
            DialerError::NoAuthorities => {
                write!(f, "this system trusts no certificate authority; name one with a CA file")
            }
            DialerError::ServerName => write!(f, "the gateway's host is no valid name for TLS"),
            DialerError::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl Dialer {
    pub(crate) fn new(url: &GatewayUrl, ca_file: Option<&Path>) -> Result<Dialer, DialerError> {
        let tls = match url.security {
            Security::Plain => None,
            Security::Tls => {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(DialerError::Tls)?
                    .with_root_certificates(authorities(ca_file)?)
                    .with_no_client_auth();
                let name = ServerName::try_from(url.host.clone()).map_err(|_| DialerError::ServerName)?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Dialer { url: url.clone(), tls })
    }

    pub(crate) fn url(&self) -> &GatewayUrl {
        &self.url
    }

    /// Connects; the deadline is the caller's.
    pub(crate) async fn dial(&self) -> io::Result<Transport> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Transport::Plain(stream),
            Some((connector, name)) => Transport::Tls(Box::new(connector.connect(name.clone(), stream).await?)),
        })
    }
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, DialerError> {
    let mut store = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let file = |error: &dyn fmt::Display| DialerError::CaFile(format!("{}: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| file(&error))? {
                store.add(certificate.map_err(|error| file(&error))?).map_err(|error| file(&error))?;
            }
            if store.is_empty() {
                return Err(file(&"it holds no certificate"));
            }
        }
        None => {
            // Some of a system's files may be broken; the others still count.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(DialerError::NoAuthorities);
            }
        }
    }
    Ok(store)
}

/// A connection to the gateway.
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
