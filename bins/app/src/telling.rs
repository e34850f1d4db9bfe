//! Records as messages: on a subject that says what they are, in the format that is asked for.

use std::sync::Arc;

use ssmd_core::environment::{FeedSpec, RecordFormat};
use ssmd_core::{EnvironmentName, FeedName, Message, Record, Result, Subject, Symbol, codec};
use ssmd_feeds::live::MakeMessages;
use ssmd_transport::memory::MemoryTransport;
use ssmd_transport::project::Projector;

/// What is told to whoever listens: nothing while nobody does.
pub(crate) fn messages(
    environment: &EnvironmentName,
    spec: &FeedSpec,
    format: RecordFormat,
    transport: Arc<MemoryTransport>,
) -> MakeMessages {
    let (environment, feed, usual) = (environment.clone(), spec.name.clone(), spec.category.clone());
    Arc::new(move |record: &Record, category, out| {
        if transport.listeners() == 0 {
            return;
        }
        match message(&environment, (&feed, category.or(usual.as_deref())), format, record) {
            Ok(message) => out.push(message),
            Err(error) => tracing::error!(report = error.report(), "a record is not told"),
        }
    })
}

/// As `inner`, and every record goes to the cache too.
pub(crate) fn projected(inner: MakeMessages, projector: Option<Projector>) -> MakeMessages {
    let Some(projector) = projector else { return inner };
    Arc::new(move |record: &Record, category, out| {
        projector.take(record);
        inner(record, category, out);
    })
}

/// `{environment}.{feed}[.{category}].{format}.{type}.{symbol}` and the record in that format.
fn message(
    environment: &EnvironmentName,
    (feed, category): (&FeedName, Option<&str>),
    format: RecordFormat,
    record: &Record,
) -> Result<Message> {
    let symbol = record.header.symbol.as_ref().map_or_else(|| "_".to_owned(), Symbol::token);
    let tail = [format.word(), record.body.record_type().word(), symbol.as_str()];
    let head = [environment.as_str(), feed.as_str()];
    let subject = Subject::new(head.into_iter().chain(category).chain(tail))?;
    let mut payload = Vec::with_capacity(256);
    match format {
        RecordFormat::Json => codec::json::encode(record, feed, &mut payload),
        RecordFormat::Capnp => codec::capnp::encode(record, &mut payload)?,
    }
    Ok(Message { subject, headers: Vec::new(), payload: payload.into() })
}
