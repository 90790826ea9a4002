//! What makes evidence this scorer's own: commitments to payloads, salts of rows, signatures of messages.
//!
//! Promises that a salt is random and that nothing else depends on chance. Holds secrets and shows none.

use std::sync::Arc;

use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};

use crate::batch::Lineage;
use crate::error::{Exit, Fatal, Result};
use crate::evidence::{self, Header, Message, Payload, SALT_LEN, SIGNATURE, Seal};
use crate::keys::{Commitment, Keys};
use crate::tlog::Signer;

/// The keys of a scorer.
#[derive(Clone)]
pub struct Sealer(Arc<Keys>);

impl Sealer {
    /// # Errors
    /// When the key that signs evidence or the one that commits to payloads is not there.
    pub fn new(keys: Arc<Keys>) -> Result<Sealer> {
        let missing = match (&keys.scorer, &keys.commitment) {
            (Some(_), Some(_)) => return Ok(Sealer(keys)),
            (None, _) => "scorer.key",
            (_, None) => "commitment.key",
        };
        Err(Fatal::usage(format!(
            "`keys.folder` has no {missing}, and without it nothing is scored; copy it there from where \
             `probity keys init` made it"
        )))
    }

    fn signer(&self) -> &Signer {
        self.0.scorer.as_ref().expect("looked for in `new`")
    }

    fn commitment(&self) -> &Commitment {
        self.0.commitment.as_ref().expect("looked for in `new`")
    }

    /// Names the key of the commitments.
    #[must_use]
    pub fn commitment_key(&self) -> String {
        self.commitment().id()
    }

    /// A seal for each row; `values` are those of the rows, in their order, and none for a gap.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    ///
    /// # Panics
    /// When there is not one value for each row.
    pub fn seal(
        &self,
        topic_id: &str,
        lineage: &Lineage,
        values: &[Option<&[u8]>],
    ) -> Result<Vec<Seal>> {
        assert_eq!(values.len(), lineage.rows(), "one value for each row");
        let mut random = vec![0; values.len() * SALT_LEN];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Fatal::new(Exit::Bug, "the system gives no random numbers"))?;
        let (salts, _) = random.as_chunks::<SALT_LEN>();
        let commitment = self.commitment();
        let mut seals = Vec::with_capacity(values.len());
        for part in lineage.parts() {
            for row in part.rows.clone() {
                let offset = lineage.origins()[row].first();
                let payload = values[row].map(|value| Payload {
                    bytes: i32::try_from(value.len()).expect("a record is below 2 GiB"),
                    commitment: commitment.of(topic_id, part.partition, offset, value).0,
                });
                let salt = salts[row];
                seals.push(Seal { payload, salt });
            }
        }
        Ok(seals)
    }

    /// The Kafka headers of a message: its coordinates, and who answers for it.
    #[must_use]
    pub fn headers(&self, partition: i32, message: &Message) -> OwnedHeaders {
        let coordinates = message.header.to_bytes();
        let signature = evidence::sign(self.signer(), partition, message.head);
        OwnedHeaders::new_with_capacity(2)
            .insert(KafkaHeader {
                key: Header::NAME,
                value: Some(&coordinates),
            })
            .insert(KafkaHeader {
                key: SIGNATURE,
                value: Some(&signature),
            })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;

    use super::*;
    use crate::batch::Origin;
    use crate::keys::Trust;
    use crate::record::{Digest, Gap, NextOffset, Offset};

    fn keys() -> Keys {
        Keys {
            scorer: Some(Signer::from_seed("bank.example/scorer", [1; 32]).unwrap()),
            archiver: None,
            log: Vec::new(),
            operator: None,
            commitment: Some(Commitment::new([7; 32])),
            trust: Trust::default(),
        }
    }

    fn sealer() -> Sealer {
        Sealer::new(Arc::new(keys())).unwrap()
    }

    /// Two partitions; the first begins with a gap, the second has a record without a value.
    fn lineage() -> Lineage {
        let record = |offset| Origin::Record {
            offset: Offset(offset),
            broker_time: None,
            leader_epoch: None,
        };
        let gap = Origin::Gap(Gap {
            first: Offset(3),
            next: NextOffset(5),
        });
        let mut lineage = Lineage::default();
        lineage.push_part(2, [gap, record(5)]);
        lineage.push_part(4, [record(5), record(6)]);
        lineage
    }

    #[test]
    fn a_payload_is_committed_to_at_its_place() {
        let values: [Option<&[u8]>; 4] = [None, Some(b"pay"), Some(b"pay"), None];
        let seals = sealer().seal("id", &lineage(), &values).unwrap();
        assert_eq!(seals[0].payload, None);
        assert_eq!(seals[3].payload, None);
        for (row, partition) in [(1, 2), (2, 4)] {
            let wanted = Commitment::new([7; 32]).of("id", partition, Offset(5), b"pay");
            let wanted = Payload {
                bytes: 3,
                commitment: wanted.0,
            };
            assert_eq!(seals[row].payload, Some(wanted));
        }
    }

    #[test]
    fn no_two_rows_have_one_salt() {
        let (sealer, lineage) = (sealer(), lineage());
        let mut salts = Vec::new();
        for _ in 0..2 {
            let seals = sealer.seal("id", &lineage, &[None; 4]).unwrap();
            salts.extend(seals.iter().map(|seal| seal.salt));
        }
        salts.sort_unstable();
        salts.dedup();
        assert_eq!(salts.len(), 8);
    }

    #[test]
    fn a_message_has_its_coordinates_and_a_signature_of_them() {
        let message = Message {
            header: Header {
                brings_context: false,
                first: Offset(7),
                next: NextOffset(9),
                rows: 2,
                ingest_time: 1,
                score_time: 2,
                context: Digest::of(b"context"),
                prev: Digest::ZERO,
            },
            value: b"rows".to_vec(),
            head: Digest::of(b"head"),
        };
        let headers = sealer().headers(3, &message);
        assert_eq!(headers.count(), 2);
        let coordinates = message.header.to_bytes();
        assert_eq!(headers.get(0).key, "probity-evidence");
        assert_eq!(headers.get(0).value, Some(&coordinates[..]));
        assert_eq!(headers.get(1).key, "probity-signature");
        let trusted = [sealer().signer().verifier().clone()];
        let signature = headers.get(1).value.unwrap();
        assert!(evidence::verify(&trusted, 3, message.head, signature).is_ok());
        assert!(evidence::verify(&trusted, 2, message.head, signature).is_err());
    }

    #[test]
    fn without_a_key_nothing_is_scored() {
        let refused = |keys: Keys| Sealer::new(Arc::new(keys)).err().unwrap().to_string();
        let (mut unsigned, mut uncommitted) = (keys(), keys());
        unsigned.scorer = None;
        uncommitted.commitment = None;
        assert!(refused(unsigned).contains("scorer.key"));
        assert!(refused(uncommitted).contains("commitment.key"));
    }
}
