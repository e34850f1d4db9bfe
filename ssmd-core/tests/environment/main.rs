//! The Environment document, from outside: what loads, what does not and what it says then, its docs, its limits.

mod docs;
mod golden;
mod hostile;
mod load;
mod words;
