//! A TLS handshake that is carried to its end whatever the certificate, with the judgement kept apart.
//!
//! A client that refuses a certificate never learns who stands behind it. The doctor wants to: it sends nothing secret over
//! such a connection, one request without credentials or cookies.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::certificate::Certificate;

/// The certificate that was shown, and what a client that keeps the rules makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The end entity's certificate as it came: two of them can be compared.
    pub(crate) der: Vec<u8>,
    /// What it says of itself.
    pub(crate) certificate: Certificate,
    /// Why it is not believed, if it isn't.
    pub(crate) doubt: Option<Doubt>,
}

/// Why a certificate is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doubt {
    /// Nobody this machine believes vouches for it.
    UnknownIssuer,
    /// It is for another name.
    OtherName,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Anything else.
    Other,
}

impl Doubt {
    /// In words that end "the certificate …".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Doubt::UnknownIssuer => "is signed by nobody this machine believes",
            Doubt::OtherName => "is for another name",
            Doubt::Expired => "is expired",
            Doubt::NotYetValid => "is not valid yet",
            Doubt::Other => "can't be used",
        }
    }

    pub(crate) fn of(error: &CertificateError) -> Doubt {
        match error {
            // An authority that was made anew keeps its name: then it is the signature that does not fit the one that is known.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Doubt::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Doubt::OtherName,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Doubt::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Doubt::NotYetValid,
            _ => Doubt::Other,
        }
    }
}

/// The authorities this machine believes, and those in `pem`.
///
/// # Errors
/// When `pem` holds no certificate, or one that can't be read.
pub fn roots(pem: Option<&[u8]>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = pem {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("a certificate can't be read: {error}"))?;
            roots.add(certificate).map_err(|error| format!("a certificate can't be used: {error}"))?;
            added += 1;
        }
        if added == 0 {
            return Err("there is no certificate (PEM) in it".to_owned());
        }
    }
    Ok(Arc::new(roots))
}

/// Looks at one handshake.
#[derive(Debug)]
pub(crate) struct Look {
    /// None where nobody at all is believed: then nobody is.
    judge: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
    provider: Arc<rustls::crypto::CryptoProvider>,
    seen: Mutex<Option<Shown>>,
}

impl Look {
    pub(crate) fn new(roots: &Arc<RootCertStore>) -> Arc<Look> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider)).build().ok();
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        Arc::new(Look { judge, schemes, provider, seen: Mutex::new(None) })
    }

    /// A client that ends every handshake with whatever certificate, and tells it here.
    pub(crate) fn client(self: &Arc<Self>) -> Option<ClientConfig> {
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions().ok()?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::clone(self) as _).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every look is a whole handshake: a resumed one shows no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Some(config)
    }

    /// What was shown, if the handshake came so far.
    pub(crate) fn seen(&self) -> Option<Shown> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.judge.as_ref().map(|judge| judge.verify_server_cert(end_entity, intermediates, name, ocsp, now));
        let doubt = match judged {
            Some(Ok(_)) => None,
            Some(Err(rustls::Error::InvalidCertificate(error))) => Some(Doubt::of(&error)),
            Some(Err(_)) => Some(Doubt::Other),
            None => Some(Doubt::UnknownIssuer),
        };
        let certificate = Certificate::read(end_entity).unwrap_or_default();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown { der: end_entity.to_vec(), certificate, doubt });
        Ok(ServerCertVerified::assertion())
    }

    // The signatures of the handshake itself are checked as always: whose key it is must be known to compare certificates.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
