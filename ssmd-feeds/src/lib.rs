//! Venues, sockets, capture and the exchange simulator.

pub mod venue;

pub use venue::{Handshake, Missing, Protocol};
