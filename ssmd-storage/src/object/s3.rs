//! Objects in a bucket: any endpoint that speaks S3, path style, keys by name, bounded retries.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use ssmd_core::environment::{S3Spec, Secret, SecretText};
use ssmd_core::{BoxStream, Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store};
use tokio::sync::OnceCell;

use super::{delete, get, inner_path, list, probe, put, translate};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long one request may take: 64 MiB, the largest segment, at a megabyte a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(64);
/// A request is sent at most so many times more, and not again after this time: who must not give up, as archivers
/// must not, tries again by itself, and counts it.
const RETRIES_MAX: usize = 4;
const RETRY_WITHIN: Duration = Duration::from_secs(20);
/// The region of who names none.
const REGION: &str = "us-east-1";
/// The names of the keys, in `keys` and as variables.
const KEYS: [(&str, &str); 2] =
    [("access_key_id", "AWS_ACCESS_KEY_ID"), ("secret_access_key", "AWS_SECRET_ACCESS_KEY")];

/// Objects in a bucket.
///
/// Durable means what the endpoint means by its answer: on AWS, in three places; on a single Garage node, on its disk
/// as far as it syncs. An object appears as a whole, also one that was put in parts.
///
/// Whether the endpoint creates an object only once is tried before the first [`PutMode::Create`] of this store, since
/// some take the condition and ignore it. If it does not, every create is `Unsupported`
/// ([`create_alone`](super::create_alone) is for those who write alone).
pub struct S3Store {
    inner: Arc<dyn ObjectStore>,
    shown: String,
    creates_once: OnceCell<bool>,
}

impl fmt::Debug for S3Store {
    /// Without what is underneath, which holds the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("store", &self.shown).finish_non_exhaustive()
    }
}

impl S3Store {
    /// How large the parts are that a larger object is put in, in bytes: above S3's least of 5 MiB.
    pub const PART_BYTES: usize = 8 * 1024 * 1024;
    /// Parts on their way at once. They share the object's memory.
    pub const PARTS_AT_ONCE: usize = 4;

    /// Reads the keys and makes ready; nothing is sent yet.
    ///
    /// # Errors
    /// As [`Secret::resolve`] for the keys; `Invalid` for what no endpoint can be.
    pub fn open(spec: &S3Spec) -> Result<Self> {
        // TLS has one provider a process. If there is one already, that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = ClientOptions::new()
            .with_allow_http(spec.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")))
            .with_connect_timeout(CONNECT_WITHIN)
            .with_timeout(ANSWER_WITHIN);
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        };
        let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_WITHIN };
        let [id, secret] = keys(&spec.keys)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&spec.bucket)
            .with_region(spec.region.as_deref().unwrap_or(REGION))
            .with_access_key_id(id.expose())
            .with_secret_access_key(secret.expose())
            .with_virtual_hosted_style_request(false)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = &spec.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let bucket = builder.build().map_err(|cause| translate("open store", spec, cause))?;
        let inner: Arc<dyn ObjectStore> = match &spec.prefix {
            None => Arc::new(bucket),
            Some(prefix) => Arc::new(PrefixStore::new(bucket, Path::from(prefix.as_str()))),
        };
        Ok(Self { inner, shown: spec.to_string(), creates_once: OnceCell::new() })
    }

    /// Whether the endpoint really creates an object only once. Asked once, by doing it; then it is known.
    ///
    /// # Errors
    /// What keeps it from finding out: then it is asked again the next time.
    ///
    /// # Cancel safety
    /// Dropping the future may leave objects of a few bytes, whose names begin with `ssmd-probe`.
    pub async fn creates_once(&self) -> Result<bool> {
        let asked = || async {
            let once = probe::creates_once(&*self.inner).await?;
            if !once {
                tracing::warn!(
                    store = %self.shown,
                    "the store overwrites what it was told to create: one archiver a feed may write to it"
                );
            }
            Ok(once)
        };
        self.creates_once.get_or_try_init(asked).await.copied()
    }

    /// Puts a large object, a few parts at once; nobody sees a part.
    async fn put_parts(&self, path: &ObjectPath, body: Bytes) -> Result<()> {
        let failed = |cause| translate("put object", path, cause);
        let upload = self.inner.put_multipart(&inner_path(path)?).await.map_err(failed)?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, Self::PART_BYTES);
        let mut rest = body;
        while !rest.is_empty() {
            if let Err(cause) = parts.wait_for_capacity(Self::PARTS_AT_ONCE - 1).await {
                // The endpoint keeps the parts otherwise. That it may not be told either is the lesser problem.
                let _ = parts.abort().await;
                return Err(failed(cause));
            }
            parts.put(rest.split_to(Self::PART_BYTES.min(rest.len())));
        }
        parts.finish().await.map(drop).map_err(failed)
    }
}

/// The keys, by the names under which the document has them, or else by those of AWS' own tools.
fn keys(named: &BTreeMap<String, Secret>) -> Result<[SecretText; 2]> {
    let key = |(name, variable): (&str, &str)| {
        let secret = named.get(name).cloned().unwrap_or_else(|| Secret::Env(variable.to_owned()));
        secret.resolve(|name| std::env::var_os(name), |path| std::fs::read(path))
    };
    Ok([key(KEYS[0])?, key(KEYS[1])?])
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        if mode == PutMode::Create && !self.creates_once().await? {
            return Err(Error::new(ErrorKind::Unsupported, "create object")
                .detail("the store overwrites what it was told to create")
                .with("path", path)
                .with("store", &self.shown));
        }
        // S3 completes parts under no condition that every endpoint knows, so what must be created goes in one piece.
        if mode == PutMode::Overwrite && body.len() > Self::PART_BYTES {
            return self.put_parts(path, body).await;
        }
        put(&self.inner, path, body, mode).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        get(&self.inner, path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        list(&self.inner, prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        delete(&self.inner, path).await
    }
}

/// The kind of what an endpoint answered, or did not.
pub(super) fn answer_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(match http.kind() {
                HttpErrorKind::Timeout => ErrorKind::Timeout,
                HttpErrorKind::Decode => ErrorKind::Io,
                _ => ErrorKind::Unavailable,
            });
        }
        next = error.source();
    }
    // The status is in the text alone.
    let text = error.source()?.to_string();
    let (_, status) = text.split_once("status code: ")?;
    Some(match status.get(..3)? {
        "429" | "408" => ErrorKind::Unavailable,
        "501" => ErrorKind::Unsupported,
        "507" => ErrorKind::Full,
        status if status.starts_with('5') => ErrorKind::Unavailable,
        _ => return None,
    })
}
