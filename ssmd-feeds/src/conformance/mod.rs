//! What every [`Dial`](crate::Dial) promises, as tests that any dialer can run.
//!
//! Turn on the feature `conformance` for the dev-dependency `ssmd-feeds`, then write one line for each dialer; it
//! becomes one test for each promise: `ssmd_feeds::dial_conformance!(my_dialer, Arc::new(MyDialer::new()));`.

#![allow(clippy::missing_panics_doc, reason = "a broken promise panics: that is how its test fails")]

pub mod dial;
pub mod server;

use ssmd_core::environment::DialerSpec;

/// Why a test may fail where it stands.
const MUST: &str = "a test that cannot go on has failed";

/// Whose sockets tests of whole feeds use: what `SSMD_TEST_DIALER` says in the words of a document, ours without it.
pub fn dialer() -> DialerSpec {
    let word = std::env::var("SSMD_TEST_DIALER").unwrap_or_else(|_| DialerSpec::default().word().to_owned());
    DialerSpec::of_word(&word).expect("SSMD_TEST_DIALER is a dialer's word")
}

/// Runs one promise to its end.
pub fn run(promise: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect(MUST).block_on(promise);
}

/// One test for each promise of a [`Dial`](crate::Dial), in a module of the given name. `$make` is a
/// [`Make`](dial::Make).
#[macro_export]
macro_rules! dial_conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what makes the dialer may need nothing of it")]
            use super::*;
            $crate::dial_conformance! { @ $make;
                a_handshake_and_frames_may_come_in_one_piece_or_drop_by_drop
                fragments_are_joined_around_control_frames_and_pings_are_answered
                everything_sent_before_a_goodbye_is_given_before_the_end
                our_goodbye_is_answered_and_what_comes_before_the_answer_is_given
                what_the_protocol_forbids_is_corrupt_and_costs_nothing_before_it
                an_end_without_a_goodbye_is_an_end
                what_arrived_before_writing_failed_is_given
                a_dropped_receive_loses_nothing
                a_server_that_never_answers_is_given_up
                a_peer_that_does_not_read_is_noticed
                a_refusal_tells_its_status_and_when_to_come_back
                plain_text_does_not_leave_this_machine
                sixteen_mebibytes_are_one_message
                what_is_sent_arrives_whole_and_in_order
                a_flood_of_pings_is_survived
                what_is_dropped_is_closed
                tls_is_spoken_with_whom_we_trust_under_the_name_we_asked_for_and_nobody_else
            }
        }
    };
    (@ $make:expr; $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::conformance::run(Box::pin($crate::conformance::dial::$promise($make)));
            }
        )*
    };
}
