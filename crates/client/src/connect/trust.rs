//! Whose certificates are believed when a proxy is spoken to over TLS.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Believed authorities, ready for use. Cheap to clone.
#[derive(Clone)]
pub struct Trust(Source);

#[derive(Clone)]
enum Source {
    System,
    Given(Arc<ClientConfig>),
}

/// Why roots can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRoots {
    /// There is no certificate in the text.
    Empty,
    /// A certificate is damaged.
    Damaged(String),
}

impl fmt::Display for BadRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no certificate (PEM) in it"),
            Self::Damaged(why) => write!(f, "a certificate can't be read: {why}"),
        }
    }
}

impl std::error::Error for BadRoots {}

impl Trust {
    /// The authorities that this machine believes. They are read once per process, at the first use.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// The authorities of this machine and those in `pem`.
    ///
    /// # Errors
    /// When `pem` holds no certificate, or a damaged one.
    pub fn system_and(pem: &[u8]) -> Result<Self, BadRoots> {
        let mut roots = system_roots();
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| BadRoots::Damaged(format!("{e:?}")))?;
            roots.add(certificate).map_err(|e| BadRoots::Damaged(e.to_string()))?;
            added += 1;
        }
        if added == 0 { Err(BadRoots::Empty) } else { Ok(Self::given(client_config(roots))) }
    }

    /// Whatever a TLS configuration of the caller's says.
    pub fn given(config: ClientConfig) -> Self {
        Self(Source::Given(Arc::new(config)))
    }

    /// The TLS configuration. Reads the system's authorities if nobody did before, which takes some milliseconds.
    pub fn config(&self) -> Arc<ClientConfig> {
        // What the machine believes is a fact about the machine, not a setting: one copy for the process.
        static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        match &self.0 {
            Source::Given(config) => config.clone(),
            Source::System => SYSTEM.get_or_init(|| Arc::new(client_config(system_roots()))).clone(),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Trust(system)",
            Source::Given(_) => "Trust(given)",
        })
    }
}

/// What can't be read is left out, as everywhere: the handshake will say that nobody vouches for the certificate.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[expect(clippy::expect_used, reason = "ring offers TLS 1.2 and 1.3; nothing from outside decides it")]
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
