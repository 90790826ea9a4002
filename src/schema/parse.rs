//! From the JSON of an `.avsc` to fields.
//!
//! Knows Avro's grammar for flat records and nothing of how values are read. Refuses what it does not
//! know rather than guess: an annotation that is silently dropped changes what a column means.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Constant, Decimal, Field, FieldType, SchemaError, Symbols, TimeUnit};

type Result<T> = std::result::Result<T, SchemaError>;

const KNOWN_TYPES: &str = "use string, int, long, float, double, boolean, an enum, a date, \
     timestamp-millis, timestamp-micros or a decimal, alone or in a union with null";

/// The fields of the record schema that `text` holds.
pub(super) fn fields(text: &str) -> Result<Vec<Field>> {
    let root: Value = serde_json::from_str(text).map_err(|error| {
        SchemaError::new(
            format!("not valid JSON ({error})"),
            "write an Avro record schema",
        )
    })?;
    let record = root
        .as_object()
        .filter(|record| record.get("type").and_then(Value::as_str) == Some("record"))
        .ok_or_else(|| SchemaError::new("not a record", r#"give it "type": "record""#))?;
    let list = record
        .get("fields")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| SchemaError::new("no fields", r#"list at least one in "fields""#))?;
    let namespace = record.get("namespace").and_then(Value::as_str);
    let mut named = Named {
        namespace,
        types: BTreeMap::new(),
    };
    let fields = list
        .iter()
        .map(|item| field(item, &mut named))
        .collect::<Result<Vec<_>>>()?;
    check_names(&fields)?;
    Ok(fields)
}

/// Two names that differ only in case are one column to DuckDB and most query engines.
fn check_names(fields: &[Field]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for field in fields {
        for name in std::iter::once(&field.name).chain(&field.aliases) {
            if let Some(other) = seen.insert(name.to_ascii_lowercase(), name) {
                let problem = format!("the name `{name}` is taken by `{other}`");
                let fix = "names and aliases must differ in more than upper and lower case";
                return Err(SchemaError::new(problem, fix).of_field(&field.name));
            }
        }
    }
    Ok(())
}

fn field(item: &Value, named: &mut Named) -> Result<Field> {
    let item = item.as_object();
    let name = item
        .and_then(|item| item.get("name"))
        .and_then(Value::as_str);
    let (Some(item), Some(name)) = (item, name) else {
        return Err(SchemaError::new(
            "a field without a name",
            r#"give it a "name""#,
        ));
    };
    field_named(name, item, named).map_err(|error| error.of_field(name))
}

fn field_named(name: &str, item: &Map<String, Value>, named: &mut Named) -> Result<Field> {
    check_name(name)?;
    let declared = item.get("type").ok_or_else(|| {
        SchemaError::new("no type", format!(r#"give it a "type": {KNOWN_TYPES}"#))
    })?;
    let (kind, nullable) = nullable_type(declared, named)?;
    let default = match item.get("default") {
        Some(default) => Some(constant(default, &kind, nullable)?),
        None => None,
    };
    Ok(Field {
        name: name.to_owned(),
        kind,
        nullable,
        null_first: declared.get(0).is_some_and(is_null),
        personal: personal(item)?,
        doc: item.get("doc").and_then(Value::as_str).map(str::to_owned),
        aliases: aliases(item)?,
        default,
    })
}

fn check_name(name: &str) -> Result<()> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_plain = name
        .chars()
        .all(|each| each.is_ascii_alphanumeric() || each == '_');
    if starts_well && is_plain {
        return Ok(());
    }
    let fix = "use letters, digits and _, and do not start with a digit";
    Err(SchemaError::new(
        format!("`{name}` is not an Avro name"),
        fix,
    ))
}

fn personal(item: &Map<String, Value>) -> Result<bool> {
    match item.get("personal") {
        None => Ok(false),
        Some(Value::Bool(personal)) => Ok(*personal),
        Some(_) => Err(SchemaError::new(
            "`personal` is not a boolean",
            "write true or false",
        )),
    }
}

fn aliases(item: &Map<String, Value>) -> Result<Vec<String>> {
    let Some(declared) = item.get("aliases") else {
        return Ok(Vec::new());
    };
    let aliases = strings(declared).ok_or_else(|| {
        SchemaError::new(
            "`aliases` is not a list of names",
            r#"write ["other_name"]"#,
        )
    })?;
    aliases.iter().try_for_each(|alias| check_name(alias))?;
    Ok(aliases)
}

fn strings(list: &Value) -> Option<Vec<String>> {
    let list = list.as_array()?.iter();
    list.map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The types that the schema names itself, so that a later field can refer to them.
struct Named<'a> {
    namespace: Option<&'a str>,
    types: BTreeMap<String, FieldType>,
}

impl Named<'_> {
    fn define(&mut self, item: &Map<String, Value>, kind: &FieldType) -> Result<()> {
        let name = item.get("name").and_then(Value::as_str).ok_or_else(|| {
            SchemaError::new(
                format!("{} without a name", article(kind)),
                r#"give it a "name""#,
            )
        })?;
        let namespace = item
            .get("namespace")
            .and_then(Value::as_str)
            .or(self.namespace);
        let full_name = match namespace {
            Some(namespace) if !name.contains('.') => format!("{namespace}.{name}"),
            _ => name.to_owned(),
        };
        if self.types.insert(full_name, kind.clone()).is_some() {
            let fix = "define it once and refer to it by name";
            return Err(SchemaError::new(
                format!("the type `{name}` is defined twice"),
                fix,
            ));
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&FieldType> {
        match self.namespace {
            Some(namespace) if !name.contains('.') => {
                self.types.get(&format!("{namespace}.{name}"))
            }
            _ => self.types.get(name),
        }
    }
}

fn article(kind: &FieldType) -> &'static str {
    if matches!(kind, FieldType::Enum(_)) {
        "an enum"
    } else {
        "a fixed"
    }
}

fn nullable_type(declared: &Value, named: &mut Named) -> Result<(FieldType, bool)> {
    let Value::Array(branches) = declared else {
        return Ok((plain_type(declared, named)?, false));
    };
    match branches.as_slice() {
        [null, kind] | [kind, null] if is_null(null) && !is_null(kind) => {
            Ok((plain_type(kind, named)?, true))
        }
        _ => Err(SchemaError::new(
            "a union other than of null and one type",
            r#"write ["null", "string"] for a nullable string, or the type alone"#,
        )),
    }
}

fn is_null(declared: &Value) -> bool {
    declared.as_str() == Some("null")
}

fn plain_type(declared: &Value, named: &mut Named) -> Result<FieldType> {
    match declared {
        Value::String(name) => match primitive(name) {
            Some(kind) => Ok(kind),
            None => named.find(name).cloned().ok_or_else(|| unsupported(name)),
        },
        Value::Object(item) => annotated_type(item, named),
        _ => Err(SchemaError::new(
            "the type is neither a name nor an object",
            KNOWN_TYPES,
        )),
    }
}

fn primitive(name: &str) -> Option<FieldType> {
    Some(match name {
        "string" => FieldType::String,
        "int" => FieldType::Int,
        "long" => FieldType::Long,
        "float" => FieldType::Float,
        "double" => FieldType::Double,
        "boolean" => FieldType::Boolean,
        _ => return None,
    })
}

fn unsupported(name: &str) -> SchemaError {
    let problem = format!("the type `{name}` is not supported");
    let fix = match name {
        "array" | "map" | "record" => {
            "flatten it into fields of their own; a field that the schema does not list is ignored"
        }
        "bytes" | "fixed" => {
            "only decimals are written as bytes or fixed: declare one, or a string"
        }
        _ => KNOWN_TYPES,
    };
    SchemaError::new(problem, fix)
}

fn annotated_type(item: &Map<String, Value>, named: &mut Named) -> Result<FieldType> {
    if item.contains_key("personal") {
        let fix = "move it out of the type, beside the field's `name`";
        return Err(SchemaError::new(
            "`personal` stands on the type, not on the field",
            fix,
        ));
    }
    let base = match item.get("type") {
        Some(Value::String(base)) => base.as_str(),
        Some(nested) => return plain_type(nested, named),
        None => {
            return Err(SchemaError::new(
                "a type object without `type`",
                KNOWN_TYPES,
            ));
        }
    };
    let logical = item.get("logicalType").and_then(Value::as_str);
    match (base, logical) {
        ("enum", None) => {
            let kind = FieldType::Enum(Arc::new(symbols(item)?));
            named.define(item, &kind)?;
            Ok(kind)
        }
        ("bytes", Some("decimal")) => decimal(item, None),
        ("fixed", Some("decimal")) => {
            let kind = decimal(item, Some(fixed_size(item)?))?;
            named.define(item, &kind)?;
            Ok(kind)
        }
        ("long", Some("timestamp-millis")) => Ok(FieldType::Timestamp(TimeUnit::Millis)),
        ("long", Some("timestamp-micros")) => Ok(FieldType::Timestamp(TimeUnit::Micros)),
        ("int", Some("date")) => Ok(FieldType::Date),
        (base, None) | (base @ "string", Some("uuid")) => {
            primitive(base).ok_or_else(|| unsupported(base))
        }
        (base, Some(logical)) => {
            let problem = format!("the logical type `{logical}` on {base} is not supported");
            let fix = format!("remove `logicalType` to read a plain {base}, or {KNOWN_TYPES}");
            Err(SchemaError::new(problem, fix))
        }
    }
}

fn symbols(item: &Map<String, Value>) -> Result<Symbols> {
    let fix = r#"write a list of different names, as in ["debit", "credit"]"#;
    let list = item
        .get("symbols")
        .and_then(strings)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| SchemaError::new("an enum without `symbols`", fix))?;
    let default = item
        .get("default")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let symbols = Symbols::new(list, default);
    if symbols.sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(SchemaError::new("an enum lists a symbol twice", fix));
    }
    if symbols
        .default()
        .is_some_and(|default| !symbols.contains(default))
    {
        let fix = "list it, or remove the default";
        return Err(SchemaError::new(
            "the default of the enum is not among its symbols",
            fix,
        ));
    }
    Ok(symbols)
}

fn fixed_size(item: &Map<String, Value>) -> Result<usize> {
    let size = item
        .get("size")
        .and_then(Value::as_u64)
        .filter(|size| (1..=64).contains(size));
    size.and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| {
            SchemaError::new(
                "a fixed without a usable `size`",
                "give its size in bytes, 1 to 64",
            )
        })
}

fn decimal(item: &Map<String, Value>, fixed_bytes: Option<usize>) -> Result<FieldType> {
    let digits = |key: &str| item.get(key).and_then(Value::as_u64).map(u8::try_from);
    let precision = digits("precision");
    let scale = if item.contains_key("scale") {
        digits("scale")
    } else {
        Some(Ok(0))
    };
    let decimal = match (precision, scale) {
        (Some(Ok(precision)), Some(Ok(scale))) => Decimal::new(precision, scale, fixed_bytes),
        _ => None,
    };
    decimal.map(FieldType::Decimal).ok_or_else(|| {
        SchemaError::new(
            "a decimal whose precision and scale do not fit",
            format!(
                "give `precision` 1 to {} and `scale` 0 to it",
                Decimal::PRECISION_MAX
            ),
        )
    })
}

fn constant(default: &Value, kind: &FieldType, nullable: bool) -> Result<Constant> {
    if default.is_null() && nullable {
        return Ok(Constant::Null);
    }
    let constant = match kind {
        FieldType::String => default.as_str().map(|text| Constant::Text(text.to_owned())),
        FieldType::Enum(symbols) => {
            let symbol = default.as_str().filter(|symbol| symbols.contains(symbol));
            symbol.map(|symbol| Constant::Text(symbol.to_owned()))
        }
        FieldType::Int | FieldType::Date => {
            let number = default
                .as_i64()
                .and_then(|number| i32::try_from(number).ok());
            number.map(Constant::Int)
        }
        FieldType::Long => default.as_i64().map(Constant::Long),
        FieldType::Timestamp(unit) => default
            .as_i64()
            .and_then(|time| unit.to_micros(time))
            .map(Constant::Long),
        FieldType::Float => default.as_f64().and_then(narrowed).map(Constant::Float),
        FieldType::Double => default.as_f64().map(Constant::Double),
        FieldType::Boolean => default.as_bool().map(Constant::Boolean),
        FieldType::Decimal(decimal) => default
            .as_str()
            .and_then(|text| decimal_default(*decimal, text))
            .map(Constant::Decimal),
    };
    constant.ok_or_else(|| {
        let null = if nullable { " or null" } else { "" };
        let fix = format!("give a value of type {kind}{null}, written as Avro writes defaults");
        SchemaError::new("the default does not fit the type", fix)
    })
}

/// Rounds to the nearest float; `None` where that is infinite.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is what is asked for"
)]
fn narrowed(number: f64) -> Option<f32> {
    Some(number as f32).filter(|float| float.is_finite())
}

/// Avro writes the default of bytes as a string with one character per byte.
fn decimal_default(decimal: Decimal, text: &str) -> Option<i128> {
    let bytes = text.chars().map(|each| u8::try_from(u32::from(each)).ok());
    decimal.from_bytes(&bytes.collect::<Option<Vec<u8>>>()?)
}
