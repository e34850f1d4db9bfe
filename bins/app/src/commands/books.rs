//! `ssmd books`: the audit of books, of what runs or of an archive.

use ssmd_core::{Clock, Error, ErrorKind, Result, SystemClock};
use ssmd_storage::books;

use super::archive::{self, Chosen};
use super::tail;
use crate::cli;
use crate::control::{self, ANSWER_WITHIN, Request};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::status::{FeedBook, grouped};

/// Prints the audit.
pub(super) async fn run(args: &cli::Books) -> Outcome {
    let of_archive = args.store.is_some() || args.day.is_some();
    let mut books = if of_archive { archived(args).await? } else { running(args).await? };
    books.retain(|book| args.symbol.as_ref().is_none_or(|symbol| book.book.symbol.as_str() == symbol));
    let mut out = Out::new();
    if args.json {
        out.json(&books)?;
    } else {
        print(&books, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

async fn archived(args: &cli::Books) -> Result<Vec<FeedBook>> {
    let part = cli::Part {
        store: cli::StoreArgs { store: args.store.clone(), data: args.data.clone() },
        feed: args.feed.clone(),
        day: args.day,
        from: None,
        to: None,
        skip_damaged: false,
    };
    let Chosen { archive, feed, selection, .. } = archive::choose(&part).await?;
    let audited = books::audit(&archive, &feed, &selection, ssmd_feeds::decoder(&feed)?).await?;
    let of_feed = |book| FeedBook { feed: feed.to_string(), book };
    Ok(audited.into_iter().map(of_feed).collect())
}

async fn running(args: &cli::Books) -> std::result::Result<Vec<FeedBook>, Stopped> {
    let request = Request::Books { feed: args.feed.clone() };
    let mut lines = match control::ask(&args.data, "up", &request).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            let asked = control::ask(&args.data, "connector", &request).await;
            asked.map_err(|error| error.hint("`--store URL` or `--day DAY` audits an archive instead"))?
        }
        asked => asked?,
    };
    let clock = SystemClock::new();
    let line = tokio::select! {
        line = tail::next(&mut lines) => line?.unwrap_or_default(),
        () = clock.sleep(ANSWER_WITHIN) => {
            return Err(Error::new(ErrorKind::Timeout, "ask for books").into());
        }
    };
    tail::refused(&line, "ask for books")?;
    let read = serde_json::from_str(&line);
    Ok(read.map_err(|cause| Error::new(ErrorKind::Corrupt, "read books").because(cause))?)
}

fn print(books: &[FeedBook], out: &mut Out) -> std::result::Result<(), Stopped> {
    if books.is_empty() {
        return out.line("no books");
    }
    let width = books.iter().map(|book| book.book.symbol.as_str().chars().count()).max().unwrap_or(0);
    for FeedBook { feed, book } in books {
        out.line(format_args!(
            "{feed}  {:<width$}  {:<10} since {}  {} verified, {} failed, {} resynced",
            book.symbol.as_str(),
            book.state.word(),
            book.since,
            grouped(book.verified),
            grouped(book.failed),
            grouped(book.resynced),
        ))?;
    }
    Ok(())
}
