//! One Avro record per value, resolved from its writer's schema, straight into the columns.
//!
//! Knows flat records only, as [`crate::schema`] admits no others. What the writer's fields become is
//! settled once, when the reader is made; after that a record is read front to back, must end where
//! the value ends, and leaves no state behind.
//!
//! Resolution follows Avro: fields meet by name, or by an alias in the input schema; int may be read
//! as long, float or double, long as float or double, float as double; a field that the writer lacks
//! takes its default. Three things are ours: a nullable field that the writer lacks is null without a
//! default, timestamps may differ in unit, and the names of records and enums may differ.

use super::column::{Column, Columns};
use super::{Names, UnknownFields};
use crate::record::Reason;
use crate::schema::{Constant, Decimal, Field, FieldType, InputSchema, SchemaError};

/// Decodes records of one writer's schema.
pub(super) struct AvroReader {
    steps: Vec<Step>,
    /// Fields that the writer lacks.
    constants: Vec<(usize, Constant)>,
    dropped: u64,
}

/// What is done with one field of the writer, in its order.
struct Step {
    written: FieldType,
    nullability: Nullability,
    target: Target,
}

enum Nullability {
    NeverNull,
    /// A union with null, which is this branch of the two.
    NullIs(u64),
}

enum Target {
    Skip,
    Column { index: usize, nullable: bool },
}

impl AvroReader {
    /// Fails where what `writer` writes cannot be read as `reader`.
    pub fn new(
        reader: &InputSchema,
        writer: &InputSchema,
        unknown_fields: UnknownFields,
    ) -> Result<AvroReader, SchemaError> {
        let resolved = resolve(reader.fields(), writer.fields(), unknown_fields);
        resolved.map_err(|error| match writer.file() {
            Some(file) => error.in_file(file),
            None => error,
        })
    }

    /// Fills one row; returns how many fields were passed over. On error the row is unfinished.
    pub fn read(&self, value: &[u8], columns: &mut Columns) -> Result<u64, Reason> {
        let mut bytes = Bytes { rest: value };
        for step in &self.steps {
            step.read(&mut bytes, columns)?;
        }
        if !bytes.rest.is_empty() {
            return Err(Reason::Malformed);
        }
        for (index, constant) in &self.constants {
            columns.get(*index).push_constant(constant);
        }
        Ok(self.dropped)
    }

    /// How many of `bytes` the record at their beginning takes, if they hold one.
    pub fn record_length(&self, bytes: &[u8]) -> Option<usize> {
        let mut rest = Bytes { rest: bytes };
        for step in &self.steps {
            step.skip(&mut rest).ok()?;
        }
        Some(bytes.len() - rest.rest.len())
    }
}

/// The schema id and the record, or `None` where the header is cut off or not one.
pub(super) fn split_registry_header(value: &[u8]) -> Option<(u32, &[u8])> {
    let ([0, id @ ..], record) = value.split_first_chunk::<5>()? else {
        return None;
    };
    Some((u32::from_be_bytes(*id), record))
}

fn resolve(
    reader: &[Field],
    writer: &[Field],
    unknown_fields: UnknownFields,
) -> Result<AvroReader, SchemaError> {
    let names = Names::of(reader);
    let mut steps = Vec::with_capacity(writer.len());
    let mut met = vec![false; reader.len()];
    let mut dropped = 0;
    for field in writer {
        let target = match names.find(&field.name) {
            Some(index) => {
                check_meeting(&reader[index], field, met[index])?;
                met[index] = true;
                Target::Column {
                    index,
                    nullable: reader[index].nullable,
                }
            }
            None if unknown_fields == UnknownFields::Reject => return Err(unknown(field)),
            None => {
                dropped += 1;
                Target::Skip
            }
        };
        steps.push(Step {
            written: field.kind.clone(),
            nullability: Nullability::of(field),
            target,
        });
    }
    let missing = reader.iter().enumerate().filter(|(index, _)| !met[*index]);
    let constants = missing.map(|(index, field)| Ok((index, constant(field)?)));
    let constants = constants.collect::<Result<_, SchemaError>>()?;
    Ok(AvroReader {
        steps,
        constants,
        dropped,
    })
}

fn check_meeting(reader: &Field, writer: &Field, met: bool) -> Result<(), SchemaError> {
    if met {
        let problem = format!("two of the writer's fields are read as `{}`", reader.name);
        let fix = "remove one of its aliases from the input schema";
        return Err(SchemaError::new(problem, fix).of_field(&writer.name));
    }
    if !is_readable_as(&writer.kind, &reader.kind) {
        let problem = format!("written as {}, but read as {}", writer.kind, reader.kind);
        let fix = "give the field of the input schema the writer's type";
        return Err(SchemaError::new(problem, fix).of_field(&writer.name));
    }
    Ok(())
}

fn unknown(field: &Field) -> SchemaError {
    let problem = "written, but not in the input schema, and unknown fields are to be rejected";
    SchemaError::new(
        problem,
        "add it to the input schema, or ignore unknown fields",
    )
    .of_field(&field.name)
}

fn constant(field: &Field) -> Result<Constant, SchemaError> {
    field.when_missing().cloned().ok_or_else(|| {
        let fix = "give it a default in the input schema, or make it nullable";
        SchemaError::new("required, but the writer's schema lacks it", fix).of_field(&field.name)
    })
}

fn is_readable_as(written: &FieldType, read: &FieldType) -> bool {
    use FieldType::{Boolean, Date, Decimal, Double, Enum, Float, Int, Long, String, Timestamp};
    match (written, read) {
        (String, String) | (Boolean, Boolean) | (Date, Date) | (Enum(_), Enum(_)) => true,
        (Timestamp(_), Timestamp(_)) => true,
        (Int, Int | Long | Float | Double) | (Long, Long | Float | Double) => true,
        (Float, Float | Double) | (Double, Double) => true,
        (Decimal(written), Decimal(read)) => written.scale() == read.scale(),
        _ => false,
    }
}

impl Nullability {
    fn of(field: &Field) -> Nullability {
        match (field.nullable, field.null_first) {
            (false, _) => Nullability::NeverNull,
            (true, true) => Nullability::NullIs(0),
            (true, false) => Nullability::NullIs(1),
        }
    }
}

impl Step {
    fn skip(&self, bytes: &mut Bytes<'_>) -> Result<(), Reason> {
        if self.is_null(bytes)? {
            return Ok(());
        }
        skip(&self.written, bytes)
    }

    fn is_null(&self, bytes: &mut Bytes<'_>) -> Result<bool, Reason> {
        Ok(match self.nullability {
            Nullability::NeverNull => false,
            Nullability::NullIs(branch) => bytes.branch_of_two()? == branch,
        })
    }

    fn read(&self, bytes: &mut Bytes<'_>, columns: &mut Columns) -> Result<(), Reason> {
        let is_null = self.is_null(bytes)?;
        match self.target {
            Target::Skip if is_null => Ok(()),
            Target::Skip => skip(&self.written, bytes),
            Target::Column {
                index,
                nullable: true,
            } if is_null => {
                columns.get(index).push_null();
                Ok(())
            }
            Target::Column { .. } if is_null => Err(Reason::MissingField),
            Target::Column { index, .. } => copy(&self.written, bytes, columns.get(index)),
        }
    }
}

/// Reads a value of the type `written` into a column of a type that it is readable as.
#[expect(
    clippy::cast_precision_loss,
    reason = "Avro lets a schema ask for the nearest float"
)]
fn copy(written: &FieldType, bytes: &mut Bytes<'_>, column: &mut Column) -> Result<(), Reason> {
    match (column, written) {
        (Column::String(rows), FieldType::String) => rows.push(bytes.string()?),
        (Column::Enum(known, rows), FieldType::Enum(written)) => {
            let symbol = written
                .in_order()
                .get(bytes.index()?)
                .ok_or(Reason::UnknownSymbol)?;
            let symbol = Some(symbol.as_str()).filter(|symbol| known.contains(symbol));
            rows.push(symbol.or(known.default()).ok_or(Reason::UnknownSymbol)?);
        }
        (Column::Int(rows), FieldType::Int) => rows.push(bytes.int()?),
        (Column::Long(rows), FieldType::Int) => rows.push(i64::from(bytes.int()?)),
        (Column::Long(rows), FieldType::Long) => rows.push(bytes.long()?),
        (Column::Float(rows), FieldType::Int) => rows.push(bytes.int()? as f32),
        (Column::Float(rows), FieldType::Long) => rows.push(bytes.long()? as f32),
        (Column::Float(rows), FieldType::Float) => rows.push(bytes.float()?),
        (Column::Double(rows), FieldType::Int) => rows.push(f64::from(bytes.int()?)),
        (Column::Double(rows), FieldType::Long) => rows.push(bytes.long()? as f64),
        (Column::Double(rows), FieldType::Float) => rows.push(f64::from(bytes.float()?)),
        (Column::Double(rows), FieldType::Double) => rows.push(bytes.double()?),
        (Column::Boolean(rows), FieldType::Boolean) => rows.push(bytes.boolean()?),
        (Column::Timestamp(_, rows), FieldType::Timestamp(unit)) => {
            rows.push(unit.to_micros(bytes.long()?).ok_or(Reason::OutOfRange)?);
        }
        (Column::Date(rows), FieldType::Date) => rows.push(bytes.int()?),
        (Column::Decimal(kind, rows), FieldType::Decimal(written)) => {
            let number = bytes.decimal(*written)?;
            if number.is_empty() {
                return Err(Reason::Malformed);
            }
            rows.push(kind.from_bytes(number).ok_or(Reason::OutOfRange)?);
        }
        _ => unreachable!("the schemas were resolved"),
    }
    Ok(())
}

fn skip(written: &FieldType, bytes: &mut Bytes<'_>) -> Result<(), Reason> {
    match written {
        FieldType::String => bytes.sized().map(drop),
        FieldType::Int | FieldType::Date => bytes.int().map(drop),
        FieldType::Enum(_) => bytes.index().map(drop),
        FieldType::Long | FieldType::Timestamp(_) => bytes.long().map(drop),
        FieldType::Float => bytes.take(4).map(drop),
        FieldType::Double => bytes.take(8).map(drop),
        FieldType::Boolean => bytes.boolean().map(drop),
        FieldType::Decimal(decimal) => bytes.decimal(*decimal).map(drop),
    }
}

/// What is left of a value. Whatever is not there to be read makes it malformed.
struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Reason::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Reason::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Seven bits a byte, lowest first; at most 64 bits.
    fn varint(&mut self) -> Result<u64, Reason> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Reason::Malformed)
    }

    fn long(&mut self) -> Result<i64, Reason> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn int(&mut self) -> Result<i32, Reason> {
        i32::try_from(self.long()?).map_err(|_| Reason::Malformed)
    }

    fn index(&mut self) -> Result<usize, Reason> {
        usize::try_from(self.long()?).map_err(|_| Reason::Malformed)
    }

    /// Bytes after their length.
    fn sized(&mut self) -> Result<&'a [u8], Reason> {
        let len = self.index()?;
        self.take(len)
    }

    fn string(&mut self) -> Result<&'a str, Reason> {
        std::str::from_utf8(self.sized()?).map_err(|_| Reason::NotUtf8)
    }

    fn decimal(&mut self, written: Decimal) -> Result<&'a [u8], Reason> {
        match written.fixed_bytes() {
            Some(len) => self.take(len),
            None => self.sized(),
        }
    }

    fn boolean(&mut self) -> Result<bool, Reason> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Reason::Malformed),
        }
    }

    fn float(&mut self) -> Result<f32, Reason> {
        let number = f32::from_le_bytes(self.array()?);
        if number.is_finite() {
            Ok(number)
        } else {
            Err(Reason::OutOfRange)
        }
    }

    fn double(&mut self) -> Result<f64, Reason> {
        let number = f64::from_le_bytes(self.array()?);
        if number.is_finite() {
            Ok(number)
        } else {
            Err(Reason::OutOfRange)
        }
    }

    fn branch_of_two(&mut self) -> Result<u64, Reason> {
        match self.long()? {
            branch @ 0..=1 => Ok(branch.unsigned_abs()),
            _ => Err(Reason::Malformed),
        }
    }
}
