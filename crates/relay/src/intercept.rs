//! The local authority: certificates for targets whose TLS is opened, made when they are first asked for.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The most certificates that are kept; beyond it all are made anew.
const MOST_KEPT: usize = 1024;
/// How long a made certificate holds, and how far its beginning lies back for clocks that are late.
const HOLDS: Duration = Duration::from_secs(30 * 86_400);
const LATE_CLOCKS: Duration = Duration::from_secs(86_400);
/// The authority's name: its key is what tells two of them apart.
const NAME: &str = "Outgate relay, local authority";

/// An authority that exists on this machine only.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    made: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// Reads the authority from its two files, or makes it and them if there are none: the certificate for programs to believe,
    /// and the key, which only its owner may read.
    ///
    /// # Errors
    /// One of the files is there without the other, can't be read or written, or they don't belong together.
    pub fn open(certificate_file: &Path, key_file: &Path) -> Result<Authority, String> {
        match (certificate_file.exists(), key_file.exists()) {
            (true, true) => Self::read(certificate_file, key_file),
            (false, false) => Self::make(certificate_file, key_file),
            (true, false) => Err(format!("{} is there, but its key {} is not", certificate_file.display(), key_file.display())),
            (false, true) => {
                Err(format!("{} is there, but its certificate {} is not", key_file.display(), certificate_file.display()))
            }
        }
    }

    fn make(certificate_file: &Path, key_file: &Path) -> Result<Authority, String> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| format!("no key can be made: {e}"))?;
        let certificate = params().self_signed(&key).map_err(|e| format!("no certificate can be made: {e}"))?;
        write(key_file, &key.serialize_pem(), 0o600)?;
        write(certificate_file, &certificate.pem(), 0o644)?;
        Ok(Self::new(key, certificate.der().clone()))
    }

    fn read(certificate_file: &Path, key_file: &Path) -> Result<Authority, String> {
        let text = std::fs::read_to_string(key_file).map_err(|e| format!("{}: {e}", key_file.display()))?;
        // The library's error may repeat what it read, which is a secret.
        let key = KeyPair::from_pem(&text).map_err(|_| format!("{} holds no private key (PEM, PKCS #8)", key_file.display()))?;
        let pem = std::fs::read(certificate_file).map_err(|e| format!("{}: {e}", certificate_file.display()))?;
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|_| format!("{} holds no certificate (PEM)", certificate_file.display()))?;
        // Whatever a certificate says, it carries its public key as it is: another's would sign in vain.
        let public = key.public_key_raw();
        if !certificate.windows(public.len()).any(|part| part == public) {
            return Err(format!("{} and {} don't belong together", certificate_file.display(), key_file.display()));
        }
        Ok(Self::new(key, certificate))
    }

    fn new(key: KeyPair, certificate: CertificateDer<'static>) -> Authority {
        Authority { issuer: Issuer::new(params(), key), certificate, made: Mutex::default() }
    }

    /// TLS for a program that wants to speak to `host`: HTTP/1.1, in the host's name.
    ///
    /// # Errors
    /// No certificate can be for such a host.
    pub fn server(&self, host: &str) -> Result<Arc<ServerConfig>, String> {
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some(config) = known {
            return Ok(config);
        }
        let config = self.make_server(host).map_err(|e| format!("no certificate can be made for {host}: {e}"))?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MOST_KEPT {
            made.clear();
        }
        made.insert(host.to_owned(), config.clone());
        Ok(config)
    }

    fn make_server(&self, host: &str) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        // The name stands in the alternative names; some programs want a subject all the same.
        if host.parse::<IpAddr>().is_err() && host.len() <= 64 {
            params.distinguished_name.push(DnType::CommonName, host);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let now = std::time::SystemTime::now();
        params.not_before = (now - LATE_CLOCKS).into();
        params.not_after = (now + HOLDS).into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The authority's own certificate; the same each time, so that an issuer made of it and the key is the one in the file.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, NAME);
    params
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", file.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(file).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
}
