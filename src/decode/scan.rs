//! Cuts JSON text into values, each a slice of the text.
//!
//! Knows the grammar of RFC 8259 and no schema. Copies nothing, recurses nowhere and keeps one byte
//! per open bracket, of which it bears a limited number. Numbers stay text, so that whoever wants one
//! decides how it is rounded.

use std::borrow::Cow;

use crate::record::Reason;

/// One value, as it is written; the grammar holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    /// A string in which every character stands for itself.
    Plain,
    /// A string with escapes.
    Escaped,
    /// An object or a list.
    Nested,
}

impl<'a> Token<'a> {
    /// What a string says. Refuses an escape that stands for no character: half of a surrogate pair.
    pub fn unescaped(self) -> Result<Cow<'a, str>, Reason> {
        if self.kind == Kind::Plain {
            return Ok(Cow::Borrowed(&self.text[1..self.text.len() - 1]));
        }
        serde_json::from_str(self.text)
            .map(Cow::Owned)
            .map_err(|_| Reason::Malformed)
    }
}

/// A place in a text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, max_depth: usize) -> Scanner<'a> {
        Scanner {
            text,
            at: 0,
            max_depth,
        }
    }

    /// Steps into an object, if that is what comes next.
    pub fn open_object(&mut self) -> bool {
        self.skip_blanks();
        self.take(b'{')
    }

    /// Steps to the next key of the object that was opened; false at its end.
    pub fn has_key(&mut self, is_first: bool) -> Result<bool, Reason> {
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(false);
        }
        if !is_first {
            self.expect(b',')?;
            self.skip_blanks();
        }
        Ok(true)
    }

    /// Passes over the key if it is written as `quoted`, which is quicker than reading it.
    pub fn take_key(&mut self, quoted: &str) -> Result<bool, Reason> {
        if !self.text[self.at..].starts_with(quoted) {
            return Ok(false);
        }
        self.at += quoted.len();
        self.end_key()?;
        Ok(true)
    }

    /// The key that comes next.
    pub fn key(&mut self) -> Result<Token<'a>, Reason> {
        let start = self.at;
        let kind = self.string()?;
        let text = &self.text[start..self.at];
        self.end_key()?;
        Ok(Token { kind, text })
    }

    /// The value that comes next.
    pub fn value(&mut self) -> Result<Token<'a>, Reason> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{' | b'[') => self.nested()?,
            _ => self.scalar()?,
        };
        Ok(Token {
            kind,
            text: &self.text[start..self.at],
        })
    }

    /// Nothing but blanks may be left.
    pub fn end(&mut self) -> Result<(), Reason> {
        self.skip_blanks();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(Reason::Malformed)
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(Reason::Malformed)
        }
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn end_key(&mut self) -> Result<(), Reason> {
        self.skip_blanks();
        self.expect(b':')
    }

    fn scalar(&mut self) -> Result<Kind, Reason> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Kind::True),
            Some(b'f') => self.word("false", Kind::False),
            Some(b'n') => self.word("null", Kind::Null),
            _ => Err(Reason::Malformed),
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, Reason> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Reason::Malformed);
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<Kind, Reason> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Reason> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(Reason::Malformed)
        }
    }

    fn string(&mut self) -> Result<Kind, Reason> {
        self.expect(b'"')?;
        let mut kind = Kind::Plain;
        loop {
            self.skip_plain();
            if self.take(b'"') {
                return Ok(kind);
            }
            self.escape()?;
            kind = Kind::Escaped;
        }
    }

    /// Stops at a quote, a backslash or a control character, or at the end: eight bytes at a time,
    /// because strings are most of a record.
    fn skip_plain(&mut self) {
        let (chunks, rest) = self.text.as_bytes()[self.at..].as_chunks::<8>();
        for chunk in chunks {
            let special = special_bytes(u64::from_le_bytes(*chunk));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        let plain = rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
        self.at += plain.unwrap_or(rest.len());
    }

    fn escape(&mut self) -> Result<(), Reason> {
        self.expect(b'\\')?;
        let len = match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
            Some(b'u') if self.is_hex_next() => 5,
            _ => return Err(Reason::Malformed),
        };
        self.at += len;
        Ok(())
    }

    fn is_hex_next(&self) -> bool {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    }

    /// Passes over an object or a list; `open` holds the brackets that wait for their end.
    fn nested(&mut self) -> Result<Kind, Reason> {
        let mut open = Vec::new();
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    open.push(bracket);
                    if open.len() > self.max_depth {
                        return Err(Reason::TooDeep);
                    }
                    if self.skip_to_first_item(bracket)? {
                        continue;
                    }
                }
                _ => drop(self.scalar()?),
            }
            if !self.skip_to_next_item(&mut open)? {
                return Ok(Kind::Nested);
            }
        }
    }

    /// Whether there is an item; if so, its value comes next.
    fn skip_to_first_item(&mut self, bracket: u8) -> Result<bool, Reason> {
        self.skip_blanks();
        let has_item = self.peek() != Some(closing(bracket));
        if has_item && bracket == b'{' {
            self.key()?;
        }
        Ok(has_item)
    }

    /// Closes the brackets that end here. Whether another item follows; if so, its value comes next.
    fn skip_to_next_item(&mut self, open: &mut Vec<u8>) -> Result<bool, Reason> {
        while let Some(&bracket) = open.last() {
            self.skip_blanks();
            if self.take(b',') {
                if bracket == b'{' {
                    self.skip_blanks();
                    self.key()?;
                }
                return Ok(true);
            }
            self.expect(closing(bracket))?;
            open.pop();
        }
        Ok(false)
    }
}

/// The highest bit of the lowest byte that ends a run of plain characters, and perhaps of some above
/// it. Subtracting one from a byte borrows from its highest bit only where the byte was zero.
fn special_bytes(chunk: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below = |limit: u8, bytes: u64| bytes.wrapping_sub(ONES * u64::from(limit)) & !bytes;
    let equal = |byte: u8| below(1, chunk ^ (ONES * u64::from(byte)));
    (below(0x20, chunk) | equal(b'"') | equal(b'\\')) & (ONES << 7)
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn scan(text: &str) -> Result<Token<'_>, Reason> {
        let mut scanner = Scanner::new(text, usize::MAX);
        let token = scanner.value()?;
        scanner.end().map(|()| token)
    }

    /// Pieces that often make JSON, and often just miss it.
    fn almost_json() -> impl Strategy<Value = String> {
        let pieces = [
            "{", "}", "[", "]", ",", ":", " ", "\n", "null", "true", "false", "tru", "0", "-", "1",
            "23", ".5", ".", "e", "E+7", "e-", "\"", "\"a\"", "\"b\":", "\\", "\\n", "\\u00e9",
            "\\u12", "\u{7f}", "\t", "é", "NaN",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..12)
            .prop_map(|pieces| pieces.concat())
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|flag| flag.to_string()),
            any::<f64>().prop_map(|number| format!("{number:e}")),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            let key = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
            let member = (key, inner.clone()).prop_map(|(key, value)| format!("{key} : {value}"));
            prop_oneof![
                proptest::collection::vec(inner, 0..5)
                    .prop_map(|items| format!("[ {}]", items.join(" ,"))),
                proptest::collection::vec(member, 0..5)
                    .prop_map(|items| format!("{{{}\n}}", items.join(","))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn grammar_is_that_of_serde_json(text in almost_json()) {
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(scan(&text).is_ok(), expected, "{}", text);
        }
    }

    proptest! {
        #[test]
        fn every_value_is_passed_and_none_that_is_cut_off(text in any_json(), cut in 0_usize..100) {
            prop_assert!(scan(&text).is_ok(), "{}", text);
            let cut = text.floor_char_boundary(cut);
            let expected = serde_json::from_str::<IgnoredAny>(&text[..cut]).is_ok();
            prop_assert_eq!(scan(&text[..cut]).is_ok(), expected);
        }
    }

    #[test]
    fn brackets_are_limited_and_the_rest_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let scan = |text: &str, limit| Scanner::new(text, limit).value().map(|token| token.kind);
        assert_eq!(scan(&nested(3), 3), Ok(Kind::Nested));
        assert_eq!(scan(&nested(4), 3), Err(Reason::TooDeep));
        let wide = format!("[{}\"[[[[\"]", "[],{},".repeat(1000));
        assert_eq!(scan(&wide, 2), Ok(Kind::Nested));
    }
}
