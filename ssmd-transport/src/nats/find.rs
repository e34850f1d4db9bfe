//! What a stream holds of an origin: its first and last numbers, and where a number is.

use std::collections::VecDeque;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use futures_util::StreamExt;
use ssmd_core::{Error, ErrorKind, Origin, Result};

use super::WINDOW_MESSAGES;
use super::chain::{Chain, Link, Step};
use super::wire::{self, Piece};

/// The end of one origin's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last number that counts; 0 if there is none.
    pub(super) last: u64,
    /// The stream's sequence of its message, or of one before it; 0 if there is none.
    pub(super) at: u64,
    /// The stream's sequence of the subject's last message, whether it counts or not; 0 if there is none, and `None` if
    /// the server cannot read it any more.
    pub(super) subject_at: Option<u64>,
}

/// Where the origin's subject ends. A last message that nobody vouches for is judged with those before it.
pub(super) async fn tail(stream: &Stream, subject: &str, origin: Origin) -> Result<Tail> {
    let last = found(stream.get_last_raw_message_by_subject(subject).await, subject)?;
    let subject_at = last.as_ref().map(|last| last.sequence);
    if let Some(last) = last
        && let Some(piece) = wire::read(origin, &last.headers, Some(last.payload))
        && piece.parts == 1
        && piece.link.prev <= piece.link.acked
    {
        return Ok(Tail { last: piece.link.n, at: last.sequence, subject_at });
    }
    // A server also says that there is none where the last one is damaged: then everything is looked at.
    let (from, acked) = match subject_at {
        Some(subject_at) => before(stream, subject, origin, subject_at).await?,
        None => (0, None),
    };
    let mut chain = Chain::new(acked);
    let mut at = from;
    let mut found = Headers::open(stream, subject, origin, from).await?;
    while let Some((sequence, link)) = found.next().await? {
        let mut steps = VecDeque::new();
        if let Some(link) = link {
            chain.push(link, (), &mut steps);
        }
        if steps.contains(&Step::Item(())) {
            at = sequence;
        }
        if subject_at.is_some_and(|subject_at| sequence >= subject_at) {
            break;
        }
    }
    let subject_at = if at == 0 { subject_at.or(Some(0)) } else { subject_at };
    Ok(Tail { last: chain.position().unwrap_or(0), at, subject_at })
}

/// The last message, read in the subject's last window, that names what was acknowledged: where to begin, behind
/// which number.
async fn before(
    stream: &Stream,
    subject: &str,
    origin: Origin,
    subject_at: u64,
) -> Result<(u64, Option<u64>)> {
    let message = found(stream.get_raw_message(subject_at).await, subject)?;
    let piece = message.and_then(|message| wire::read(origin, &message.headers, None));
    // A foreign or damaged message at the end tells nothing: everything is looked at.
    Ok(piece.map_or((0, None), |piece| (piece.acked_at + 1, Some(piece.link.acked))))
}

/// The first number of the origin that counts and is there whole; `None` if there is none.
pub(super) async fn first(stream: &Stream, subject: &str, origin: Origin) -> Result<Option<u64>> {
    let Some(message) = next(stream, subject, 1).await? else { return Ok(None) };
    if let Some(piece) = wire::read(origin, &message.headers, None)
        && piece.part == 0
        && piece.link.prev <= piece.link.acked
    {
        return Ok(Some(piece.link.n));
    }
    let mut chain = Chain::new(None);
    let mut steps = VecDeque::new();
    let mut found = Headers::open(stream, subject, origin, message.sequence).await?;
    while let Some((_, link)) = found.next().await? {
        if let Some(link) = link {
            chain.push(link, link.n, &mut steps);
        }
        if !steps.is_empty() {
            break;
        }
    }
    chain.release(&mut steps);
    Ok(steps.into_iter().find_map(|step| match step {
        Step::Item(n) => Some(n),
        Step::Hole(..) => None,
    }))
}

/// The headers of a subject's messages, up to its end.
struct Headers {
    consumer: PullConsumer,
    batch: Option<pull::Batch>,
    subject: String,
    origin: Origin,
    /// The entry of which the parts so far are there, and the last of these.
    open: Option<(u64, usize)>,
}

impl Headers {
    async fn open(stream: &Stream, subject: &str, origin: Origin, from: u64) -> Result<Self> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            filter_subject: subject.to_owned(),
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|cause| unavailable(subject, cause))?;
        Ok(Self { consumer, batch: None, subject: subject.to_owned(), origin, open: None })
    }

    /// The next message's sequence in the stream, and the entry that it completes.
    async fn next(&mut self) -> Result<Option<(u64, Option<Link>)>> {
        let failed = |cause| unavailable(&self.subject, cause);
        let mut fresh = false;
        loop {
            if let Some(batch) = &mut self.batch {
                if let Some(message) = batch.next().await {
                    let message = message.map_err(failed)?;
                    let sequence = message.info().map_err(failed)?.stream_sequence;
                    let headers = message.headers.as_ref();
                    let piece = headers.and_then(|headers| wire::read(self.origin, headers, None));
                    return Ok(Some((sequence, piece.and_then(|piece| self.complete(&piece)))));
                }
                if fresh {
                    return Ok(None);
                }
            }
            let batch = self.consumer.fetch().max_messages(WINDOW_MESSAGES).messages().await;
            self.batch = Some(batch.map_err(|cause| unavailable(&self.subject, cause))?);
            fresh = true;
        }
    }

    fn complete(&mut self, piece: &Piece) -> Option<Link> {
        let follows = self.open.is_some_and(|(n, part)| n == piece.link.n && part + 1 == piece.part);
        self.open = (piece.part == 0 || follows).then_some((piece.link.n, piece.part));
        (self.open.is_some() && piece.part + 1 == piece.parts).then_some(piece.link)
    }
}

/// A sequence of the stream from which on everything of the origin behind `n` is found, and not much before it.
///
/// Numbers grow along a subject, but for what was sent again: at most a window. So the place is looked for by halving,
/// for a number that lies a window further back.
pub(super) async fn locate(stream: &Stream, subject: &str, origin: Origin, n: u64, last: u64) -> Result<u64> {
    behind(stream, subject, origin, n.saturating_sub(WINDOW_MESSAGES as u64), last).await
}

/// A sequence of the stream before which the subject has numbers up to `n`, and from which on higher ones.
pub(super) async fn behind(stream: &Stream, subject: &str, origin: Origin, n: u64, last: u64) -> Result<u64> {
    let (mut low, mut high) = (1, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match numbered(stream, subject, origin, middle).await? {
            Some((at, number)) if number <= n => low = at + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The number of the first message of ours at `from` or behind it, and where it is.
async fn numbered(
    stream: &Stream,
    subject: &str,
    origin: Origin,
    mut from: u64,
) -> Result<Option<(u64, u64)>> {
    while let Some(message) = next(stream, subject, from).await? {
        if let Some(piece) = wire::read(origin, &message.headers, None) {
            return Ok(Some((message.sequence, piece.link.n)));
        }
        from = message.sequence + 1;
    }
    Ok(None)
}

async fn next(stream: &Stream, subject: &str, from: u64) -> Result<Option<StreamMessage>> {
    found(stream.get_first_raw_message_by_subject(subject, from).await, subject)
}

fn found(answer: Result<StreamMessage, RawMessageError>, subject: &str) -> Result<Option<StreamMessage>> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(cause) if cause.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(cause) => Err(unavailable(subject, cause)),
    }
}

fn unavailable(subject: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, "look into stream").with("subject", subject).because(cause)
}
