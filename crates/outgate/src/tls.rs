//! TLS for this process's own doors: certificates from files, looked at again when they change, and the echo target's own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};

/// How often the files are looked at for a change, at most; only when somebody connects.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who must show a certificate.
pub(crate) enum Clients<'a> {
    /// Nobody.
    Anonymous,
    /// Whoever has one of this CA's may show it, the others come without.
    Optional(&'a Path),
    /// Everybody, one of this CA's.
    Required(&'a Path),
}

/// A server's TLS from a certificate chain and its key, both PEM. `alpn` are the protocols to agree on, preferred first.
/// Files that change are in force for the next connections; as long as the new ones can't be read, the old ones are.
pub(crate) fn server(certificate: &Path, key: &Path, clients: &Clients<'_>, alpn: &[&str]) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(default_provider());
    let fail = |e: rustls::Error| format!("{} and {}: {e}", certificate.display(), key.display());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(fail)?;
    let builder = match clients {
        Clients::Anonymous => builder.with_no_client_auth(),
        Clients::Optional(ca) | Clients::Required(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(ca)?), provider.clone());
            let verifier = match clients {
                Clients::Required(_) => verifier,
                Clients::Anonymous | Clients::Optional(_) => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| format!("{}: {e}", ca.display()))?)
        }
    };
    let files = CertificateFiles::open(certificate, key, provider)?;
    let mut config = builder.with_cert_resolver(Arc::new(files));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    // A client that was here before saves the signature: without tickets every connection would cost one.
    config.ticketer = Ticketer::new().map_err(fail)?;
    Ok(Arc::new(config))
}

/// The TLS of both ends of a link between gateways: each shows the certificate and takes those of the authority only. A
/// certificate is looked at again for each link: one that has expired must not come back by an old session.
pub(crate) fn cluster(certificate: &Path, key: &Path, ca: &Path) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), String> {
    let mut accepting = Arc::unwrap_or_clone(server(certificate, key, &Clients::Required(ca), &[])?);
    accepting.send_tls13_tickets = 0;
    accepting.session_storage = Arc::new(NoServerSessionStorage {});
    let provider = Arc::new(default_provider());
    let fail = |e: rustls::Error| format!("{} and {}: {e}", certificate.display(), key.display());
    let files = CertificateFiles::open(certificate, key, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(fail)?;
    let mut dialing = builder.with_root_certificates(authorities(ca)?).with_client_cert_resolver(Arc::new(files));
    dialing.resumption = Resumption::disabled();
    Ok((Arc::new(accepting), Arc::new(dialing)))
}

/// A certificate and its key, as the files have them now.
#[derive(Debug)]
struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    /// When the two files were last written.
    written: [Option<SystemTime>; 2],
    looked: Instant,
}

impl CertificateFiles {
    fn open(certificate: &Path, key: &Path, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let written = written([certificate, key]);
        let certified = Arc::new(read(certificate, key, &provider)?);
        let current = RwLock::new(Current { certified, written, looked: Instant::now() });
        Ok(Self { certificate: certificate.into(), key: key.into(), provider, current })
    }

    fn now(&self) -> Arc<CertifiedKey> {
        if self.current.read().unwrap_or_else(PoisonError::into_inner).looked.elapsed() >= LOOK_AGAIN {
            self.look_again();
        }
        self.current.read().unwrap_or_else(PoisonError::into_inner).certified.clone()
    }

    fn look_again(&self) {
        let Ok(mut current) = self.current.try_write() else { return };
        current.looked = Instant::now();
        let written = written([&self.certificate, &self.key]);
        if written == current.written {
            return;
        }
        // Once a change, not once a second, even if it can't be used.
        current.written = written;
        match read(&self.certificate, &self.key, &self.provider) {
            Ok(certified) => {
                current.certified = Arc::new(certified);
                tracing::info!(certificate = %self.certificate.display(), "the new certificate is in force");
            }
            Err(why) => tracing::error!(why, "a changed certificate can't be used; the old one stays in force"),
        }
    }
}

impl ResolvesServerCert for CertificateFiles {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for CertificateFiles {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Also to a server that trusts others: it then says itself that it does not take this one.
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn written(files: [&Path; 2]) -> [Option<SystemTime>; 2] {
    files.map(|file| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok())
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = certificates(certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{}: {e}", key.display()))?;
    CertifiedKey::from_der(chain, key_der, provider).map_err(|e| format!("{} and {}: {e}", certificate.display(), key.display()))
}

/// TLS towards servers that the system trusts, or the authorities in a file.
pub(crate) fn client(file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match file {
        Some(file) => authorities(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            // Some of a system's files may be broken; the others still count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match chain.map_err(|e| format!("{}: {e}", file.display()))? {
        chain if chain.is_empty() => Err(format!("{}: there is no certificate in it", file.display())),
        chain => Ok(chain),
    }
}

/// The echo target's TLS; its CA is `echo-ca.pem` in the data folder, for `curl --cacert`.
pub(crate) fn echo(data: &Path) -> Result<Arc<ServerConfig>, String> {
    let (ca, certificate, key) = (data.join("echo-ca.pem"), data.join("echo-cert.pem"), data.join("echo-key.pem"));
    if !(ca.exists() && certificate.exists() && key.exists()) {
        make_echo(&ca, &certificate, &key).map_err(|e| format!("the echo target's certificate can't be made: {e}"))?;
    }
    server(&certificate, &key, &Clients::Anonymous, &[])
}

fn make_echo(ca: &Path, certificate: &Path, key: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    authority.distinguished_name.push(DnType::CommonName, "Outgate echo target CA");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = CertificateParams::new(vec![outgate_gateway::ECHO_HOST.to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, outgate_gateway::ECHO_HOST);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate()?;
    let leaf_certificate = leaf.signed_by(&leaf_key, &issuer)?;

    crate::data::write_private(key, leaf_key.serialize_pem().as_bytes())?;
    std::fs::write(certificate, leaf_certificate.pem())?;
    // Last: its presence says that the others are there.
    std::fs::write(ca, authority_certificate.pem())?;
    Ok(())
}
