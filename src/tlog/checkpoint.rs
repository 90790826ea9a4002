//! Checkpoints: how large a log is and what its root is, signed (C2SP tlog-checkpoint).
//!
//! One that was opened is signed by a key that the caller trusts, and of the log that the caller means.
//! That it extends an earlier one is for a consistency proof to say. Knows no store and no clock.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::note::{self, BadNote, BadSignature, Note, Signer, Verifier};
use crate::record::Digest;

/// The head of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log: one line, not empty.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: origin, size and root, a line each.
    ///
    /// # Panics
    /// When the origin is empty or not one line.
    #[must_use]
    pub fn text(&self) -> String {
        let Checkpoint { origin, size, root } = self;
        assert!(is_line(origin), "the origin of a checkpoint is one line");
        format!("{origin}\n{size}\n{}\n", BASE64.encode(root.0))
    }

    /// The checkpoint as a note that these keys have signed: more than one while a key is being replaced.
    ///
    /// # Panics
    /// When the origin is empty or not one line, or when there is no key.
    #[must_use]
    pub fn sign(&self, signers: &[&Signer]) -> String {
        note::sign_note(&self.text(), signers)
    }

    /// Reads the signed checkpoint of the log `origin`. Signatures by other keys and lines after the root,
    /// which others may add, are ignored.
    ///
    /// # Errors
    /// When it is none, is not signed by one of these keys, or is of another log.
    pub fn open(
        note: &[u8],
        origin: &str,
        known: &[Verifier],
    ) -> Result<Checkpoint, BadCheckpoint> {
        let note = Note::parse(note).map_err(|BadNote(why)| BadCheckpoint::Malformed(why))?;
        let signers = note.signers(known).map_err(BadCheckpoint::Forged)?;
        if signers.is_empty() {
            return Err(BadCheckpoint::Unknown);
        }
        let checkpoint = parse(note.text).map_err(BadCheckpoint::Malformed)?;
        match checkpoint.origin == origin {
            true => Ok(checkpoint),
            false => Err(BadCheckpoint::OtherOrigin(checkpoint.origin)),
        }
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c < ' ')
}

fn parse(text: &str) -> Result<Checkpoint, &'static str> {
    let text = text
        .strip_suffix('\n')
        .ok_or("its last line does not end")?;
    let lines: Vec<&str> = text.split('\n').collect();
    let [origin, size, root, ..] = lines[..] else {
        return Err("it has fewer than three lines");
    };
    if lines.contains(&"") {
        return Err("it has an empty line");
    }
    Ok(Checkpoint {
        origin: origin.to_owned(),
        size: parse_size(size).ok_or("its second line is not a size")?,
        root: parse_root(root).ok_or("its third line is not a root in base64")?,
    })
}

fn parse_size(text: &str) -> Option<u64> {
    let size: u64 = text.parse().ok()?;
    // Neither a sign nor leading zeroes.
    (size.to_string() == text).then_some(size)
}

fn parse_root(text: &str) -> Option<Digest> {
    let root = BASE64.decode(text).ok()?;
    Some(Digest(root.try_into().ok()?))
}

/// Why a checkpoint is not to be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadCheckpoint {
    /// It is no signed note, or its text is no checkpoint.
    Malformed(&'static str),
    /// No key that the caller knows has signed it.
    Unknown,
    /// It pretends to be signed by a key that the caller knows.
    Forged(BadSignature),
    /// It is of this log.
    OtherOrigin(String),
}

impl fmt::Display for BadCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadCheckpoint::Malformed(why) => write!(f, "it is no checkpoint: {why}"),
            BadCheckpoint::Unknown => f.write_str("it is not signed by a key that is trusted"),
            BadCheckpoint::Forged(why) => why.fmt(f),
            BadCheckpoint::OtherOrigin(origin) => write!(f, "it is of another log: {origin}"),
        }
    }
}

impl std::error::Error for BadCheckpoint {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: &str = "example.com/behind-the-sofa";

    /// The text of the specification's example.
    const TEXT: &str = "example.com/behind-the-sofa\n\
                        20852163\n\
                        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(ORIGIN, [seed; 32]).unwrap()
    }

    fn open(note: &str, key: &Signer) -> Result<Checkpoint, BadCheckpoint> {
        Checkpoint::open(note.as_bytes(), ORIGIN, &[key.verifier().clone()])
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let key = signer(1);
        let checkpoint = open(&key.note(TEXT), &key).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            (ORIGIN, 20_852_163)
        );
        assert!(checkpoint.root.to_string().starts_with("0ac5186a91863e8e"));
        assert_eq!(checkpoint.text(), TEXT);
        assert_eq!(checkpoint.sign(&[&key]), key.note(TEXT));
    }

    #[test]
    fn either_key_opens_while_one_replaces_the_other() {
        let (old, new, foreign) = (signer(1), signer(2), signer(3));
        let checkpoint = open(&old.note(TEXT), &old).unwrap();
        let signed = checkpoint.sign(&[&old, &new]);
        assert_eq!(open(&signed, &old).as_ref(), Ok(&checkpoint));
        assert_eq!(open(&signed, &new).as_ref(), Ok(&checkpoint));
        assert_eq!(open(&signed, &foreign), Err(BadCheckpoint::Unknown));
        let nobody = Checkpoint::open(signed.as_bytes(), ORIGIN, &[]);
        assert_eq!(nobody, Err(BadCheckpoint::Unknown));
    }

    #[test]
    fn an_altered_checkpoint_is_a_forgery() {
        let key = signer(1);
        let altered = key.note(TEXT).replace("20852163", "20852164");
        let forged = BadSignature(key.verifier().clone());
        assert_eq!(open(&altered, &key), Err(BadCheckpoint::Forged(forged)));
    }

    #[test]
    fn another_log_is_refused_and_named() {
        let key = signer(1);
        let other = TEXT.replace("sofa", "stove");
        let origin = ORIGIN.replace("sofa", "stove");
        assert_eq!(
            open(&key.note(&other), &key),
            Err(BadCheckpoint::OtherOrigin(origin))
        );
    }

    #[test]
    fn lines_of_others_are_ignored() {
        let key = signer(1);
        let extended = format!("{TEXT}a line of somebody else\nand one more\n");
        let plain = open(&key.note(TEXT), &key).unwrap();
        assert_eq!(open(&key.note(&extended), &key), Ok(plain));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let key = signer(1);
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for text in [
            "\n".to_owned(),
            format!("{ORIGIN}\n1\n"),
            format!("\n1\n{root}\n"),
            format!("{ORIGIN}\n\n{root}\n"),
            format!("{ORIGIN}\n+1\n{root}\n"),
            format!("{ORIGIN}\n-1\n{root}\n"),
            format!("{ORIGIN}\n01\n{root}\n"),
            format!("{ORIGIN}\n1 \n{root}\n"),
            format!("{ORIGIN}\n18446744073709551616\n{root}\n"),
            format!("{ORIGIN}\n1\n{}\n", &root[..43]),
            format!("{ORIGIN}\n1\n{}=\n", &root[..39]),
            format!("{ORIGIN}\n1\nAA{root}\n"),
            format!("{ORIGIN}\n1\n{root}\n\n"),
            format!("{ORIGIN}\n1\n{root}\n\nextension\n"),
        ] {
            let opened = open(&key.note(&text), &key);
            assert!(
                matches!(opened, Err(BadCheckpoint::Malformed(_))),
                "{text:?}: {opened:?}"
            );
        }
        let unsigned = open(TEXT, &key);
        assert!(matches!(unsigned, Err(BadCheckpoint::Malformed(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(origin in "[^\\x00-\\x1f]{1,40}", size: u64, root: [u8; 32]) {
            let key = signer(1);
            let checkpoint = Checkpoint { origin, size, root: Digest(root) };
            let note = checkpoint.sign(&[&key]);
            let known = [key.verifier().clone()];
            let opened = Checkpoint::open(note.as_bytes(), &checkpoint.origin, &known);
            prop_assert_eq!(opened, Ok(checkpoint));
        }
    }
}
