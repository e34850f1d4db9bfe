//! Whether bytes are one JSON value. Linear, not recursive, and fast: every archived frame passes through here.

/// Whether `bytes` are exactly one JSON value in UTF-8, with white space around it or not.
///
/// Depth costs one byte a level, so at most as much as the text itself.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && Scanner { bytes, at: 0 }.document().is_some()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What is open around a value.
#[derive(Clone, Copy)]
enum Around {
    Object,
    Array,
}

impl Scanner<'_> {
    fn document(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.space();
            match self.next()? {
                b'{' => {
                    self.space();
                    if !self.eat(b'}') {
                        open.push(Around::Object);
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.space();
                    if !self.eat(b']') {
                        open.push(Around::Array);
                        continue;
                    }
                }
                first => self.scalar(first)?,
            }
            if self.after_value(&mut open)? {
                return Some(());
            }
        }
    }

    /// Goes on behind a value up to where the next one is due; `true` at the end of the document.
    fn after_value(&mut self, open: &mut Vec<Around>) -> Option<bool> {
        loop {
            self.space();
            let Some(around) = open.last() else { return (self.at == self.bytes.len()).then_some(true) };
            match (around, self.next()?) {
                (Around::Object, b',') => {
                    self.space();
                    return self.key().map(|()| false);
                }
                (Around::Array, b',') => return Some(false),
                (Around::Object, b'}') | (Around::Array, b']') => open.truncate(open.len() - 1),
                _ => return None,
            }
        }
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn eat(&mut self, wanted: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// A key and its colon.
    #[inline]
    fn key(&mut self) -> Option<()> {
        if !self.eat(b'"') {
            return None;
        }
        self.string()?;
        self.space();
        self.eat(b':').then_some(())
    }

    #[inline]
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            _ => None,
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        let fits = self.bytes[self.at..].starts_with(rest);
        self.at += rest.len();
        fits.then_some(())
    }

    /// The rest of a string, behind its opening quote.
    #[inline]
    fn string(&mut self) -> Option<()> {
        loop {
            // Eight bytes at a time while there is nothing in them that ends or changes a string.
            while let Some(eight) = self.bytes.get(self.at..self.at + 8) {
                let special = special_bytes(u64::from_le_bytes(eight.try_into().ok()?));
                self.at += special.trailing_zeros() as usize / 8;
                if special != 0 {
                    break;
                }
            }
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0x20.. => {}
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    #[inline]
    fn number(&mut self, first: u8) -> Option<()> {
        let first = if first == b'-' { self.next()? } else { first };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.eat(b'.') {
            self.some_digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.some_digits()?;
        }
        Some(())
    }

    #[inline]
    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    #[inline]
    fn some_digits(&mut self) -> Option<()> {
        let before = self.at;
        self.digits();
        (self.at > before).then_some(())
    }
}

/// Has the highest bit of the lowest byte set that is a quote, a backslash or a control character; bits of higher
/// bytes may be set without cause.
#[inline]
fn special_bytes(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let quote = zero(eight ^ (ONES * 0x22));
    let backslash = zero(eight ^ (ONES * 0x5c));
    let control = eight.wrapping_sub(ONES * 0x20) & !eight;
    (quote | backslash | control) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_agrees_with_the_reference_on_near_json(
            text in "(\\{|\\[|\"|\\}|\\]|,|:|\"a\"|\"bcdefghij\"|1|-|0|\\.|e|E|\\+|true|null|\\\\|u00e9| |\u{e9}|\u{1}|\t){0,24}"
        ) {
            prop_assert_eq!(is_valid(text.as_bytes()), reference(text.as_bytes()));
        }

        #[test]
        fn it_agrees_with_the_reference_on_strings(text in ".{0,40}", at in 0usize..40, byte in any::<u8>()) {
            let mut bytes = serde_json::to_vec(&[text]).unwrap();
            prop_assert!(is_valid(&bytes));
            let at = at % bytes.len();
            bytes[at] = byte;
            prop_assert_eq!(is_valid(&bytes), reference(&bytes));
        }

        #[test]
        fn it_agrees_with_the_reference_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(is_valid(&bytes), reference(&bytes));
        }
    }
}
