//! Examples that stand outside the crates. The README is compiled here, so that what it shows works.

#![doc = include_str!("../../README.md")]
