//! Streams as the environment declares them: created where absent, changed where that loses nothing, else refused.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, UpdateStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use ssmd_core::{EnvironmentName, Error, ErrorKind, Result};

use super::connect::Connection;

/// How long entries are kept unless the environment says otherwise.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the server remembers message ids. We send none: memory would grow with them.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// A stream as it shall be. When it is full, the oldest messages go: nothing waits for room, and readers that were
/// too slow are told of a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name: no dots, no spaces, no wildcards.
    pub name: String,
    /// The subjects it keeps, with wildcards.
    pub subjects: Vec<String>,
    /// How long messages are kept.
    pub max_age: Duration,
    /// The most bytes it keeps; `None`: as much as the server lets it.
    pub max_bytes: Option<u64>,
    /// On how many servers it is kept, 1 to 5.
    pub replicas: u8,
    /// Where it is kept.
    pub storage: Storage,
}

/// Where a stream is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// In files. What was acknowledged less than the server's `sync_interval` ago (2 minutes by default) is lost
    /// when the power of every replica fails.
    #[default]
    File,
    /// In memory: gone when every replica ends.
    Memory,
}

impl StreamSpec {
    /// The stream of an environment's journals: `ssmd-` and its name, every log of every feed, 24 hours, one server.
    pub fn of(environment: &EnvironmentName) -> Self {
        Self {
            name: format!("ssmd-{environment}"),
            subjects: vec![format!("{environment}.*.log.*")],
            max_age: MAX_AGE,
            max_bytes: None,
            replicas: 1,
            storage: Storage::File,
        }
    }

    /// A stream of an environment's derived records, under this name: of every feed, with and without a category, in
    /// every format.
    pub fn of_records(environment: &EnvironmentName, name: impl Into<String>) -> Self {
        // As many tokens as each subject has: JetStream takes no two filters that one subject fits.
        let subjects = ["json", "capnp"].into_iter().flat_map(|format| {
            [format!("{environment}.*.{format}.*.*"), format!("{environment}.*.*.{format}.*.*")]
        });
        Self { name: name.into(), subjects: subjects.collect(), ..Self::of(environment) }
    }

    fn config(&self) -> Config {
        Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            max_age: self.max_age,
            max_bytes: self.max_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1),
            num_replicas: usize::from(self.replicas),
            storage: self.storage_type(),
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            duplicate_window: DUPLICATE_WINDOW,
            allow_direct: true,
            description: Some("kept by ssmd".into()),
            ..Config::default()
        }
    }

    fn storage_type(&self) -> StorageType {
        match self.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        }
    }
}

impl Connection {
    /// Whether there is a stream of this name.
    ///
    /// # Errors
    /// `Unavailable` if the server does not say, or has no JetStream.
    pub async fn has_stream(&self, name: &str) -> Result<bool> {
        match jetstream::new(self.client.clone()).get_stream(name).await {
            Ok(_) => Ok(true),
            Err(cause)
                if matches!(cause.kind(), GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND) =>
            {
                Ok(false)
            }
            Err(cause) => {
                Err(Error::new(ErrorKind::Unavailable, "get stream").with("stream", name).because(cause))
            }
        }
    }
}

/// Makes the stream what `spec` says, and gives it. Changes that lose nothing are made and logged.
///
/// # Errors
/// `Conflict` for a change that would lose messages or make them less safe; its hint is the command that makes it.
/// `Invalid` if the server takes no such stream, `Denied`, `Unavailable` and `Timeout` as the server's.
pub(super) async fn declare(
    context: &jetstream::Context,
    spec: &StreamSpec,
) -> Result<jetstream::stream::Stream> {
    check_name(&spec.name)?;
    let found = match context.get_stream(&spec.name).await {
        Ok(stream) => stream,
        Err(cause) => match cause.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                let made = context.create_stream(spec.config()).await;
                let stream = made.map_err(|cause| create_failed(spec, cause))?;
                tracing::info!(stream = spec.name, "created the stream");
                return Ok(stream);
            }
            _ => return Err(unavailable("get stream", spec, cause)),
        },
    };
    let change = compare(&found.cached_info().config, spec);
    if let Some(refused) = change.refused {
        return Err(Error::new(ErrorKind::Conflict, "declare stream")
            .detail("the change would lose messages or make them less safe")
            .with("stream", &spec.name)
            .with("change", &refused.what)
            .hint(format!("to make it all the same: {}", refused.command)));
    }
    if change.made.is_empty() {
        return Ok(found);
    }
    let updated = context.update_stream(change.config).await;
    updated.map_err(|cause| update_failed(spec, cause))?;
    tracing::info!(stream = spec.name, changes = change.made.join(", "), "changed the stream");
    context.get_stream(&spec.name).await.map_err(|cause| unavailable("get stream", spec, cause))
}

/// When it was created, in nanoseconds: a stream that was made anew has another time.
pub(super) fn incarnation(info: &Info) -> String {
    info.created.unix_timestamp_nanos().to_string()
}

/// What differs.
struct Change {
    /// The stream's configuration with every safe change.
    config: Config,
    made: Vec<String>,
    refused: Option<Refused>,
}

struct Refused {
    what: String,
    command: String,
}

fn compare(found: &Config, spec: &StreamSpec) -> Change {
    let wanted = spec.config();
    let mut change = Change { config: found.clone(), made: Vec::new(), refused: None };
    let name = &spec.name;
    let mut refuse = |what: String, command: String| {
        change.refused.get_or_insert(Refused { what, command });
    };
    if found.storage != wanted.storage {
        refuse(
            format!("storage {:?} to {:?}", found.storage, wanted.storage).to_lowercase(),
            format!("nats stream rm {name}"),
        );
    }
    if shorter(found.max_age, wanted.max_age) {
        let seconds = wanted.max_age.as_secs();
        refuse(
            format!("max_age {} s to {seconds} s", found.max_age.as_secs()),
            format!("nats stream edit {name} --max-age={seconds}s"),
        );
    }
    if smaller(found.max_bytes, wanted.max_bytes) {
        refuse(
            format!("max_bytes {} to {}", found.max_bytes, wanted.max_bytes),
            format!("nats stream edit {name} --max-bytes={}", wanted.max_bytes),
        );
    }
    if wanted.num_replicas < found.num_replicas {
        refuse(
            format!("replicas {} to {}", found.num_replicas, wanted.num_replicas),
            format!("nats stream edit {name} --replicas={}", wanted.num_replicas),
        );
    }
    if let Some(gone) = found.subjects.iter().find(|subject| !wanted.subjects.contains(subject)) {
        refuse(
            format!("without subject {gone}"),
            format!("nats stream edit {name} --subjects={}", wanted.subjects.join(",")),
        );
    }
    if found.retention != wanted.retention || found.discard != wanted.discard {
        refuse(
            format!("retention {:?}, discard {:?} to limits, old", found.retention, found.discard)
                .to_lowercase(),
            format!("nats stream rm {name}"),
        );
    }
    let mut made = |differs: bool, what: String| {
        if differs {
            change.made.push(what);
        }
    };
    made(found.max_age != wanted.max_age, format!("max_age {} s", wanted.max_age.as_secs()));
    made(!same_bytes(found.max_bytes, wanted.max_bytes), format!("max_bytes {}", wanted.max_bytes));
    made(found.num_replicas != wanted.num_replicas, format!("replicas {}", wanted.num_replicas));
    made(found.subjects != wanted.subjects, format!("subjects {}", wanted.subjects.join(",")));
    made(!found.allow_direct, "allow_direct".into());
    change.config.max_age = wanted.max_age;
    change.config.max_bytes = wanted.max_bytes;
    change.config.num_replicas = wanted.num_replicas;
    change.config.subjects = wanted.subjects;
    change.config.allow_direct = true;
    change
}

/// Whether messages would be kept for less time; zero is for ever.
fn shorter(found: Duration, wanted: Duration) -> bool {
    !wanted.is_zero() && (found.is_zero() || wanted < found)
}

/// Whether fewer bytes would be kept; none and below are without limit.
fn smaller(found: i64, wanted: i64) -> bool {
    wanted > 0 && (found <= 0 || wanted < found)
}

fn same_bytes(found: i64, wanted: i64) -> bool {
    found == wanted || found <= 0 && wanted <= 0
}

fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= 255 && name.bytes().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::new(ErrorKind::Invalid, "declare stream")
        .with("stream", shown)
        .hint("letters, digits, `-` and `_`: JetStream takes no dots in names of streams"))
}

fn unavailable(
    operation: &'static str,
    spec: &StreamSpec,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::new(ErrorKind::Unavailable, operation).with("stream", &spec.name).because(cause)
}

fn create_failed(spec: &StreamSpec, cause: async_nats::jetstream::context::CreateStreamError) -> Error {
    let kind = match cause.kind() {
        CreateStreamErrorKind::JetStream(_)
        | CreateStreamErrorKind::EmptyStreamName
        | CreateStreamErrorKind::InvalidStreamName => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let error = Error::new(kind, "create stream").with("stream", &spec.name).because(cause);
    if kind == ErrorKind::Unavailable {
        error.hint("start nats-server with JetStream: `nats-server -js`")
    } else {
        error
    }
}

fn update_failed(spec: &StreamSpec, cause: async_nats::jetstream::context::UpdateStreamError) -> Error {
    let kind = match cause.kind() {
        UpdateStreamErrorKind::JetStream(_) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "change stream").with("stream", &spec.name).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> StreamSpec {
        StreamSpec::of(&EnvironmentName::new("dev").unwrap())
    }

    #[test]
    fn what_loses_nothing_is_changed_and_what_loses_is_refused_with_the_command() {
        let found = spec().config();
        assert!(compare(&found, &spec()).made.is_empty());
        let longer = StreamSpec { max_age: MAX_AGE * 2, replicas: 3, ..spec() };
        let change = compare(&found, &longer);
        assert_eq!(change.made, ["max_age 172800 s", "replicas 3"]);
        assert!(change.refused.is_none());
        assert_eq!((change.config.max_age, change.config.num_replicas), (MAX_AGE * 2, 3));
        for (worse, command) in [
            (StreamSpec { max_age: MAX_AGE / 2, ..spec() }, "nats stream edit ssmd-dev --max-age=43200s"),
            (StreamSpec { max_bytes: Some(1), ..spec() }, "nats stream edit ssmd-dev --max-bytes=1"),
            (StreamSpec { storage: Storage::Memory, ..spec() }, "nats stream rm ssmd-dev"),
            (StreamSpec { subjects: vec!["a".into()], ..spec() }, "nats stream edit ssmd-dev --subjects=a"),
        ] {
            assert_eq!(compare(&found, &worse).refused.unwrap().command, command);
        }
        let fewer = compare(&longer.config(), &StreamSpec { max_age: MAX_AGE * 2, ..spec() });
        assert_eq!(fewer.refused.unwrap().command, "nats stream edit ssmd-dev --replicas=1");
    }

    #[test]
    fn names_that_jetstream_does_not_take_are_refused() {
        for bad in ["", "a.b", "a b", "a>", "a*", "a/b"] {
            assert_eq!(check_name(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
