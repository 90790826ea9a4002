//! Short texts held in place, so that a payment allocates nothing, and the tokens made of them.
//!
//! Tokens are written in sixteen consonants: without digits none can be taken for a card number,
//! without vowels none reads as a word.

use std::fmt;

const LETTERS: &[u8; 16] = b"bcdfghjkmnpqrstv";
const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
const CAPACITY: usize = 23;

/// At most 23 bytes of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text {
    bytes: [u8; CAPACITY],
    length: u8,
}

impl Text {
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only ASCII is ever pushed")
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn of(prefix: &str) -> Self {
        let mut text = Text {
            bytes: [0; CAPACITY],
            length: 0,
        };
        for byte in prefix.bytes() {
            text.push(byte);
        }
        text
    }

    fn push(&mut self, byte: u8) {
        assert!(byte.is_ascii(), "a text holds ASCII");
        self.bytes[usize::from(self.length)] = byte;
        self.length += 1;
    }

    /// The low `width` groups of four bits, high ones first.
    fn push_bits(&mut self, bits: u64, width: u32, letters: &[u8; 16]) {
        for place in (0..width).rev() {
            let group = (bits >> (4 * place)).to_le_bytes()[0] & 0x0f;
            self.push(letters[usize::from(group)]);
        }
    }

    /// `prefix` and `letters` letters for the low bits of `number`, four bits a letter.
    pub(super) fn token(prefix: &str, number: u64, letters: u32) -> Self {
        let mut text = Text::of(prefix);
        text.push_bits(number, letters, LETTERS);
        text
    }

    /// `prefix` and `number` in decimal digits, as wide as `width`.
    pub(super) fn numbered(prefix: &str, number: u32, width: u32) -> Self {
        let mut text = Text::of(prefix);
        for place in (0..width).rev() {
            text.push(b'0' + (number / 10_u32.pow(place) % 10).to_le_bytes()[0]);
        }
        text
    }

    /// An address in the network that is reserved for documentation.
    pub(super) fn address(number: u32) -> Self {
        let mut text = Text::of("2001:db8:");
        text.push_bits(u64::from(number >> 16), 4, HEXADECIMAL);
        text.push(b':');
        text.push_bits(u64::from(number), 4, HEXADECIMAL);
        for byte in *b"::1" {
            text.push(byte);
        }
        text
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_wide_as_they_were_asked_to_be() {
        assert_eq!(Text::token("card-", 0x0f, 4).as_str(), "card-bbbv");
        assert_eq!(Text::token("", u64::MAX, 16).as_str(), "vvvvvvvvvvvvvvvv");
        assert_eq!(Text::numbered("m", 42, 6).as_str(), "m000042");
        assert_eq!(Text::address(0x1234_00ff).as_str(), "2001:db8:1234:00ff::1");
    }
}
