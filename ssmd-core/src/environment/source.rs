//! The text of a document and where in it things are. Knows bytes, lines and columns, and no YAML.

use super::codes::Code;
use super::problem::{Draft, Excerpt, PROBLEMS_MAX, Span};

/// The longest document, in bytes. 5,000 symbols take about 100 KB.
pub const DOCUMENT_BYTES_MAX: usize = 10 * 1024 * 1024;

/// How much of a line is shown, in characters: what fits a terminal.
const EXCERPT_CHARS_MAX: usize = 100;
/// How much of that is shown before the caret where a line is cut, in characters.
const EXCERPT_BEFORE: usize = 40;
/// How much of foreign text a message quotes, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// A document's text. Offsets are bytes of the document, a byte order mark included.
pub(super) struct Source {
    name: String,
    text: String,
    /// Where lines start. The first starts behind a byte order mark.
    lines: Vec<usize>,
    /// Where the last character that is not white space ends.
    end: usize,
}

impl Source {
    /// Takes a document; the faults, if any, are those that keep it from being read as YAML.
    pub(super) fn read(name: &str, bytes: &[u8]) -> (Self, Vec<Draft>) {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            let message = format!("the document has {} bytes", bytes.len());
            let fault = Draft::new(Code::TooLarge, Span::default(), message)
                .expected(format!("at most {DOCUMENT_BYTES_MAX} bytes"));
            return (Self::of(name, String::new()), vec![fault]);
        }
        let faults = encoding_fault(bytes);
        let source = Self::of(name, String::from_utf8_lossy(bytes).into_owned());
        let faults = match faults {
            Some(fault) => vec![fault],
            None => source.line_faults().take(PROBLEMS_MAX).collect(),
        };
        (source, faults)
    }

    fn of(name: &str, text: String) -> Self {
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let bytes = text.as_bytes();
        let ends_line = |at: &usize| match bytes[*at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let lines =
            std::iter::once(first).chain((first..bytes.len()).filter(ends_line).map(|at| at + 1)).collect();
        let end = text.trim_end().len().max(first);
        Self { name: clean(name).collect(), text, lines, end }
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text without a byte order mark.
    pub(super) fn text(&self) -> &str {
        &self.text[self.start()..]
    }

    /// How long it is, a byte order mark included.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Where the text starts in the document.
    pub(super) fn start(&self) -> usize {
        self.lines[0]
    }

    /// The line and the column of a place, both from 1, the column in characters; always inside the document.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let at = self.inside(at);
        let line = self.line_of(at);
        (line + 1, self.text[self.lines[line]..at].chars().count() + 1)
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_of(self.inside(at)) + 1
    }

    /// The part of a span that lies in the document: what is missing at its end has no bytes.
    pub(super) fn within(&self, span: Span) -> Span {
        Span::new(span.start.min(self.text.len()), span.end.min(self.text.len()))
    }

    /// The line of a span's start, cut to what fits a terminal, harmless to print, with `hidden` masked.
    pub(super) fn excerpt(&self, span: Span, hidden: &[Span]) -> Excerpt {
        let start = self.inside(span.start);
        let line = self.line_of(start);
        let (first, end) = (self.lines[line], self.lines.get(line + 1).copied().unwrap_or(self.text.len()));
        let text = self.text[first..end].trim_end_matches(['\n', '\r']);
        let before = self.text[first..start].chars().count();
        let stop = self.inside(span.end).clamp(start, first + text.len().max(start - first));
        let skip = if text.len() > EXCERPT_CHARS_MAX { before.saturating_sub(EXCERPT_BEFORE) } else { 0 };
        let cut = || text.char_indices().zip(clean(text)).skip(skip).take(EXCERPT_CHARS_MAX);
        let last = cut().last().map_or(0, |((at, _), _)| at);
        let near: Vec<_> =
            hidden.iter().filter(|span| span.start <= first + last && span.end > first + skip).collect();
        let is_hidden = |at| near.iter().any(|span| (span.start..span.end).contains(&at));
        let mut shown: String =
            cut().map(|((at, _), found)| if is_hidden(first + at) { '•' } else { found }).collect();
        if skip > 0 {
            shown.insert(0, '…');
        }
        let indent = before - skip + usize::from(skip > 0);
        let room = shown.chars().count().saturating_sub(indent);
        let width = self.text[start..stop].chars().take(EXCERPT_CHARS_MAX).count().clamp(1, room.max(1));
        Excerpt { text: shown.trim_end().to_owned(), indent, width }
    }

    /// The nearest place at or before `at` that is a character of the document, or its end.
    fn inside(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.clamp(self.start(), self.end))
    }

    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Control characters, and tabs that indent: YAML gives neither a meaning. At most one a line.
    fn line_faults(&self) -> impl Iterator<Item = Draft> {
        self.lines.iter().enumerate().filter_map(|(line, &start)| {
            let end = self.lines.get(line + 1).copied().unwrap_or(self.text.len());
            let text = &self.text[start..end];
            if let Some((at, found)) = text.char_indices().find(|(_, found)| is_forbidden(*found)) {
                let span = Span::new(start + at, start + at + found.len_utf8());
                let message = format!("a control character, U+{:04X}", u32::from(found));
                return Some(Draft::new(Code::ControlCharacter, span, message).expected("printable text"));
            }
            let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
            let at = text[..indent].find('\t')?;
            let blank = text.trim().is_empty();
            let message = "a tab in the indentation";
            (!blank).then(|| {
                Draft::new(Code::Tab, Span::new(start + at, start + indent), message).expected("spaces")
            })
        })
    }
}

fn is_forbidden(found: char) -> bool {
    found.is_control() && !matches!(found, '\t' | '\n' | '\r' | '\u{85}')
}

fn encoding_fault(bytes: &[u8]) -> Option<Draft> {
    let zeros = |odd: usize| bytes.iter().take(64).skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros(0).max(zeros(1)) > 8;
    if wide {
        let message = "the document is not UTF-8; it looks like UTF-16 or UTF-32";
        return Some(Draft::new(Code::Encoding, Span::default(), message).expected("UTF-8"));
    }
    let fault = std::str::from_utf8(bytes).err()?;
    let at = fault.valid_up_to();
    let message = format!("the document is not UTF-8; byte 0x{:02X} looks like Latin-1", bytes[at]);
    Some(Draft::new(Code::Encoding, Span::new(at, at + 1), message).expected("UTF-8"))
}

/// Text with what would move a terminal's cursor, or turn its direction, replaced character by character.
pub(super) fn clean(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|found| match found {
        '\t' => '→',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            '\u{fffd}'
        }
        found if found.is_control() => '\u{fffd}',
        found => found,
    })
}

/// Foreign text as a message quotes it: between backticks, short, harmless to print.
pub(super) fn quote(text: &str) -> String {
    let mut quoted: String = clean(text).take(QUOTED_CHARS_MAX).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}
