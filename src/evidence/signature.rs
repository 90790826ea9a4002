//! The signature of a message: who may write to the topic is not yet a scorer.
//!
//! What is signed is the partition and the head, and the head covers the coordinates, the rows and all
//! messages before them. Knows no Kafka and no files of keys.

use super::EvidenceError;
use crate::record::Digest;
use crate::tlog::note::{KeyHash, Signature, Signer, Verifier};

/// The name of the Kafka header.
pub const SIGNATURE: &str = "probity-signature";

const KEY_LEN: usize = size_of::<KeyHash>();
const LEN: usize = KEY_LEN + size_of::<Signature>();

/// The value of the header: the hash of the key, and the signature.
#[must_use]
pub fn sign(signer: &Signer, partition: i32, head: Digest) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..KEY_LEN].copy_from_slice(&signer.verifier().hash());
    bytes[KEY_LEN..].copy_from_slice(&signer.sign(&statement(partition, head)));
    bytes
}

/// Whether one of the keys has signed the message with this head.
///
/// # Errors
/// When none has: the message is no evidence.
pub fn verify(
    verifiers: &[Verifier],
    partition: i32,
    head: Digest,
    header: &[u8],
) -> Result<(), EvidenceError> {
    let fault = |what| Err(EvidenceError::Signature(what));
    let Ok(bytes) = <&[u8; LEN]>::try_from(header) else {
        return fault("its length is wrong");
    };
    let (key, signature) = bytes.split_at(KEY_LEN);
    let signature = signature.try_into().expect("what follows the key's hash");
    let mut candidates = verifiers.iter().filter(|v| v.hash() == key).peekable();
    if candidates.peek().is_none() {
        return fault("it is by a key that is not trusted to score");
    }
    let statement = statement(partition, head);
    match candidates.any(|verifier| verifier.verify(&statement, signature)) {
        true => Ok(()),
        false => fault("it is not of this message"),
    }
}

/// What is signed.
fn statement(partition: i32, head: Digest) -> Vec<u8> {
    [
        b"probity evidence 1\n",
        &partition.to_be_bytes()[..],
        &head.0[..],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed("bank.example/scorer", [seed; 32]).unwrap()
    }

    fn refusal(keys: &[Verifier], partition: i32, head: Digest, header: &[u8]) -> String {
        verify(keys, partition, head, header)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_signed_is_fixed() {
        let statement = statement(3, Digest([7; 32]));
        let wanted = [&b"probity evidence 1\n\0\0\0\x03"[..], &[7; 32]].concat();
        assert_eq!(statement, wanted);
    }

    #[test]
    fn a_message_is_believed_by_the_keys_that_may_sign_it_and_no_other() {
        let (ours, theirs) = (signer(1), signer(2));
        let head = Digest::of(b"head");
        let header = sign(&ours, 3, head);
        assert_eq!(header.len(), 68);
        let keys = [theirs.verifier().clone(), ours.verifier().clone()];
        assert!(verify(&keys, 3, head, &header).is_ok());
        assert!(refusal(&keys[..1], 3, head, &header).contains("not trusted"));
        assert!(refusal(&keys, 4, head, &header).contains("not of this message"));
        assert!(refusal(&keys, 3, Digest::of(b"other"), &header).contains("not of this message"));
        assert!(refusal(&keys, 3, head, &header[1..]).contains("length"));
        let forged = [&ours.verifier().hash()[..], &sign(&theirs, 3, head)[4..]].concat();
        assert!(refusal(&keys, 3, head, &forged).contains("not of this message"));
    }
}
