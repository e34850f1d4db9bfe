//! NATS KV as cache: one bucket, the latest value of each key, its times to live in a header.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode, kv};
use async_nats::{HeaderMap, HeaderName};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use ssmd_core::{Cache, Error, ErrorKind, Expect, Result, Timestamp, Versioned};

use super::connect::Connection;
use super::stream::Storage;
use super::wire::{EXPECTED, HEADER_BYTES_MAX};

/// When a value is gone, in nanoseconds since 1970; without it, never.
const EXPIRES: HeaderName = HeaderName::from_static("Ssmd-Expires");
/// NATS KV's own header: what a message without a value did.
const OPERATION: HeaderName = HeaderName::from_static("KV-Operation");
/// The longest key, in bytes as the server sees it.
const KEY_BYTES_MAX: usize = 1024;
/// How often a put that lost against a deletion looks again.
const ATTEMPTS: usize = 16;
/// Values that the server sends ahead in a scan, and their bytes.
const AHEAD_MESSAGES: usize = 1000;
const AHEAD_BYTES: usize = 16 * 1024 * 1024;

/// Which bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// Its name: letters, digits, `-` and `_`.
    pub bucket: String,
    /// On how many servers it is kept, 1 to 5.
    pub replicas: u8,
    /// Where it is kept.
    pub storage: Storage,
}

/// One bucket of NATS KV as cache. Any tool for NATS KV reads the same values.
///
/// Keys are any text: bytes other than `[A-Za-z0-9_-]` are written as `=HH` but for dots. Times to live go by the
/// clock of whoever reads, and what has expired takes its place until it is written again. A value that is larger
/// than the server takes is refused as `Full`, a key of more than [`KEY_BYTES_MAX`] as `Invalid`. Once the bucket is
/// deleted, reads and writes are `NotFound` until it is opened again.
pub struct NatsCache {
    connection: Connection,
    context: jetstream::Context,
    stream: Stream,
    /// `$KV.{bucket}.`.
    prefix: String,
}

impl Connection {
    /// Opens a bucket, and creates it if there is none.
    ///
    /// # Errors
    /// `Invalid` for a name that the server does not take, `Unavailable` if it cannot be reached or has no JetStream.
    pub async fn cache(&self, spec: &CacheSpec) -> Result<NatsCache> {
        let failed = |kind| Error::new(kind, "open bucket").with("bucket", &spec.bucket);
        let context = jetstream::new(self.client.clone());
        let name = format!("KV_{}", spec.bucket);
        let config = kv::Config {
            bucket: spec.bucket.clone(),
            history: 1,
            num_replicas: usize::from(spec.replicas),
            storage: match spec.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            ..kv::Config::default()
        };
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(cause) => match cause.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    let made = context.create_key_value(config).await;
                    made.map_err(|cause| failed(ErrorKind::Invalid).because(cause))?;
                    tracing::info!(bucket = spec.bucket, "created the bucket");
                    context
                        .get_stream(&name)
                        .await
                        .map_err(|cause| failed(ErrorKind::Unavailable).because(cause))?
                }
                GetStreamErrorKind::InvalidStreamName | GetStreamErrorKind::EmptyName => {
                    return Err(failed(ErrorKind::Invalid).because(cause));
                }
                _ => return Err(failed(ErrorKind::Unavailable).because(cause)),
            },
        };
        let prefix = format!("$KV.{}.", spec.bucket);
        Ok(NatsCache { connection: self.clone(), context, stream, prefix })
    }
}

/// What the bucket's last message about a key says.
struct Last {
    /// The message's sequence; 0 if there is none.
    sequence: u64,
    /// The value, if there is one now.
    value: Option<Bytes>,
}

impl NatsCache {
    fn subject(&self, key: &str) -> Result<String> {
        let subject = format!("{}{}", self.prefix, encode(key));
        if subject.len() > KEY_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "read key").with("bytes", key.len()));
        }
        Ok(subject)
    }

    async fn last(&self, subject: &str) -> Result<Last> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => {
                let StreamMessage { sequence, headers, payload, .. } = message;
                let value = self.is_there(&headers).then_some(payload);
                Ok(Last { sequence, value })
            }
            Err(cause) if cause.kind() == RawMessageErrorKind::NoMessageFound => {
                Ok(Last { sequence: 0, value: None })
            }
            Err(cause) => {
                let gone = matches!(cause.kind(), RawMessageErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND);
                let kind = if gone { ErrorKind::NotFound } else { ErrorKind::Unavailable };
                Err(Error::new(kind, "read from bucket").because(cause))
            }
        }
    }

    /// Whether a message with these headers is a value that has not expired.
    fn is_there(&self, headers: &HeaderMap) -> bool {
        if headers.get(OPERATION).is_some() {
            return false;
        }
        let expires = headers.get(EXPIRES).and_then(|at| at.as_str().parse().ok()).map(Timestamp::from_nanos);
        expires.is_none_or(|at| self.connection.clock.now() < at)
    }

    async fn write(
        &self,
        subject: &str,
        mut headers: HeaderMap,
        value: Bytes,
        expected: Option<u64>,
    ) -> Result<u64> {
        if let Some(sequence) = expected {
            headers.insert(EXPECTED, sequence.to_string());
        }
        let failed = |cause: async_nats::jetstream::context::PublishError| {
            let kind = match cause.kind() {
                PublishErrorKind::WrongLastSequence => ErrorKind::Conflict,
                PublishErrorKind::TimedOut => ErrorKind::Timeout,
                PublishErrorKind::MaxPayloadExceeded => ErrorKind::Full,
                PublishErrorKind::StreamNotFound => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, "write to bucket").because(cause)
        };
        let sent = self.context.publish_with_headers(subject.to_owned(), headers, value).await;
        Ok(sent.map_err(failed)?.await.map_err(failed)?.sequence)
    }

    /// The subjects that hold every key that begins with `prefix`, and others: those of its whole tokens.
    fn around(&self, prefix: &str) -> String {
        match prefix.rsplit_once('.') {
            Some((parent, _)) => format!("{}{}.>", self.prefix, encode(parent)),
            None => format!("{}>", self.prefix),
        }
    }

    async fn consume(&self, filter: String) -> Result<PullConsumer> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await;
        consumer.map_err(|cause| Error::new(ErrorKind::Unavailable, "scan bucket").because(cause))
    }
}

#[async_trait]
impl Cache for NatsCache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let last = self.last(&self.subject(key)?).await?;
        Ok(last.value.map(|value| Versioned { version: last.sequence, value }))
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        let subject = self.subject(key)?;
        if value.len() + HEADER_BYTES_MAX > self.connection.payload_bytes_max() {
            return Err(Error::new(ErrorKind::Full, "write to bucket").with("bytes", value.len()));
        }
        let conflict = || Error::new(ErrorKind::Conflict, "write to bucket").with("key", key.escape_debug());
        let mut headers = HeaderMap::new();
        if let Some(ttl) = ttl {
            let expires = self.connection.clock.now().saturating_add(ttl);
            headers.insert(EXPIRES, expires.nanos().to_string());
        }
        for _ in 0..ATTEMPTS {
            let expected = match expect {
                Expect::Any => None,
                Expect::Absent => match self.last(&subject).await? {
                    Last { value: Some(_), .. } => return Err(conflict()),
                    last => Some(last.sequence),
                },
                Expect::Version(version) => match self.last(&subject).await? {
                    Last { sequence, value: Some(_) } if sequence == version => Some(version),
                    _ => return Err(conflict()),
                },
            };
            match self.write(&subject, headers.clone(), value.clone(), expected).await {
                // Whoever came between may have deleted: looked at again.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                written => return written,
            }
        }
        Err(conflict())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let subject = self.subject(key)?;
        if self.last(&subject).await?.value.is_none() {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        self.write(&subject, headers, Bytes::new(), None).await.map(drop)
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let failed = |cause| Error::new(ErrorKind::Unavailable, "scan bucket").because(cause);
        let consumer = self.consume(self.around(prefix)).await?;
        let mut found = BTreeMap::new();
        let mut pending = consumer.cached_info().num_pending;
        while pending > 0 {
            let batch = consumer.fetch().max_messages(AHEAD_MESSAGES).max_bytes(AHEAD_BYTES).messages().await;
            let mut batch = batch.map_err(|cause| failed(cause.into()))?;
            let mut came = false;
            while let Some(message) = batch.next().await {
                let message = message.map_err(failed)?;
                let info = message.info().map_err(failed)?;
                (pending, came) = (info.pending, true);
                let sequence = info.stream_sequence;
                let text = message.subject.strip_prefix(&self.prefix);
                // What others wrote under keys that none of ours has is no key of ours.
                let Some(key) = text.and_then(decode).filter(|key| key.starts_with(prefix)) else { continue };
                if message.headers.as_ref().is_none_or(|headers| self.is_there(headers)) {
                    found.insert(key, Versioned { version: sequence, value: message.message.payload });
                } else {
                    found.remove(&key);
                }
            }
            if !came {
                break;
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// A key as NATS KV takes it: dots stay, an empty token is `=`, and every byte but `[A-Za-z0-9_-]` is `=HH`.
fn encode(key: &str) -> String {
    let token = |token: &str| match token {
        "" => "=".to_owned(),
        _ => token.bytes().map(escape).collect(),
    };
    key.split('.').map(token).collect::<Vec<String>>().join(".")
}

fn escape(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("={byte:02X}"),
    }
}

/// The key that [`encode`] made this of; `None` if it made none.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    for (at, token) in text.split('.').enumerate() {
        if at > 0 {
            bytes.push(b'.');
        }
        let mut rest = if token == "=" { "" } else { token };
        while let Some((plain, escaped)) = rest.split_once('=') {
            bytes.extend_from_slice(plain.as_bytes());
            bytes.push(u8::from_str_radix(escaped.get(..2)?, 16).ok()?);
            rest = &escaped[2..];
        }
        bytes.extend_from_slice(rest.as_bytes());
    }
    let key = String::from_utf8(bytes).ok()?;
    (encode(&key) == text).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_key_is_one_that_the_server_takes_and_comes_back(key in any::<String>()) {
            let text = encode(&key);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
            prop_assert!(text.split('.').all(|token| !token.is_empty() && token.bytes().all(fits)));
            prop_assert_eq!(decode(&text), Some(key));
        }

        #[test]
        fn decoding_never_panics(text in "[=.a-fA-F0-9/é]{0,40}") {
            if let Some(key) = decode(&text) {
                prop_assert_eq!(encode(&key), text);
            }
        }
    }
}
