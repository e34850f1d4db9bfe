//! One of two connections that hear the same stands still, and answers whatever asks whether it lives.

use std::time::Duration;

use ssmd_core::entry::note;
use ssmd_core::{EntryKind, FrameKind, GapCause};

use crate::figures::lateness;
use crate::rig::{FUTURES, KALSHI, KRAKEN, POLYMARKET, Plan, Recorded, Venue, record};

/// Seconds until it must be noticed.
const LIMIT: f64 = 6.0;
/// When it begins to stand still. What comes within ten seconds of a connection's beginning may be an answer that its
/// twin does not get, so before that it is not noticed.
const STILL_AT_MS: u64 = 10_500;
/// What there is of time beside that, so that also a busy machine gets there.
const TIME: Duration = Duration::from_secs(26);

/// All venues together, since most of the time is waited. Each connection is the one that stands still once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_twin_that_stands_still_is_noticed() {
    let rows =
        [(KRAKEN, "R17"), (FUTURES, "R17-futures"), (KALSHI, "R17-kalshi"), (POLYMARKET, "R17-polymarket")];
    let plans: Vec<_> =
        rows.iter().flat_map(|(venue, _)| [1, 2].map(|number| plan(*venue, number))).collect();
    let mut late = Duration::ZERO;
    let recorded = tokio::select! {
        recorded = futures_util::future::join_all(plans.iter().map(record)) => recorded,
        () = lateness(&mut late) => unreachable!("it has no end"),
    };
    let late = late.as_secs_f64();
    for ((_, row), recorded) in rows.iter().zip(recorded.chunks(2)) {
        let most = recorded.iter().map(|recorded| noticed(row, recorded)).fold(0.0, f64::max);
        println!("{row}-twin-noticed-seconds {most:.3} {LIMIT}, and {late:.3} that the machine was late");
        assert!(most <= LIMIT + late, "{row}: {most}");
    }
}

fn plan(venue: Venue, connection: u64) -> Plan {
    let when = format!("at: {STILL_AT_MS}ms, times: 1000000000, connection: {connection}");
    Plan {
        venue,
        script: format!("faults: [{{ fault: drop, {when} }}]"),
        time: TIME,
        rate: Some(50.0),
        symbols: venue.symbols(1),
        depth: 10,
        seed: connection,
        truth: false,
        twins: true,
    }
}

/// Seconds from the last data of the connection that stood still to its end.
fn noticed(row: &str, recorded: &Recorded) -> f64 {
    let is_silent = |payload: &[u8]| {
        let close = note::decode::<note::Close>(payload).unwrap();
        GapCause::from_word(&close.cause) == Some(GapCause::Silence)
    };
    let silent = |kind: EntryKind, payload: &[u8]| kind == EntryKind::Close && is_silent(payload);
    let ends: Vec<_> = recorded.entries.iter().filter(|entry| silent(entry.kind, &entry.payload)).collect();
    assert_eq!(ends.len(), 1, "{row}: it is ended, and its twin is not");
    let end = ends[0];
    let data = recorded.entries.iter().filter(|entry| entry.kind == EntryKind::Frame(FrameKind::Data));
    let (its, others): (Vec<_>, Vec<_>) = data.partition(|entry| entry.session == end.session);
    let last = its.last().unwrap();
    let moved = others.iter().filter(|entry| entry.at > last.at && entry.at < end.at).count();
    assert!(moved > 10, "{row}: its twin moved on, {moved}");
    end.at.since(last.at).as_secs_f64()
}
