#![doc = include_str!("../README.md")]

pub mod layout;
pub mod object;
pub mod wrap;

pub mod coverage;
mod json;
pub mod line;
pub mod segment;
mod text;

pub mod chain;
pub mod commit;
pub mod environments;

pub mod archive;
pub mod head;
pub mod pack;
pub mod publish;

pub mod books;
pub mod gaps;
pub mod read;
pub mod replay;
pub mod sweep;
pub mod verify;

pub mod import;
pub mod play;

pub use archive::{Archiver, Summary};
pub use chain::Chain;
pub use commit::{Commit, Object};
pub use coverage::Coverage;
pub use gaps::{LedgerGap, ledger};
pub use head::Head;
pub use import::import;
pub use layout::Compression;
#[cfg(feature = "s3")]
pub use object::S3Store;
pub use object::{FileStore, MemoryStore, create_alone, creates, open};
pub use publish::{Exclusion, Rivals};
pub use read::{Archive, EntryReader, Selection};
pub use replay::{ArchiveFeed, Speed};
pub use sweep::sweep;
pub use verify::{MakeDecoder, Report, verify};
