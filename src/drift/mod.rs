//! Drift: how far what a model scores now lies from what it was fitted on.
//!
//! Lanes count the values of committed rounds into the bins of the package's reference; when a window ends, shares are
//! compared. Promises that a row is counted once, in the window and against the reference of the package that decided
//! it, and that nothing here acts: what is found is told, by [`teller`]. What is counted is in memory only: a crash
//! loses the window, and each process has a window of its own partitions.
//!
//! Knows no clock: whoever calls says what time it is.

mod measure;
mod tally;
pub mod teller;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::ArrayRef;

use crate::batch::Lineage;
use crate::features::Evaluated;
use crate::lane::Round;
use crate::package::{Distribution, Package};
pub use measure::{Measure, SHARE_MIN, psi};
pub use tally::Tally;

/// How the metrics and the ledger call the score; features have their own names.
pub const SCORE: &str = "score";

/// When a window ends.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// It is at least so long,
    pub window: Duration,
    /// and has at least so many rows.
    pub rows_min: u64,
}

/// A package, as far as drift is measured from it.
#[derive(Clone, PartialEq, Debug)]
pub struct Subject {
    /// The SHA-256 of the package, as evidence names it.
    pub package: String,
    pub title: String,
    /// The score first, then the features in the order of the reference.
    pub items: Vec<Item>,
}

/// The score or a feature.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    pub of: String,
    /// The index of the feature; `None`: the score.
    pub feature: Option<usize>,
    pub reference: Distribution,
    /// Others are out of range.
    pub range: Option<[f64; 2]>,
    /// The code of texts that the package does not list.
    pub unknown: Option<f64>,
}

impl Subject {
    /// `None` where the package has no reference.
    #[must_use]
    pub fn of(package: &Package) -> Option<Subject> {
        let reference = package.reference.as_ref()?;
        let score = Item {
            of: SCORE.to_owned(),
            feature: None,
            reference: reference.score.clone(),
            range: None,
            unknown: None,
        };
        let features = reference.features.iter().map(|(index, distribution)| {
            let feature = &package.features[*index];
            Item {
                of: feature.name.clone(),
                feature: Some(*index),
                reference: distribution.clone(),
                range: feature.about.range,
                unknown: feature.categories.as_ref().map(|it| it.unknown()),
            }
        });
        Some(Subject {
            package: package.digest().to_string(),
            title: package.title(),
            items: std::iter::once(score).chain(features).collect(),
        })
    }
}

/// Rows that were decided.
pub struct Seen<'a> {
    pub score: &'a [f32],
    pub features: &'a Evaluated,
    /// The rows that count; `None`: all of them.
    pub live: Option<Vec<usize>>,
}

impl<'a> Seen<'a> {
    /// The events of a round that nothing refused.
    fn of(round: &'a Round<'_>) -> Seen<'a> {
        let scored = &round.decided.scored;
        Seen {
            score: &scored.score,
            features: &scored.featured.features,
            live: live(round.lineage),
        }
    }

    fn rows(&self) -> usize {
        self.live.as_ref().map_or(self.score.len(), Vec::len)
    }

    fn feature(&self, index: usize) -> &ArrayRef {
        &self.features.columns[index]
    }
}

fn live(lineage: &Lineage) -> Option<Vec<usize>> {
    let rows = 0..lineage.rows();
    let is_live = |row: &usize| lineage.is_live(*row);
    match rows.clone().all(|row| is_live(&row)) {
        true => None,
        false => Some(rows.filter(is_live).collect()),
    }
}

/// What a window was found to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    pub subject: Arc<Subject>,
    /// µs since the epoch.
    pub begun: i64,
    pub ended: i64,
    pub rows: u64,
    /// In the order of the subject's items.
    pub measures: Vec<Measure>,
}

struct Window {
    subject: Arc<Subject>,
    begun: i64,
    rows: u64,
    /// One for each item.
    tallies: Vec<Tally>,
}

impl Window {
    fn new(subject: Arc<Subject>, begun: i64) -> Window {
        let tallies = empty(&subject);
        Window {
            subject,
            begun,
            rows: 0,
            tallies,
        }
    }

    fn report(&self, ended: i64) -> Report {
        let items = self.subject.items.iter().zip(&self.tallies);
        Report {
            subject: self.subject.clone(),
            begun: self.begun,
            ended,
            rows: self.rows,
            measures: items
                .map(|(item, tally)| Measure::of(item, tally))
                .collect(),
        }
    }
}

fn empty(subject: &Subject) -> Vec<Tally> {
    subject.items.iter().map(Tally::new).collect()
}

/// The window that all lanes of a process count into.
pub struct Drift {
    settings: Settings,
    /// `None` where the package has no reference.
    window: Mutex<Option<Window>>,
}

impl Drift {
    #[must_use]
    pub fn new(settings: Settings, subject: Option<Subject>, now: i64) -> Drift {
        let window = subject.map(|subject| Window::new(Arc::new(subject), now));
        Drift {
            settings,
            window: Mutex::new(window),
        }
    }

    /// Counts the events of a committed round. One that another package decided than the one that is watched counts
    /// nowhere.
    pub fn count_round(&self, round: &Round<'_>) {
        if let Some(subject) = self.subject_of(round.package) {
            self.count(&subject, &Seen::of(round));
        }
    }

    /// What is watched, if it is the package of this digest.
    #[must_use]
    pub fn subject_of(&self, package: &str) -> Option<Arc<Subject>> {
        let window = self.lock();
        let subject = &window.as_ref()?.subject;
        (subject.package == package).then(|| subject.clone())
    }

    /// Counts rows that the subject's package decided, if it is still watched.
    pub fn count(&self, subject: &Arc<Subject>, seen: &Seen<'_>) {
        // Lanes wait for each other only to add the counts up.
        let mut tallies = empty(subject);
        for (item, tally) in subject.items.iter().zip(&mut tallies) {
            tally.count(item, seen);
        }
        let mut window = self.lock();
        if let Some(window) = window.as_mut()
            && Arc::ptr_eq(&window.subject, subject)
        {
            window.rows += seen.rows() as u64;
            for (sum, tally) in window.tallies.iter_mut().zip(&tallies) {
                sum.add(tally);
            }
        }
    }

    /// Ends the window if it is time, and begins the next one.
    #[must_use]
    pub fn turn(&self, now: i64) -> Option<Report> {
        let mut window = self.lock();
        let current = window.as_mut()?;
        let age = u64::try_from(now - current.begun).unwrap_or_default();
        if Duration::from_micros(age) < self.settings.window
            || current.rows < self.settings.rows_min
        {
            return None;
        }
        let next = Window::new(current.subject.clone(), now);
        Some(std::mem::replace(current, next).report(now))
    }

    /// Ends the window, however young it is, and begins one for another package. A window with too few rows is lost.
    #[must_use]
    pub fn change(&self, subject: Option<Subject>, now: i64) -> Option<Report> {
        let next = subject.map(|subject| Window::new(Arc::new(subject), now));
        let ended = std::mem::replace(&mut *self.lock(), next)?;
        (ended.rows >= self.settings.rows_min).then(|| ended.report(now))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Window>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
