//! The gauges of drift, which name the score and features of the package.

use metrics::Gauge;

use super::{DRIFT_MISSING, DRIFT_OUT_OF_RANGE, DRIFT_PSI, DRIFT_UNKNOWN};
use crate::drift::Measure;

/// What the last window found of one item. Dropping it says that nothing is known any more.
pub struct DriftMetrics {
    psi: Gauge,
    missing: Gauge,
    out_of_range: Option<Gauge>,
    unknown_category: Option<Gauge>,
}

impl DriftMetrics {
    #[must_use]
    pub fn of(measure: &Measure) -> DriftMetrics {
        let of = measure.of.as_str();
        let metrics = DriftMetrics {
            psi: DRIFT_PSI.gauge(&[of]),
            missing: DRIFT_MISSING.gauge(&[of]),
            out_of_range: measure
                .out_of_range
                .map(|_| DRIFT_OUT_OF_RANGE.gauge(&[of])),
            unknown_category: measure.unknown_category.map(|_| DRIFT_UNKNOWN.gauge(&[of])),
        };
        metrics.show(measure);
        metrics
    }

    /// The same item in another window.
    pub fn show(&self, measure: &Measure) {
        self.psi.set(measure.psi);
        self.missing.set(measure.missing);
        set(&self.out_of_range, measure.out_of_range);
        set(&self.unknown_category, measure.unknown_category);
    }
}

impl Drop for DriftMetrics {
    fn drop(&mut self) {
        self.psi.set(f64::NAN);
        self.missing.set(f64::NAN);
        set(&self.out_of_range, Some(f64::NAN));
        set(&self.unknown_category, Some(f64::NAN));
    }
}

fn set(gauge: &Option<Gauge>, value: Option<f64>) {
    if let (Some(gauge), Some(value)) = (gauge, value) {
        gauge.set(value);
    }
}
