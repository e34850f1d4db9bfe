//! The exchange simulator as a stranger's client sees it, over real sockets.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure, also in its helpers")]

mod hostile;
mod model;
mod play;
mod protocol;
mod support;
