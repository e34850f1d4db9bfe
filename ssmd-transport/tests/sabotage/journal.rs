//! A journal that makes what it took durable later, and how it may be broken.

mod reader;
mod rig;

use rig::{Fault, RigHarness};

use crate::sabotage;

sabotage! { journal, RigHarness, Fault;
    entries_come_back_identical: [LosesMore, MendsText]
    payloads_of_the_largest_size_are_kept: [CutsLarge]
    an_oversized_payload_is_invalid_and_nothing_of_its_batch_is_queued: [QueuesBeforeTheOversized]
    an_empty_batch_is_durable_at_once: [RefusesEmpty]
    calls_are_kept_in_order: [SwapsCalls]
    pending_resolves_when_the_batch_is_durable: [ResolvesOneCallEarly]
    pending_waits_for_durability: [ResolvesAtOnce]
    an_append_without_room_waits_for_it: [DropsWithoutRoom]
    a_dropped_pending_changes_nothing: [DropsWithPending]
    a_dropped_append_queues_nothing: [QueuesThenYields]
    a_repeat_changes_nothing: [OverwritesWithRepeats]
    a_repeat_within_a_batch_changes_nothing: [OverwritesWithRepeats]
    a_number_that_skips_is_kept: [RefusesSkips]
    origins_are_numbered_apart: [NumbersOriginsTogether]
    what_was_durable_survives_a_restart: [ForgetsTheLastOverARestart]
    a_repeat_changes_nothing_after_a_restart: [OverwritesWithRepeats]
    a_full_journal_says_so_and_queues_nothing: [QueuesAPartWhenFull]
    a_closed_journal_takes_nothing: [TakesWhenClosed]
    oldest_begins_with_the_oldest_entry: [OldestIsTheSecond]
    newest_begins_after_what_is_durable: [NewestIsOldest]
    after_begins_behind_each_position: [AfterIsAt]
    origins_that_are_not_named_are_read_from_their_oldest: [UnnamedFromTheirNewest]
    a_start_before_what_is_kept_is_not_found: [RemovedIsOldest]
    next_gives_at_least_one_and_at_most_max: [GivesMoreThanMax]
    a_dropped_next_loses_nothing: [YieldsAfterTaking]
    a_hole_is_told_once_with_both_ends: [PassesOverHoles, TellsHolesTwice, HolesEndBehind]
    every_hole_is_told: [TellsOneHole]
    reading_goes_on_behind_a_hole: [EndsAtAHole]
    entries_removed_before_they_were_read_are_a_hole: [PassesOverHoles]
    a_waiting_reader_wakes_up_when_entries_become_durable: [NeverWakes]
    readers_never_see_what_is_not_durable: [ShowsWhatIsQueued]
    readers_do_not_disturb_one_another: [SharesOneReader]
    a_reader_of_a_closed_journal_reads_all_and_is_told: [EndsBeforeAllIsRead]
    other_processes_read_what_is_durable: [OthersSeeThePast]
    bounds_are_the_first_and_last_of_each_origin: [BoundsEndBehind]
    bounds_tell_only_what_is_durable: [BoundsTellWhatIsQueued]
    bounds_follow_what_is_removed: [BoundsKeepTheFirst]
    the_incarnation_stays: [IncarnationChanges]
    a_new_journal_has_a_new_incarnation: [IncarnationIsFixed]
}
