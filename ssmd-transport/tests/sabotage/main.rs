//! The suites catch broken backends: for every promise there is a backend that breaks it, and its case must say so.
//!
//! Each table also runs whole against the same backend without a fault, with every ability, so that no case is
//! skipped and none fails for another reason.

#![allow(clippy::unwrap_used, reason = "these backends exist only in this test")]

use std::time::Duration;

use ssmd_core::conformance::{Verdict, run_within};

mod cache;
mod feed;
mod journal;
mod store;
mod transport;

/// How long a case may take that is expected to fail: a fault may be that something never comes.
const DEADLINE: Duration = Duration::from_secs(1);

/// Makes one test for each promise, which shows that its case catches each of the faults; one test that no promise
/// is left out; and the whole suite against the backend without a fault.
macro_rules! sabotage {
    ($suite:ident, $harness:ident, $fault:ident; $($promise:ident: [$($broken:ident),+])*) => {
        mod caught {
            use super::{$fault, $harness};
            use ssmd_core::conformance::$suite;

            #[test]
            fn every_promise_is_broken_once() {
                assert_eq!($suite::PROMISES, [$(stringify!($promise)),*]);
            }

            $(
                #[test]
                fn $promise() {
                    $(
                        crate::assert_broken(stringify!($broken), || async {
                            let mut harness = $harness::new($fault::$broken);
                            $suite::check(stringify!($promise), &mut harness).await
                        });
                    )+
                }
            )*
        }

        mod without_fault {
            use super::{$fault, $harness};
            use ssmd_core::conformance::{Verdict, $suite};

            #[tokio::test]
            async fn every_promise_is_kept_and_none_is_skipped() {
                for outcome in $suite::suite(|| async { $harness::new($fault::Nothing) }).await {
                    assert_eq!(outcome.verdict, Verdict::Kept, "{}", outcome.promise);
                }
            }
        }
    };
}
use sabotage;

fn assert_broken<F: Future<Output = Verdict>>(fault: &str, case: impl FnOnce() -> F + Send + 'static) {
    let verdict = run_within(DEADLINE, case);
    assert!(matches!(verdict, Verdict::Broken(_)), "{fault} was not caught: {verdict}");
    println!("{fault}: {verdict}");
}
