//! The exchange simulator as a stranger's client sees it, over real sockets.

mod hostile;
mod model;
mod play;
mod protocol;
mod support;
