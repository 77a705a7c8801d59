//! TLS for this process's own doors: certificates from files, and the echo target's, made on the first run.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A server's TLS from a certificate chain and its key, both PEM.
pub(crate) fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |e| format!("{path}: {e}")
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it", certificate.display()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|e| format!("{} and {}: {e}", certificate.display(), key.display()))?;
    Ok(Arc::new(config))
}

/// The echo target's TLS; its CA is `echo-ca.pem` in the data folder, for `curl --cacert`.
pub(crate) fn echo(data: &Path) -> Result<Arc<ServerConfig>, String> {
    let (ca, certificate, key) = (data.join("echo-ca.pem"), data.join("echo-cert.pem"), data.join("echo-key.pem"));
    if !(ca.exists() && certificate.exists() && key.exists()) {
        make_echo(&ca, &certificate, &key).map_err(|e| format!("the echo target's certificate can't be made: {e}"))?;
    }
    server(&certificate, &key)
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
