//! Memory is bounded: runs a parser and counts what it holds at most, on the heap of its thread.

/// How much a parser may hold at once: so many bytes, and so many for each byte of its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Bytes whatever the input is: buffers of fixed size.
    pub(crate) fixed: usize,
    /// Bytes for each byte of the input.
    pub(crate) each: usize,
}

impl Bound {
    /// The bound of a parser that holds no fixed buffers of note. A level of a book is 64 bytes, as price and size, and
    /// takes at least six bytes of text; a vector that grew holds twice what is in it, and three times while it grows.
    pub(crate) const PARSER: Self = Self { fixed: 64 * 1024, each: 64 };
}

/// Runs `parse` on an input of that length and gives what it gave.
///
/// # Panics
/// If it held more than `bound` at any time.
pub(crate) fn bounded<T>(bound: Bound, input: usize, parse: impl FnOnce() -> T) -> T {
    let mut parsed = None;
    let measured = allocation_counter::measure(|| parsed = Some(parse()));
    let most = bound.fixed + bound.each * input;
    assert!(
        measured.bytes_max <= most as u64,
        "{} bytes were held for an input of {input}; the bound is {most}",
        measured.bytes_max
    );
    parsed.expect("it ran")
}
