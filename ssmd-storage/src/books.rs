//! The audit of an archive's books, decoded from the beginnings of their sessions.

use ssmd_core::{BookAudit, Books, Decoders, ErrorKind, FeedName, Result};

use crate::read::{Archive, Selection};
use crate::verify::MakeDecoder;

/// What became of each book in the part of a feed's recording that `selection` names: checks are counted in that part
/// alone, how books are is known from what came before too. After an object that cannot be read, books are decoded
/// from what follows.
///
/// # Errors
/// The store's own, where it cannot answer.
pub async fn audit(
    archive: &Archive,
    feed: &FeedName,
    selection: &Selection,
    decoder: MakeDecoder,
) -> Result<Vec<BookAudit>> {
    let mut decoders = Decoders::with(move || decoder());
    let (mut books, mut outputs) = (Books::default(), Vec::new());
    let mut reader = archive.read(archive.segments_with_beginnings(feed, selection));
    loop {
        let batch = match reader.next_batch().await {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            // The reader goes on with the next object.
            Err(error) if error.kind() == ErrorKind::Corrupt => continue,
            Err(error) => return Err(error),
        };
        for entry in batch.iter().filter(|entry| selection.to.is_none_or(|to| entry.at < to)) {
            outputs.clear();
            // What does not decode is counted by the verification; it says nothing of a book.
            let _ = decoders.push(entry, &mut outputs);
            books.take(entry, &outputs, decoders.checks(), selection.contains(entry));
        }
    }
    Ok(books.list())
}
