//! Signed headers: who we are, when, and RSA-PSS over SHA-256 of moment, method and path. Nothing of a key is ever
//! shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PSS_SHA256;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use ssmd_core::environment::Secret;
use ssmd_core::{Error, ErrorKind, Result, Timestamp};

/// The header that holds the name of the key.
pub(crate) const KEY: &str = "KALSHI-ACCESS-KEY";
/// The header that holds the signature, in base64.
pub(crate) const SIGNATURE: &str = "KALSHI-ACCESS-SIGNATURE";
/// The header that holds the moment of signing, in milliseconds since 1970.
pub(crate) const TIMESTAMP: &str = "KALSHI-ACCESS-TIMESTAMP";

const SIGN: &str = "sign handshake";

/// Where the key is. It is read anew for each handshake, so that one that was replaced holds from the next on.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    key_id: Secret,
    private_key: Secret,
}

impl Keys {
    /// What a document says; `None` if it says nothing.
    ///
    /// # Errors
    /// `Invalid` if one of the two is missing.
    pub(super) fn new(keys: &BTreeMap<String, Secret>) -> Result<Option<Self>> {
        match (keys.get("key_id"), keys.get("private_key")) {
            (Some(key_id), Some(private_key)) => {
                Ok(Some(Self { key_id: key_id.clone(), private_key: private_key.clone() }))
            }
            (None, None) => Ok(None),
            _ => Err(Error::new(ErrorKind::Invalid, "read keys")
                .detail("one without the other")
                .hint("`keys` needs both `key_id` and `private_key`")),
        }
    }

    /// The headers of a GET of `path` at `now`.
    ///
    /// # Errors
    /// What [`Secret::resolve`] says, and `Invalid` for a key that is no RSA key in PEM.
    pub(super) fn headers(&self, path: &str, now: Timestamp) -> Result<Vec<(String, String)>> {
        let read =
            |secret: &Secret| secret.resolve(|name| std::env::var_os(name), |path| std::fs::read(path));
        let (key_id, pem) = (read(&self.key_id)?, read(&self.private_key)?);
        let key = key(pem.expose()).map_err(|error| error.with("private_key", &self.private_key))?;
        let moment = (now.nanos() / 1_000_000).to_string();
        let signature = sign(&key, &message(&moment, path))?;
        Ok(vec![
            (KEY.to_owned(), key_id.expose().to_owned()),
            (SIGNATURE.to_owned(), signature),
            (TIMESTAMP.to_owned(), moment),
        ])
    }
}

/// What is signed.
pub(crate) fn message(moment: &str, path: &str) -> String {
    format!("{moment}GET{path}")
}

/// Reads a private key, PKCS#8 or PKCS#1. Why it cannot be read is told without a word of it.
fn key(pem: &str) -> Result<KeyPair> {
    let invalid = |detail: &'static str| {
        Error::new(ErrorKind::Invalid, "read private key")
            .detail(detail)
            .hint("it begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----")
    };
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| invalid("not PEM"))?;
    let key = match &der {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(invalid("not an RSA key")),
    };
    key.map_err(|why| invalid("not an RSA key of 2048 bits or more").with("why", why))
}

/// Signs with salt as long as the digest, as the venue asks for.
fn sign(key: &KeyPair, message: &str) -> Result<String> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| Error::new(ErrorKind::Bug, SIGN).detail("the key could not sign"))?;
    Ok(STANDARD.encode(signature))
}

/// The path that is signed: the address's own, or the venue's where it has none.
pub(super) fn signed_path<'a>(url: &'a str, default: &'a str) -> &'a str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.find('/').map(|at| &rest[at..]) {
        None | Some("/") => default,
        Some(path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_addresss_without_its_query() {
        let path = |url| signed_path(url, "/default");
        assert_eq!(path("wss://host/trade-api/ws/v2?x=1"), "/trade-api/ws/v2");
        assert_eq!((path("ws://127.0.0.1:1"), path("ws://127.0.0.1:1/")), ("/default", "/default"));
    }

    #[test]
    fn one_key_without_the_other_is_told() {
        let one = BTreeMap::from([("key_id".to_owned(), Secret::Env("X".to_owned()))]);
        assert!(Keys::new(&one).unwrap_err().hint_text().is_some());
        assert!(Keys::new(&BTreeMap::new()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_word_of_it() {
        for pem in [
            "hunter2",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
            "-----BEGIN PUBLIC KEY-----\naHVudGVyMg==\n-----END PUBLIC KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----\naHVudGVyMg==\n-----END EC PRIVATE KEY-----",
        ] {
            let error = key(pem).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let told = error.report().to_string();
            assert!(!told.contains("hunter2") && !told.contains("aHVudGVyMg"), "{told}");
        }
    }
}
