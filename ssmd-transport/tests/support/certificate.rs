//! A certificate for `localhost`, of an authority that nobody else trusts.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Writes `ca.pem`, `server.pem` and `server.key` into a folder; gives the authority's certificate.
pub(crate) fn write(folder: &Path) -> Vec<u8> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let parts =
        [("ca.pem", authority.pem()), ("server.pem", server.pem()), ("server.key", key.serialize_pem())];
    for (name, text) in parts {
        std::fs::write(folder.join(name), text).unwrap();
    }
    authority.pem().into_bytes()
}
