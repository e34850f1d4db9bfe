//! The Environment document, from outside: what loads, what does not and what it says then, its docs, its limits.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod docs;
mod editors;
mod extend;
mod golden;
mod hostile;
mod load;
mod mutate;
mod words;
