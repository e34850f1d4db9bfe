//! How the topics of one share are spread over sessions, as many as the venue's limits ask for. A pure function.

use std::collections::BTreeSet;

use ssmd_core::{Limits, Topic, Wanted};

/// One part in so many of a session stays free while another session may be opened.
const SPARE: usize = 10;

/// Spreads what is wanted over sessions, all topics of a symbol in the same one where that is possible, and what a
/// session carries already stays there. There is always at least one session: a recording wants nothing.
///
/// A session is added before the others are full, so that what comes suddenly finds room. What none has room for
/// is given back.
pub(super) fn spread(mut shards: Vec<Wanted>, wanted: &Wanted, limits: Limits) -> (Vec<Wanted>, Vec<Topic>) {
    let full = limits.topics_per_session.get();
    let busy = full - full / SPARE;
    if shards.is_empty() {
        shards.push(Wanted::default());
    }
    shards.iter_mut().for_each(|shard| shard.0.retain(|topic| wanted.0.contains(topic)));
    let carried: BTreeSet<&Topic> = shards.iter().flat_map(|shard| &shard.0).collect();
    let mut topics: Vec<&Topic> = wanted.0.iter().filter(|topic| !carried.contains(topic)).collect();
    topics.sort_by(|a, b| (&a.symbol, &a.channel).cmp(&(&b.symbol, &b.channel)));
    let mut unplaced = Vec::new();
    for group in topics.chunk_by(|a, b| a.symbol.is_some() && a.symbol == b.symbol) {
        for part in group.chunks(full) {
            let fits = |shard: &Wanted, room: usize| shard.0.len() + part.len() <= room;
            let knows = |shard: &Wanted| {
                part[0].symbol.is_some() && shard.0.iter().any(|topic| topic.symbol == part[0].symbol)
            };
            let mut at = shards.iter().position(|shard| fits(shard, full) && knows(shard));
            at = at.or_else(|| shards.iter().position(|shard| fits(shard, busy) || shard.0.is_empty()));
            if at.is_none() && shards.len() < limits.sessions.get() {
                shards.push(Wanted::default());
                at = Some(shards.len() - 1);
            }
            match at.or_else(|| shards.iter().position(|shard| fits(shard, full))) {
                Some(at) => shards[at].0.extend(part.iter().copied().cloned()),
                None => unplaced.extend(part.iter().copied().cloned()),
            }
        }
    }
    (shards, unplaced)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ssmd_core::Symbol;

    use super::*;

    fn limits(topics_per_session: usize, sessions: usize) -> Limits {
        Limits {
            topics_per_session: topics_per_session.try_into().unwrap(),
            sessions: sessions.try_into().unwrap(),
            session_age: None,
            connects: 1,
            connects_window: Duration::from_secs(1),
        }
    }

    fn spread_all(shards: Vec<Wanted>, wanted: &Wanted, topics_per_session: usize) -> Vec<Wanted> {
        let (shards, unplaced) = spread(shards, wanted, limits(topics_per_session, 1000));
        assert_eq!(unplaced, []);
        shards
    }

    #[test]
    fn a_session_is_added_before_the_others_are_full_and_what_fits_nowhere_is_told() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..26).map(|n| Symbol::new(&format!("S{n:02}")).unwrap()).collect();
        let lengths = |parts: &[Wanted]| parts.iter().map(|part| part.0.len()).collect::<Vec<_>>();
        let before = spread_all(Vec::new(), &Wanted::product(&channels, &symbols[..10]), 20);
        assert_eq!(lengths(&before), [18, 2]);
        let (after, unplaced) = spread(before, &Wanted::product(&channels, &symbols), limits(20, 2));
        assert_eq!((lengths(&after), unplaced.len()), (vec![20, 20], 12));
        let (later, unplaced) = spread(after, &Wanted::product(&channels, &symbols[8..]), limits(20, 2));
        assert_eq!((lengths(&later).iter().sum::<usize>(), unplaced.len()), (36, 0));
    }

    #[test]
    fn sessions_carry_no_more_topics_than_they_may_and_symbols_stay_together() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..7).map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let wanted = Wanted::product(&channels, &symbols);
        let parts = spread_all(Vec::new(), &wanted, 5);
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.0.len() <= 5 && part.0.len() % 2 == 0));
        assert_eq!(
            parts.into_iter().flat_map(|part| part.0).collect::<std::collections::BTreeSet<_>>(),
            wanted.0
        );
        assert_eq!(spread_all(Vec::new(), &Wanted::default(), 5).len(), 1);
        assert_eq!(spread_all(Vec::new(), &wanted, 1).len(), 14);
    }

    #[test]
    fn what_is_carried_stays_where_it_is() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..6).map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let before = spread_all(Vec::new(), &Wanted::product(&channels, &symbols[..4]), 4);
        let after = spread_all(before.clone(), &Wanted::product(&channels, &symbols[1..]), 4);
        assert_eq!(after.len(), 3);
        assert_eq!(after[1], before[1]);
        let names = |shard: &Wanted| shard.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&after[0]), ["book S1", "book S4", "trade S1", "trade S4"]);
        assert_eq!(names(&after[2]), ["book S5", "trade S5"]);
    }
}
