//! From the model's outputs to one number for each row.

use ort::session::SessionOutputs;
use ort::value::{DynMapValueType, DynSequenceValueType, DynValue, Value};

use crate::package::{Class, Output, Pick};

/// The values of `wanted` for a chunk of `rows` rows.
///
/// # Errors
/// A sentence that says what the model gave instead. It is the same for every input, so no row is to blame.
pub(super) fn read(
    outputs: &SessionOutputs<'_>,
    wanted: &Output,
    rows: usize,
) -> Result<Vec<f32>, String> {
    let name = &wanted.name;
    let value = outputs
        .get(name)
        .ok_or_else(|| format!("the model gave no output `{name}`"))?;
    let numbers = match &wanted.pick {
        Pick::Only => read_tensor(value, None),
        Pick::Column(column) => read_tensor(value, Some(*column)),
        Pick::Class(class) => read_zipmap(value, class),
    };
    let numbers = numbers.map_err(|problem| format!("output `{name}`: {problem}"))?;
    if numbers.len() != rows {
        return Err(format!(
            "output `{name}`: the model gave {} numbers for {rows} rows",
            numbers.len()
        ));
    }
    Ok(numbers)
}

/// This column of a tensor with two dimensions, or the only one.
fn read_tensor(value: &DynValue, column: Option<usize>) -> Result<Vec<f32>, String> {
    let (shape, numbers) = value
        .try_extract_tensor::<f32>()
        .map_err(|error| error.message().to_owned())?;
    let width = match shape[..] {
        [_] => 1,
        [_, width] => usize::try_from(width).unwrap_or(0),
        _ => return Err(format!("the model gave a tensor of shape {shape:?}")),
    };
    let column = match column {
        None if width == 1 => 0,
        Some(column) if column < width => column,
        _ => return Err(format!("the model gave {width} columns")),
    };
    Ok(numbers
        .iter()
        .skip(column)
        .step_by(width)
        .copied()
        .collect())
}

fn read_zipmap(value: &DynValue, class: &Class) -> Result<Vec<f32>, String> {
    let told = |error: ort::Error| error.message().to_owned();
    let sequence = value
        .view()
        .downcast::<DynSequenceValueType>()
        .map_err(told)?;
    let maps = sequence
        .try_extract_sequence::<DynMapValueType>()
        .map_err(told)?;
    maps.iter().map(|map| read_map(map, class)).collect()
}

fn read_map(map: &Value<DynMapValueType>, class: &Class) -> Result<f32, String> {
    let told = |error: ort::Error| error.message().to_owned();
    match class {
        Class::Number(class) => find(
            map.try_extract_key_values::<i64, f32>().map_err(told)?,
            class,
        ),
        Class::Text(class) => find(
            map.try_extract_key_values::<String, f32>().map_err(told)?,
            class,
        ),
    }
}

fn find<K: PartialEq + std::fmt::Debug>(entries: Vec<(K, f32)>, class: &K) -> Result<f32, String> {
    let classes = || {
        entries
            .iter()
            .map(|(key, _)| format!("{key:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let found = entries.iter().find(|(key, _)| key == class);
    found
        .map(|(_, number)| *number)
        .ok_or_else(|| format!("the model has no class {class:?}; it has {}", classes()))
}
