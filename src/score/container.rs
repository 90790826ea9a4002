//! Values out of an Avro object container: the file that brings its writer's schema along.
//!
//! Reads the uncompressed ones alone. A record is cut out of its block by its structure and decoded
//! later, so a value that must be refused costs its own record and no other. A block that does not
//! hold what it says is an error that names it, because nothing after it can be found for sure.

use std::io::{BufRead, Read};

use super::input::{Limits, Values};
use crate::decode::Decoder;
use crate::error::{Fatal, Result};
use crate::schema::InputSchema;

/// The largest text of the header, in bytes, and the most entries.
const HEADER_TEXT_BYTES_MAX: u64 = 16 << 20;
const HEADER_ENTRIES_MAX: u64 = 1000;
/// The largest block, in bytes; it is held in memory.
const BLOCK_BYTES_MAX: u64 = 256 << 20;

pub(super) struct Container {
    name: String,
    reader: Box<dyn BufRead>,
    writer: InputSchema,
    sync: [u8; 16],
    block: Block,
}

/// The block that is being read.
#[derive(Default)]
struct Block {
    /// Its number in the file, from 1.
    number: u64,
    bytes: Vec<u8>,
    /// Where the next record begins.
    next: usize,
    records_left: u64,
}

/// What the header says.
#[derive(Default)]
struct Header {
    schema: Option<String>,
    codec: Option<String>,
    sync: [u8; 16],
}

/// What is wrong with a file, without its name.
type Fault = String;

impl Container {
    /// Reads the header, from the magic bytes on.
    pub fn open(name: &str, mut reader: Box<dyn BufRead>) -> Result<Container> {
        let refuse = |fault: &str| Fatal::usage(format!("cannot read {name}: {fault}"));
        let header = Header::read(&mut reader).map_err(|fault| refuse(&fault))?;
        if let Some(codec) = header.codec.filter(|codec| codec != "null") {
            return Err(refuse(&format!(
                "its codec is {codec:?}; write it uncompressed, with the codec \"null\""
            )));
        }
        let schema = header
            .schema
            .ok_or_else(|| refuse("its header has no avro.schema"))?;
        let writer = InputSchema::parse(&schema)
            .map_err(|error| refuse("the schema in its header is none of events").because(error))?;
        Ok(Container {
            name: name.to_owned(),
            reader,
            writer,
            sync: header.sync,
            block: Block::default(),
        })
    }

    /// The schema by which the records are written.
    pub fn writer(&self) -> &InputSchema {
        &self.writer
    }

    /// Adds records until there are enough for a batch, or no more. `decoder` is the one of
    /// [`Container::writer`].
    pub fn fill(&mut self, values: &mut Values, limits: Limits, decoder: &Decoder) -> Result<()> {
        while !values.is_full(limits) {
            if self.block.records_left == 0 && !self.read_block()? {
                return Ok(());
            }
            if self.block.records_left > 0 {
                self.take_record(values, decoder)?;
            }
        }
        Ok(())
    }

    fn take_record(&mut self, values: &mut Values, decoder: &Decoder) -> Result<()> {
        let block = &mut self.block;
        let rest = &block.bytes[block.next..];
        let Some(length) = decoder.record_length(rest) else {
            let fault = format!("its last {} records are not whole", block.records_left);
            return Err(self.refuse_block(&fault));
        };
        values.bytes.extend_from_slice(&rest[..length]);
        values.end_value();
        block.next += length;
        block.records_left -= 1;
        if block.records_left == 0 && block.next < block.bytes.len() {
            return Err(self.refuse_block("it is longer than its records"));
        }
        Ok(())
    }

    /// Tells whether there was one more.
    fn read_block(&mut self) -> Result<bool> {
        self.block.number += 1;
        let is_end = self.reader.fill_buf().map(<[u8]>::is_empty);
        if is_end.map_err(|error| self.refuse_block("it cannot be read").because(error))? {
            return Ok(false);
        }
        match self.block.read(&mut self.reader, self.sync) {
            Ok(()) => Ok(true),
            Err(fault) => Err(self.refuse_block(&fault)),
        }
    }

    fn refuse_block(&self, fault: &str) -> Fatal {
        let (name, number) = (&self.name, self.block.number);
        Fatal::usage(format!("cannot read {name}, block {number}: {fault}"))
    }
}

impl Block {
    fn read(&mut self, reader: &mut impl Read, sync: [u8; 16]) -> Result<(), Fault> {
        let negative = "it has a negative length";
        let records = u64::try_from(read_long(reader)?).map_err(|_| negative)?;
        let length = u64::try_from(read_long(reader)?).map_err(|_| negative)?;
        if length > BLOCK_BYTES_MAX {
            return Err(format!(
                "it has {length} bytes; write blocks of at most {BLOCK_BYTES_MAX}"
            ));
        }
        read_bytes(reader, length, &mut self.bytes)?;
        if read_array(reader)? != sync {
            return Err("no sync marker follows it".to_owned());
        }
        self.next = 0;
        self.records_left = records;
        Ok(())
    }
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Header, Fault> {
        let _magic = read_array::<4>(reader)?;
        let mut header = Header::default();
        let mut entries_left = HEADER_ENTRIES_MAX;
        loop {
            let count = read_long(reader)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // So many entries, after the length of them all.
                read_long(reader)?;
            }
            entries_left = entries_left
                .checked_sub(count.unsigned_abs())
                .ok_or("its header has too many entries")?;
            for _ in 0..count.unsigned_abs() {
                header.read_entry(reader)?;
            }
        }
        header.sync = read_array(reader)?;
        Ok(header)
    }

    fn read_entry(&mut self, reader: &mut impl Read) -> Result<(), Fault> {
        let key = read_sized(reader)?;
        let value = read_sized(reader)?;
        let place = match key.as_slice() {
            b"avro.schema" => &mut self.schema,
            b"avro.codec" => &mut self.codec,
            _ => return Ok(()),
        };
        let text = String::from_utf8(value).map_err(|_| "its header is not UTF-8")?;
        *place = Some(text);
        Ok(())
    }
}

fn read_sized(reader: &mut impl Read) -> Result<Vec<u8>, Fault> {
    let length = u64::try_from(read_long(reader)?).ok();
    let length = length.filter(|length| *length <= HEADER_TEXT_BYTES_MAX);
    let length = length.ok_or("its header has a text that is too long")?;
    let mut bytes = Vec::new();
    read_bytes(reader, length, &mut bytes)?;
    Ok(bytes)
}

fn read_bytes(reader: &mut impl Read, length: u64, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    bytes.clear();
    let read = reader.take(length).read_to_end(bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 == length {
        Ok(())
    } else {
        Err(CUT_OFF.to_owned())
    }
}

const CUT_OFF: &str = "the file ends within it";

fn read_array<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(|_| CUT_OFF)?;
    Ok(bytes)
}

/// Zigzag, seven bits a byte, low bits first; at most 64 bits.
fn read_long(reader: &mut impl Read) -> Result<i64, Fault> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = read_array(reader)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err("a length has too many bytes".to_owned())
}
