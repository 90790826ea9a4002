//! The features of generated payments, as a lane calculates them, and which of them are frauds.

use std::path::Path;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::compute::concat;
use arrow::datatypes::Float32Type;
use probity::batch::{Lineage, Origin};
use probity::config::Config;
use probity::generate::{Generator, Payment, Profile, Settings};
use probity::laps::Laps;
use probity::record::Offset;
use probity::setup::Setup;

/// The first payments of a card know nothing of it yet.
const PASSED_OVER: usize = 100_000;
const TO_TRAIN: usize = 100_000;
pub const TO_EXPLAIN: usize = 1024;
const BATCH: usize = 4096;

pub struct Payments {
    pub names: Vec<String>,
    /// By feature, then by payment.
    pub features: Vec<ArrayRef>,
    pub fraud: Vec<bool>,
}

/// More frauds than in the field, so that there is something to learn from few payments.
pub fn generate() -> Payments {
    let settings = Settings {
        profile: Profile::Full,
        fraud_rate: 0.02,
        ..Settings::for_cards(10_000)
    };
    let payments: Vec<Payment> = Generator::new(settings)
        .skip(PASSED_OVER)
        .take(TO_TRAIN + TO_EXPLAIN)
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/probity.toml");
    let sets = ["explain.rows=none".to_owned()];
    let config = Config::load(Some(&file), &sets, &probity::config::environment())
        .expect("the shipped configuration is right");
    let setup = Setup::load(&config).unwrap_or_else(|fatal| panic!("{fatal}: use `make bench`"));
    let mut stages = setup.stages().expect("loaded above");
    let batches: Vec<Vec<ArrayRef>> = payments
        .chunks(BATCH)
        .map(|payments| {
            let values: Vec<Vec<u8>> = payments.iter().map(json).collect();
            let mut lineage = Lineage::default();
            let origins = (0..).take(values.len()).map(|offset| Origin::Record {
                offset: Offset(offset),
                broker_time: None,
                leader_epoch: None,
            });
            lineage.push_part(0, origins);
            let values = values.iter().map(|value| Some(value.as_slice()));
            let batch = stages.run(lineage, values, &mut Laps::start());
            batch.expect("the model runs").payload().features().to_vec()
        })
        .collect();
    let features = (0..batches[0].len()).map(|feature| {
        let parts: Vec<_> = batches.iter().map(|batch| &*batch[feature]).collect();
        concat(&parts).expect("they are of one type")
    });
    Payments {
        names: setup
            .package
            .features
            .iter()
            .map(|f| f.name.clone())
            .collect(),
        features: features.collect(),
        fraud: payments.iter().map(|p| p.fraud.is_some()).collect(),
    }
}

fn json(payment: &Payment) -> Vec<u8> {
    let mut bytes = Vec::new();
    payment.write_json(&mut bytes);
    bytes
}

impl Payments {
    /// The last ones, from which nobody has learnt.
    pub fn to_explain(&self) -> Vec<ArrayRef> {
        let last = |column: &ArrayRef| column.slice(column.len() - TO_EXPLAIN, TO_EXPLAIN);
        self.features.iter().map(last).collect()
    }

    /// All rows one after another, as little-endian floats; what is missing is NaN.
    pub fn matrix(&self) -> Vec<u8> {
        let columns: Vec<_> = self
            .features
            .iter()
            .map(|column| column.as_primitive::<Float32Type>())
            .collect();
        let mut bytes = Vec::new();
        for row in 0..self.fraud.len() {
            for column in &columns {
                let value = if column.is_null(row) {
                    f32::NAN
                } else {
                    column.value(row)
                };
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }
}
