//! Backends around backends: [`Observed`] counts what every one of them does alike, [`Chaos`] breaks one by a seed.
//!
//! Both are a [`Journal`](ssmd_core::Journal), a [`Transport`](ssmd_core::Transport) or a [`Cache`](ssmd_core::Cache), as
//! what is inside. Stores have their own (`ssmd_storage::wrap`).

mod chaos;
mod observed;

pub use chaos::Chaos;
pub use observed::Observed;
