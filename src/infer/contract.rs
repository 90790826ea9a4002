//! What the ONNX model takes and gives, compared with what `model.toml` says of it.
//!
//! Looks at declarations only. A refusal says what the model has and what to write.

use std::fmt::Display;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use crate::error::{Fatal, Result};
use crate::features::FeatureType;
use crate::package::{Class, Inputs, Output, Package, Pick};

/// For each input of the model, in its order, the index of the feature that it takes; or nothing, for the
/// matrix of all of them.
pub(super) type Wiring = Option<Vec<usize>>;

/// Compares, and finds which feature goes where.
///
/// # Errors
/// If a name, a type or a width differs, or a dimension is fixed that must be free.
pub(super) fn check(package: &Package, session: &Session) -> Result<Wiring> {
    let contract = Contract { package };
    contract.outputs(session.outputs())?;
    match &package.inputs {
        Inputs::Matrix(name) => contract.matrix(name, session.inputs()).map(|()| None),
        Inputs::Columns => contract.columns(session.inputs()).map(Some),
    }
}

struct Contract<'a> {
    package: &'a Package,
}

impl Contract<'_> {
    fn refuse(&self, message: impl Display) -> Fatal {
        let package = self.package;
        Fatal::usage(format!("{}: {message}", package.manifest_path().display()))
    }

    fn matrix(&self, name: &str, inputs: &[Outlet]) -> Result<()> {
        let width = self.package.features.len();
        let [input] = inputs else {
            return Err(self.refuse(format!(
                "`model.matrix` says that the model has one input, but it has {}; leave `matrix` out and write one \
                 feature for each",
                list(inputs)
            )));
        };
        if input.name() != name {
            return Err(self.refuse(format!(
                "`model.matrix` is {name:?}, but the model has {}; write matrix = {:?}",
                list(inputs),
                input.name()
            )));
        }
        let ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape,
            ..
        } = input.dtype()
        else {
            return Err(self.refuse(format!(
                "the model's input {} is no matrix of 32-bit floats; export it with float inputs",
                describe(input)
            )));
        };
        let columns_fit = shape.len() == 2 && fits(shape[1], width);
        if !columns_fit {
            return Err(self.refuse(format!(
                "the model takes {}, but {width} features are written; write the features that it was trained on, in \
                 the order of its columns",
                describe(input)
            )));
        }
        self.rows(input, shape[0])
    }

    fn columns(&self, inputs: &[Outlet]) -> Result<Vec<usize>> {
        for feature in &self.package.features {
            if inputs.iter().all(|input| input.name() != feature.name) {
                return Err(self.refuse(format!(
                    "the model has no input for feature `{}`; it has {}",
                    feature.name,
                    list(inputs)
                )));
            }
        }
        inputs.iter().map(|input| self.column(input)).collect()
    }

    fn column(&self, input: &Outlet) -> Result<usize> {
        let features = &self.package.features;
        let Some(index) = features
            .iter()
            .position(|feature| feature.name == input.name())
        else {
            return Err(self.refuse(format!(
                "no feature is written for the model's input {}; add a [[feature]] of that name",
                describe(input)
            )));
        };
        let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
            return Err(self.refuse(format!(
                "the model's input {} is no tensor; probity cannot fill it",
                describe(input)
            )));
        };
        let kind = features[index].kind;
        if kind_of(*ty) != Some(kind) {
            let fix = match kind_of(*ty) {
                Some(wanted) => format!("write type = {:?}", wanted.as_str()),
                None => "probity has no such type; export the model with another".to_owned(),
            };
            return Err(self.refuse(format!(
                "feature `{}` is {}, but the model takes {}; {fix}",
                input.name(),
                kind.as_str(),
                describe(input)
            )));
        }
        if shape.len() != 2 || !fits(shape[1], 1) {
            return Err(self.refuse(format!(
                "the model's input {} is no single column; give the model inputs of shape [rows, 1], or one matrix",
                describe(input)
            )));
        }
        self.rows(input, shape[0])?;
        Ok(index)
    }

    fn outputs(&self, outputs: &[Outlet]) -> Result<()> {
        self.output("probability", &self.package.probability, outputs)?;
        match &self.package.margin {
            Some(margin) => self.output("margin", margin, outputs),
            None => Ok(()),
        }
    }

    fn output(&self, key: &str, wanted: &Output, outputs: &[Outlet]) -> Result<()> {
        let Some(output) = outputs.iter().find(|output| output.name() == wanted.name) else {
            return Err(self.refuse(format!(
                "`output.{key}` is {:?}, but the model has {}; write the name of one of these",
                wanted.name,
                list(outputs)
            )));
        };
        let fix = match output.dtype() {
            ValueType::Tensor {
                ty: TensorElementType::Float32,
                shape,
                ..
            } => {
                if matches!(shape.len(), 1 | 2) {
                    self.rows(output, shape[0])?;
                }
                tensor_fix(shape, &wanted.pick)
            }
            ValueType::Sequence(item) => zipmap_fix(item, &wanted.pick),
            _ => Some(
                "probity reads 32-bit floats only; export the model with float outputs".to_owned(),
            ),
        };
        match fix {
            None => Ok(()),
            Some(fix) => Err(self.refuse(format!(
                "`output.{key}`: the model gives {}; {fix}",
                describe(output)
            ))),
        }
    }

    /// The first dimension must be free, or just the one chunk.
    fn rows(&self, outlet: &Outlet, rows: i64) -> Result<()> {
        let sizes = &self.package.chunk_rows;
        if sizes.iter().all(|size| fits(rows, *size)) {
            return Ok(());
        }
        Err(self.refuse(format!(
            "`model.chunk_rows` is {sizes:?}, but the model has {} with just {rows} rows; write \
             chunk_rows = {rows}, or export the model with a free first dimension",
            describe(outlet)
        )))
    }
}

/// Whether a dimension is free or has this size.
fn fits(dimension: i64, size: usize) -> bool {
    dimension < 0 || usize::try_from(dimension) == Ok(size)
}

fn tensor_fix(shape: &[i64], pick: &Pick) -> Option<String> {
    match (shape, pick) {
        (_, Pick::Class(_)) => {
            Some("that is a tensor and no ZipMap; write `column` instead of `class`".to_owned())
        }
        ([_], Pick::Only) | ([], _) => None,
        ([_, columns], Pick::Only) if fits(*columns, 1) => None,
        ([_, columns], Pick::Only) => Some(format!(
            "write which of its {columns} columns: column = {}",
            columns - 1
        )),
        ([_, columns], Pick::Column(column)) => {
            let exists =
                *columns < 0 || usize::try_from(*columns).is_ok_and(|columns| *column < columns);
            (!exists).then(|| {
                format!(
                    "it has no column {column}; write one from 0 to {}",
                    columns - 1
                )
            })
        }
        ([_], Pick::Column(_)) => Some("it has no columns; leave `column` out".to_owned()),
        _ => Some("write the name of an output with one or two dimensions".to_owned()),
    }
}

fn zipmap_fix(item: &ValueType, pick: &Pick) -> Option<String> {
    match (item, pick) {
        (ValueType::Map { key: TensorElementType::Int64, value: TensorElementType::Float32 }, pick) => match pick {
            Pick::Class(Class::Number(_)) => None,
            _ => Some("that is a ZipMap; write the class whose value is meant, a number, such as class = 1".to_owned()),
        },
        (ValueType::Map { key: TensorElementType::String, value: TensorElementType::Float32 }, pick) => match pick {
            Pick::Class(Class::Text(_)) => None,
            _ => Some("that is a ZipMap; write the class whose value is meant, a text, such as class = \"1\"".to_owned()),
        },
        _ => Some("probity reads ZipMaps from integers or texts to 32-bit floats only".to_owned()),
    }
}

fn kind_of(element: TensorElementType) -> Option<FeatureType> {
    match element {
        TensorElementType::Float32 => Some(FeatureType::Float32),
        TensorElementType::Float64 => Some(FeatureType::Float64),
        TensorElementType::Int64 => Some(FeatureType::Int64),
        TensorElementType::String => Some(FeatureType::Utf8),
        TensorElementType::Bool => Some(FeatureType::Boolean),
        _ => None,
    }
}

fn describe(outlet: &Outlet) -> String {
    format!("`{}` {}", outlet.name(), type_of(outlet.dtype()))
}

/// As `probity model inspect` writes it.
fn type_of(kind: &ValueType) -> String {
    match kind {
        ValueType::Tensor {
            ty,
            shape,
            dimension_symbols,
        } => {
            let symbols = dimension_symbols.iter().map(String::as_str);
            let sizes = shape.iter().zip(symbols.chain(std::iter::repeat("")));
            let sizes = sizes.map(|(size, symbol)| match (*size, symbol) {
                (0.., _) => size.to_string(),
                (_, "") => "N".to_owned(),
                (_, symbol) => symbol.to_owned(),
            });
            format!("{}[{}]", element(*ty), sizes.collect::<Vec<_>>().join(", "))
        }
        ValueType::Sequence(item) => format!("sequence of {}", type_of(item)),
        ValueType::Map { key, value } => {
            format!("map from {} to {}", element(*key), element(*value))
        }
        ValueType::Optional(item) => format!("optional {}", type_of(item)),
    }
}

fn element(element: TensorElementType) -> String {
    match kind_of(element) {
        Some(kind) => kind.as_str().to_owned(),
        None => element.to_string(),
    }
}

fn list(outlets: &[Outlet]) -> String {
    outlets.iter().map(describe).collect::<Vec<_>>().join(", ")
}
