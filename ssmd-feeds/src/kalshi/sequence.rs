//! The integrity rule: the messages of one subscription (`sid`) are numbered from 1, over all of its markets,
//! answers to commands among them.

use ssmd_core::{Evidence, Frame, Gap, GapCause, SessionId, Timestamp};

use super::channel::Stream;

/// More subscriptions on one connection are hostile: there is one a channel.
const SIDS_MAX: usize = 64;

/// A number and the frame that showed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    number: u64,
    at: Timestamp,
    session: SessionId,
    index: u64,
}

impl Seen {
    pub(super) fn new(number: u64, frame: &Frame) -> Self {
        Self { number, at: frame.received, session: frame.session, index: frame.index }
    }

    fn evidence(self) -> Evidence {
        let shown = Some(self.number.to_string());
        Evidence { at: self.at, session: self.session, index: self.index, shown }
    }
}

/// What a message is, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// There is nothing that it could follow.
    Unchecked,
    /// It follows.
    Followed,
    /// It was heard before, or so late that it was told missing.
    Stale,
    /// Some before it are missing, after this one.
    Jumped(Seen),
}

/// The numbers of one connection.
#[derive(Debug, Default)]
pub(super) struct Sequences(Vec<Sequence>);

#[derive(Debug)]
struct Sequence {
    sid: u64,
    stream: Option<Stream>,
    last: Option<Seen>,
    /// The confirmation of the subscription, until a message comes: that has the number 1.
    fresh: Option<Seen>,
}

impl Sequences {
    /// A subscription was confirmed. Its first message may have come before.
    pub(super) fn begin(&mut self, sid: u64, stream: Option<Stream>, frame: &Frame) {
        let sequence = self.of(sid);
        sequence.stream = stream.or(sequence.stream);
        sequence.fresh = Some(Seen::new(0, frame));
    }

    /// A subscription is over.
    pub(super) fn end(&mut self, sid: u64) {
        self.0.retain(|sequence| sequence.sid != sid);
    }

    /// Takes the number of a message.
    pub(super) fn take(&mut self, sid: u64, stream: Option<Stream>, seen: Seen) -> Verdict {
        let sequence = self.of(sid);
        sequence.stream = sequence.stream.or(stream);
        let (last, fresh) = (sequence.last, sequence.fresh.take());
        let verdict = match (last, fresh) {
            (None, None) => Verdict::Unchecked,
            (_, Some(_)) if seen.number == 1 => Verdict::Unchecked,
            (None, Some(start)) => Verdict::Jumped(start),
            (Some(last), _) if seen.number == last.number.wrapping_add(1) => Verdict::Followed,
            (Some(last), _) if seen.number > last.number => Verdict::Jumped(last),
            (Some(_), Some(start)) => Verdict::Jumped(start),
            (Some(_), None) => return Verdict::Stale,
        };
        sequence.last = Some(seen);
        verdict
    }

    /// The channel of a subscription, as far as it is known.
    pub(super) fn stream(&self, sid: u64) -> Option<Stream> {
        self.0.iter().find(|sequence| sequence.sid == sid)?.stream
    }

    fn of(&mut self, sid: u64) -> &mut Sequence {
        let at = match self.0.iter().position(|sequence| sequence.sid == sid) {
            Some(at) => at,
            None => {
                if self.0.len() == SIDS_MAX {
                    self.0.remove(0);
                }
                self.0.push(Sequence { sid, stream: None, last: None, fresh: None });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }
}

/// What lies between two messages of a subscription whose numbers do not follow.
pub(super) fn gap(stream: Option<Stream>, from: Seen, to: Seen) -> Gap {
    Gap {
        cause: GapCause::Sequence,
        channel: stream.map(|stream| stream.name().to_owned()),
        symbol: None,
        from: Some(from.evidence()),
        to: Some(to.evidence()),
        missing: to.number.checked_sub(from.number).and_then(|steps| steps.checked_sub(1)),
        detail: String::new(),
    }
}
