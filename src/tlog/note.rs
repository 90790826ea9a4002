//! Ed25519 keys and signed notes, in the text forms of C2SP signed-note and Go's `sumdb/note`.
//!
//! A note is a text that ends with a newline, an empty line, and one line per signature. Signatures by
//! unknown keys are kept and ignored: others may sign beside us.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::record::Digest;

/// The signature type of Ed25519 in key texts.
const ED25519_TYPE: u8 = 1;

/// What begins the text of a private key.
const PRIVATE: &str = "PRIVATE+KEY+";

/// What begins a line with a signature: an em dash and a blank.
const SIGNATURE: &str = "\u{2014} ";

/// How many signatures a note may have, as in Go: reading one does not take for ever.
const SIGNATURES_MAX: usize = 100;

/// The first bytes of a digest of name and public key: finds the key of a signature, proves nothing.
pub type KeyHash = [u8; 4];

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// A public key and the name of its owner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verifier {
    name: String,
    public: [u8; 32],
}

impl Verifier {
    /// Reads `name+hash+key`, the form of [`Verifier`]'s text.
    ///
    /// # Errors
    /// When the text is no key, or none of Ed25519.
    pub fn parse(text: &str) -> Result<Verifier, BadKey> {
        let (name, key) = parse_key(text)?;
        let verifier = Verifier { name, public: key };
        match verifier.to_string() == text {
            true => Ok(verifier),
            false => Err(BadKey("its hash is not that of its name and key")),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let bytes = [
            self.name.as_bytes(),
            b"\n",
            &[ED25519_TYPE],
            &self.public[..],
        ]
        .concat();
        let digest = Digest::of(&bytes).0;
        [digest[0], digest[1], digest[2], digest[3]]
    }

    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        key.verify(message, signature).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.hash(), &self.public))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn key_text(name: &str, hash: KeyHash, key: &[u8; 32]) -> String {
    let bytes = [&[ED25519_TYPE], &key[..]].concat();
    let hash = u32::from_be_bytes(hash);
    format!("{name}+{hash:08x}+{}", BASE64.encode(bytes))
}

/// The name and the 32 bytes of `name+hash+key`.
fn parse_key(text: &str) -> Result<(String, [u8; 32]), BadKey> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(BadKey("it is not `name+hash+key`"));
    };
    if !is_name(name) {
        return Err(BadKey("its name is empty or has a blank or a plus sign"));
    }
    let bytes = BASE64
        .decode(key)
        .map_err(|_| BadKey("its key is not base64"))?;
    match bytes.split_first() {
        Some((&ED25519_TYPE, key)) => {
            let key = key
                .try_into()
                .map_err(|_| BadKey("its key is not of 32 bytes"))?;
            Ok((name.to_owned(), key))
        }
        _ => Err(BadKey("it is not a key of Ed25519")),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// A private key. Its text is a secret, and so it has neither `Debug` nor `Display`.
pub struct Signer {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// When the name cannot be one, or the system gives no random numbers.
    pub fn generate(name: &str) -> Result<Signer, BadKey> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed)
            .map_err(|_| BadKey("the system gives no random numbers"))?;
        Signer::from_seed(name, seed)
    }

    /// # Errors
    /// When the name cannot be one.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Signer, BadKey> {
        if !is_name(name) {
            return Err(BadKey("its name is empty or has a blank or a plus sign"));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| BadKey("its seed is refused"))?;
        let public = pair.public_key().as_ref().try_into();
        let verifier = Verifier {
            name: name.to_owned(),
            public: public.expect("public keys have 32 bytes"),
        };
        Ok(Signer {
            seed,
            pair,
            verifier,
        })
    }

    /// Reads `PRIVATE+KEY+name+hash+key`.
    ///
    /// # Errors
    /// When the text is no private key of Ed25519.
    pub fn parse(text: &str) -> Result<Signer, BadKey> {
        let text = text
            .strip_prefix(PRIVATE)
            .ok_or(BadKey("it does not begin with `PRIVATE+KEY+`"))?;
        let (name, seed) = parse_key(text)?;
        let signer = Signer::from_seed(&name, seed)?;
        match key_text(&name, signer.verifier.hash(), &seed) == text {
            true => Ok(signer),
            false => Err(BadKey("its hash is not that of its name and key")),
        }
    }

    /// The secret text that [`Signer::parse`] reads.
    #[must_use]
    pub fn to_secret(&self) -> String {
        let Verifier { name, .. } = &self.verifier;
        PRIVATE.to_owned() + &key_text(name, self.verifier.hash(), &self.seed)
    }

    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The same message always gets the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(message);
        signature
            .as_ref()
            .try_into()
            .expect("signatures have 64 bytes")
    }

    /// A text as a note that this key alone has signed.
    ///
    /// # Panics
    /// When the text is empty or does not end with a newline.
    #[must_use]
    pub fn note(&self, text: &str) -> String {
        sign_note(text, &[self])
    }
}

/// A text as a note that these keys have signed, in their order.
///
/// # Panics
/// When the text is empty or does not end with a newline, or when there is no key.
#[must_use]
pub fn sign_note(text: &str, signers: &[&Signer]) -> String {
    assert!(text.ends_with('\n'), "a note's text ends with a newline");
    assert!(!signers.is_empty(), "a note has a signature");
    let mut note = format!("{text}\n");
    for signer in signers {
        let Verifier { name, .. } = &signer.verifier;
        let bytes = [
            &signer.verifier.hash()[..],
            &signer.sign(text.as_bytes())[..],
        ]
        .concat();
        note += &format!("{SIGNATURE}{name} {}\n", BASE64.encode(bytes));
    }
    note
}

/// A signed note, taken apart. Nothing is verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note<'a> {
    /// What was signed; ends with a newline.
    pub text: &'a str,
    signatures: Vec<(&'a str, Vec<u8>)>,
}

impl<'a> Note<'a> {
    /// # Errors
    /// When it is not a text, an empty line, and signatures.
    pub fn parse(bytes: &'a [u8]) -> Result<Note<'a>, BadNote> {
        let note = std::str::from_utf8(bytes).map_err(|_| BadNote("it is not utf-8"))?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(BadNote("it has a control character"));
        }
        // The text may hold empty lines itself: the last one counts.
        let at = note
            .rfind("\n\n")
            .ok_or(BadNote("it has no empty line before signatures"))?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        if lines.is_empty() || !lines.ends_with('\n') {
            return Err(BadNote(
                "it has no signature, or its last line does not end",
            ));
        }
        if lines.lines().count() > SIGNATURES_MAX {
            return Err(BadNote("it has more than 100 signatures"));
        }
        let signatures = lines
            .lines()
            .map(|line| signature(line).ok_or(BadNote("a signature's line is not one")));
        Ok(Note {
            text,
            signatures: signatures.collect::<Result<_, _>>()?,
        })
    }

    /// Whether this key has signed the text.
    #[must_use]
    pub fn is_signed_by(&self, verifier: &Verifier) -> bool {
        self.verified(verifier).any(|is_good| is_good)
    }

    /// Which of these keys have signed the text, in their order. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// When there is a signature by one of these keys that is not one: then nothing of the note is to be
    /// believed.
    pub fn signers<'v>(&self, known: &'v [Verifier]) -> Result<Vec<&'v Verifier>, BadSignature> {
        let mut signers = Vec::new();
        for verifier in known {
            let verified: Vec<bool> = self.verified(verifier).collect();
            if verified.contains(&false) {
                return Err(BadSignature(verifier.clone()));
            }
            if !verified.is_empty() {
                signers.push(verifier);
            }
        }
        Ok(signers)
    }

    /// Of each signature that names this key, whether it is one.
    fn verified(&self, verifier: &Verifier) -> impl Iterator<Item = bool> {
        let hash = verifier.hash();
        self.signatures.iter().filter_map(move |(name, bytes)| {
            let (key, signature) = bytes.split_first_chunk::<4>()?;
            if *name != verifier.name || *key != hash {
                return None;
            }
            let is_good = |signature| verifier.verify(self.text.as_bytes(), signature);
            Some(signature.try_into().is_ok_and(is_good))
        })
    }

    /// Whose names stand at the signatures; verifies nothing.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.signatures.iter().map(|(name, _)| *name)
    }
}

fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, bytes) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
    let bytes = BASE64.decode(bytes).ok()?;
    (is_name(name) && bytes.len() > 4).then_some((name, bytes))
}

/// Why a text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadKey(pub &'static str);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadKey {}

/// The key by which a signature of a note pretends to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadSignature(pub Verifier);

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its signature by key {} does not verify", self.0)
    }
}

impl std::error::Error for BadSignature {}

/// Why bytes are no signed note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadNote(pub &'static str);

impl fmt::Display for BadNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadNote {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys and the note of the documentation of `golang.org/x/mod/sumdb/note`.
    const SECRET: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const SIGNED: &str = "If you think cryptography is the answer to your problem,\n\
                          then you don't know what your problem is.\n\
                          \n\
                          \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn keys_and_notes_are_those_of_go() {
        let signer = Signer::parse(SECRET).unwrap();
        assert_eq!(signer.verifier().to_string(), PUBLIC);
        assert_eq!(signer.to_secret(), SECRET);
        assert_eq!(signer.note(TEXT), SIGNED);
        let note = Note::parse(SIGNED.as_bytes()).unwrap();
        assert_eq!(note.text, TEXT);
        assert!(note.is_signed_by(&Verifier::parse(PUBLIC).unwrap()));
    }

    #[test]
    fn another_text_key_or_name_is_not_signed() {
        let (one, two) = (
            Signer::generate("one").unwrap(),
            Signer::generate("one").unwrap(),
        );
        let note = sign_note("text\n", &[&one, &two]);
        let parsed = Note::parse(note.as_bytes()).unwrap();
        assert!(parsed.is_signed_by(one.verifier()) && parsed.is_signed_by(two.verifier()));
        assert_eq!(parsed.names().collect::<Vec<_>>(), ["one", "one"]);
        let three = Signer::generate("one").unwrap();
        assert!(!parsed.is_signed_by(three.verifier()));
        let altered = note.replace("text", "test");
        let altered = Note::parse(altered.as_bytes()).unwrap();
        assert!(!altered.is_signed_by(one.verifier()));
        let renamed = one.note("text\n").replace(" one ", " two ");
        let renamed = Note::parse(renamed.as_bytes()).unwrap();
        assert!(!renamed.is_signed_by(one.verifier()));
    }

    #[test]
    fn a_bad_signature_by_a_known_key_spoils_the_note() {
        let keys = ["one", "two", "three"].map(|name| Signer::generate(name).unwrap());
        let verifiers = keys.each_ref().map(|key| key.verifier().clone());
        let [one, two, three] = &verifiers;
        let note = sign_note("text\n", &[&keys[0], &keys[1]]);
        let of = |note: &str, known: &[Verifier]| {
            let note = Note::parse(note.as_bytes()).unwrap();
            let signers = note.signers(known)?;
            Ok::<_, BadSignature>(signers.into_iter().cloned().collect::<Vec<_>>())
        };
        assert_eq!(of(&note, &verifiers), Ok(vec![one.clone(), two.clone()]));
        assert_eq!(of(&note, std::slice::from_ref(three)), Ok(vec![]));
        // The second signature is that of another text.
        let other = keys[1].note("test\n");
        let (_, other) = other.split_once("\n\n").unwrap();
        let spoilt = keys[0].note("text\n") + other;
        assert_eq!(of(&spoilt, &verifiers), Err(BadSignature(two.clone())));
        assert_eq!(
            of(&spoilt, std::slice::from_ref(one)),
            Ok(vec![one.clone()])
        );
    }

    #[test]
    fn what_others_may_write_is_read() {
        let signer = Signer::parse(SECRET).unwrap();
        for text in [
            "\n",
            "a\n\nb\n",
            "delete \u{7f} and next line \u{85}\n",
            "\u{2014} a\n",
        ] {
            let note = signer.note(text);
            let note = Note::parse(note.as_bytes()).unwrap();
            assert_eq!(note.text, text);
            assert!(note.is_signed_by(signer.verifier()));
        }
        let many = |count: usize| signer.note("a\n") + &"\u{2014} b AAAAAAA=\n".repeat(count - 1);
        assert!(Note::parse(many(100).as_bytes()).is_ok());
        assert!(Note::parse(many(101).as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_key_or_note_is_refused() {
        let swapped = PUBLIC.replace("c74f20a3", "c74f20a4");
        for key in ["", "a", "a+b", "a+b+c", "a b+00000000+AA==", &swapped] {
            assert!(Verifier::parse(key).is_err(), "{key}");
            assert!(Signer::parse(key).is_err(), "{key}");
        }
        assert!(Signer::generate("a b").is_err());
        let cut = &SIGNED[..SIGNED.len() - 1];
        for note in [
            "",
            "a\n",
            "a\n\n",
            "a\n\nb\n",
            "a\n\n\u{2014} b\n",
            "a\tb\n\n\u{2014} b AAAAAAA=\n",
            cut,
        ] {
            assert!(Note::parse(note.as_bytes()).is_err(), "{note:?}");
        }
        assert!(Note::parse(b"\xff\n\n").is_err());
    }
}
