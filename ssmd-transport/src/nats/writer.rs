//! The one task that writes a journal: messages under way, their acknowledgements in order, and what is sent again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use ssmd_core::{Entry, Error, ErrorKind, Origin, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::chain::Link;
use super::journal::Shared;
use super::{WINDOW_MESSAGES, find, wire};

/// How long an acknowledgement may take before what is under way is taken for lost.
const ACK_WITHIN: Duration = Duration::from_secs(10);
/// The first pause after a failure; each further one is twice as long, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The most bytes of payload that are under way.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// A batch that was queued.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) done: oneshot::Sender<Result<()>>,
    /// Its share of the queue, given back when it is done.
    pub(super) _room: OwnedSemaphorePermit,
}

/// Who waits until everything before `end` is durable.
struct Waiting {
    end: u64,
    done: oneshot::Sender<Result<()>>,
    _room: OwnedSemaphorePermit,
}

/// An entry under way: which of the messages is its last.
#[derive(Clone, Copy)]
enum Sent {
    /// It was there already.
    Repeat,
    /// The message with this id completes it.
    With(u64),
}

/// What is known of one origin's subject.
struct Tail {
    subject: Subject,
    /// The last number that was sent or found.
    sent: u64,
    /// The last number that is durable, and the stream's sequence of it.
    acked: (u64, u64),
    /// What the server must find the subject's last sequence to be, for the first message, where that is known.
    expected: Option<u64>,
}

/// What ends an attempt: the next one looks anew at what the stream has, and goes on from there.
struct Trouble(Error);

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Batch>,
    changes: watch::Receiver<u64>,
    inbox: String,
    acks: Subscriber,
    /// Entries that are not durable yet, in order; the first `sent.len()` of them were sent.
    backlog: VecDeque<Entry>,
    sent: VecDeque<Sent>,
    /// How many entries were durable and left the backlog.
    done: u64,
    waiting: VecDeque<Waiting>,
    tails: BTreeMap<Origin, Tail>,
    /// The id of the next message, and of the one whose acknowledgement comes next.
    next_id: u64,
    next_ack: u64,
    bytes_under_way: usize,
    /// Whether something was acknowledged since the deadline was set.
    progress: bool,
}

impl Writer {
    pub(super) async fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Batch>) -> Result<Self> {
        let client = &shared.connection.client;
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*")).await;
        let acks = acks.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "listen for acknowledgements").because(cause)
        })?;
        let changes = shared.connection.changes.clone();
        Ok(Self {
            shared,
            queue,
            changes,
            inbox,
            acks,
            backlog: VecDeque::new(),
            sent: VecDeque::new(),
            done: 0,
            waiting: VecDeque::new(),
            tails: BTreeMap::new(),
            next_id: 0,
            next_ack: 0,
            bytes_under_way: 0,
            progress: false,
        })
    }

    /// Writes until the journal has been dropped or closed and all that was queued is durable.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut pause = PAUSE_MIN;
        loop {
            self.progress = false;
            match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(Trouble(error)) => {
                    let entries = self.backlog.len();
                    tracing::warn!(%error, entries, "the journal in NATS sends again what is not acknowledged");
                }
            }
            pause = if self.progress { PAUSE_MIN } else { PAUSE_MAX.min(pause * 2) };
            self.again();
            self.shared.clock().sleep(pause).await;
            if let Err(error) = self.shared.check().await
                && error.kind() == ErrorKind::NotFound
            {
                self.end(&error);
                return Err(error);
            }
        }
    }

    /// Forgets what was sent: nothing is known of the stream any more.
    fn again(&mut self) {
        self.sent.clear();
        self.tails.clear();
        self.next_ack = self.next_id;
        self.bytes_under_way = 0;
    }

    /// Tells everyone who waits that the journal has ended.
    fn end(&mut self, error: &Error) {
        tracing::error!(%error, "the journal in NATS has ended");
        self.shared.ended.cancel();
        self.queue.close();
        let why = || {
            Error::new(ErrorKind::NotFound, "append to journal").detail("the stream was deleted or made anew")
        };
        for waiting in self.waiting.drain(..) {
            // Whoever dropped its `Pending` needs no answer.
            let _ = waiting.done.send(Err(why()));
        }
        while let Ok(batch) = self.queue.try_recv() {
            let _ = batch.done.send(Err(why()));
        }
    }

    /// Sends and takes acknowledgements until something goes wrong.
    async fn attempt(&mut self) -> Result<(), Trouble> {
        self.changes.mark_unchanged();
        let ended = self.shared.ended.clone();
        let mut closed = false;
        let mut deadline = self.shared.clock().sleep(ACK_WITHIN);
        loop {
            while self.sent.len() < self.backlog.len() && self.has_window() {
                self.send_next().await?;
                // What was acknowledged meanwhile makes room, and keeps the client's queue of them short.
                while let Some(Some(ack)) = self.acks.next().now_or_never() {
                    self.acknowledged(&ack)?;
                }
            }
            self.finish();
            if closed && self.backlog.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                ack = self.acks.next() => match ack {
                    Some(ack) => self.acknowledged(&ack)?,
                    None => return Err(retry("the connection has ended")),
                },
                _ = self.changes.changed() => return Err(retry("the connection was lost")),
                batch = self.queue.recv(), if !closed => match batch {
                    Some(batch) => self.take(batch),
                    None => closed = true,
                },
                () = ended.cancelled(), if !closed && !self.queue.is_closed() => self.queue.close(),
                () = &mut deadline => {
                    if !self.progress && self.next_ack < self.next_id {
                        return Err(retry("no acknowledgement came"));
                    }
                    self.progress = false;
                    deadline = self.shared.clock().sleep(ACK_WITHIN);
                }
            }
        }
    }

    fn has_window(&self) -> bool {
        let under_way = self.next_id - self.next_ack;
        under_way == 0 || under_way < WINDOW_MESSAGES as u64 && self.bytes_under_way < WINDOW_BYTES
    }

    fn take(&mut self, batch: Batch) {
        self.backlog.extend(batch.entries);
        let end = self.done + self.backlog.len() as u64;
        self.waiting.push_back(Waiting { end, done: batch.done, _room: batch._room });
    }

    /// Sends the first entry of the backlog that was not sent yet.
    async fn send_next(&mut self) -> Result<(), Trouble> {
        let entry = self.backlog[self.sent.len()].clone();
        let origin = entry.id.origin;
        if !self.tails.contains_key(&origin) {
            let subject = self.shared.subject(origin);
            let found = find::tail(&self.shared.stream, &subject, origin).await.map_err(Trouble)?;
            let subject = Subject::from(subject);
            let (acked, expected) = ((found.last, found.at), found.subject_at);
            let tail = Tail { subject, sent: found.last, acked, expected };
            self.tails.insert(origin, tail);
        }
        let Some(tail) = self.tails.get_mut(&origin) else { return Ok(()) };
        if entry.id.n <= tail.sent {
            self.sent.push_back(Sent::Repeat);
            return Ok(());
        }
        let link = Link { n: entry.id.n, prev: tail.sent, acked: tail.acked.0 };
        let acked_at = tail.acked.1;
        let mut expected = tail.expected.take();
        tail.sent = entry.id.n;
        let client = &self.shared.connection.client;
        let room = client.max_payload().saturating_sub(wire::HEADER_BYTES_MAX).max(wire::HEADER_BYTES_MAX);
        let parts = wire::parts(&entry, room);
        let subject = tail.subject.clone();
        for part in 0..parts {
            let payload = wire::part(&entry, part, room);
            let mut headers = HeaderMap::new();
            headers.insert(wire::ENTRY, wire::header(&entry, link, acked_at, (part, parts), &payload));
            if let Some(sequence) = expected.take() {
                headers.insert(wire::EXPECTED, sequence.to_string());
            }
            let reply = format!("{}.{}", self.inbox, self.next_id);
            let sent = client.publish_with_reply_and_headers(subject.clone(), reply, headers, payload).await;
            sent.map_err(|cause| {
                Trouble(Error::new(ErrorKind::Unavailable, "publish entry").because(cause))
            })?;
            self.next_id += 1;
        }
        self.bytes_under_way += entry.payload.len();
        self.sent.push_back(Sent::With(self.next_id - 1));
        Ok(())
    }

    /// Takes one acknowledgement. They come in the order of the messages; one that is missing ends the attempt.
    fn acknowledged(&mut self, message: &Message) -> Result<(), Trouble> {
        let id = message.subject.rsplit('.').next().and_then(|id| id.parse::<u64>().ok());
        let Some(id) = id else { return Ok(()) };
        if id < self.next_ack {
            // Of an attempt that was given up.
            return Ok(());
        }
        let sequence = sequence(message)?;
        if id > self.next_ack {
            return Err(retry("an acknowledgement is missing"));
        }
        self.next_ack = id + 1;
        self.progress = true;
        if let (Some(Sent::With(last)), Some(entry)) = (self.first_sent(), self.backlog.front())
            && last == id
        {
            if let Some(tail) = self.tails.get_mut(&entry.id.origin) {
                tail.acked = (entry.id.n, sequence);
            }
            self.bytes_under_way = self.bytes_under_way.saturating_sub(entry.payload.len());
            self.pop();
            self.finish();
        }
        Ok(())
    }

    fn first_sent(&mut self) -> Option<Sent> {
        while let Some(Sent::Repeat) = self.sent.front() {
            self.pop();
        }
        self.sent.front().copied()
    }

    fn pop(&mut self) {
        self.sent.pop_front();
        self.backlog.pop_front();
        self.done += 1;
    }

    /// Tells those whose entries are all durable.
    fn finish(&mut self) {
        self.first_sent();
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.end <= self.done) {
            // Whoever dropped its `Pending` needs no answer.
            let _ = waiting.done.send(Ok(()));
        }
    }
}

fn retry(why: &'static str) -> Trouble {
    Trouble(Error::new(ErrorKind::Unavailable, "write journal").detail(why))
}

/// What the server answers to a message.
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

fn sequence(message: &Message) -> Result<u64, Trouble> {
    if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
        return Err(retry("no stream takes it"));
    }
    let ack: Ack = serde_json::from_slice(&message.payload).map_err(|cause| {
        Trouble(Error::new(ErrorKind::Unavailable, "read acknowledgement").because(cause))
    })?;
    match ack.error {
        None => Ok(ack.seq),
        Some(refusal) => Err(Trouble(
            Error::new(ErrorKind::Unavailable, "write journal")
                .detail("the server refused a message")
                .with("code", refusal.err_code)
                .with("reason", refusal.description),
        )),
    }
}
