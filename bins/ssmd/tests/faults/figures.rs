//! R16 and R17 of `docs/reliability.md`, measured.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ssmd_core::record::Book;
use ssmd_core::{Body, BookSide, Clock, EntryKind, GapCause, OrderBook, Symbol, SystemClock, Timestamp};
use ssmd_feeds::kraken::checksum;

use crate::number;
use crate::rig::{FUTURES, KALSHI, KRAKEN, POLYMARKET, Plan, Recorded, Venue, record};
use crate::truth::{self, Wrong};

/// One fault of each hundred frames, of each kind that R16 names.
const R16: &str = "
faults:
  - { fault: drop, chance: 0.01, until: UNTIL }
  - { fault: duplicate, chance: 0.01, until: UNTIL }
  - { fault: reorder, chance: 0.01, until: UNTIL }
  - { fault: bad_checksum, chance: 0.01, until: UNTIL }
";
/// The value that so many of a hundred are not above.
fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// `SSMD_R16_SECONDS` for longer runs; 1 M frames take some minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_a_venue_that_loses_repeats_and_swaps_one_percent() {
    let recorded = r16(KRAKEN, "R16").await;
    assert_eq!(wrong_books(&recorded), BTreeSet::new(), "books that are not the venue's at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_futures_that_lose_repeat_and_swap_one_percent() {
    r16_with_truth(FUTURES, "R16-futures").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_kalshi_that_loses_repeats_and_swaps_one_percent() {
    r16_with_truth(KALSHI, "R16-kalshi").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_polymarket_that_loses_repeats_and_swaps_one_percent() {
    r16_with_truth(POLYMARKET, "R16-polymarket").await;
}

/// Every book must be one that the venue gave another client near the end. Those of which the recorder itself says that
/// they wait for a new one may be few.
async fn r16_with_truth(venue: Venue, row: &str) {
    let recorded = r16(venue, row).await;
    assert_eq!(recorded.truth.len(), venue.many, "all were asked for");
    let Wrong { wrong, broken } = truth::wrong(&recorded.truth, &recorded.records);
    println!("{row}-wrong-books {} 0, of {}; {} wait", wrong.len(), venue.many, broken.len());
    assert!(wrong.is_empty() && broken.len() * 4 < venue.many, "wrong: {wrong:?}, broken: {broken:?}");
}

async fn r16(venue: Venue, row: &str) -> Recorded {
    let seconds = number("SSMD_R16_SECONDS", 17);
    let script = format!("seed: 16{}", R16.replace("UNTIL", &format!("{seconds}s")));
    let time = Duration::from_secs(seconds) + venue.quiet_end;
    let symbols = venue.symbols(venue.many);
    let rate = Some(number("SSMD_R16_RATE", venue.rate) as f64);
    let (depth, seed, truth, twins) = (10, 16, venue.name != KRAKEN.name, false);
    let recorded = record(&Plan { venue, script, time, rate, symbols, depth, seed, truth, twins }).await;
    let differences = recorded.differences();
    let missed = differences.iter().filter(|text| text.starts_with("not detected")).count();
    let expected = recorded.expected.len();
    let frames = recorded.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Frame(_))).count();
    println!("{row}-frames {frames} faults {} gaps {expected} seed 16", recorded.rows.len());
    println!("{row}-detected-percent {} 100", 100.0 * (expected - missed) as f64 / expected as f64);
    println!("{row}-false-alarms {} 0", differences.len() - missed);
    let resyncs = resyncs(&recorded);
    println!("{row}-resync-p50-seconds {:.3} -", percentile(resyncs.clone(), 50));
    println!("{row}-resync-p99-seconds {:.3} -", percentile(resyncs, 99));
    assert!(expected > 50 && differences.is_empty(), "{}", differences.join("\n"));
    recorded
}

/// How long each broken book waited for its snapshot, in seconds.
fn resyncs(recorded: &Recorded) -> Vec<f64> {
    let mut waiting: BTreeMap<Symbol, Timestamp> = BTreeMap::new();
    let (mut all, mut known) = (Vec::new(), BTreeSet::new());
    for record in &recorded.records {
        let now = record.header.received;
        match (&record.body, &record.header.symbol) {
            (Body::Gap(gap), _) if gap.channel.as_deref() == Some("trade") => {}
            (Body::Gap(_), Some(symbol)) => drop(waiting.insert(symbol.clone(), now)),
            // Of every book. One that waits already has waited since then.
            (Body::Gap(_), None) => known.iter().cloned().for_each(|symbol| {
                waiting.entry(symbol).or_insert(now);
            }),
            (Body::BookSnapshot(_), Some(symbol)) => {
                known.insert(symbol.clone());
                let since = waiting.remove(symbol);
                all.extend(since.map(|since| now.since(since).as_secs_f64()));
            }
            _ => {}
        }
    }
    all
}

/// The symbols whose book, made of the records, has not the checksum that the venue said last.
fn wrong_books(recorded: &Recorded) -> BTreeSet<Symbol> {
    let mut books: BTreeMap<Symbol, (OrderBook, Option<u32>)> = BTreeMap::new();
    for record in &recorded.records {
        let Some(symbol) = &record.header.symbol else { continue };
        let (book, said) = books.entry(symbol.clone()).or_default();
        let given: &Book = match &record.body {
            Body::BookSnapshot(given) => {
                book.replace(&given.bids, &given.asks);
                given
            }
            Body::BookDelta(given) => {
                given.bids.iter().for_each(|level| book.apply(BookSide::Bid, *level));
                given.asks.iter().for_each(|level| book.apply(BookSide::Ask, *level));
                given
            }
            _ => continue,
        };
        book.truncate(10);
        *said = given.checksum;
    }
    assert!(books.len() >= 4, "{:?}", books.keys());
    let wrong = books.into_iter().filter(|(_, (book, said))| *said != Some(checksum(book)));
    wrong.map(|(symbol, _)| symbol).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_dead_connections_are_noticed() {
    let dead = ["half_open, at: 500ms", "silence, at: 500ms", "silence, pings: true, at: 500ms"];
    let dead =
        [&dead[..], &["slow_drip, at: 500ms", "half_open, at: 740ms", "slow_drip, at: 980ms"]].concat();
    r17(KRAKEN, &dead, "R17", 6.0, Duration::from_secs(14)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_dead_connections_of_futures_are_noticed() {
    let dead =
        ["half_open, at: 500ms", "slow_drip, at: 500ms", "half_open, at: 740ms", "slow_drip, at: 980ms"];
    r17(FUTURES, &dead, "R17-futures", 6.0, Duration::from_secs(14)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_dead_connections_of_kalshi_are_noticed() {
    let dead =
        ["half_open, at: 500ms", "slow_drip, at: 500ms", "half_open, at: 740ms", "slow_drip, at: 980ms"];
    r17(KALSHI, &dead, "R17-kalshi", 6.0, Duration::from_secs(14)).await;
}

/// Its answers to pings are messages, so that a venue that says nothing at all is noticed too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_dead_connections_of_polymarket_are_noticed() {
    let dead = ["half_open, at: 500ms", "silence, at: 500ms", "silence, pings: true, at: 500ms"];
    let dead =
        [&dead[..], &["slow_drip, at: 500ms", "half_open, at: 740ms", "slow_drip, at: 980ms"]].concat();
    r17(POLYMARKET, &dead, "R17-polymarket", 6.0, Duration::from_secs(18)).await;
}

/// The venue promises no data but tickers, so that a frozen one that answers pings is noticed later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_frozen_futures_that_answer_pings_are_noticed() {
    let dead = ["silence, at: 500ms", "silence, pings: true, at: 500ms"];
    r17(FUTURES, &dead, "R17-futures-frozen", 31.0, Duration::from_secs(65)).await;
}

async fn r17(venue: Venue, dead: &[&str], row: &str, limit: f64, time: Duration) {
    let plans = dead.iter().enumerate().map(|(seed, dead)| Plan {
        venue,
        script: format!("faults: [{{ fault: {dead}, times: 2 }}]"),
        time,
        rate: Some(100.0),
        symbols: venue.symbols(1),
        depth: 10,
        seed: seed as u64,
        truth: false,
        twins: false,
    });
    let plans: Vec<_> = plans.collect();
    let mut noticed = Vec::new();
    let mut late = Duration::ZERO;
    let recorded = tokio::select! {
        recorded = futures_util::future::join_all(plans.iter().map(record)) => recorded,
        () = lateness(&mut late) => unreachable!("it has no end"),
    };
    for (plan, recorded) in plans.iter().zip(recorded) {
        assert!(recorded.differences().is_empty(), "{}{:?}", plan.script, recorded.differences());
        let gaps = recorded.gaps.iter().filter(|gap| gap.gap.cause == GapCause::Silence);
        let times = gaps.filter_map(|gap| {
            let from = gap.gap.from.as_ref()?;
            let mut closes = recorded.entries.iter().filter(|entry| entry.kind == EntryKind::Close);
            let close = closes.find(|entry| entry.session == from.session)?;
            Some(close.at.since(from.at).as_secs_f64())
        });
        let times: Vec<_> = times.collect();
        assert_eq!(times.len(), 2, "{}", plan.script);
        noticed.extend(times);
    }
    let p99 = percentile(noticed, 99);
    let late = late.as_secs_f64();
    println!("{row}-noticed-p99-seconds {p99:.3} {limit}, and {late:.3} that the machine was late");
    assert!(p99 <= limit + late, "{p99}");
}

/// Finds out how late a timer is at most on this machine, which does other things too.
pub(crate) async fn lateness(most: &mut Duration) {
    const REST: Duration = Duration::from_millis(20);
    let clock = SystemClock::new();
    loop {
        let began = clock.elapsed();
        clock.sleep(REST).await;
        *most = (clock.elapsed() - began).saturating_sub(REST).max(*most);
    }
}
