//! Whether explanations are right, asked when a package is loaded: of the background and the golden rows.

use arrow::array::ArrayRef;

use super::{Explainer, Kind, logistic};
use crate::error::Result;
use crate::infer::Model;
use crate::package::{Golden, Package};

/// How far the margin may be from ONNX Runtime's, which adds in 32 bits, for each unit of the margin and at least
/// for one. Measured: 8e-6 on 200 trees.
const MARGIN_TOLERANCE: f64 = 2e-5;
/// How far contributions may be from the package's, which other libraries calculate from leaves of 32 bits.
const GOLDEN_TOLERANCE: f64 = 1e-6;
/// How far a probability may be from ONNX Runtime's, where a model gives no margin.
const PROBABILITY_TOLERANCE: f64 = 1e-6;

impl Explainer {
    /// Base and contributions give what the model says of these rows; the inner result says where not.
    pub(super) fn check(
        &self,
        package: &Package,
        model: &mut Model,
        columns: &[ArrayRef],
    ) -> Result<Result<(), String>> {
        let scored = model.run(columns)?;
        let accepted = scored.rejected.iter().enumerate();
        let accepted = accepted.filter(|(_, rejected)| rejected.is_none());
        let rows = accepted.map(|(row, _)| row).take(self.rows_to_check());
        let rows: Vec<usize> = rows.collect();
        let found = self.explain(model, columns, scored.margin.as_deref(), &rows)?;
        for (at, row) in found.rows.iter().enumerate() {
            let sum = found.sum(at);
            let (expected, sum, tolerance) = match &scored.margin {
                Some(margin) => {
                    let margin = f64::from(margin[*row]);
                    (margin, sum, margin_tolerance(margin))
                }
                None => (
                    f64::from(scored.score[*row]),
                    logistic(sum),
                    PROBABILITY_TOLERANCE,
                ),
            };
            if !is_close(sum, expected, tolerance) {
                return Ok(Err(format!(
                    "the contributions of row {row} of the golden or background rows add up to {sum}, but {} says \
                     {expected}; look at which output is the margin, or write method = \"permutation\"",
                    package.model.file
                )));
            }
        }
        Ok(Ok(()))
    }

    /// The package's own contributions are ours.
    pub(super) fn check_golden(
        &self,
        package: &Package,
        model: &mut Model,
        golden: &Golden,
    ) -> Result<Result<(), String>> {
        let file = package
            .golden_file
            .as_ref()
            .map_or("the golden rows", |part| &*part.file);
        let model_file = &package.model.file;
        let differ = |what: String, found: f64, expected: f64| {
            Ok(Err(format!(
                "{file}: {expected} for {what}, but it is {found}; make the golden rows again from this {model_file} \
                 and this background"
            )))
        };
        if let Some(base) = golden.base
            && !is_close(self.base, base, GOLDEN_TOLERANCE * base.abs().max(1.0))
        {
            return differ("the base".to_owned(), self.base, base);
        }
        let Some(expected) = &golden.contributions else {
            return Ok(Ok(()));
        };
        if matches!(self.kind, Kind::Permutation(_)) {
            return Ok(Err(format!(
                "{file} has contributions, but those of permutations are not exact; leave them out"
            )));
        }
        let rows: Vec<usize> = (0..golden.score.len()).collect();
        let found = self.explain(model, &golden.columns, None, &rows)?;
        for row in rows {
            let tolerance = GOLDEN_TOLERANCE * found.sum(row).abs().max(1.0);
            for (feature, spec) in package.features.iter().enumerate() {
                let (found, expected) = (found.contributions[feature][row], expected[feature][row]);
                if !is_close(found, expected, tolerance) {
                    return differ(
                        format!("the contribution of `{}` in row {row}", spec.name),
                        found,
                        expected,
                    );
                }
            }
        }
        Ok(Ok(()))
    }

    /// An approximate explanation costs many runs of the model.
    fn rows_to_check(&self) -> usize {
        match self.kind {
            Kind::Trees(_) | Kind::Linear(..) => usize::MAX,
            Kind::Permutation(_) => 2,
        }
    }
}

fn margin_tolerance(margin: f64) -> f64 {
    MARGIN_TOLERANCE * margin.abs().max(1.0)
}

/// Whether base and contributions, which add up to `sum`, explain this margin.
pub(super) fn adds_up(sum: f64, margin: f64) -> bool {
    is_close(sum, margin, margin_tolerance(margin))
}

/// No number that is not a number is close.
fn is_close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance
}
