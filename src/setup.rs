//! From the configuration to what lanes are made of: schema, package, library, stages.
//!
//! Everything that can be wrong without a broker is found here, before anything is connected; each
//! error names the file and the key to mend. [`archive`] does the same for the archive.

pub mod archive;
mod describe;
mod device;
mod policy;
mod sample;
mod shadow;

use std::path::{Path, PathBuf};

use arrow::array::ArrayRef;

use crate::config::{self, Config};
use crate::decide::CompiledPolicy;
use crate::decode::{Decoder, Format, Settings as Decoding, UnknownFields};
use crate::error::{Exit, Fatal, Result};
use crate::evidence::Facts;
use crate::evidence::columns::EVENT_PREFIX;
use crate::explain::live::{Narrator, Rows};
use crate::features::{Definition, ExprError, FeatureSet, FeatureType};
use crate::infer::{Model, Provider, Runtime};
use crate::lane::{self, Sealer};
use crate::native::TopicIds;
use crate::package::{MANIFEST, Package, TrustKey};
use crate::patience::{Patience, Pulse};
use crate::publish::Timeouts;
use crate::record::Digest;
use crate::schema::InputSchema;
use crate::source::{Limits, Topics};
use crate::stages::Stages;
use crate::succession::Seat;
use crate::topics::Identity;
use sample::sample;
use shadow::ShadowSetup;

/// How deep a JSON value may be nested where it is passed over.
const JSON_DEPTH_MAX: usize = 64;
/// How long a lane waits for a first record before it looks whether it is asked to stop.
const IDLE_WAIT: std::time::Duration = std::time::Duration::from_millis(100);
/// A record's own cost in a message, beside its value: headers, key, framing.
const RECORD_OVERHEAD_BYTES: usize = 8 << 10;

/// What was loaded and checked once, for all lanes.
pub struct Setup {
    pub schema: InputSchema,
    pub package: Package,
    runtime: &'static Runtime,
    providers: Vec<Provider>,
    definitions: Vec<(Definition, FeatureType)>,
    pub decoding: Decoding,
    roles: (String, String),
    admission: String,
    provider: String,
    nodes: Option<device::Nodes>,
    narrator: Option<Narrator>,
    shadows: Vec<ShadowSetup>,
    /// Says on what the model runs.
    pub runtime_document: String,
}

impl Setup {
    /// # Errors
    /// When a file is missing or wrong, or the parts do not fit each other.
    pub fn load(config: &Config) -> Result<Setup> {
        Setup::load_as(config, &mut |_| (), false)
    }

    /// As [`Setup::load`], and tells each thing that was found well as soon as it is known. Whether decisions can be
    /// explained is looked at even where the configuration explains none.
    ///
    /// # Errors
    /// As [`Setup::load`], or when decisions cannot be explained.
    pub fn load_telling(config: &Config, tell: &mut dyn FnMut(String)) -> Result<Setup> {
        Setup::load_as(config, tell, true)
    }

    fn load_as(config: &Config, tell: &mut dyn FnMut(String), can_explain: bool) -> Result<Setup> {
        let (schema, decoding) = reading(config)?;
        tell(format!(
            "input schema with {} fields",
            schema.fields().len()
        ));
        let package = package(config, "model.package", &config.model.package)?;
        tell(describe::package(config, &package));
        let runtime = Runtime::load(config.model.runtime.as_deref())?;
        tell(format!("onnxruntime {}", runtime.version()));
        let providers = config
            .model
            .providers
            .iter()
            .map(|provider| match provider {
                config::Provider::Cpu => Provider::Cpu,
                config::Provider::Cuda => Provider::Cuda(device::gpu(config)),
                config::Provider::TensorRt => Provider::TensorRt(device::gpu(config)),
            });
        let mut setup = Setup {
            definitions: package.features.iter().map(definition).collect(),
            schema,
            package,
            runtime,
            providers: providers.collect(),
            decoding,
            roles: (
                config.input.event_id.clone(),
                config.input.event_time.clone(),
            ),
            admission: String::new(),
            provider: String::new(),
            nodes: None,
            narrator: None,
            shadows: Vec::new(),
            runtime_document: String::new(),
        };
        setup.features()?;
        let features = setup.definitions.len();
        tell(describe::fitting(features, "feature"));
        setup.policy()?;
        let rules = setup.package.policy.rules().len();
        if rules > 0 {
            tell(describe::fitting(rules, "rule"));
        }
        let mut model = setup.model()?;
        tell(setup.describe_model(&model));
        setup.provider = model.provider().to_owned();
        setup.nodes = device::nodes(&model);
        setup.runtime_document = runtime.document(&model)?;
        // Golden rows are the better sample; a package without them is tried with made-up ones.
        setup.admission = match model.admission() {
            Some(admission) => admission.to_string(),
            None => model.probe(&sample(&setup.definitions))?.to_string(),
        };
        tell(setup.describe_admission(&model));
        setup.narrator = narrator(config, &setup.package, &mut model, can_explain)?;
        tell(setup.describe_reasons());
        // A device may hold no more than one.
        drop(model);
        for folder in &config.model.shadows {
            let (schema, providers) = (&setup.schema, &setup.providers);
            let shadow = ShadowSetup::load(config, folder, schema, runtime, providers)?;
            tell(format!("shadow {}", shadow.package.title()));
            setup.shadows.push(shadow);
        }
        let columns = setup.stages()?.evidence_columns(&setup.schema)?;
        let columns = columns.fields().len();
        tell(format!("evidence with {columns} columns for each event"));
        Ok(setup)
    }

    fn features(&self) -> Result<FeatureSet> {
        compile(
            &self.definitions,
            &self.schema,
            &self.package.manifest_path(),
        )
    }

    fn policy(&self) -> Result<CompiledPolicy> {
        let policy = self.package.policy.clone();
        policy::compile(policy, &self.schema, &self.package.manifest_path())
    }

    /// The model, opened once more.
    ///
    /// # Errors
    /// As [`Setup::load`], which has tried it once.
    pub fn model(&self) -> Result<Model> {
        Model::open(&self.package, self.runtime, &self.providers)
    }

    /// What explains decisions, if the package says how.
    #[must_use]
    pub fn narrator(&self) -> Option<&Narrator> {
        self.narrator.as_ref()
    }

    /// Rows to try the model with: the golden ones, or else made-up ones.
    #[must_use]
    pub fn trial_rows(&self) -> Vec<ArrayRef> {
        match &self.package.golden {
            Some(golden) => golden.columns.clone(),
            None => sample(&self.definitions),
        }
    }

    /// A new set of stages; each lane has its own.
    ///
    /// # Errors
    /// As [`Setup::load`], which has tried it once.
    pub fn stages(&self) -> Result<Stages> {
        let decoder = Decoder::new(&self.schema, self.decoding.clone())
            .map_err(|e| Fatal::usage("input.schemas").because(e))?;
        let (event_id, event_time) = &self.roles;
        let open = |shadow: &ShadowSetup| shadow.open(&self.schema, self.runtime, &self.providers);
        let shadows = self.shadows.iter().map(open).collect::<Result<_>>()?;
        let model = self.model()?;
        // Evidence has one word for all lanes.
        if let Some(admission) = model.admission()
            && admission.to_string() != self.admission
        {
            return Err(Fatal::unreachable(format!(
                "the model {} is {admission} in this session and was {} in another; look at the device's state",
                self.package.title(),
                self.admission
            )));
        }
        let stages = Stages::new(
            &self.schema,
            (event_id, event_time),
            decoder,
            self.features()?,
            model,
            self.policy()?,
            self.narrator.clone(),
        )?;
        Ok(stages.with_shadows(shadows))
    }

    /// What evidence says of these stages, and of payloads that are committed to with this key.
    #[must_use]
    pub fn facts(&self, config: &Config, identity: &Identity, commitment_key: String) -> Facts {
        Facts {
            cluster_id: identity.cluster_id.clone(),
            input_topic: config.input.topic.clone(),
            input_topic_id: identity.input_topic_id.clone(),
            input_schema: self.schema.digest().to_string(),
            event_id: format!("{EVENT_PREFIX}{}", self.roles.0),
            event_time: format!("{EVENT_PREFIX}{}", self.roles.1),
            model_name: self.package.name.clone(),
            model_version: self.package.version.clone(),
            model_sha256: self.package.model.digest.to_string(),
            package_sha256: self.package.digest().to_string(),
            policy_version: self.package.policy.version().to_owned(),
            policy_sha256: self.package.policy.digest().to_string(),
            runtime: format!("onnxruntime {}", self.runtime.version()),
            runtime_sha256: Digest::of(self.runtime_document.as_bytes()).to_string(),
            provider: self.provider.clone(),
            admission: self.admission.clone(),
            config_sha256: config.digest().to_string(),
            commitment_key,
            shadows: self.shadows.iter().map(ShadowSetup::facts).collect(),
        }
    }

    /// The packages that score beside it without deciding.
    pub fn shadows(&self) -> impl Iterator<Item = &Package> {
        self.shadows.iter().map(|shadow| &shadow.package)
    }

    /// The digests of the input's schema and of its writers' schemas.
    #[must_use]
    pub fn schemas(&self) -> Vec<Digest> {
        let registered = self
            .decoding
            .registry
            .iter()
            .map(|(_, schema)| schema.digest());
        std::iter::once(self.schema.digest())
            .chain(registered)
            .collect()
    }

    /// The execution providers that run the model.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// What lanes are told.
    #[must_use]
    pub fn lane(
        &self,
        config: &Config,
        identity: &Identity,
        ids: TopicIds,
        sealer: &Sealer,
        seat: Seat,
    ) -> lane::Settings {
        let output = &config.output;
        lane::Settings {
            group: config.group().to_owned(),
            topics: Topics {
                input: config.input.topic.clone(),
                twins: vec![output.scored.clone(), output.evidence.clone()],
                ids,
            },
            scored: output.scored.clone(),
            evidence: output.evidence.clone(),
            dead_letter: output.dead_letter.clone(),
            limits: Limits {
                rows_max: config.batch.max_rows,
                bytes_max: config.batch.max_bytes,
                wait: IDLE_WAIT,
                linger: config.batch.linger,
            },
            value_bytes_max: output.message_bytes_max
                - output.header_bytes_max
                - RECORD_OVERHEAD_BYTES,
            headers: output.headers.clone(),
            header_bytes_max: output.header_bytes_max,
            timeouts: Timeouts {
                transaction: config.limits.transaction_timeout,
                commit: config.limits.commit_timeout,
            },
            patience: Patience {
                first: config.limits.retry_backoff_min,
                longest: config.limits.retry_backoff_max,
                total: config.limits.retry_timeout,
                pulse: Pulse::default(),
            },
            facts: self.facts(config, identity, sealer.commitment_key()),
            edition: self.package.edition(),
            schema: self.schema.clone(),
            sealer: sealer.clone(),
            seat,
        }
    }
}

/// The input schema, and how values are decoded to it.
///
/// # Errors
/// When a schema file is missing or wrong.
pub fn reading(config: &Config) -> Result<(InputSchema, Decoding)> {
    let schema = InputSchema::load(&config.input.schema)
        .map_err(|e| Fatal::usage(config.place("input.schema")).because(e))?;
    let decoding = Decoding {
        format: match config.input.format {
            config::Format::Json => Format::Json,
            config::Format::Avro => Format::Avro,
            config::Format::AvroRegistry => Format::AvroRegistry,
        },
        unknown_fields: match config.input.unknown_fields {
            config::UnknownFields::Ignore => UnknownFields::Ignore,
            config::UnknownFields::Reject => UnknownFields::Reject,
        },
        max_bytes: config.input.max_bytes,
        max_depth: JSON_DEPTH_MAX,
        registry: registry(config)?,
    };
    Ok((schema, decoding))
}

/// What explains the package's decisions, as the configuration asks. Where it explains none, whether it could is looked
/// at only if `can_explain` asks for that.
fn narrator(
    config: &Config,
    package: &Package,
    model: &mut Model,
    can_explain: bool,
) -> Result<Option<Narrator>> {
    let rows = match config.explain.rows {
        config::ExplainedRows::None => Rows::None,
        config::ExplainedRows::All => Rows::All,
        config::ExplainedRows::NotApproved => Rows::NotApproved {
            one_in: config.explain.one_in as u64,
        },
    };
    let language = config.explain.language.as_deref();
    if rows == Rows::None && !can_explain {
        return Narrator::silent(package, language);
    }
    let max_bytes = config.explain.memory_bytes;
    Narrator::open(package, model, rows, language, max_bytes)
}

/// The package that decides, then its shadows, without their models.
///
/// # Errors
/// As [`Setup::load`].
pub fn packages(config: &Config) -> Result<Vec<Package>> {
    let decides = package(config, "model.package", &config.model.package);
    let shadows = config.model.shadows.iter();
    let shadows = shadows.map(|folder| package(config, "model.shadows", folder));
    std::iter::once(decides).chain(shadows).collect()
}

/// The package in `folder`, signed by the key that is trusted, if one is. `key` says in errors who asks for it.
///
/// # Errors
/// When it is not as that key signed it, a file is missing, or `model.toml` is wrong.
pub fn package(config: &Config, key: &'static str, folder: &Path) -> Result<Package> {
    let at = |key: &'static str| move |e: Fatal| Fatal::new(e.exit, config.place(key)).because(e);
    match &config.model.trust_key {
        None => Package::load(folder),
        Some(path) => {
            let key = TrustKey::load(path).map_err(at("model.trust_key"))?;
            Package::load_signed(folder, &key)
        }
    }
    .map_err(at(key))
}

/// The package's features without its model, which may not be trained yet.
///
/// # Errors
/// When `model.toml` is missing or wrong, or a feature does not fit the schema.
pub fn features(config: &Config, schema: &InputSchema) -> Result<FeatureSet> {
    let folder = &config.model.package;
    let features = Package::load_features(folder)
        .map_err(|e| Fatal::new(e.exit, config.place("model.package")).because(e))?;
    let definitions: Vec<_> = features.iter().map(definition).collect();
    compile(&definitions, schema, &folder.join(MANIFEST))
}

/// Everything that is wrong with expressions of `model.toml`.
fn ill_typed(manifest: &Path, errors: &[ExprError]) -> Fatal {
    let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Fatal::usage(format!("{}: {}", manifest.display(), list.join("\n")))
}

fn compile(
    definitions: &[(Definition, FeatureType)],
    schema: &InputSchema,
    manifest: &Path,
) -> Result<FeatureSet> {
    let features = FeatureSet::compile(definitions, schema.arrow())
        .map_err(|errors| ill_typed(manifest, &errors))?;
    // What a model is fed is archived in clear.
    if let Some(index) = features
        .reads()
        .find(|&index| schema.fields()[index].personal)
    {
        return Err(Fatal::usage(format!(
            "{}: feature `{}` reads `{}`, which the input schema marks personal; features are archived in \
             clear, so let the producer compute what the model needs of it",
            manifest.display(),
            reader(definitions, schema, index),
            schema.fields()[index].name
        )));
    }
    Ok(features)
}

/// The first feature that reads the field.
fn reader<'a>(
    definitions: &'a [(Definition, FeatureType)],
    schema: &InputSchema,
    field: usize,
) -> &'a str {
    let reads = |one: &&(Definition, FeatureType)| {
        let alone = FeatureSet::compile(std::slice::from_ref(*one), schema.arrow());
        alone.is_ok_and(|alone| alone.reads().any(|index| index == field))
    };
    let found = definitions.iter().find(reads);
    found.map_or("", |(definition, _)| &definition.name)
}

fn registry(config: &Config) -> Result<Vec<(u32, InputSchema)>> {
    let load = |(id, path): (&u32, &PathBuf)| {
        InputSchema::load(path)
            .map(|schema| (*id, schema))
            .map_err(|e| Fatal::usage(config.place(&format!("input.schemas.{id}"))).because(e))
    };
    config.input.schemas.iter().map(load).collect()
}

pub(crate) fn definition(feature: &crate::package::FeatureSpec) -> (Definition, FeatureType) {
    let definition = Definition {
        name: feature.name.clone(),
        sql: feature.sql.clone(),
        impute: feature.impute,
        categories: feature.categories.clone(),
    };
    (definition, feature.kind)
}

/// Refuses a set-up in which something is not well, with everything that must be mended.
///
/// # Errors
/// When a finding has a fix.
pub fn require(findings: &[crate::topics::rules::Finding]) -> Result<()> {
    let fixes: Vec<String> = findings
        .iter()
        .filter_map(|finding| Some(format!("  {}: {}", finding.what, finding.fix.as_ref()?)))
        .collect();
    if fixes.is_empty() {
        return Ok(());
    }
    Err(Fatal::new(
        Exit::Usage,
        format!("the topics are not fit:\n{}", fixes.join("\n")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "event", "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "long"},
        {"name": "card", "type": "string", "personal": true}]}"#;

    fn compiled(sql: &str) -> Result<FeatureSet> {
        let definition = Definition {
            name: "feature".to_owned(),
            sql: sql.to_owned(),
            impute: None,
            categories: None,
        };
        let schema = InputSchema::parse(SCHEMA).unwrap();
        compile(
            &[(definition, FeatureType::Float32)],
            &schema,
            Path::new("model.toml"),
        )
    }

    /// The configuration with this package and this trusted key, both of the tests' data.
    fn trusting(package: &str, key: &str) -> Config {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let set = |name: &str, path: &str| format!("model.{name}={}", tests.join(path).display());
        let sets = [set("package", package), set("trust_key", key)];
        Config::load(None, &sets, &config::Environment::default()).unwrap()
    }

    fn decides(config: &Config) -> Result<Package> {
        package(config, "model.package", &config.model.package)
    }

    #[test]
    fn with_a_trusted_key_only_signed_packages_are_loaded() {
        let key = "data/model-signing/key.pub.pem";
        let signed = decides(&trusting("data/model-signing/package", key)).unwrap();
        assert_eq!(signed.name, "fixture-signed");
        let unsigned = decides(&trusting("models/kinds", key)).unwrap_err();
        assert_eq!(unsigned.exit, Exit::Integrity);
        let text = unsigned.to_string();
        let (place, why) = ("model.package", "has no model.sig");
        assert!(text.contains(place) && text.contains(why), "{text}");
        let no_key = trusting("data/model-signing/package", "data/model-signing/key.pem");
        let refusal = decides(&no_key).unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        let text = refusal.to_string();
        assert!(
            text.contains("model.trust_key") && text.contains("is a private key"),
            "{text}"
        );
    }

    #[test]
    fn a_feature_that_reads_a_personal_field_is_refused() {
        assert!(compiled("LN(1 + amount)").is_ok());
        let refusal = compiled("LENGTH(card) + amount").unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        assert!(refusal.to_string().contains("`card`"), "{refusal}");
    }

    #[test]
    fn the_feature_that_reads_a_personal_field_is_named() {
        let feature = |name: &str, sql: &str| {
            let definition = Definition {
                name: name.to_owned(),
                sql: sql.to_owned(),
                impute: None,
                categories: None,
            };
            (definition, FeatureType::Float32)
        };
        let all = [feature("sum", "amount"), feature("digits", "LENGTH(card)")];
        let schema = InputSchema::parse(SCHEMA).unwrap();
        let refusal = compile(&all, &schema, Path::new("model.toml")).unwrap_err();
        let says = "model.toml: feature `digits` reads `card`";
        assert!(refusal.to_string().starts_with(says), "{refusal}");
    }
}
