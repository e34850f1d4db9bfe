//! What every [`Journal`] promises: the harness, the bench that cases work at, and the list of promises.
//!
//! A fresh journal may hold entries of its own (a log's epoch): the cases number theirs behind what
//! [`Journal::bounds`] tells at first, and read behind it.

mod bench;
mod reading;
mod writing;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{EntryId, Journal, Origin, Result};

use reading::*;
use writing::*;

/// Makes the journal of one case, and does to it what the trait cannot say. The defaults mean "cannot".
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens a fresh journal. Called once, before anything else.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn open(&mut self) -> Result<Arc<dyn Journal>>;

    /// The one origin that this journal takes entries of; `None` if it takes any.
    fn only_origin(&self) -> Option<Origin> {
        None
    }

    /// Opens the same journal again, as after a restart. Called when every handle has been dropped.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn restart(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        Ok(None)
    }

    /// Makes a new journal in the old one's place. Called when every handle has been dropped.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn recreate(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        Ok(None)
    }

    /// A handle to the open journal as another process would have it. It is only read.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn observe(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        Ok(None)
    }

    /// From now on (`held`) nothing more becomes durable, until called with `false`. Says whether it can.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn hold(&mut self, _held: bool) -> Result<bool> {
        Ok(false)
    }

    /// Removes entries below `id`, as many as the backend can but at least one. Says whether it can.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn trim(&mut self, _below: EntryId) -> Result<bool> {
        Ok(false)
    }

    /// Ends the open journal while handles to it are alive. Says whether it can.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn close(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Bytes of payload that are surely more than the journal's hard cap; `None` if that would take too long.
    fn overflow_bytes(&self) -> Option<u64> {
        None
    }
}

/// The harness of a journal without further abilities.
pub struct Plain(pub Arc<dyn Journal>);

#[async_trait]
impl Harness for Plain {
    async fn open(&mut self) -> Result<Arc<dyn Journal>> {
        Ok(self.0.clone())
    }
}

/// The list of promises, handed to another macro: the one place where they are named.
#[doc(hidden)]
#[macro_export]
macro_rules! __journal_promises {
    ($then:ident [$($with:tt)*]) => {
        $crate::$then! { [$($with)*]
            entries_come_back_identical
            payloads_of_the_largest_size_are_kept
            an_oversized_payload_is_invalid_and_nothing_of_its_batch_is_queued
            an_empty_batch_is_durable_at_once
            calls_are_kept_in_order
            pending_resolves_when_the_batch_is_durable
            pending_waits_for_durability
            an_append_without_room_waits_for_it
            a_dropped_pending_changes_nothing
            a_dropped_append_queues_nothing
            a_repeat_changes_nothing
            a_repeat_within_a_batch_changes_nothing
            a_number_that_skips_is_kept
            origins_are_numbered_apart
            what_was_durable_survives_a_restart
            a_repeat_changes_nothing_after_a_restart
            a_full_journal_says_so_and_queues_nothing
            a_closed_journal_takes_nothing
            oldest_begins_with_the_oldest_entry
            newest_begins_after_what_is_durable
            after_begins_behind_each_position
            origins_that_are_not_named_are_read_from_their_oldest
            a_start_before_what_is_kept_is_not_found
            next_gives_at_least_one_and_at_most_max
            a_dropped_next_loses_nothing
            a_hole_is_told_once_with_both_ends
            every_hole_is_told
            reading_goes_on_behind_a_hole
            entries_removed_before_they_were_read_are_a_hole
            a_waiting_reader_wakes_up_when_entries_become_durable
            readers_never_see_what_is_not_durable
            readers_do_not_disturb_one_another
            a_reader_of_a_closed_journal_reads_all_and_is_told
            other_processes_read_what_is_durable
            bounds_are_the_first_and_last_of_each_origin
            bounds_tell_only_what_is_durable
            bounds_follow_what_is_removed
            the_incarnation_stays
            a_new_journal_has_a_new_incarnation
        }
    };
}
crate::__journal_promises!(__conformance_promises[Harness]);

/// One test for each promise of [`Journal`]: `journal_conformance!(module_name, async { harness })`.
///
/// See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! journal_conformance {
    ($module:ident, $make:expr) => {
        $crate::journal_conformance!($module, $make, |_: &str, _: &$crate::conformance::Verdict| {});
    };
    ($module:ident, $make:expr, $told:expr) => {
        $crate::__journal_promises! { __conformance_tests [journal, $module, $make, $told] }
    };
}
