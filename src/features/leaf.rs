//! What an expression starts from: columns and literals.
//!
//! Knows which Arrow types a column may have and how numbers are written. Promises that every number
//! is the one that was written, or the nearest double to it.

use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use sqlparser::ast::{Ident, Value};
use sqlparser::tokenizer::Span;

use super::check::Checker;
use super::error::{Fault, did_you_mean};
use super::expr::{Kind, Node, Type};

/// How the hint begins that lists all columns.
pub(super) const COLUMNS: &str = "the columns are ";

impl Checker<'_> {
    pub(super) fn column(&mut self, ident: &Ident) -> Result<Node, Fault> {
        let name = ident.value.as_str();
        let Some(index) = self
            .schema
            .fields()
            .iter()
            .position(|field| field.name() == name)
        else {
            let fault = Fault::new(ident.span, format!("there is no column `{name}`"));
            let names = self
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_str());
            let all: Vec<&str> = names.clone().collect();
            let hint = did_you_mean(name, names);
            return Err(fault.hint(hint.unwrap_or_else(|| format!("{COLUMNS}{}", all.join(", ")))));
        };
        let data_type = self.schema.field(index).data_type();
        let ty = column_type(data_type).ok_or_else(|| {
            let message = format!("column `{name}` is {data_type}, which no expression can use");
            Fault::new(ident.span, message).hint(
                "columns can be Utf8, Boolean, Int32, Int64, Float32, Float64, Decimal128, Date32 \
                 and Timestamp(µs, \"UTC\")",
            )
        })?;
        let slot = self
            .columns
            .iter()
            .position(|used| *used == index)
            .unwrap_or_else(|| {
                self.columns.push(index);
                self.columns.len() - 1
            });
        Ok(Node::new(
            Kind::Column {
                slot,
                name: name.to_owned(),
            },
            ty,
        ))
    }
}

/// A literal with the minus before it, if there is one.
pub(super) fn literal(value: &Value, sign: &str, span: Span) -> Result<Node, Fault> {
    let node = match value {
        Value::Null => Node::null(Type::Null),
        Value::Boolean(value) => Node::boolean(*value),
        Value::SingleQuotedString(text) => Node::text(text),
        Value::Number(digits, false) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let number = format!("{sign}{digits}").parse().map_err(|_| {
                let message = format!("`{sign}{digits}` does not fit an integer of 64 bits");
                Fault::new(span, message).hint(format!("write {digits}.0 for a double"))
            })?;
            Node::integer(number)
        }
        Value::Number(digits, false) => match format!("{sign}{digits}").parse::<f64>() {
            // Adding zero makes a plain zero of minus zero.
            Ok(number) if number.is_finite() => Node::double(number + 0.0),
            _ => {
                return Err(Fault::new(
                    span,
                    format!("`{digits}` does not fit a double"),
                ));
            }
        },
        other => {
            let fault = Fault::new(span, format!("there is no literal like `{other}`"));
            return Err(fault.hint("literals are 1, 1.5, 'text', TRUE, FALSE and NULL"));
        }
    };
    Ok(node)
}

/// What a column of this type is inside an expression.
fn column_type(data_type: &ArrowType) -> Option<Type> {
    match data_type {
        ArrowType::Boolean => Some(Type::Boolean),
        ArrowType::Int32 | ArrowType::Int64 => Some(Type::Integer),
        ArrowType::Float32 | ArrowType::Float64 | ArrowType::Decimal128(..) => Some(Type::Double),
        ArrowType::Utf8 => Some(Type::Text),
        ArrowType::Date32 => Some(Type::Timestamp),
        ArrowType::Timestamp(TimeUnit::Microsecond, Some(zone))
            if matches!(zone.as_ref(), "UTC" | "+00:00") =>
        {
            Some(Type::Timestamp)
        }
        _ => None,
    }
}
