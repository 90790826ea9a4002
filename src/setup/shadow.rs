//! Packages that score beside the one that decides: loaded and checked as it is, but for reasons.

use std::path::Path;

use super::{compile, definition, package, sample};
use crate::config::Config;
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
            self.package.policy.clone(),
        ))
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
