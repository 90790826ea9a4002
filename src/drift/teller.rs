//! Tells what windows were found to be: in metrics, in the log, and in the ledger. Nothing else follows from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::{Drift, Report, Settings, Subject};
use crate::archive::chronicle::Chronicle;
use crate::clock::now_micros;
use crate::config::Config;
use crate::metrics::DriftMetrics;
use crate::package::Package;
use crate::pipeline::Stop;

/// How often it is looked whether the window ends, or to stop.
const TURN: Duration = Duration::from_millis(50);

/// Belongs to a process.
pub struct Teller {
    drift: Arc<Drift>,
    /// A stability index above it is a warning.
    alert: f64,
    chronicle: Arc<Mutex<Chronicle>>,
    /// Held from the end of a window until it is told, so that what is shown last came last.
    meters: Mutex<Meters>,
}

/// Of the last window, in the order of its subject's items; none before the first one of a package has ended.
type Meters = Option<(Arc<Subject>, Vec<DriftMetrics>)>;

impl Teller {
    /// `None` where the configuration wants no windows.
    #[must_use]
    pub fn new(
        config: &Config,
        package: &Package,
        chronicle: Arc<Mutex<Chronicle>>,
    ) -> Option<Arc<Teller>> {
        let settings = Settings {
            window: config.drift.window,
            rows_min: config.drift.rows_min as u64,
        };
        if settings.window.is_zero() {
            return None;
        }
        let subject = Subject::of(package);
        if subject.is_none() {
            info!("drift is not measured: the package has no model.reference");
        }
        let drift = Drift::new(settings, subject, now_micros());
        Some(Arc::new(Teller {
            drift: Arc::new(drift),
            alert: config.drift.alert,
            chronicle,
            meters: Mutex::default(),
        }))
    }

    /// What lanes count into.
    #[must_use]
    pub fn drift(&self) -> Arc<Drift> {
        self.drift.clone()
    }

    /// Tells of windows as they end, until somebody asks to stop. Belongs on a thread of its own.
    pub fn run(&self, stop: &Stop) {
        while !stop.is_asked() {
            std::thread::sleep(TURN);
            let mut meters = self.meters();
            if let Some(report) = self.drift.turn(now_micros()) {
                self.tell(&mut meters, &report);
            }
        }
    }

    /// From now on rounds of this package are counted, and no others.
    pub fn change(&self, package: &Package) {
        *self.end(Subject::of(package)) = None;
    }

    /// No round comes any more.
    pub fn close(&self) {
        drop(self.end(None));
    }

    fn end(&self, next: Option<Subject>) -> MutexGuard<'_, Meters> {
        let mut meters = self.meters();
        if let Some(report) = self.drift.change(next, now_micros()) {
            self.tell(&mut meters, &report);
        }
        meters
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(meters: &mut Meters, report: &Report) {
        let is_same = |(subject, _): &&mut (Arc<Subject>, _)| Arc::ptr_eq(subject, &report.subject);
        if let Some((_, meters)) = meters.as_mut().filter(is_same) {
            let items = meters.iter().zip(&report.measures);
            items.for_each(|(meter, measure)| meter.show(measure));
            return;
        }
        // Those of another package say that nothing is known any more, some of them in the series of these.
        *meters = None;
        let news = report.measures.iter().map(DriftMetrics::of).collect();
        *meters = Some((report.subject.clone(), news));
    }

    fn tell(&self, meters: &mut Meters, report: &Report) {
        Teller::show(meters, report);
        let title = &report.subject.title;
        let is_far = |psi: f64| psi > self.alert;
        let far = report.measures.iter().filter(|it| is_far(it.psi));
        let far: Vec<String> = far.map(|it| format!("{} {:.3}", it.of, it.psi)).collect();
        let (rows, alert) = (report.rows, self.alert);
        match far.is_empty() {
            true => info!(rows, model = title, "no drift"),
            false => warn!(rows, model = title, alert, far = far.join(", "), "drift"),
        }
        let chronicle = self.chronicle.lock();
        let mut chronicle = chronicle.unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = chronicle.record("drift", facts(report)) {
            warn!(%error, "drift is not recorded in the ledger");
        }
    }
}

/// The report as an entry of the ledger has it. Numbers are the shortest that read back to the same bits.
fn facts(report: &Report) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::from([
        ("model".to_owned(), report.subject.title.clone()),
        ("package_sha256".to_owned(), report.subject.package.clone()),
        ("begun".to_owned(), report.begun.to_string()),
        ("ended".to_owned(), report.ended.to_string()),
        ("rows".to_owned(), report.rows.to_string()),
    ]);
    for it in &report.measures {
        let ratios = [
            ("psi", Some(it.psi)),
            ("missing", Some(it.missing)),
            ("out_of_range", it.out_of_range),
            ("unknown_category", it.unknown_category),
        ];
        for (what, ratio) in ratios {
            if let Some(ratio) = ratio {
                facts.insert(format!("{what}.{}", it.of), ratio.to_string());
            }
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::Measure;
    use crate::metrics;

    fn report(subject: &Arc<Subject>, psi: f64) -> Report {
        let measure = Measure {
            of: "amount".to_owned(),
            psi,
            missing: 0.0,
            out_of_range: None,
            unknown_category: None,
        };
        Report {
            subject: subject.clone(),
            begun: 0,
            ended: 1,
            rows: 1,
            measures: vec![measure],
        }
    }

    #[test]
    fn what_is_shown_is_the_last_window_s_also_where_another_package_has_the_same_features() {
        let subject = || {
            Arc::new(Subject {
                package: String::new(),
                title: String::new(),
                items: Vec::new(),
            })
        };
        let (first, second) = (subject(), subject());
        let (recorder, handle) = metrics::recorder().unwrap();
        ::metrics::with_local_recorder(&recorder, || {
            let mut meters = None;
            let mut shows = |subject, psi: f64| {
                Teller::show(&mut meters, &report(subject, psi));
                let line = format!("probity_drift_psi{{of=\"amount\"}} {psi}\n");
                let text = handle.render();
                assert!(text.contains(&line), "{line} is not in {text}");
            };
            shows(&first, 0.5);
            shows(&first, 0.25);
            shows(&second, 0.75);
        });
    }
}
