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
    /// Of the last window, in the order of its subject's items; none before the first one of a package has ended.
    meters: Mutex<Option<(Arc<Subject>, Vec<DriftMetrics>)>>,
}

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
            if let Some(report) = self.drift.turn(now_micros()) {
                self.tell(&report);
            }
        }
    }

    /// From now on rounds of this package are counted, and no others.
    pub fn change(&self, package: &Package) {
        self.end(Subject::of(package));
        *self.meters() = None;
    }

    /// No round comes any more.
    pub fn close(&self) {
        self.end(None);
    }

    fn end(&self, next: Option<Subject>) {
        if let Some(report) = self.drift.change(next, now_micros()) {
            self.tell(&report);
        }
    }

    fn meters(&self) -> MutexGuard<'_, Option<(Arc<Subject>, Vec<DriftMetrics>)>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, report: &Report) {
        let mut meters = self.meters();
        let is_same = |(subject, _): &&mut (Arc<Subject>, _)| Arc::ptr_eq(subject, &report.subject);
        match meters.as_mut().filter(is_same) {
            Some((_, meters)) => {
                let items = meters.iter().zip(&report.measures);
                items.for_each(|(meter, measure)| meter.show(measure));
            }
            None => {
                let news = report.measures.iter().map(|measure| {
                    let meter = DriftMetrics::of(measure);
                    meter.show(measure);
                    meter
                });
                *meters = Some((report.subject.clone(), news.collect()));
            }
        }
    }

    fn tell(&self, report: &Report) {
        self.show(report);
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
