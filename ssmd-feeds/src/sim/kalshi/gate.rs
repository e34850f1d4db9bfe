//! Who may connect: whoever signs as the venue asks for. With a public key the signature must be right; without one it
//! must look right, and who brings none at all is let in too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use ssmd_core::{Error, ErrorKind, Result, Timestamp};

use crate::kalshi::auth;

/// Signatures of keys of 2048 bits and more, in bytes.
const SIGNATURE_BYTES_MIN: usize = 256;
/// How far the moment of signing may be from now.
const SKEW_MAX_MILLIS: i64 = 30_000;

/// Where clients sign.
pub(super) const PATH: &str = "/trade-api/ws/v2";

/// The gate of a simulated venue.
pub(super) struct Gate {
    /// An RSA public key as PKCS#1 has it.
    key: Option<Vec<u8>>,
}

impl Gate {
    /// Checks with `pem`, if there is one.
    ///
    /// # Errors
    /// `Invalid` if it is no RSA public key in PEM.
    pub(super) fn new(pem: Option<&[u8]>) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, "read public key")
                .detail("not an RSA public key in PEM")
                .hint("openssl rsa -in private.pem -pubout")
        };
        let key = pem.map(|pem| {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| invalid())?;
            rsa_key(der.as_ref()).map(<[u8]>::to_vec).ok_or_else(invalid)
        });
        Ok(Self { key: key.transpose()? })
    }

    /// Lets a client in, or says why not, in words.
    pub(super) fn admits(
        &self,
        headers: &HeaderMap,
        path: &str,
        now: Timestamp,
    ) -> std::result::Result<(), &'static str> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let told = (text(auth::KEY), text(auth::SIGNATURE), text(auth::TIMESTAMP));
        let (key_id, signature, moment) = match told {
            (Some(key_id), Some(signature), Some(moment)) => (key_id, signature, moment),
            (None, None, None) if self.key.is_none() => return Ok(()),
            _ => return Err("missing KALSHI-ACCESS headers"),
        };
        let signature = STANDARD.decode(signature).map_err(|_| "signature is not base64")?;
        let millis: i64 = moment.parse().map_err(|_| "timestamp is not a number of milliseconds")?;
        if key_id.is_empty() || signature.len() < SIGNATURE_BYTES_MIN {
            return Err("malformed key or signature");
        }
        if millis.abs_diff(now.nanos() / 1_000_000) > SKEW_MAX_MILLIS.unsigned_abs() {
            return Err("timestamp is too far from ours");
        }
        let Some(key) = &self.key else { return Ok(()) };
        let path = if path == "/" { PATH } else { path };
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key)
            .verify(auth::message(moment, path).as_bytes(), &signature)
            .map_err(|_| "incorrect signature")
    }
}

/// The key inside of a `SubjectPublicKeyInfo` that says it is one of RSA: behind the algorithm stands a string of bits,
/// none of them unused.
fn rsa_key(der: &[u8]) -> Option<&[u8]> {
    const RSA: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0, 3, 0x82];
    let rest = der.strip_prefix(&[0x30, 0x82])?.get(2..)?.strip_prefix(RSA)?;
    let (length, bits) = rest.split_at_checked(2)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    bits.get(..length)?.strip_prefix(&[0])
}
