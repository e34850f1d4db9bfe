//! The conformance suites: what each trait promises, as tests that any backend can run.
//!
//! Every sentence in the docs of [`Journal`](crate::Journal), [`Transport`](crate::Transport),
//! [`Cache`](crate::Cache), [`Store`](crate::Store) and [`Feed`](crate::Feed) is a *promise*, and every promise is
//! one case of a suite. This module knows no backend: it is given a harness, which makes a fresh, empty one for
//! each case and says what else the backend can do (restart, trim, be read by another process …). A case that
//! needs an ability that the harness does not have is skipped, and says so.
//!
//! # In your crate's tests
//!
//! Turn on the feature `conformance` for the dev-dependency `ssmd-core`, then write one line for each backend.
//! It becomes one `#[test]` for each promise, so that `cargo test` names the promise that is broken:
//!
//! ```
//! use std::sync::Arc;
//! use ssmd_core::conformance::journal::{Harness, Plain};
//! # use ssmd_core::{Bounds, Entries, Entry, Error, ErrorKind, Journal, Pending, Result, Start};
//! # struct MyJournal;
//! # impl MyJournal { fn new() -> Self { Self } }
//! # #[async_trait::async_trait]
//! # impl Journal for MyJournal {
//! #     async fn append(&self, _: Vec<Entry>) -> Result<Pending> { Err(Error::new(ErrorKind::Closed, "x")) }
//! #     async fn read(&self, _: Start) -> Result<Box<dyn Entries>> { Err(Error::new(ErrorKind::Closed, "x")) }
//! #     async fn bounds(&self) -> Result<Bounds> { Err(Error::new(ErrorKind::Closed, "x")) }
//! # }
//!
//! // The module's name, and a future that makes a harness; it is evaluated anew in each test.
//! ssmd_core::journal_conformance!(my_journal, async { Plain(Arc::new(MyJournal::new())) });
//! ```
//!
//! `Plain` is the harness of a backend that has no further abilities. One that has some implements the suite's
//! `Harness` trait; its methods have defaults that mean "cannot":
//!
//! ```
//! # use std::sync::Arc;
//! # use ssmd_core::{Journal, Result, Origin};
//! # struct MyLog;
//! # impl MyLog { async fn open(_: &str) -> Result<Arc<dyn Journal>> { unreachable!() } }
//! use ssmd_core::conformance::journal::Harness;
//!
//! struct InAFolder { folder: String }
//!
//! #[async_trait::async_trait]
//! impl Harness for InAFolder {
//!     async fn open(&mut self) -> Result<Arc<dyn Journal>> {
//!         MyLog::open(&self.folder).await
//!     }
//!     // Called when the case has dropped every handle.
//!     async fn restart(&mut self) -> Result<Option<Arc<dyn Journal>>> {
//!         MyLog::open(&self.folder).await.map(Some)
//!     }
//! }
//!
//! # fn temporary() -> String { String::new() }
//! ssmd_core::journal_conformance!(my_log, async { InAFolder { folder: temporary() } });
//! ```
//!
//! The macros are [`journal_conformance!`](crate::journal_conformance),
//! [`transport_conformance!`](crate::transport_conformance), [`cache_conformance!`](crate::cache_conformance),
//! [`store_conformance!`](crate::store_conformance) and [`feed_conformance!`](crate::feed_conformance). The future may use everything that is in scope where the macro stands. Each test has a thread and a
//! current-thread tokio runtime of its own, and [`DEADLINE`]: a backend that hangs fails, even when it blocks its
//! thread, and never hangs the run.
//!
//! A third argument is told what came of each promise, as a table of them wants it:
//! `cache_conformance!(my_cache, async { harness }, |promise: &str, verdict: &Verdict| …)`.
//!
//! # As a function
//!
//! `journal::suite(make).await` runs every case and gives an [`Outcome`] for each; `journal::check(promise, &mut
//! harness).await` runs one; `journal::PROMISES` lists them.

pub mod cache;
pub mod feed;
pub mod journal;
pub mod store;
pub mod transport;

mod outcome;
mod support;

pub use outcome::{DEADLINE, Outcome, Verdict, assert_kept, run, run_within};

/// Makes a suite's table of its list of promises. The module it stands in has one `async fn` for each.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_promises {
    ([$harness:ident] $($name:ident)*) => {
        /// Every promise of the suite, in the order of the docs.
        pub const PROMISES: &[&str] = &[$(stringify!($name)),*];

        /// Runs the case of one promise against a fresh backend, without a deadline.
        pub async fn check(promise: &str, harness: &mut dyn $harness) -> $crate::conformance::Verdict {
            match promise {
                $(stringify!($name) => Box::pin($name(harness)).await.into(),)*
                _ => $crate::conformance::Verdict::Broken(format!("there is no promise {promise}")),
            }
        }

        /// Runs every case, each against a fresh backend and within
        /// [`DEADLINE`]($crate::conformance::DEADLINE). Needs a tokio runtime with its timer enabled.
        pub async fn suite<H, F>(make: impl Fn() -> F) -> Vec<$crate::conformance::Outcome>
        where
            H: $harness,
            F: Future<Output = H>,
        {
            let mut outcomes = Vec::with_capacity(PROMISES.len());
            for &promise in PROMISES {
                let case = async { check(promise, &mut make().await).await };
                let verdict = $crate::conformance::outcome::in_time(case).await;
                outcomes.push($crate::conformance::Outcome { promise, verdict });
            }
            outcomes
        }
    };
}

/// Makes one module with one test for each promise. What came of it is told to `told`.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$suite:ident, $module:ident, $make:expr, $told:expr] $($name:ident)*) => {
        mod $module {
            #[allow(unused_imports, reason = "the harness may need nothing of the module around it")]
            use super::*;

            $(
                #[test]
                fn $name() {
                    let verdict = $crate::conformance::assert_kept(stringify!($name), || async {
                        let mut harness = ($make).await;
                        $crate::conformance::$suite::check(stringify!($name), &mut harness).await
                    });
                    ($told)(stringify!($name), &verdict);
                }
            )*
        }
    };
}
