//! Scores: one ONNX Runtime session per lane, run on chunks of the sizes that the package fixes.
//!
//! The only module that knows `ort`. A score depends on its own row and on nothing else that can change: not on
//! the batch, its neighbours, the padding or another thread. Where a model cannot keep that, [`Model::probe`] says
//! by how much it misses. A row on which the model fails is rejected alone; when the model fails on everything,
//! that is no row's fault and stops the lane. So does a device that fails, and one whose memory holds no chunk of any
//! size: nothing is ever computed elsewhere instead.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputs};

use crate::error::{Fatal, Result};
use crate::metrics;
use crate::package::{FeatureSpec, Golden, Output, Package};
use crate::record::{Reason, Rejection, Stage};

mod contract;
mod document;
mod gpu;
mod inputs;
mod nodes;
mod outputs;
mod probe;
mod profile;
mod runtime;
mod session;
mod sizes;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod trouble;

pub use gpu::Gpu;
pub use nodes::Nodes;
pub use probe::Admission;
pub use runtime::Runtime;
pub use session::Provider;

use inputs::Chunk;
use profile::Profile;
use sizes::Sizes;
use trouble::{Failed, Trouble};

/// An opened model. Belongs to one lane.
pub struct Model {
    session: Session,
    selected: RunOptions<HasSelectedOutputs>,
    title: String,
    providers: Vec<Provider>,
    provider: String,
    /// Where nodes run, if somebody asked.
    nodes: Option<Nodes>,
    features: Vec<FeatureSpec>,
    probability: Output,
    margin: Option<Output>,
    sizes: Sizes,
    /// The smallest chunk that the device's memory did not hold.
    too_large: Option<usize>,
    admission: Option<Admission>,
    chunk: Chunk,
    /// A chunk that the model accepted once. If it fails too, the model is to blame and not the rows.
    witness: Option<Chunk>,
    /// What tests say of a device's memory.
    #[cfg(test)]
    room: Option<tests::Room>,
}

/// What the model made of the rows, in their order.
#[derive(Clone, PartialEq, Debug)]
pub struct Scored {
    /// The probability; NaN where the row was rejected.
    pub score: Vec<f32>,
    /// The log-odds, where the package names that output; NaN where the row was rejected.
    pub margin: Option<Vec<f32>>,
    pub rejected: Vec<Option<Rejection>>,
    /// The size of the chunk in which the row was run: who repeats the score pads to it.
    pub chunk_rows: Vec<u16>,
}

/// Why a chunk has no scores.
enum Failure {
    /// The model failed on these values, or is broken.
    Run(ort::Error),
    /// The device's memory did not hold the chunk. No row is to blame, as with the next two.
    OutOfMemory,
    Device(Failed),
    /// The model ran, but what it gave is not what the package says.
    Output(String),
}

/// Why rows have no scores.
enum Halt {
    /// The device's memory does not hold a chunk of this size.
    OutOfMemory,
    Fatal(Fatal),
}

impl From<Fatal> for Halt {
    fn from(fatal: Fatal) -> Halt {
        Halt::Fatal(fatal)
    }
}

impl Model {
    /// Opens the package's model with the providers in the order of the list, and compares its inputs and outputs
    /// with `model.toml`. With a provider other than the CPU it finds out which nodes run where.
    ///
    /// # Errors
    /// If a provider is missing, the model cannot be opened, or it is not what the package says.
    pub fn open(package: &Package, runtime: &Runtime, providers: &[Provider]) -> Result<Model> {
        if providers.iter().all(|provider| *provider == Provider::Cpu) {
            return Model::assemble(package, runtime, providers, None);
        }
        Model::open_and_look(package, runtime, providers)
    }

    /// As [`Model::open`], and finds out where nodes run though it can only be the CPU.
    ///
    /// # Errors
    /// As [`Model::open`], and if there is no folder for a temporary file.
    pub fn open_and_look(
        package: &Package,
        runtime: &Runtime,
        providers: &[Provider],
    ) -> Result<Model> {
        Model::assemble(package, runtime, providers, Some(Profile::new()?))
    }

    fn assemble(
        package: &Package,
        runtime: &Runtime,
        providers: &[Provider],
        profile: Option<Profile>,
    ) -> Result<Model> {
        let (session, providers) = runtime.session(package, providers, profile.as_ref())?;
        let provider = session::joined(&providers);
        let wiring = contract::check(package, &session)?;
        let mut selector = OutputSelector::no_default().with(&package.probability.name);
        if let Some(margin) = &package.margin {
            selector = selector.with(&margin.name);
        }
        let options =
            RunOptions::new().map_err(|error| broken(&package.title(), &provider, &error))?;
        let (&largest, smaller) = package
            .chunk_rows
            .split_last()
            .expect("a package has a chunk size");
        let mut model = Model {
            session,
            selected: options.with_outputs(selector),
            title: package.title(),
            providers,
            provider,
            nodes: None,
            features: package.features.clone(),
            probability: package.probability.clone(),
            margin: package.margin.clone(),
            // Until the probe says more, a smaller size is only for want of memory.
            sizes: Sizes::new(Vec::new(), largest, smaller.to_vec()),
            too_large: None,
            admission: None,
            chunk: Chunk::new(largest, &package.features, wiring.as_deref()),
            witness: None,
            #[cfg(test)]
            room: None,
        };
        let has_run = model.warm_up()?;
        if let Some(profile) = profile {
            model.look(profile, package.golden.as_ref().filter(|_| !has_run))?;
        }
        match &package.golden {
            Some(golden) => model.admit(golden, smaller)?,
            None => model.sizes = Sizes::one(model.sizes.largest()),
        }
        if model.has_device() {
            // The series is there before anything happens.
            metrics::out_of_memory(0);
        }
        Ok(model)
    }

    /// Reads which nodes ran where, after the model was run on these rows if it has not run yet.
    fn look(&mut self, profile: Profile, golden: Option<&Golden>) -> Result<()> {
        if let Some(golden) = golden {
            self.run(&golden.columns)?;
        }
        self.nodes = Some(profile.read(&mut self.session)?);
        Ok(())
    }

    /// The providers that run the model, joined by `+`: `cpu`, `cuda`, or `cuda+cpu` where the CPU runs what the
    /// other cannot.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Which nodes run where; nothing where that can only be the CPU and nobody asked.
    #[must_use]
    pub fn nodes(&self) -> Option<&Nodes> {
        self.nodes.as_ref()
    }

    fn has_device(&self) -> bool {
        self.providers
            .iter()
            .any(|provider| *provider != Provider::Cpu)
    }

    /// How far the scores can be reproduced, and nothing if the package has no golden rows to find out with.
    #[must_use]
    pub fn admission(&self) -> Option<Admission> {
        self.admission
    }

    /// The chunk sizes in use, the largest last: those of the package whose bits were found equal to the
    /// largest's, and the largest; without those that the device's memory did not hold.
    #[must_use]
    pub fn chunk_sizes(&self) -> &[usize] {
        self.sizes.in_use()
    }

    /// The smallest chunk that the device's memory did not hold, if one was too large.
    #[must_use]
    pub fn too_large(&self) -> Option<usize> {
        self.too_large
    }

    /// Scores all rows of the columns, which are the package's features in its order, and equally long. Where the
    /// device's memory does not hold a chunk, smaller chunks are used from then on.
    ///
    /// # Errors
    /// If the model no longer runs at all, its device fails or is too small, or it gives what the package does not say.
    ///
    /// # Panics
    /// If the columns are not the features, or a null is left in an integer or boolean.
    pub fn run(&mut self, columns: &[ArrayRef]) -> Result<Scored> {
        let rows = self.check_columns(columns);
        let mut scored = Scored {
            score: Vec::with_capacity(rows),
            margin: self.margin.as_ref().map(|_| Vec::with_capacity(rows)),
            rejected: Vec::with_capacity(rows),
            chunk_rows: Vec::with_capacity(rows),
        };
        let mut first = 0;
        while first < rows {
            let size = self.sizes.for_rows(rows - first);
            let next = rows.min(first + size);
            match self.score(columns, first..next, size, &mut scored) {
                Ok(()) => {}
                Err(Halt::Fatal(fatal)) => return Err(fatal),
                Err(Halt::OutOfMemory) => {
                    self.shrink_below(size)?;
                    scored.truncate(first);
                    continue;
                }
            }
            scored
                .chunk_rows
                .resize(next, u16::try_from(size).expect("a chunk has few rows"));
            first = next;
        }
        assert_eq!(
            scored.score.len(),
            rows,
            "every row has a score or a rejection"
        );
        self.check_failures(&scored)?;
        Ok(scored)
    }

    /// Goes on with smaller chunks than this size, or not at all.
    fn shrink_below(&mut self, size: usize) -> Result<()> {
        let Some(left) = self.sizes.shrink_below(size) else {
            return Err(self.no_room(size));
        };
        self.too_large = Some(size);
        if let Some(witness) = &mut self.witness {
            witness.cut(left);
        }
        metrics::out_of_memory(1);
        tracing::warn!(
            model = self.title,
            provider = self.provider,
            rows = size,
            rows_from_now_on = left,
            "the device's memory does not hold a chunk of so many rows; smaller chunks are used until the next start"
        );
        Ok(())
    }

    fn check_columns(&self, columns: &[ArrayRef]) -> usize {
        assert_eq!(
            columns.len(),
            self.features.len(),
            "one column for each feature"
        );
        let rows = columns[0].len();
        for (column, feature) in columns.iter().zip(&self.features) {
            assert_eq!(
                column.len(),
                rows,
                "feature {} is as long as the others",
                feature.name
            );
            assert!(
                inputs::has_type(column, feature.kind),
                "feature {} has the package's type",
                feature.name
            );
        }
        rows
    }

    /// Scores rows that fit one chunk. If the model fails on them, halves them until the guilty are alone; each
    /// half is padded to the whole chunk, so the others get the same bits as without the guilty.
    fn score(
        &mut self,
        columns: &[ArrayRef],
        rows: Range<usize>,
        size: usize,
        scored: &mut Scored,
    ) -> Result<(), Halt> {
        self.chunk.fill(columns, rows.clone(), size);
        match self.run_chunk() {
            Ok((scores, margins)) => {
                scored.take(&scores[..rows.len()], margins.as_deref());
                Ok(())
            }
            Err(Failure::Output(problem)) => Err(self.disagrees(&problem).into()),
            Err(Failure::OutOfMemory) => Err(Halt::OutOfMemory),
            Err(Failure::Device(failed)) => Err(self.lost(&failed).into()),
            Err(Failure::Run(_)) if rows.len() == 1 => {
                scored.reject(Reason::InferenceFailed);
                Ok(())
            }
            Err(Failure::Run(_)) => {
                let middle = rows.start + rows.len() / 2;
                self.score(columns, rows.start..middle, size, scored)?;
                self.score(columns, middle..rows.end, size, scored)
            }
        }
    }

    /// Runs the model on the chunk as it is filled.
    fn run_chunk(&mut self) -> Result<(Vec<f32>, Option<Vec<f32>>), Failure> {
        #[cfg(test)]
        if let Some(room) = &mut self.room
            && !room.holds(self.chunk.rows())
        {
            return Err(Failure::OutOfMemory);
        }
        let has_device = self.has_device();
        let values = self.chunk.values().map_err(Failure::Run)?;
        let inputs = SessionInputs::<0>::ValueSlice(&values);
        let outputs = self
            .session
            .run_with_options(inputs, &self.selected)
            .map_err(|error| Failure::of(error, has_device))?;
        let read =
            |output| outputs::read(&outputs, output, self.chunk.rows()).map_err(Failure::Output);
        let scores = read(&self.probability)?;
        let margins = self.margin.as_ref().map(read).transpose()?;
        if self.witness.is_none() {
            self.witness = Some(self.chunk.clone());
        }
        Ok((scores, margins))
    }

    /// Runs a chunk of zeros and empty texts: finds at start what would fail at the first event. A model may
    /// refuse such values, so that alone is no error. Says whether it ran.
    fn warm_up(&mut self) -> Result<bool> {
        loop {
            match self.run_chunk() {
                Ok(_) => return Ok(true),
                Err(Failure::Run(_)) => return Ok(false),
                Err(Failure::Output(problem)) => return Err(self.disagrees(&problem)),
                Err(Failure::OutOfMemory) => {
                    self.shrink_below(self.chunk.rows())?;
                    self.chunk.cut(self.sizes.largest());
                }
                Err(Failure::Device(failed)) => return Err(self.lost(&failed)),
            }
        }
    }

    /// After rows were rejected because the model failed: makes sure that the model is not broken altogether, or
    /// else it would go on rejecting everything.
    fn check_failures(&mut self, scored: &Scored) -> Result<()> {
        let failed = Some(Rejection::new(Stage::Infer, Reason::InferenceFailed));
        if !scored.rejected.contains(&failed) {
            return Ok(());
        }
        let Some(witness) = &self.witness else {
            return Err(Fatal::usage(format!(
                "the model {} has failed on every row so far, on {}; check it against a row that it must accept",
                self.title, self.provider
            )));
        };
        self.chunk = witness.clone();
        match self.run_chunk() {
            Ok(_) => Ok(()),
            Err(Failure::Run(error)) => Err(broken(&self.title, &self.provider, &error)),
            Err(Failure::Output(problem)) => Err(self.disagrees(&problem)),
            Err(Failure::OutOfMemory) => Err(self.no_room(self.chunk.rows())),
            Err(Failure::Device(failed)) => Err(self.lost(&failed)),
        }
    }

    fn no_room(&self, size: usize) -> Fatal {
        Fatal::unreachable(format!(
            "the device's memory does not hold a chunk of {size} rows of the model {} on {}, and it has no smaller \
             size with the same bits; free the device, lower `pipeline.lanes`, raise `model.gpu.memory`, or write a \
             smaller `chunk_rows` in model.toml",
            self.title, self.provider
        ))
    }

    fn lost(&self, failed: &Failed) -> Fatal {
        Fatal::unreachable(format!(
            "the model {} no longer runs on {}: {failed}; look at `nvidia-smi` and at the kernel's log, and start \
             again. nothing was decided on another device",
            self.title, self.provider
        ))
    }

    fn disagrees(&self, problem: &str) -> Fatal {
        Fatal::usage(format!(
            "the model {} is not what its model.toml says: {problem}",
            self.title
        ))
    }
}

/// The error's text is left out: it may repeat a value of a row.
fn broken(title: &str, provider: &str, error: &ort::Error) -> Fatal {
    let code = error.code();
    Fatal::unreachable(format!(
        "the model {title} no longer runs on {provider} ({code:?}); look at the device's state"
    ))
}

impl Failure {
    /// On the CPU a row that needs too much memory is a row like any other that the model refuses.
    fn of(error: ort::Error, has_device: bool) -> Failure {
        if !has_device {
            return Failure::Run(error);
        }
        match Trouble::of(error.code(), error.message()) {
            Trouble::OutOfMemory => Failure::OutOfMemory,
            Trouble::Device(failed) => Failure::Device(failed),
            Trouble::Other => Failure::Run(error),
        }
    }
}

impl Scored {
    fn truncate(&mut self, rows: usize) {
        self.score.truncate(rows);
        if let Some(margins) = &mut self.margin {
            margins.truncate(rows);
        }
        self.rejected.truncate(rows);
    }

    /// Appends the scores of a chunk, and rejects those that are no number.
    fn take(&mut self, scores: &[f32], margins: Option<&[f32]>) {
        for (row, score) in scores.iter().enumerate() {
            let margin = margins.map(|margins| margins[row]);
            if score.is_finite() && margin.is_none_or(f32::is_finite) {
                self.push(*score, margin.unwrap_or(f32::NAN), None);
            } else {
                self.reject(Reason::ScoreNotFinite);
            }
        }
    }

    fn reject(&mut self, reason: Reason) {
        self.push(
            f32::NAN,
            f32::NAN,
            Some(Rejection::new(Stage::Infer, reason)),
        );
    }

    fn push(&mut self, score: f32, margin: f32, rejected: Option<Rejection>) {
        self.score.push(score);
        if let Some(margins) = &mut self.margin {
            margins.push(margin);
        }
        self.rejected.push(rejected);
    }
}
