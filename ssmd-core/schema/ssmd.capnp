# Records of ssmd: what a venue's frames mean, in the same words for every venue.
#
# The format of a record at rest and on the wire, in ssmd's `capnp` subjects and normalized files. A message has one
# segment, in Cap'n Proto's standard framing (which delimits itself, so a file of records is messages end to end).
#
# Presence is explicit: what a venue does not say is a null pointer or the union member `none`, never a zero. A field
# that is documented as required is never null. Fields and union members are only ever added; whatever changes a
# meaning raises `version`. Times are nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
@0xe5ff18743ef2275a;

struct Record {
  version @0 :UInt16;
  # The version of this format: 1. A reader refuses versions that it does not know.

  symbol @1 :Text;
  # What it is about, as the venue's WebSocket spells it. Null: it is about the whole venue.

  venueTime :union {
    # When the venue says it happened.
    none @2 :Void;
    nanos @3 :Int64;
  }

  received @4 :Int64;
  # When the frame passed our socket, in nanoseconds by the wall clock.

  sequence :union {
    # The venue's sequence number.
    none @5 :Void;
    number @6 :UInt64;
  }

  session @7 :UInt64;
  # The connection that heard it, numbered from 1 in each log.

  index @8 :UInt64;
  # The frame's index in that connection, from 0.

  source :union {
    # The frame's entry in its journal.
    none @9 :Void;
    entry :group {
      originHigh @10 :UInt64;
      # The first eight bytes of the origin's UUID, as a big-endian number.

      originLow @11 :UInt64;
      # The last eight.

      n @12 :UInt64;
      # Its number there.
    }
  }

  body :union {
    # The fact.
    trade @13 :Trade;
    quote @14 :Quote;
    ticker @15 :Ticker;
    bookSnapshot @16 :Book;
    # Replaces what was known.

    bookDelta @17 :Book;
    # Changes what was known.

    bar @18 :Bar;
    status @19 :Status;
    instrument @20 :Instrument;
    funding @21 :Funding;
    gap @22 :Gap;
    audit @23 :Audit;
    switch @24 :Switch;
    lifecycle @25 :Lifecycle;
  }
}

struct Decimal {
  # The number (high * 2^64 + low) / 10^scale, with all digits of the wire: 0.00044780 is 44780 at scale 8.
  low @0 :UInt64;
  # The low half of the mantissa, which is a 128-bit number in two's complement.

  high @1 :Int64;
  # The high half; its sign is the number's.

  scale @2 :UInt32;
  # Digits after the point, at most 28.
}

struct Trade {
  price @0 :Decimal;
  # Required. In quote units per base unit.

  size @1 :Decimal;
  # Required. In the venue's size unit.

  side @2 :Side;
  id @3 :Text;
  # The venue's identity for the trade.

  orderType @4 :Text;
  # The taker's order type, in the venue's word.
}

enum Side {
  # Which side took liquidity.
  none @0;
  # The venue does not say.

  buy @1;
  sell @2;
}

struct Quote {
  # The best bid and ask; a side that is empty is null.
  bid @0 :Decimal;
  bidSize @1 :Decimal;
  ask @2 :Decimal;
  askSize @3 :Decimal;
}

struct Ticker {
  # A summary by the venue, over a window of the venue's choice.
  quote @0 :Quote;
  # Required.

  last @1 :Decimal;
  volume @2 :Decimal;
  vwap @3 :Decimal;
  low @4 :Decimal;
  high @5 :Decimal;
  change @6 :Decimal;
  changePercent @7 :Decimal;
  trades :union {
    none @8 :Void;
    count @9 :UInt64;
  }
  openInterest @10 :Decimal;
  # Contracts that are open, in size units.

  markPrice @11 :Decimal;
  # What the venue values positions at.

  indexPrice @12 :Decimal;
  # What the contract is about is worth elsewhere.
}

struct Book {
  # Best level first within each side of a snapshot, the venue's order in a delta.
  bids @0 :List(Level);
  # Required, maybe empty.

  asks @1 :List(Level);
  # Required, maybe empty.

  depth :union {
    # How many levels a side the subscription covers.
    none @2 :Void;
    # All.

    levels @3 :UInt32;
  }
  checksum :union {
    # The venue's checksum of the book after this.
    none @4 :Void;
    value @5 :UInt32;
  }
}

struct Level {
  price @0 :Decimal;
  # Required.

  size @1 :Decimal;
  # Required. In a delta the new total; zero removes the level.
}

struct Bar {
  begin @0 :Int64;
  # When the interval begins, in nanoseconds.

  seconds @1 :UInt64;
  # How long it is.

  open @2 :Decimal;
  # Required, like the next four.

  high @3 :Decimal;
  low @4 :Decimal;
  close @5 :Decimal;
  volume @6 :Decimal;
  vwap @7 :Decimal;
  trades :union {
    none @8 :Void;
    count @9 :UInt64;
  }
}

struct Status {
  status @0 :TradingStatus;
  word @1 :Text;
  # Required. The venue's own word.

  detail @2 :Text;
  # Required, maybe empty.
}

enum TradingStatus {
  unknown @0;
  online @1;
  cancelOnly @2;
  postOnly @3;
  limitOnly @4;
  reduceOnly @5;
  maintenance @6;
  closed @7;
}

struct Instrument {
  # What a symbol is, as its venue lists it.
  base @0 :Text;
  quote @1 :Text;
  status @2 :Text;
  pricePrecision :union {
    # Digits after the point of a price.
    none @3 :Void;
    digits @4 :UInt32;
  }
  sizePrecision :union {
    # Digits after the point of a size.
    none @5 :Void;
    digits @6 :UInt32;
  }
  priceIncrement @7 :Decimal;
  sizeIncrement @8 :Decimal;
  sizeMin @9 :Decimal;
  costMin @10 :Decimal;
}

struct Funding {
  rate @0 :Decimal;
  # Required. Per period, as a fraction.

  predicted @1 :Decimal;
  next :union {
    # When the next period begins.
    none @2 :Void;
    nanos @3 :Int64;
  }
}

struct Gap {
  # A known hole.
  cause @0 :Cause;
  channel @1 :Text;
  # Null: all that the session was subscribed to.

  symbol @2 :Text;
  # Null: all of them.

  from @3 :Evidence;
  # The last good evidence before it; null if there never was any.

  to @4 :Evidence;
  # The first evidence after it; null while it is open.

  missing :union {
    # How many messages, where the venue's numbers tell.
    none @5 :Void;
    count @6 :UInt64;
  }
  detail @7 :Text;
  # Required, maybe empty.
}

enum Cause {
  # Why something is missing, or why a session was left.
  planned @0;
  crash @1;
  disconnect @2;
  silence @3;
  refused @4;
  protocol @5;
  checksum @6;
  sequence @7;
  tradeId @8;
  overflow @9;
  lost @10;
}

struct Evidence {
  at @0 :Int64;
  # Receive time of the frame, or when we noticed, in nanoseconds.

  session @1 :UInt64;
  index @2 :UInt64;
  shown @3 :Text;
  # What it showed: a sequence number, a checksum, a trade id, as text.
}

struct Audit {
  # What a check found: something to know that is no gap.
  check @0 :Text;
  # Required.

  found @1 :Text;
  # Required.
}

struct Switch {
  # From here on the live records come from another session.
  cause @0 :Cause;
  # Why the old session was left.

  from @1 :Evidence;
  # Required. The last frame of the old session whose records were passed on.

  to @2 :Evidence;
  # Required. The first frame of the new session whose records are passed on.

  detail @3 :Text;
  # Required, maybe empty.
}

struct Lifecycle {
  # Something happened in the life of a market, or of a group of them.
  stage @0 :Stage;
  word @1 :Text;
  # Required. The venue's own word.

  group @2 :Text;
  # What the market belongs to.

  title @3 :Text;
  opens :union {
    # When trading begins.
    none @4 :Void;
    nanos @5 :Int64;
  }
  closes :union {
    # When trading ends.
    none @6 :Void;
    nanos @7 :Int64;
  }
  outcome @8 :Text;
  # What it was resolved to, in the venue's word.

  value @9 :Decimal;
  # What one contract of the market is worth in the end, in quote units.
}

enum Stage {
  unknown @0;
  listed @1;
  opened @2;
  paused @3;
  changed @4;
  closed @5;
  determined @6;
  settled @7;
}
