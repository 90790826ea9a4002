//! What a pipeline has put out, as those who read its topics see it.

use serde_json::Value;

use super::pipeline::Pipeline;

/// A refused record as its dead letter tells of it.
pub struct DeadLetter {
    /// Of the input.
    pub partition: i32,
    /// Of the input.
    pub offset: i64,
    pub reason: String,
    pub stage: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// On a stub: how large the value was.
    pub left_out: Option<usize>,
}

impl Pipeline<'_> {
    /// The scored records, in the order of their partitions and offsets.
    pub fn scores(&self) -> Vec<Value> {
        let records = self.kafka.read_committed(&format!("{}.scored", self.name));
        let parse = |value: Option<Vec<u8>>| serde_json::from_slice(&value.unwrap()).unwrap();
        records
            .into_iter()
            .map(|record| parse(record.value))
            .collect()
    }

    /// The offsets in the input's only partition of the events that were scored.
    pub fn scored_offsets(&self) -> Vec<i64> {
        let offset = |score: &Value| score["input"]["offset"].as_i64().unwrap();
        self.scores().iter().map(offset).collect()
    }

    /// The dead letters, in the order of the input.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let records = self.kafka.read_committed(&format!("{}.dlq", self.name));
        let mut letters: Vec<DeadLetter> = records
            .into_iter()
            .map(|record| {
                let text = |name: &str| {
                    let (_, value) = record.headers.iter().find(|(key, _)| key == name)?;
                    Some(String::from_utf8(value.clone()?).unwrap())
                };
                let number = |name: &str| text(name).map(|number| number.parse().unwrap());
                DeadLetter {
                    partition: text("__connect.errors.partition").unwrap().parse().unwrap(),
                    offset: text("__connect.errors.offset").unwrap().parse().unwrap(),
                    reason: text("probity.reason").unwrap(),
                    stage: text("probity.stage").unwrap(),
                    left_out: number("probity.value.bytes"),
                    key: record.key.clone(),
                    value: record.value.clone(),
                }
            })
            .collect();
        letters.sort_by_key(|letter| (letter.partition, letter.offset));
        letters
    }

    /// Offset and reason of every dead letter.
    pub fn refused(&self) -> Vec<(i64, String)> {
        let letters = self.dead_letters().into_iter();
        letters
            .map(|letter| (letter.offset, letter.reason))
            .collect()
    }
}
