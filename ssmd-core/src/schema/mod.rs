//! The code that `capnpc` makes of `schema/ssmd.capnp`, checked in so that building needs no other program.
//!
//! [`crate::codec::capnp`] turns records into these messages and back; the readers are public for whoever wants to
//! look at one field without decoding a record. A test regenerates and compares.

#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, clippy::pedantic, clippy::unwrap_used)]
#[rustfmt::skip]
pub mod ssmd_capnp;
