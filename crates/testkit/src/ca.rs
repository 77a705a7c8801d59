//! A certificate authority for one test: its pem file for curl, server and client settings for everything else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::NamedTempFile;

/// Whether a certificate is within its dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until the year 4096.
    Current,
    /// It ended on 1 February 2001.
    Expired,
}

/// A throw-away CA. Its key exists only here, and goes with it.
#[derive(Debug)]
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: NamedTempFile,
}

impl Ca {
    /// A new CA with its certificate in a temporary file.
    ///
    /// # Panics
    /// If the machine cannot write temporary files.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Outgate throw-away test CA");
        let key = KeyPair::generate().expect("the provider makes P-256 keys");
        let certificate = params.self_signed(&key).expect("the parameters above are complete");
        let pem = NamedTempFile::with_suffix(".pem").expect("the machine has a temporary folder");
        std::fs::write(pem.path(), certificate.pem()).expect("the file was just made");
        Self { certificate: certificate.der().clone(), issuer: Issuer::new(params, key), pem }
    }

    /// The CA certificate as a PEM file, as in `curl --cacert`. Lives as long as this value.
    #[must_use]
    pub fn pem_path(&self) -> &Path {
        self.pem.path()
    }

    /// A fresh server identity for `names` (DNS names or IP addresses), offering `alpn` in that order.
    ///
    /// # Panics
    /// If a name is neither a DNS name nor an IP address.
    #[must_use]
    pub fn server(&self, names: &[&str], validity: Validity, alpn: &[&str]) -> Arc<ServerConfig> {
        let params = parameters(names, validity);
        let key = KeyPair::generate().expect("the provider makes P-256 keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("the CA may sign");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate and key were made together");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A fresh server identity for `names` as two PEM files in `folder`: the certificate's and the key's path.
    ///
    /// # Panics
    /// If a name is neither a DNS name nor an IP address, or the folder can't be written.
    #[must_use]
    pub fn server_files(&self, names: &[&str], folder: &Path) -> (PathBuf, PathBuf) {
        self.files(names, Validity::Current, folder)
    }

    /// The same within its dates or not.
    ///
    /// # Panics
    /// As [`Ca::server_files`].
    #[must_use]
    pub fn files(&self, names: &[&str], validity: Validity, folder: &Path) -> (PathBuf, PathBuf) {
        let params = parameters(names, validity);
        let key = KeyPair::generate().expect("the provider makes P-256 keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("the CA may sign");
        let (certificate_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&key_file, key.serialize_pem()).expect("the folder is ours");
        std::fs::write(&certificate_file, certificate.pem()).expect("the folder is ours");
        (certificate_file, key_file)
    }

    /// A client that trusts this CA and nothing else, offering `alpn` in that order.
    ///
    /// # Panics
    /// Never: the CA's own certificate is well-formed.
    #[must_use]
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.trusting().with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Ca {
    /// A client that trusts this CA and shows a certificate of its own, of the same CA.
    ///
    /// # Panics
    /// Never: certificate and key are made together.
    #[must_use]
    pub fn known_client(&self) -> Arc<ClientConfig> {
        let key = KeyPair::generate().expect("the provider makes P-256 keys");
        let certificate =
            parameters(&["client.example"], Validity::Current).signed_by(&key, &self.issuer).expect("the CA may sign");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = self.trusting().with_client_auth_cert(vec![certificate.der().clone()], key);
        Arc::new(config.expect("certificate and key were made together"))
    }

    fn trusting(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("the CA certificate was made here");
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.2 and 1.3")
            .with_root_certificates(roots)
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

fn parameters(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the test names its server properly");
    if validity == Validity::Expired {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 2, 1);
    }
    params
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
