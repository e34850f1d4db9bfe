//! What the cases of all suites say and do alike.

use std::fmt::Debug;
use std::pin::pin;
use std::task::Poll;

use crate::{Error, ErrorKind, Result};

/// Why a case ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The promise is broken: how.
    Broken(String),
    /// The harness cannot do this.
    Cannot(&'static str),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(format!("unexpected error: {}", error.report()))
    }
}

/// The result of a case.
pub(super) type Case<T = ()> = Result<T, Stop>;

/// How often something that must stay pending is polled before it is believed. Other tasks run in between.
pub(super) const POLLS: usize = 32;

/// The most characters of a value that a verdict shows; payloads can be large.
const SHOWN_MAX: usize = 400;

/// Fails with `what` unless it holds.
pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Case {
    if holds { Ok(()) } else { Err(Stop::Broken(what())) }
}

/// Fails unless `got` is what it must be.
pub(super) fn equal<T: PartialEq + Debug>(what: &str, got: T, must: T) -> Case {
    ensure(got == must, || format!("{what}: got {}, must be {}", shown(&got), shown(&must)))
}

/// Fails unless this is an error of that kind; gives the error.
pub(super) fn refused<T>(what: &str, result: Result<T>, must: ErrorKind) -> Case<Error> {
    match result {
        Ok(_) => Err(Stop::Broken(format!("{what}: succeeded, must be refused as {must:?}"))),
        Err(error) if error.kind() == must => Ok(error),
        Err(error) => Err(Stop::Broken(format!("{what}: must be {must:?}, is {error:?}"))),
    }
}

/// Goes on only if the harness has an ability.
pub(super) fn able<T>(ability: Option<T>, cannot: &'static str) -> Case<T> {
    ability.ok_or(Stop::Cannot(cannot))
}

fn shown(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{} … ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

/// Polls a future at most `polls` times, lets other tasks run in between, and then drops it.
pub(super) async fn attempt<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A payload that differs for every seed and holds every byte, in no simple order.
pub(super) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| step()).collect()
}
