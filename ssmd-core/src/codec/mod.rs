//! Records as bytes: [`capnp`] for machines and files, [`json`] for people and scripts.
//!
//! Both are plain functions from a [`crate::Record`] to bytes and back, without I/O, and lose nothing: a record read
//! back is the record written, digits included. Sockets, files and compression are for others to know.

pub mod capnp;
pub mod json;

#[cfg(test)]
mod strategies;
