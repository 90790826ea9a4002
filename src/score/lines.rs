//! Values as lines of text, one event each.
//!
//! Knows no JSON. An empty line is an event without a value, so that numbers of events are numbers
//! of lines; what follows the last line end is an event only if it is there. Of a line that is too
//! long to be decoded no more is kept than shows that it is.

use std::io::{BufRead, ErrorKind};

use super::input::{Limits, Values};
use crate::error::{Fatal, Result};

pub(super) struct Lines {
    name: String,
    reader: Box<dyn BufRead>,
    kept_bytes_max: usize,
    number: u64,
}

impl Lines {
    /// `max_bytes` is the longest value that is decoded.
    pub fn new(name: &str, reader: Box<dyn BufRead>, max_bytes: usize) -> Lines {
        Lines {
            name: name.to_owned(),
            reader,
            kept_bytes_max: max_bytes + 1,
            number: 0,
        }
    }

    /// Adds lines until there are enough for a batch, or no more.
    pub fn fill(&mut self, values: &mut Values, limits: Limits) -> Result<()> {
        while !values.is_full(limits) && self.read_line(values)? {}
        Ok(())
    }

    /// Adds one line; tells whether there was one.
    fn read_line(&mut self, values: &mut Values) -> Result<bool> {
        self.number += 1;
        let start = values.bytes.len();
        let mut is_line = false;
        loop {
            let arrived = match self.reader.fill_buf() {
                Ok(arrived) => arrived,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let message = format!("cannot read {}, line {}", self.name, self.number);
                    return Err(Fatal::usage(message).because(error));
                }
            };
            if arrived.is_empty() {
                break;
            }
            is_line = true;
            let end = arrived.iter().position(|byte| *byte == b'\n');
            let line = &arrived[..end.unwrap_or(arrived.len())];
            let room = self.kept_bytes_max - (values.bytes.len() - start);
            values
                .bytes
                .extend_from_slice(&line[..line.len().min(room)]);
            let used = line.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if values.bytes[start..].ends_with(b"\r") {
            values.bytes.pop();
        }
        if is_line {
            values.end_value();
        }
        Ok(is_line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        rows: 1000,
        bytes: 1 << 20,
    };

    /// The lines of `text`, which arrives in pieces of `piece` bytes.
    fn read(text: &[u8], piece: usize, max_bytes: usize, limits: Limits) -> Vec<Vec<Vec<u8>>> {
        let reader = BufReader::with_capacity(piece, Cursor::new(text.to_vec()));
        let mut lines = Lines::new("a file", Box::new(reader), max_bytes);
        let mut batches = Vec::new();
        loop {
            let mut values = Values::default();
            lines.fill(&mut values, limits).unwrap();
            if values.ends.is_empty() {
                return batches;
            }
            let batch = values.iter().map(|value| value.unwrap().to_vec());
            batches.push(batch.collect());
        }
    }

    #[test]
    fn an_empty_line_counts_and_the_end_of_the_last_does_not() {
        let wanted = [b"a".to_vec(), b"".to_vec(), b"b".to_vec()];
        assert_eq!(read(b"a\n\r\nb\n", 8, 100, LIMITS), [wanted.to_vec()]);
        assert_eq!(read(b"a\r\n\nb", 8, 100, LIMITS), [wanted.to_vec()]);
        assert!(read(b"", 8, 100, LIMITS).is_empty());
    }

    #[test]
    fn of_a_long_line_only_so_much_is_kept_that_it_shows() {
        let text = [b"x".repeat(5000), b"y".to_vec()].join(&b'\n');
        assert_eq!(
            read(&text, 64, 100, LIMITS),
            [vec![b"x".repeat(101), b"y".to_vec()]]
        );
    }

    #[test]
    fn a_batch_ends_when_it_has_the_rows_or_the_bytes() {
        let limits = |rows, bytes| Limits { rows, bytes };
        let sizes = |limits| -> Vec<usize> {
            let batches = read(b"1234\n5678\n90\nab\ncd\n", 4, 100, limits);
            batches.iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(limits(2, 1000)), [2, 2, 1]);
        assert_eq!(sizes(limits(1000, 5)), [2, 3]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_lines(
            lines in prop::collection::vec("[a-z\"{}]{0,20}", 0..20), piece in 1usize..30,
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let found: Vec<Vec<u8>> = read(text.as_bytes(), piece, 100, LIMITS).concat();
            let wanted: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
