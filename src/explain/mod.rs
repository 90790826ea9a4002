//! Why a score is what it is: what each feature adds to the margin, compared with the package's background rows.
//!
//! Of trees and of weighted sums the contributions are exact Shapley values, read from the ONNX file alone; of any
//! other model they are approximated by running it. Always on the margin (log-odds), where contributions add up; the
//! base and the contributions of a row are its margin within rounding. Path-dependent values, which other libraries
//! give by default, are not offered: they need to know how many training rows went where, and ONNX files
//! do not carry that.
//!
//! An explanation depends on its own row, the ONNX file and the background. The last bits of an exact one depend also
//! on `explain.memory` and the version of the program, which cut the forest into tables, and those of an approximation on
//! the runtime. The archive has all of these, so an explanation can be repeated from it to the bit.

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::Float32Type;

use crate::error::{Fatal, Result};
use crate::features::FeatureType;
use crate::infer::Model;
use crate::package::{self, Method, Package, Pick, Reasons};

mod bins;
mod check;
mod ensemble;
mod graph;
pub mod live;
pub(crate) mod onnx;
mod permutation;
mod plan;
pub mod reasons;
mod shapley;
mod tables;
#[cfg(test)]
mod tests;

use graph::{Linear, Margin};
use permutation::Permutations;
use tables::Tables;

/// Explains the scores of one package. Lanes share it.
pub struct Explainer {
    kind: Kind,
    base: f64,
}

enum Kind {
    Trees(Tables),
    /// With the means of the background.
    Linear(Linear, Vec<f64>),
    Permutation(Permutations),
}

/// What the features add to the margins of some rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Attributions {
    /// Those of the asked rows that have an explanation, in their order.
    pub rows: Vec<usize>,
    /// The mean margin of the background rows.
    pub base: f64,
    /// By feature, then by row of `rows`.
    pub contributions: Vec<Vec<f64>>,
}

impl Explainer {
    /// Prepares to explain the package's scores, and compares what it would say of the background and the golden rows
    /// with what the model and the package say. Without `[reasons]` in the package there is nothing to do.
    ///
    /// # Errors
    /// When the model cannot be explained by the package's method within `max_bytes`, or contradicts itself.
    pub fn open(
        package: &Package,
        model: &mut Model,
        max_bytes: usize,
    ) -> Result<Option<Explainer>> {
        let Some(reasons) = &package.reasons else {
            return Ok(None);
        };
        let refuse = |why: String| {
            let file = package.manifest_path();
            Fatal::usage(format!("{}: [reasons]: {why}", file.display()))
        };
        let background = &reasons.background.columns;
        let scored = model.run(background)?;
        if let Some(row) = scored.rejected.iter().position(Option::is_some) {
            return Err(refuse(format!(
                "the model rejects row {row} of the background; take it out"
            )));
        }
        let (kind, base) = match reasons.method {
            Method::Permutation => {
                let margins = scored.margin.unwrap_or_default();
                let mean = margins.iter().copied().map(f64::from).sum::<f64>()
                    / reasons.background.rows as f64;
                let permutations = Permutations::new(
                    background.clone(),
                    margins,
                    reasons.permutations,
                    &package.digest(),
                );
                (Kind::Permutation(permutations), mean)
            }
            Method::Tree | Method::Linear => exact(package, reasons, max_bytes).map_err(refuse)?,
        };
        let explainer = Explainer { kind, base };
        explainer
            .check(package, model, background)?
            .map_err(refuse)?;
        if let Some(golden) = &package.golden {
            explainer
                .check(package, model, &golden.columns)?
                .map_err(refuse)?;
            explainer
                .check_golden(package, model, golden)?
                .map_err(refuse)?;
        }
        Ok(Some(explainer))
    }

    /// What explaining by an exact method will take, from the package alone: the model is not run. None where the
    /// method is approximate, or there are no reasons.
    ///
    /// # Errors
    /// Why the model cannot be explained by that method within `max_bytes`.
    pub fn forecast(
        package: &Package,
        max_bytes: usize,
    ) -> std::result::Result<Option<String>, String> {
        match &package.reasons {
            Some(reasons) if reasons.method != Method::Permutation => {
                let (kind, base) = exact(package, reasons, max_bytes)?;
                Ok(Some(Explainer { kind, base }.summary()))
            }
            _ => Ok(None),
        }
    }

    /// The mean margin of the background rows, from which contributions count.
    #[must_use]
    pub fn base(&self) -> f64 {
        self.base
    }

    /// As records and evidence name it.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self.kind {
            Kind::Trees(_) => "tree-interventional",
            Kind::Linear(..) => "linear",
            Kind::Permutation(_) => "permutation",
        }
    }

    /// How often the model is run for one explanation; 0 for exact methods.
    #[must_use]
    pub fn evaluations(&self) -> u32 {
        match &self.kind {
            Kind::Trees(_) | Kind::Linear(..) => 0,
            Kind::Permutation(permutations) => permutations.evaluations(),
        }
    }

    /// The largest margin of which contributions are differences, as far as it is known; 0 for exact methods, which do
    /// not run the model.
    #[must_use]
    pub fn largest_margin(&self) -> f64 {
        match &self.kind {
            Kind::Trees(_) | Kind::Linear(..) => 0.0,
            Kind::Permutation(permutations) => permutations.largest_margin(),
        }
    }

    /// For the log at start: what was prepared.
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.kind {
            Kind::Trees(tables) => {
                let (look_ups, games) = tables.effort();
                let (kib, planned) = (tables.bytes() >> 10, tables.planned_bytes() >> 10);
                format!(
                    "exact, {look_ups} look-ups and {games} leaves without a table for each row, tables of {kib} KiB \
                     ({planned} KiB predicted)"
                )
            }
            Kind::Linear(..) => "exact, from the coefficients".to_owned(),
            Kind::Permutation(permutations) => format!(
                "approximate, {} runs of the model for each row",
                permutations.evaluations()
            ),
        }
    }

    /// Explains these rows of the columns, which are the package's features in its order, with the margins that the
    /// model gave all rows. A row without an explanation is left out: one that the model cannot be run around.
    ///
    /// # Errors
    /// If the model no longer runs.
    ///
    /// # Panics
    /// If a row is not there.
    pub fn explain(
        &self,
        model: &mut Model,
        features: &[ArrayRef],
        margins: Option<&[f32]>,
        rows: &[usize],
    ) -> Result<Attributions> {
        let mut contributions = vec![vec![0.0; rows.len()]; features.len()];
        let mut explained = rows.to_vec();
        match &self.kind {
            Kind::Trees(tables) => tables.explain(&floats(features, rows), &mut contributions),
            Kind::Linear(linear, means) => {
                let features = floats(features, rows);
                for (feature, contributions) in contributions.iter_mut().enumerate() {
                    let (weight, mean) = (linear.weights[feature], means[feature]);
                    // A feature without weight adds nothing, even where it is infinite.
                    if weight != 0.0 {
                        for (sum, value) in contributions.iter_mut().zip(&features[feature]) {
                            *sum = weight * (f64::from(*value) - mean);
                        }
                    }
                }
            }
            Kind::Permutation(permutations) => {
                let margins = margins.expect("a package explained by permutation has a margin");
                explained.clear();
                contributions.iter_mut().for_each(Vec::clear);
                let found = permutations.explain(model, features, margins, rows)?;
                for (row, found) in rows.iter().zip(found) {
                    let Some(found) = found else { continue };
                    explained.push(*row);
                    for (contributions, found) in contributions.iter_mut().zip(found) {
                        contributions.push(found);
                    }
                }
            }
        }
        Ok(Attributions {
            rows: explained,
            base: self.base,
            contributions,
        })
    }
}

impl Attributions {
    /// The contributions to the row at this index of `rows`, by feature.
    #[must_use]
    pub fn of(&self, at: usize) -> Vec<f64> {
        self.contributions
            .iter()
            .map(|of_feature| of_feature[at])
            .collect()
    }

    /// Base and contributions of the row at this index of `rows`.
    #[must_use]
    pub fn sum(&self, at: usize) -> f64 {
        let contributions = self.contributions.iter().map(|of_feature| of_feature[at]);
        contributions.fold(self.base, |sum, contribution| sum + contribution)
    }
}

/// The probability that a margin stands for.
#[must_use]
pub fn logistic(margin: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-margin))
}

/// What exact explanations need, and the base.
fn exact(
    package: &Package,
    reasons: &Reasons,
    max_bytes: usize,
) -> std::result::Result<(Kind, f64), String> {
    if let Some(spec) = package
        .features
        .iter()
        .find(|f| f.kind != FeatureType::Float32)
    {
        return Err(format!(
            "feature `{}` is {}, and exact methods need float32; write method = \"permutation\"",
            spec.name,
            spec.kind.as_str()
        ));
    }
    let inputs = match &package.inputs {
        package::Inputs::Matrix(name) => graph::Inputs::Matrix(name),
        package::Inputs::Columns => {
            graph::Inputs::Columns(package.features.iter().map(|f| &*f.name).collect())
        }
    };
    let outputs = graph::Outputs {
        margin: package.margin.as_ref().map(place),
        probability: place(&package.probability),
    };
    let width = package.features.len();
    let margin = graph::read(&package.model.bytes, width, &inputs, outputs)
        .map_err(|why| format!("{why}; write method = \"permutation\" for such a model"))?;
    let rows: Vec<usize> = (0..reasons.background.rows).collect();
    let background = floats(&reasons.background.columns, &rows);
    match (margin, reasons.method) {
        (Margin::Trees(ensemble), Method::Tree) => {
            let tables = Tables::new(&ensemble, &background, max_bytes)?;
            let base = tables.base();
            Ok((Kind::Trees(tables), base))
        }
        (Margin::Linear(linear), Method::Linear) => {
            let mean = |values: &Vec<f32>| {
                values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
            };
            let means: Vec<f64> = background.iter().map(mean).collect();
            let base = linear.of(&means);
            Ok((Kind::Linear(linear, means), base))
        }
        (Margin::Trees(_), _) => {
            Err("the margin is a sum over trees; write method = \"tree\"".to_owned())
        }
        (Margin::Linear(_), _) => {
            Err("the margin is a weighted sum of features; write method = \"linear\"".to_owned())
        }
    }
}

/// The output, and the column of it that matters.
fn place(output: &package::Output) -> (&str, usize) {
    match output.pick {
        Pick::Only | Pick::Class(_) => (&*output.name, 0),
        Pick::Column(column) => (&*output.name, column),
    }
}

/// These rows of columns of 32-bit floats; null is NaN, as the model gets it.
fn floats(columns: &[ArrayRef], rows: &[usize]) -> Vec<Vec<f32>> {
    let column = |column: &ArrayRef| {
        let column = column.as_primitive::<Float32Type>();
        let value = |row: &usize| {
            if column.is_null(*row) {
                f32::NAN
            } else {
                column.value(*row)
            }
        };
        rows.iter().map(value).collect()
    };
    columns.iter().map(column).collect()
}
