//! Everything that a round is about to publish, as bytes.

use std::ops::Range as Rows;

use crate::evidence::Message;
use crate::record::{Digest, NextOffset};

/// What a round is about to publish.
pub(super) struct Draft {
    /// Scored records, one after the other, and where each row's stands.
    pub scores: Vec<u8>,
    pub ranges: Vec<(usize, Rows<usize>)>,
    pub evidence: Vec<Testimony>,
}

/// The evidence of one partition.
pub(super) struct Testimony {
    pub partition: i32,
    pub first_row: usize,
    pub next: NextOffset,
    pub head: Digest,
    pub messages: Vec<Message>,
}

impl Draft {
    /// Where each partition ends, with the head of its chain.
    pub fn ends(&self) -> impl Iterator<Item = (i32, NextOffset, Digest)> + '_ {
        self.evidence.iter().map(|t| (t.partition, t.next, t.head))
    }
}

impl Testimony {
    /// Each message with its first row in the batch.
    pub fn outgoing(&self) -> impl Iterator<Item = (usize, i32, &Message)> {
        let mut row = self.first_row;
        self.messages.iter().map(move |message| {
            let first = row;
            row += message.header.rows as usize;
            (first, self.partition, message)
        })
    }
}
