//! Whom we trust: the TLS configuration that WebSockets and REST share.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use ssmd_core::{Error, ErrorKind, Result};

/// TLS 1.2 and 1.3 with the public roots and, if given, the certificates of a PEM file beside them. Host names are
/// always verified.
///
/// # Errors
/// `NotFound` or `Invalid` if the file cannot be read or holds no certificate.
pub fn client_config(extra_ca: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_ca {
        let text = std::fs::read(path)
            .map_err(|cause| Error::io("read certificates", cause).with("path", path.display()))?;
        add(&mut roots, &text).map_err(|error| error.with("path", path.display()))?;
    }
    with_roots(roots)
}

/// Like [`client_config`], with the PEM text of the extra certificates in hand.
///
/// # Errors
/// `Invalid` if the text holds no certificate.
pub fn client_config_with_pem(extra_ca: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    add(&mut roots, extra_ca)?;
    with_roots(roots)
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<()> {
    let invalid = || Error::new(ErrorKind::Invalid, "read certificates");
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|cause| invalid().detail(cause.to_string()))?;
        roots.add(certificate).map_err(|cause| invalid().because(cause))?;
        found += 1;
    }
    if found == 0 { Err(invalid().detail("no certificate in PEM form")) } else { Ok(()) }
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::new(ErrorKind::Bug, "set up TLS").because(cause))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
