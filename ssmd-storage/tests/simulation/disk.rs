//! A disk that may fail: files as processes see them are real ones, and beside them is kept what a power cut would
//! leave of them.
//!
//! What is written is visible at once and durable once it is synced. A power cut keeps any part of what was not
//! synced, in sectors, and a prefix of what happened to names. A sync that fails leaves its pages clean: what they
//! held is lost though later syncs succeed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ssmd_transport::log::{Disk, System};

use crate::random::Random;

/// What a disk writes as a whole, in bytes.
const SECTOR_BYTES: usize = 512;

/// What a disk only pretends to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lies {
    None,
    /// Syncs do nothing.
    Sync,
    /// Files are not cut off.
    Cut,
}

#[derive(Debug)]
pub(crate) struct SimDisk(Mutex<State>);

#[derive(Debug)]
struct State {
    random: Random,
    lies: Lies,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    renamed: Vec<Rename>,
    made: u64,
    /// After so many changes the process that makes them is dead.
    countdown: Option<u64>,
    dead: bool,
    full: bool,
    sync_fails: bool,
    /// Segments that were deleted, with what they held, since the last look.
    removed: Vec<(PathBuf, Vec<u8>)>,
    changes: u64,
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug)]
enum Rename {
    Create(PathBuf, u64),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimDisk {
    pub(crate) fn new(lies: Lies) -> Self {
        Self(Mutex::new(State {
            random: Random::new(0, 0),
            lies,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamed: Vec::new(),
            made: 0,
            countdown: None,
            dead: false,
            full: false,
            sync_fails: false,
            removed: Vec::new(),
            changes: 0,
        }))
    }

    /// Chance for the step that begins.
    pub(crate) fn reseed(&self, random: Random) {
        self.state().random = random;
    }

    /// Lets whoever changes something die in the change after `changes` more.
    pub(crate) fn die_after(&self, changes: u64) {
        self.state().countdown = Some(changes);
    }

    /// A new process: whoever died is dead.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        (state.countdown, state.dead) = (None, false);
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state().full
    }

    pub(crate) fn fail_next_sync(&self) {
        self.state().sync_fails = true;
    }

    pub(crate) fn take_removed(&self) -> Vec<(PathBuf, Vec<u8>)> {
        std::mem::take(&mut self.state().removed)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Turns the power off and on: what lies in the directory now is what survived.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        let State { random, inodes, names, durable_names, renamed, .. } = &mut *state;
        let kept = random.below(renamed.len() as u64 + 1) as usize;
        for (at, rename) in renamed.drain(..).enumerate() {
            if at < kept {
                rename.apply(durable_names);
            }
        }
        for path in names.keys() {
            std::fs::remove_file(path).expect("a file that was there");
        }
        *names = durable_names.clone();
        for (path, number) in names.iter() {
            let inode = inodes.get_mut(number).expect("a file has content");
            inode.survive(random);
            std::fs::write(path, &inode.durable).expect("a directory that can be written");
        }
        let alive: Vec<u64> = names.values().copied().collect();
        inodes.retain(|number, _| alive.contains(number));
        (state.countdown, state.dead, state.sync_fails) = (None, false, false);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a change, unless the process is dead; says whether it dies in this one.
    fn begin(&self) -> io::Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.state();
        state.changes += 1;
        if state.dead {
            return Err(dead());
        }
        let dies = state.countdown == Some(0);
        state.countdown = state.countdown.map(|left| left.saturating_sub(1));
        if dies {
            state.dead = true;
            if state.random.percent(50) {
                return Err(dead());
            }
        }
        Ok((state, dies))
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

fn end<T>(done: T, dies: bool) -> io::Result<T> {
    if dies { Err(dead()) } else { Ok(done) }
}

impl State {
    fn inode(&mut self, path: &Path) -> &mut Inode {
        let number = self.names.get(path).copied().unwrap_or_default();
        self.inodes.entry(number).or_default()
    }

    fn rename(&mut self, rename: Rename) {
        rename.apply(&mut self.names);
        self.renamed.push(rename);
    }

    fn sync(&mut self, path: &Path, dies: bool) -> io::Result<()> {
        let fails = std::mem::take(&mut self.sync_fails);
        let lies = self.lies == Lies::Sync;
        let mut random = self.random.clone();
        let inode = self.inode(path);
        if fails {
            inode.lose_pages(&mut random);
            return Err(io::Error::other("the disk did not take it"));
        }
        if !lies && !dies {
            for change in std::mem::take(&mut inode.pending) {
                change.apply(&mut inode.durable);
            }
        }
        end((), dies)
    }
}

impl Inode {
    /// A sync failed: what was written counts as clean, and may be on the disk or not. Lengths are the file
    /// system's own and wait for the next sync: one that loses them takes no more writes.
    fn lose_pages(&mut self, random: &mut Random) {
        let (lengths, writes) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| matches!(change, Change::Length(_)));
        self.pending = writes;
        self.survive(random);
        self.pending = lengths;
    }

    /// Makes durable what chance keeps of the pending changes, and forgets the rest.
    fn survive(&mut self, random: &mut Random) {
        let keep = [0, 50, 100][random.below(3) as usize];
        for change in std::mem::take(&mut self.pending) {
            let Change::Write(offset, bytes) = change else {
                if random.percent(keep) {
                    change.apply(&mut self.durable);
                }
                continue;
            };
            let mut at = 0;
            while at < bytes.len() {
                let sector_end = SECTOR_BYTES - (offset as usize + at) % SECTOR_BYTES;
                let length = sector_end.min(bytes.len() - at);
                if random.percent(keep) {
                    Change::Write(offset + at as u64, bytes[at..at + length].to_vec())
                        .apply(&mut self.durable);
                }
                at += length;
            }
        }
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let (from, to) = (offset as usize, offset as usize + bytes.len());
                if content.len() < to {
                    content.resize(to, 0);
                }
                content[from..to].copy_from_slice(&bytes);
            }
            Self::Length(length) => content.resize(length as usize, 0),
        }
    }
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Move(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let (mut state, dies) = self.begin()?;
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = System.create(path)?;
        state.made += 1;
        let made = state.made;
        state.inodes.insert(made, Inode::default());
        state.rename(Rename::Create(path.to_owned(), made));
        end(file, dies)
    }

    fn write_all_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, dies) = self.begin()?;
        // A file that does not grow has its place already.
        let grows = offset + bytes.len() as u64 > file.metadata()?.len();
        let is_full = state.full && grows;
        let written =
            if dies || is_full { state.random.below(bytes.len() as u64) as usize } else { bytes.len() };
        let bytes = &bytes[..written];
        System.write_all_at(file, path, bytes, offset)?;
        state.inode(path).pending.push(Change::Write(offset, bytes.to_vec()));
        if is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        end((), dies)
    }

    fn set_len(&self, file: &File, path: &Path, bytes: u64) -> io::Result<()> {
        let (mut state, dies) = self.begin()?;
        if state.lies == Lies::Cut {
            return end((), dies);
        }
        System.set_len(file, path, bytes)?;
        state.inode(path).pending.push(Change::Length(bytes));
        end((), dies)
    }

    fn sync_data(&self, _file: &File, path: &Path) -> io::Result<()> {
        let (mut state, dies) = self.begin()?;
        state.sync(path, dies)
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.sync_data(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, dies) = self.begin()?;
        System.rename(from, to)?;
        state.rename(Rename::Move(from.to_owned(), to.to_owned()));
        end((), dies)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, dies) = self.begin()?;
        let held = std::fs::read(path)?;
        System.remove(path)?;
        if path.extension().is_some_and(|extension| extension == "log") {
            state.removed.push((path.to_owned(), held));
        }
        state.rename(Rename::Remove(path.to_owned()));
        end((), dies)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let (mut state, dies) = self.begin()?;
        if !dies && state.lies != Lies::Sync {
            let State { durable_names, renamed, .. } = &mut *state;
            renamed.drain(..).for_each(|rename| rename.apply(durable_names));
        }
        end((), dies)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(if self.state().full { 0 } else { u64::MAX })
    }
}
