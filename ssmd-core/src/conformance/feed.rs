//! What every [`Feed`] promises, shown on one that ends: a recording, or a venue that a test plays.

mod decoding;
mod frames;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Feed, FrameKind, ManualClock, Result};

use decoding::*;
use frames::*;

/// Makes the feed of one case. Every connection of it gives the same frames and then ends.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Makes the feed. Called once, before anything else.
    ///
    /// # Errors
    /// As the feed's own; the case fails.
    async fn open(&mut self) -> Result<Arc<dyn Feed>>;

    /// What each connection gives, where that is known: kind and payload of each frame.
    fn known(&self) -> Option<Vec<(FrameKind, Vec<u8>)>> {
        None
    }

    /// Whether frames keep the receive times of a recording, instead of getting those of the clock.
    fn keeps_recorded_times(&self) -> bool {
        false
    }

    /// Whether frames keep the sessions of a recording, instead of getting the one they were opened for.
    fn keeps_recorded_sessions(&self) -> bool {
        false
    }

    /// Whether the feed is complete at its end; otherwise its connections end as `Closed` or `Timeout`.
    fn completes(&self) -> bool {
        true
    }

    /// Called once, with the clock that all connections of the case go by: whoever plays the other side may need
    /// it. The case moves it to the next sleeper whenever nothing else can go on.
    fn clock(&mut self, _clock: &ManualClock) {}
}

/// The harness of a feed that completes and goes by the clock.
pub struct Plain(pub Arc<dyn Feed>);

#[async_trait]
impl Harness for Plain {
    async fn open(&mut self) -> Result<Arc<dyn Feed>> {
        Ok(self.0.clone())
    }
}

/// The list of promises, handed to another macro: the one place where they are named.
#[doc(hidden)]
#[macro_export]
macro_rules! __feed_promises {
    ($then:ident [$($with:tt)*]) => {
        $crate::$then! { [$($with)*]
            the_name_and_the_limits_stay
            the_universe_can_be_asked_again
            frames_are_those_known
            frames_are_numbered_from_zero_without_holes
            frames_carry_the_session_they_were_opened_for
            frames_are_stamped_by_the_clock
            every_connection_starts_from_nothing
            connections_do_not_disturb_one_another
            next_gives_at_most_max
            a_dropped_next_loses_no_frame
            the_end_comes_after_every_frame
            resync_disturbs_no_frame
            durable_disturbs_no_frame
            close_is_orderly
            decoding_is_deterministic
            a_new_decoder_starts_from_nothing
            decoding_adds_to_what_is_there
            a_decode_error_leaves_out_as_it_was
            foreign_bytes_do_not_disturb_decoding
            decoders_count_what_they_do
        }
    };
}
crate::__feed_promises!(__conformance_promises[Harness]);

/// One test for each promise of [`Feed`]: `feed_conformance!(module_name, async { harness })`.
///
/// See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! feed_conformance {
    ($module:ident, $make:expr) => {
        $crate::feed_conformance!($module, $make, |_: &str, _: &$crate::conformance::Verdict| {});
    };
    ($module:ident, $make:expr, $told:expr) => {
        $crate::__feed_promises! { __conformance_tests [feed, $module, $make, $told] }
    };
}
