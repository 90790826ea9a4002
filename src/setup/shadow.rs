//! Packages that score beside the one that decides: loaded and checked as it is, but for reasons.

use std::path::Path;

use super::{compile, definition, package, policy, sample};
use crate::config::Config;
use crate::decide::CompiledPolicy;
use crate::error::Result;
use crate::evidence::ShadowFacts;
use crate::features::{Definition, FeatureType};
use crate::infer::{Model, Provider, Runtime};
use crate::package::Package;
use crate::schema::InputSchema;
use crate::shadow::Shadow;

/// A shadow's package, for all lanes.
pub struct ShadowSetup {
    pub package: Package,
    definitions: Vec<(Definition, FeatureType)>,
}

impl ShadowSetup {
    /// # Errors
    /// As [`Setup::load`](super::Setup::load).
    pub fn load(
        config: &Config,
        folder: &Path,
        schema: &InputSchema,
        runtime: &'static Runtime,
        providers: &[Provider],
    ) -> Result<ShadowSetup> {
        let package = package(config, "model.shadows", folder)?;
        let setup = ShadowSetup {
            definitions: package.features.iter().map(definition).collect(),
            package,
        };
        compile(&setup.definitions, schema, &setup.package.manifest_path())?;
        setup.policy(schema)?;
        let mut model = Model::open(&setup.package, runtime, providers)?;
        if model.admission().is_none() {
            model.probe(&sample(&setup.definitions))?;
        }
        Ok(setup)
    }

    /// A new one; each lane has its own.
    ///
    /// # Errors
    /// As [`ShadowSetup::load`], which has tried it once.
    pub fn open(
        &self,
        schema: &InputSchema,
        runtime: &'static Runtime,
        providers: &[Provider],
    ) -> Result<Shadow> {
        let manifest = self.package.manifest_path();
        Ok(Shadow::new(
            self.package.title(),
            compile(&self.definitions, schema, &manifest)?,
            Model::open(&self.package, runtime, providers)?,
            self.policy(schema)?,
        ))
    }

    fn policy(&self, schema: &InputSchema) -> Result<CompiledPolicy> {
        let package = &self.package;
        policy::compile(package.policy.clone(), schema, &package.manifest_path())
    }

    /// What evidence says of it.
    #[must_use]
    pub fn facts(&self) -> ShadowFacts {
        ShadowFacts {
            model_name: self.package.name.clone(),
            model_version: self.package.version.clone(),
            package_sha256: self.package.digest().to_string(),
            policy_version: self.package.policy.version().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::batch::{Batch, Lineage, Origin};
    use crate::config::{Config, Environment};
    use crate::generate::{Generator, Settings};
    use crate::infer::testing::runtime;
    use crate::laps::Laps;
    use crate::record::Offset;
    use crate::setup::Setup;
    use crate::stages::Decided;

    fn decided(sets: &[&str]) -> Batch<Decided> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let file = root.join("config/probity.toml");
        let config = Config::load(Some(&file), &sets, &Environment::default()).unwrap();
        let setup = Setup::load(&config).unwrap();
        let values = Generator::new(Settings::for_cards(100))
            .take(300)
            .map(|payment| {
                let mut value = Vec::new();
                payment.write_json(&mut value);
                value
            });
        let mut values: Vec<Vec<u8>> = values.collect();
        values.push(b"no payment".to_vec());
        let mut lineage = Lineage::default();
        let origin = |offset| Origin::Record {
            offset: Offset(offset),
            broker_time: None,
            leader_epoch: None,
        };
        lineage.push_part(0, (0..values.len()).map(|row| origin(row as i64)));
        let values = values.iter().map(|value| Some(&**value));
        let mut stages = setup.stages().unwrap();
        stages.run(lineage, values, &mut Laps::start()).unwrap()
    }

    #[test]
    fn a_shadow_says_what_its_package_would_decide() {
        if runtime("setup::a_shadow_says_what_its_package_would_decide").is_none() {
            return;
        }
        let beside =
            decided(&["model.shadows=config/models/card-risk-mlp,config/models/card-risk"]);
        let alone = decided(&["model.package=config/models/card-risk-mlp"]);
        let (beside, alone) = (beside.payload(), alone.payload());
        let [mlp, same] = &beside.shadows[..] else {
            panic!("two shadows were asked for");
        };
        for row in 0..300 {
            assert_eq!(
                mlp.score[row].unwrap().to_bits(),
                alone.scored.score[row].to_bits()
            );
            assert_eq!(mlp.decision[row], Some(alone.decisions[row]));
            assert_eq!(same.score[row], Some(beside.scored.score[row]));
        }
        assert_ne!(mlp.score[..300], same.score[..300]);
    }
}
