//! Venues, sockets, capture and the exchange simulator.

pub mod sim;
pub mod venue;

pub use venue::{Handshake, Missing, Protocol};
