//! Transport: one connection to the gateway, plain or TLS, straight or through an HTTP proxy.

use std::{
    fmt, io,
    net::SocketAddr,
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
    net::{TcpSocket, TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    proxy::{Proxy, TunnelError},
    settings::{GatewayUrl, Security},
    source::Source,
};

/// Dials one gateway again and again.
pub(crate) struct Dialer {
    url: GatewayUrl,
    proxy: Option<Proxy>,
    source: Option<Source>,
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
    pub(crate) fn new(
        url: &GatewayUrl,
        ca_file: Option<&Path>,
        proxy: Option<Proxy>,
        source: Option<Source>,
    ) -> Result<Dialer, DialerError> {
        let tls = match url.security {
            Security::Plain => None,
            Security::Tls => {
                let config = client_config(ca_file)?;
                let name = ServerName::try_from(url.host.clone()).map_err(|_| DialerError::ServerName)?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Dialer { url: url.clone(), proxy, source, tls })
    }

    pub(crate) fn url(&self) -> &GatewayUrl {
        &self.url
    }

    /// Connects; the deadline is the caller's.
    pub(crate) async fn dial(&self) -> Result<Transport, DialError> {
        let (host, port) = self.proxy.as_ref().map_or((self.url.host.as_str(), self.url.port), Proxy::address);
        let mut stream = self.connect(host, port).await.map_err(|error| match &self.proxy {
            None => DialError::Connect(error),
            Some(proxy) => DialError::Proxy(proxy.to_string(), TunnelError::Io(error)),
        })?;
        if let Some(proxy) = &self.proxy {
            let told = proxy.tunnel(&mut stream, &self.url.authority()).await;
            told.map_err(|error| DialError::Proxy(proxy.to_string(), error))?;
        }
        Ok(match &self.tls {
            None => Transport::Plain(stream),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(DialError::Tls)?;
                Transport::Tls(Box::new(stream))
            }
        })
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = match &self.source {
            None => TcpStream::connect((host, port)).await?,
            Some(source) => {
                let from = source.address().map_err(io::Error::other)?;
                let mut last =
                    io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{host} has no address of the kind of {from}"));
                let mut connected = None;
                for to in lookup_host((host, port)).await?.filter(|to| to.is_ipv4() == from.is_ipv4()) {
                    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                    socket.bind(SocketAddr::new(from, 0)).map_err(|error| {
                        io::Error::new(error.kind(), format!("leaving from {from}: {error}; is it an address of this machine?"))
                    })?;
                    match socket.connect(to).await {
                        Ok(stream) => {
                            connected = Some(stream);
                            break;
                        }
                        Err(error) => last = error,
                    }
                }
                connected.ok_or(last)?
            }
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Why one attempt reached no gateway. A sentence for the operator; no secret is in it.
#[derive(Debug)]
pub(crate) enum DialError {
    Connect(io::Error),
    /// Through which proxy, and why not.
    Proxy(String, TunnelError),
    Tls(io::Error),
}

impl DialError {
    /// Would the next attempts fail, too, until somebody changed something?
    pub(crate) fn needs_change(&self) -> bool {
        match self {
            DialError::Connect(_) => false,
            DialError::Proxy(_, error) => error.needs_change(),
            DialError::Tls(error) => error.kind() == io::ErrorKind::InvalidData,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Connect(error) => write!(f, "the gateway can't be reached: {error}"),
            DialError::Proxy(proxy, TunnelError::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(f, "the proxy {proxy} can't be reached: {error}")
            }
            DialError::Proxy(proxy, error) => write!(f, "the proxy {proxy} {error}"),
            DialError::Tls(error) => {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
                match cause {
                    Some(rustls::Error::InvalidMessage(_)) => f.write_str(
                        "what answers there does not speak TLS: if the gateway's door for exits has no certificate, the URL begins with ws://",
                    ),
                    Some(rustls::Error::InvalidCertificate(why)) => write!(
                        f,
                        "the gateway's certificate is not trusted ({why}): name its authority with --ca FILE, or the gateway by the name in its certificate"
                    ),
                    Some(_) | None
                        if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
                    {
                        f.write_str(
                            "the TLS handshake was broken off: if the gateway's door for exits has no certificate, the URL begins with ws://",
                        )
                    }
                    Some(_) | None => write!(f, "no TLS with the gateway: {error}"),
                }
            }
        }
    }
}

impl std::error::Error for DialError {}

/// TLS towards servers that the system (or one CA file) trusts.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, DialerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(DialerError::Tls)?;
    Ok(builder.with_root_certificates(authorities(ca_file)?).with_no_client_auth())
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
