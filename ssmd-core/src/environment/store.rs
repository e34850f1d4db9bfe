//! How stores are written: `file:` and a path, or `s3://` and a bucket. Used for `spec.store` and for `--store`.

use std::collections::BTreeMap;
use std::fmt;

use super::url::{self, UrlFault};
use super::{BucketSpec, Environment, S3Spec, StoreSpec};
use crate::{Error, ErrorKind, ObjectPath, Result};

/// The longest path of a store, in bytes: `PATH_MAX` of Linux.
const PATH_BYTES_MAX: usize = 4096;
/// The longest prefix in a bucket, in bytes: it leaves three quarters of what S3 allows to the archive's own names.
const PREFIX_BYTES_MAX: usize = 256;

/// The path of [`super::STORE_DEFAULT`].
pub(super) const PATH_DEFAULT: &str = "./ssmd-data/store";
/// What to write instead.
const HINT: &str =
    "write file: and a path, as in file:./ssmd-data/store, or s3://BUCKET/PREFIX?endpoint=URL&region=NAME";

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::S3(s3) => s3.fmt(f),
        }
    }
}

/// As [`StoreSpec::parse`] reads it: without the keys, which have no place there.
impl fmt::Display for S3Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if let Some(prefix) = &self.prefix {
            write!(f, "/{prefix}")?;
        }
        let plaintext = self.allow_plaintext.then(|| "true".to_owned());
        let settings =
            [("endpoint", &self.endpoint), ("region", &self.region), ("allow_plaintext", &plaintext)];
        let said = settings.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (at, (name, value)) in said.enumerate() {
            write!(f, "{}{name}={value}", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl From<&BucketSpec> for S3Spec {
    /// The whole bucket, as `spec.storage` says it.
    fn from(bucket: &BucketSpec) -> Self {
        Self {
            bucket: bucket.bucket.clone(),
            prefix: None,
            endpoint: bucket.endpoint.clone(),
            region: bucket.region.clone(),
            allow_plaintext: bucket.allow_plaintext,
            keys: bucket.keys.clone(),
        }
    }
}

impl Environment {
    /// Where the archive of what was heard is kept: the bucket `spec.storage.raw` if there is one, else `spec.store`.
    pub fn archive(&self) -> StoreSpec {
        let raw = self.storage.as_ref().and_then(|storage| storage.raw.as_ref());
        raw.map_or_else(|| self.store.clone(), |bucket| StoreSpec::S3(bucket.into()))
    }
}

impl StoreSpec {
    /// Reads `file:PATH`, `file:///PATH` or `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&allow_plaintext=true]`. A
    /// path that does not start with `/` is relative to the working directory. An endpoint of `http://` is for this
    /// machine only, unless `allow_plaintext` says otherwise.
    ///
    /// # Errors
    /// `Unsupported` for a store that is not built yet, `Invalid` for everything else, with what to write instead.
    pub fn parse(text: &str) -> Result<Self> {
        read(text).map_err(|(kind, detail)| {
            // Before an `@` there may be a key.
            let shown = if text.contains('@') { "…".to_owned() } else { text.chars().take(80).collect() };
            Error::new(kind, "read store").detail(detail).with("store", shown).hint(HINT)
        })
    }
}

/// Why a text is no store.
pub(super) type Refusal = (ErrorKind, &'static str);

/// The same, with the bare reason for a refusal.
pub(super) fn read(text: &str) -> Result<StoreSpec, Refusal> {
    let scheme = text.split(':').next().unwrap_or_default();
    match (text.strip_prefix("file:"), text.strip_prefix("s3://")) {
        (Some(rest), _) => file(rest),
        (_, Some(rest)) => s3(rest).map(StoreSpec::S3),
        _ if matches!(scheme, "gs" | "az") => {
            Err((ErrorKind::Unsupported, "object stores of Google and Azure are not built yet"))
        }
        _ => invalid("it must start with file: or s3://"),
    }
}

fn invalid<T>(why: &'static str) -> Result<T, Refusal> {
    Err((ErrorKind::Invalid, why))
}

fn file(rest: &str) -> Result<StoreSpec, Refusal> {
    let path = match rest.strip_prefix("//") {
        Some(rooted) if rooted.starts_with('/') => rooted,
        Some(_) => return invalid("file:// must be followed by a path that starts with /"),
        None => rest,
    };
    if path.is_empty() {
        return invalid("the path is missing");
    }
    if path.len() > PATH_BYTES_MAX {
        return invalid("the path is longer than 4096 bytes");
    }
    if path.trim() != path || path.chars().any(char::is_control) {
        return invalid("it has white space around the path, or control characters in it");
    }
    Ok(StoreSpec::File(path.to_owned()))
}

fn s3(rest: &str) -> Result<S3Spec, Refusal> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if !is_bucket(bucket) {
        return invalid("a bucket's name is 3 to 63 of a-z, 0-9, dots and hyphens; keys are named elsewhere");
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() && (prefix.len() > PREFIX_BYTES_MAX || prefix.parse::<ObjectPath>().is_err()) {
        return invalid("the prefix is not one of names of A-Z, a-z, 0-9, ._~=- between slashes");
    }
    let (mut endpoint, mut region, mut allow_plaintext) = (None, None, None);
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let place = match name {
            "endpoint" => &mut endpoint,
            "region" => &mut region,
            "allow_plaintext" => &mut allow_plaintext,
            _ => return invalid("after the ? stand endpoint, region and allow_plaintext, and nothing else"),
        };
        if value.is_empty() || place.replace(value.to_owned()).is_some() {
            return invalid("endpoint, region and allow_plaintext have one value each");
        }
    }
    let allow_plaintext = match allow_plaintext.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return invalid("allow_plaintext is true or false"),
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if region.as_ref().is_some_and(|region| region.len() > 64 || !region.bytes().all(letter)) {
        return invalid("the region is not a name of letters, digits, - and _");
    }
    if let Some(text) = &endpoint {
        check_endpoint(text, allow_plaintext)?;
    }
    let prefix = (!prefix.is_empty()).then(|| prefix.to_owned());
    Ok(S3Spec { bucket: bucket.to_owned(), prefix, endpoint, region, allow_plaintext, keys: BTreeMap::new() })
}

fn check_endpoint(text: &str, allow_plaintext: bool) -> Result<(), Refusal> {
    let local: &[&str] = if allow_plaintext { &[] } else { &["http"] };
    match url::check(text, &["https", "http"], local) {
        Ok(()) if !text.contains('?') => Ok(()),
        Ok(()) => invalid("the endpoint has settings of its own"),
        Err(UrlFault::Form(_)) => invalid("the endpoint is not https://HOST or http://HOST"),
        Err(UrlFault::Plaintext(_)) => {
            invalid("the endpoint is http:// to another machine; write https://, or allow_plaintext=true")
        }
    }
}

/// A bucket's name as S3 has them.
fn is_bucket(name: &str) -> bool {
    let outer =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = name.as_bytes();
    let inner = |byte: &u8| outer(Some(byte)) || matches!(byte, b'-' | b'.');
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && outer(bytes.first())
        && outer(bytes.last())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_files() {
        for (text, path) in [
            ("file:./ssmd-data/store", "./ssmd-data/store"),
            ("file:store", "store"),
            ("file:/var/lib/ssmd", "/var/lib/ssmd"),
            ("file:///var/lib/ssmd", "/var/lib/ssmd"),
        ] {
            assert_eq!(StoreSpec::parse(text).unwrap(), StoreSpec::File(path.into()), "{text}");
        }
        for text in
            ["", "file", "file:", "file://", "file://host/x", "./store", "file: x", "file:x\n", "FILE:x"]
        {
            assert_eq!(StoreSpec::parse(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        assert_eq!(StoreSpec::parse("gs://bucket").unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(StoreSpec::parse(&format!("file:{}", "x".repeat(5000))).is_err());
    }

    #[test]
    fn stores_are_buckets() {
        for text in [
            "s3://bucket",
            "s3://my.bucket-1/a/b~c=1",
            "s3://bucket?region=eu-west-1",
            "s3://bucket/prod?endpoint=http://127.0.0.1:3900&region=garage",
            "s3://bucket?endpoint=http://s3.lan:3900&allow_plaintext=true",
        ] {
            let spec = StoreSpec::parse(text).unwrap();
            assert_eq!(spec.to_string(), text);
        }
        let slash = StoreSpec::parse("s3://bucket/prod/").unwrap();
        assert_eq!(slash, StoreSpec::parse("s3://bucket/prod?allow_plaintext=false").unwrap());
        for text in [
            "s3:",
            "s3:bucket",
            "s3://",
            "s3://ab",
            "s3://Bucket",
            "s3://a..b",
            "s3://-bucket",
            "s3://bucket/../x",
            "s3://bucket//x",
            "s3://bucket?access_key_id=x",
            "s3://bucket?region",
            "s3://bucket?region=a&region=b",
            "s3://bucket?region=a/b",
            "s3://bucket?endpoint=ftp://x",
            "s3://bucket?endpoint=https://x?y=1",
            "s3://bucket?endpoint=http://s3.lan",
            "s3://bucket?allow_plaintext=yes",
        ] {
            assert_eq!(StoreSpec::parse(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        assert!(StoreSpec::parse(&format!("s3://bucket/{}", "x".repeat(257))).is_err());
    }

    #[test]
    fn what_may_be_a_key_is_not_printed() {
        let error = StoreSpec::parse("s3://AKIA:hunter2@bucket").unwrap_err();
        assert!(!error.report().contains("hunter2"), "{}", error.report());
        let endpoint = StoreSpec::parse("s3://bucket?endpoint=https://AKIA:hunter2@host").unwrap_err();
        assert!(!endpoint.report().contains("hunter2"), "{}", endpoint.report());
    }
}
