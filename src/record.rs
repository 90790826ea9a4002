//! The nouns of the flow: where a record came from, and what became of it.
//!
//! Knows no client library, no schema and no model. An offset and the offset after it are different
//! types, because mixing them up is the oldest way to lose or to double an event.

use std::fmt;

/// Offset of one record of the input topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Offset(pub i64);

/// One past an [`Offset`]: where the next record is expected. What a consumer group commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NextOffset(pub i64);

/// Offset of one record of the evidence topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub i64);

/// One past a [`Position`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NextPosition(pub i64);

impl Offset {
    #[must_use]
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

impl NextOffset {
    /// The offset that is expected next.
    #[must_use]
    pub fn expected(self) -> Offset {
        Offset(self.0)
    }
}

impl Position {
    #[must_use]
    pub fn next(self) -> NextPosition {
        NextPosition(self.0 + 1)
    }
}

macro_rules! plain_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
plain_number!(Offset, NextOffset, Position, NextPosition);

/// Offsets that hold no event: control or aborted records, or a hole that an operator accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    pub first: Offset,
    pub next: NextOffset,
}

/// The stage at which a record was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    Decode,
    Features,
    Infer,
    Publish,
}

impl Stage {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Features => "features",
            Stage::Infer => "infer",
            Stage::Publish => "publish",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal,)*) => {
        /// Why a record was refused. Closed: the text is a metric label, a header of the dead letter
        /// and a column of the archive, and never repeats anything from the payload.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub fn explanation(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),+).trim_start(),)* }
            }
        }
    };
}
reasons! {
    /// The record has no value (a tombstone).
    EmptyValue => "empty_value",
    /// The value is larger than `input.max_bytes`.
    ValueTooLarge => "value_too_large",
    /// The value is not UTF-8.
    NotUtf8 => "not_utf8",
    /// The value is not well-formed in the declared format, is cut off, or goes on after its end.
    Malformed => "malformed",
    /// The value is nested deeper than the decoder allows.
    TooDeep => "too_deep",
    /// A field that the schema requires is missing or null.
    MissingField => "missing_field",
    /// A field has another type than the schema says.
    WrongType => "wrong_type",
    /// A number does not fit its type, or is not finite.
    OutOfRange => "out_of_range",
    /// An enum field holds a symbol that the schema does not list.
    UnknownSymbol => "unknown_symbol",
    /// The value has a field that the schema does not know, and `input.unknown_fields` is `reject`.
    UnknownField => "unknown_field",
    /// The value names a schema id that the configuration does not map.
    UnknownSchema => "unknown_schema",
    /// The model gave a score that is not finite.
    ScoreNotFinite => "score_not_finite",
    /// The model failed on this record alone.
    InferenceFailed => "inference_failed",
    /// The row of evidence does not fit one message of the evidence topic.
    EvidenceTooLarge => "evidence_too_large",
    /// The scored record does not fit one message of the scored topic.
    ScoredTooLarge => "scored_too_large",
    /// The broker refused the scored record, unchanged, for a reason that will not pass.
    RefusedByBroker => "refused_by_broker",
}

/// Why and where a record was refused. Data, not an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rejection {
    pub stage: Stage,
    pub reason: Reason,
}

impl Rejection {
    #[must_use]
    pub fn new(stage: Stage, reason: Reason) -> Self {
        Rejection { stage, reason }
    }
}

/// What the policy says of a score.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Decision {
    Approve,
    Review,
    Decline,
}

impl Decision {
    pub const ALL: [Decision; 3] = [Decision::Approve, Decision::Review, Decision::Decline];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Approve => "approve",
            Decision::Review => "review",
            Decision::Decline => "decline",
        }
    }

    /// The decision that is written like this.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decision> {
        Decision::ALL
            .into_iter()
            .find(|decision| decision.as_str() == text)
    }
}

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What stands before the first link of a chain.
    pub const ZERO: Digest = Digest([0; 32]);

    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        use sha2::Digest as _;
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// The digest that `text`, 64 hexadecimal digits, stands for.
    #[must_use]
    pub fn parse(text: &str) -> Option<Digest> {
        let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Digest(bytes))
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_reads_what_it_writes() {
        let digest = Digest::of(b"abc");
        assert!(digest.to_string().starts_with("ba7816bf"));
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse("BA"), None);
        assert_eq!(Digest::parse(&"g".repeat(64)), None);
    }

    #[test]
    fn reasons_are_distinct_and_explained() {
        let mut texts: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|r| r.explanation().ends_with('.')));
    }
}
