//! What an error of Redis means to us. No error shows an argument: values are not ours to print.

use redis::RedisError;
use ssmd_core::{Error, ErrorKind};

/// An error of a call that changes nothing, or may be made again.
pub(super) fn failed(operation: &'static str, cause: RedisError) -> Error {
    let kind = kind(&cause);
    let error = Error::new(kind, operation).because(cause);
    match kind {
        ErrorKind::Denied => error.hint("look at `credentials`, and at the server's ACL for this user"),
        ErrorKind::Full => error.hint("give the server more `maxmemory`"),
        ErrorKind::Unsupported => error.hint("this is a cluster of shards; name a single Redis"),
        _ => error,
    }
}

/// An error of a call of which it is not known then whether it took effect, unless Redis itself refused it.
pub(super) fn unknown(operation: &'static str, cause: RedisError) -> Error {
    match kind(&cause) {
        ErrorKind::Unavailable if !cause.is_connection_refusal() && cause.code().is_none() => {
            Error::new(ErrorKind::Timeout, operation).detail("the connection broke").because(cause)
        }
        _ => failed(operation, cause),
    }
}

fn kind(cause: &RedisError) -> ErrorKind {
    if cause.is_timeout() {
        return ErrorKind::Timeout;
    }
    match cause.code() {
        Some(code) => of_code(code),
        None if cause.kind() == redis::ErrorKind::AuthenticationFailed => ErrorKind::Denied,
        None if cause.is_io_error() || cause.is_connection_dropped() => ErrorKind::Unavailable,
        None if cause.kind() == redis::ErrorKind::InvalidClientConfig => ErrorKind::Invalid,
        None => ErrorKind::Corrupt,
    }
}

/// The first word of what Redis says.
pub(super) fn of_code(code: &str) -> ErrorKind {
    match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::Denied,
        "OOM" => ErrorKind::Full,
        "WRONGTYPE" => ErrorKind::Corrupt,
        // Only a cluster says these: the keys of one script are on several servers, or on another one.
        "CROSSSLOT" | "MOVED" | "ASK" => ErrorKind::Unsupported,
        // It loads its snapshot, runs somebody's script, is a replica or cannot save.
        _ => ErrorKind::Unavailable,
    }
}
