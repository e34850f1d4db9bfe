//! Which messages of one origin's subject count, and where a hole is: the rule that readers and writers share.
//!
//! A writer has many messages under way. One of them can be lost while those behind it are stored: the connection
//! broke between two, or the server refused one of them for want of room. The writer then sends again from the lost
//! one on. So each message names the number before it (`prev`) and the last number that was known to be stored when
//! it was sent (`acked`). A message whose `prev` has not been seen is *held*: if `prev` was not acknowledged at that
//! time, it may still come, and what is held will come again behind it. If a later message says that it was
//! acknowledged, it has been removed since, and that is a hole.

use std::collections::VecDeque;

/// The most messages that are held: no writer has more under way.
const HELD_MAX: usize = super::WINDOW_MESSAGES;

/// How a message hangs on those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub(super) n: u64,
    /// The number that the writer sent before it; 0 for the first of all.
    pub(super) prev: u64,
    /// The last number that was known to be stored when it was sent.
    pub(super) acked: u64,
}

/// What comes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// These numbers are missing, both ends included.
    Hole(u64, u64),
    /// The next entry.
    Item(T),
}

/// One origin's messages as they come, in the order of the stream.
#[derive(Debug)]
pub(super) struct Chain<T> {
    position: Option<u64>,
    held: VecDeque<(Link, T)>,
}

impl<T> Chain<T> {
    /// Behind this number; `None`: what counts first begins, and nothing is missing before it.
    pub(super) fn new(position: Option<u64>) -> Self {
        Self { position, held: VecDeque::new() }
    }

    /// The last number that was given or told to be missing.
    pub(super) fn position(&self) -> Option<u64> {
        self.position
    }

    /// Whether something waits for what is before it.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes the next message of the subject.
    pub(super) fn push(&mut self, link: Link, item: T, out: &mut VecDeque<Step<T>>) {
        let follows = |position: Option<u64>| position.is_some_and(|position| link.prev <= position);
        if !follows(self.position) {
            while self.held.front().is_some_and(|(held, _)| held.prev <= link.acked) {
                self.release_one(out);
            }
        }
        if self.position.is_some_and(|position| link.n <= position) {
            return;
        }
        if follows(self.position) || link.prev <= link.acked {
            // Whatever is held was sent behind something that is being sent again, and comes again too.
            self.held.clear();
            return self.take(link, item, out);
        }
        if self.held.back().is_none_or(|(last, _)| last.n < link.n) {
            self.held.push_back((link, item));
        }
        if self.held.len() > HELD_MAX {
            self.release_one(out);
        }
    }

    /// Gives what is held up: what is before it will not come any more.
    pub(super) fn release(&mut self, out: &mut VecDeque<Step<T>>) {
        while self.holds() {
            self.release_one(out);
        }
    }

    fn release_one(&mut self, out: &mut VecDeque<Step<T>>) {
        let Some((link, item)) = self.held.pop_front() else { return };
        if self.position.is_none_or(|position| link.n > position) {
            self.take(link, item, out);
        }
    }

    fn take(&mut self, link: Link, item: T, out: &mut VecDeque<Step<T>>) {
        if let Some(position) = self.position
            && link.n > position.saturating_add(1)
        {
            out.push_back(Step::Hole(position + 1, link.n - 1));
        }
        self.position = Some(link.n);
        out.push_back(Step::Item(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(n: u64, prev: u64, acked: u64) -> Link {
        Link { n, prev, acked }
    }

    fn fed(position: Option<u64>, links: &[Link]) -> Vec<Step<u64>> {
        let mut chain = Chain::new(position);
        let mut out = VecDeque::new();
        for link in links {
            chain.push(*link, link.n, &mut out);
        }
        out.into()
    }

    use Step::{Hole, Item};

    #[test]
    fn numbers_that_the_writer_skipped_are_a_hole_at_once() {
        let got = fed(Some(0), &[link(1, 0, 0), link(5, 1, 0), link(6, 5, 0)]);
        assert_eq!(got, [Item(1), Hole(2, 4), Item(5), Item(6)]);
    }

    #[test]
    fn what_was_stored_behind_a_lost_message_waits_until_that_is_sent_again() {
        let lost = [link(1, 0, 0), link(3, 2, 0), link(4, 3, 0)];
        assert_eq!(fed(Some(0), &lost), [Item(1)]);
        let again = [link(2, 1, 1), link(3, 2, 1), link(4, 3, 1), link(5, 4, 1)];
        let all: Vec<_> = lost.into_iter().chain(again).collect();
        assert_eq!(fed(Some(0), &all), [Item(1), Item(2), Item(3), Item(4), Item(5)]);
    }

    #[test]
    fn what_had_been_stored_and_is_missing_is_a_hole() {
        // Held until 9 says that 6 was stored.
        let got = fed(Some(2), &[link(7, 6, 5), link(8, 7, 5), link(9, 8, 7)]);
        assert_eq!(got, [Hole(3, 6), Item(7), Item(8), Item(9)]);
        assert_eq!(fed(Some(2), &[link(7, 6, 6)]), [Hole(3, 6), Item(7)]);
        // What comes before the first is no hole, but the first may be sent again from further back.
        let begun = [link(7, 6, 1), link(8, 7, 1), link(9, 8, 7)];
        assert_eq!(fed(None, &begun), [Item(7), Item(8), Item(9)]);
        assert_eq!(fed(None, &[link(7, 6, 0), link(3, 0, 0), link(4, 3, 0)]), [Item(3), Item(4)]);
    }

    proptest! {
        /// A writer with a window, whose messages are lost at random, which then sends again from the first lost one.
        #[test]
        fn a_reader_gets_every_number_once_in_order_and_no_false_hole(
            lost in prop::collection::vec(any::<bool>(), 0..200),
            window in 1_usize..9,
        ) {
            let last = 40_u64;
            let mut losses = lost.into_iter();
            let (mut stored, mut acked) = (Vec::new(), 0);
            while acked < last {
                let sent: Vec<_> = (acked + 1..=last).take(window).collect();
                let mut whole = true;
                let before = acked;
                for n in sent {
                    let kept = !losses.next().unwrap_or(false);
                    if kept {
                        stored.push(link(n, n - 1, before));
                    }
                    whole &= kept;
                    if whole {
                        acked = n;
                    }
                }
            }
            let must: Vec<_> = (1..=last).map(Item).collect();
            prop_assert_eq!(&fed(Some(0), &stored), &must);
            prop_assert_eq!(&fed(None, &stored), &must);
        }
    }
}
