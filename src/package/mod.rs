//! A model package: the folder with the ONNX file and `model.toml`, which says what the model takes, what
//! it gives, and what its score means.
//!
//! Reads each file once and hashes the bytes it read, so that what is recorded is what is run. Knows
//! neither ONNX nor SQL: `infer` compares the model's inputs and outputs with what is written here, and
//! `features` compiles the expressions. Every refusal names the file, the line, the key and what to write.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::decide::Policy;
use crate::error::{Exit, Fatal, Result};
use crate::features::{Categories, FeatureType};
use crate::record::Digest;
use golden::Given;
use manifest::{Explaining, Manifest};

mod background;
mod golden;
mod manifest;
mod reasons;
mod reference;
mod signature;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod version;

pub use background::ROWS_MAX as BACKGROUND_ROWS_MAX;
pub use golden::{Golden, ROWS_MAX as GOLDEN_ROWS_MAX};
pub use reasons::{Background, Group, Method, Reasons};
pub use reference::{Distribution, Reference};
pub use signature::{SIGNATURE, TrustKey};
pub use template::Template;
pub use version::Edition;

/// The name of the description in the folder.
pub const MANIFEST: &str = "model.toml";

/// No file may be larger. An ONNX file cannot exceed 2 GiB.
const MANIFEST_MAX_BYTES: u64 = 1 << 20;
const MODEL_MAX_BYTES: u64 = 1 << 31;
const GOLDEN_MAX_BYTES: u64 = 1 << 26;
const BACKGROUND_MAX_BYTES: u64 = 1 << 26;
const REFERENCE_MAX_BYTES: u64 = 1 << 20;
const CARD_MAX_BYTES: u64 = 1 << 20;

/// A model package that was read and checked, but whose model was not opened yet.
#[derive(Clone, Debug)]
pub struct Package {
    pub folder: PathBuf,
    pub name: String,
    pub version: String,
    /// In the order of the matrix's columns.
    pub features: Vec<FeatureSpec>,
    /// How the features reach the model.
    pub inputs: Inputs,
    /// The numbers of rows that the model is run on, the largest last. It alone counts until the others are found
    /// to give the same bits.
    pub chunk_rows: Vec<usize>,
    pub probability: Output,
    pub margin: Option<Output>,
    pub policy: Policy,
    /// Rows with known answers, if the package has them.
    pub golden: Option<Golden>,
    /// How scores are explained. Without it they are not.
    pub reasons: Option<Reasons>,
    /// What drift is measured from. Without it, it is not.
    pub reference: Option<Reference>,
    /// `model.toml`, the ONNX file and the others that it names, as they were read, with their SHA-256.
    pub manifest: PackageFile,
    pub model: PackageFile,
    pub golden_file: Option<PackageFile>,
    pub background_file: Option<PackageFile>,
    pub reference_file: Option<PackageFile>,
    /// What people are told of the model: for what it is, on what it was trained, how good it is. Nothing reads it.
    pub card_file: Option<PackageFile>,
}

/// What `model.toml` names, read before the other files are there.
#[derive(Clone, Debug)]
pub struct Outline {
    pub features: Vec<FeatureSpec>,
    pub golden_file: Option<String>,
    pub background_file: Option<String>,
    pub reference_file: Option<String>,
}

/// A file of the package.
#[derive(Clone, Debug)]
pub struct PackageFile {
    /// Its name in the folder.
    pub file: String,
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

/// One feature: an expression over the event's columns, and the type it has for the model.
#[derive(Clone, PartialEq, Debug)]
pub struct FeatureSpec {
    pub name: String,
    pub sql: String,
    /// What stands for null. Without it, null is NaN for floats and the empty text for texts.
    pub impute: Option<f64>,
    /// The expression gives a text, and the model the text's code.
    pub categories: Option<Categories>,
    pub kind: FeatureType,
    pub about: About,
}

/// What the package says of a feature for people. It changes no score.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct About {
    /// The unit of its values, like `EUR` or `days`.
    pub unit: Option<String>,
    /// The least and the greatest value, both included, that is usual; others are counted as out of range. In the
    /// unit; finite, and for numbers only.
    pub range: Option<[f64; 2]>,
    pub description: Option<String>,
    pub personal: Option<Personal>,
}

/// How far a feature's values lead to a person. None leads there by itself: features are archived in clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Personal {
    /// They say nothing about a person.
    None,
    /// They lead to a person with further information only, which is kept elsewhere.
    Pseudonymous,
}

impl Personal {
    pub const ALL: [Personal; 2] = [Personal::None, Personal::Pseudonymous];

    /// As it is written in `model.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Personal::None => "none",
            Personal::Pseudonymous => "pseudonymous",
        }
    }
}

/// How the features reach the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inputs {
    /// All of them as one `[rows, features]` matrix of 32-bit floats, the input of this name.
    Matrix(String),
    /// Each as a `[rows, 1]` input of its own name.
    Columns,
}

/// Where one number per row is found in the model's outputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    pub name: String,
    pub pick: Pick,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pick {
    /// A tensor `[rows]` or `[rows, 1]`.
    Only,
    /// This column of a tensor `[rows, columns]`.
    Column(usize),
    /// The value of this class in a ZipMap: a sequence with one map for each row.
    Class(Class),
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum Class {
    Number(i64),
    Text(String),
}

impl Package {
    /// Reads the package in `folder`.
    ///
    /// # Errors
    /// If a file is missing or too large, or `model.toml` has a key or a value that it must not have.
    pub fn load(folder: &Path) -> Result<Package> {
        let (manifest, checked) = read_manifest(folder)?;
        Package::of(folder, manifest, checked)
    }

    /// Reads the package in `folder` without its golden rows and its reference, which need not be there yet.
    ///
    /// # Errors
    /// As [`Package::load`].
    pub fn load_draft(folder: &Path) -> Result<Package> {
        let (manifest, mut checked) = read_manifest(folder)?;
        checked.golden_file = None;
        checked.reference_file = None;
        Package::of(folder, manifest, checked)
    }

    fn of(folder: &Path, manifest: PackageFile, checked: Manifest) -> Result<Package> {
        let model = PackageFile::read(folder, &checked.model_file, MODEL_MAX_BYTES)?;
        let features = &checked.features;
        let read_golden = |file: &String| PackageFile::read(folder, file, GOLDEN_MAX_BYTES);
        let golden_file = checked.golden_file.as_ref().map(read_golden).transpose()?;
        let given = Given {
            margin: checked.margin.is_some(),
            method: checked.explaining.as_ref().map(|it| it.method),
        };
        let parse = |part: &PackageFile| {
            golden::read(&folder.join(&part.file), &part.bytes, features, given)
        };
        let golden = golden_file.as_ref().map(parse).transpose()?;
        let explain = |explaining: Explaining| -> Result<_> {
            let file =
                PackageFile::read(folder, &explaining.background_file, BACKGROUND_MAX_BYTES)?;
            let background = background::read(&folder.join(&file.file), &file.bytes, features)?;
            let reasons = Reasons {
                method: explaining.method,
                background,
                permutations: explaining.permutations,
                language: explaining.language,
                groups: explaining.groups,
                other: explaining.other,
            };
            Ok((reasons, file))
        };
        let (reasons, background_file) = checked.explaining.map(explain).transpose()?.unzip();
        let read_reference = |file: &String| PackageFile::read(folder, file, REFERENCE_MAX_BYTES);
        let reference_file = checked
            .reference_file
            .as_ref()
            .map(read_reference)
            .transpose()?;
        let parse =
            |part: &PackageFile| reference::read(&folder.join(&part.file), &part.bytes, features);
        let reference = reference_file.as_ref().map(parse).transpose()?;
        let read_card = |file: &String| PackageFile::read(folder, file, CARD_MAX_BYTES);
        let card_file = checked.card_file.as_ref().map(read_card).transpose()?;
        Ok(Package {
            folder: folder.to_owned(),
            name: checked.name,
            version: checked.version,
            features: checked.features,
            inputs: checked.inputs,
            chunk_rows: checked.chunk_rows,
            probability: checked.probability,
            margin: checked.margin,
            policy: checked.policy,
            golden,
            reasons,
            reference,
            manifest,
            model,
            golden_file,
            background_file,
            reference_file,
            card_file,
        })
    }

    /// Reads the package in `folder` if every file in it is as `key` signed it. Nothing is parsed before.
    ///
    /// # Errors
    /// As [`Package::load`]; [`Exit::Integrity`](crate::error::Exit::Integrity) if the folder has no `model.sig`, or
    /// is not what it says.
    pub fn load_signed(folder: &Path, key: &TrustKey) -> Result<Package> {
        let signed = signature::verify(folder, key)?;
        let package = Package::load(folder)?;
        signed.covers(&package)?;
        Ok(package)
    }

    /// Reads the features alone: the other files need not be there yet.
    ///
    /// # Errors
    /// If `model.toml` is missing, too large, or has a key or a value that it must not have.
    pub fn load_features(folder: &Path) -> Result<Vec<FeatureSpec>> {
        Ok(read_manifest(folder)?.1.features)
    }

    /// Reads what `model.toml` names: the files need not be there yet.
    ///
    /// # Errors
    /// As [`Package::load_features`].
    pub fn load_outline(folder: &Path) -> Result<Outline> {
        let (_, checked) = read_manifest(folder)?;
        let background = checked.explaining.map(|it| it.background_file);
        Ok(Outline {
            features: checked.features,
            golden_file: checked.golden_file,
            background_file: background,
            reference_file: checked.reference_file,
        })
    }

    /// The files of the package, in the order of their names.
    #[must_use]
    pub fn files(&self) -> Vec<&PackageFile> {
        let mut files = vec![&self.manifest, &self.model];
        files.extend(&self.golden_file);
        files.extend(&self.background_file);
        files.extend(&self.reference_file);
        files.extend(&self.card_file);
        files.sort_by(|a, b| a.file.cmp(&b.file));
        files
    }

    /// The digest of the whole package: of what `sha256sum` prints for its files in the order of their names,
    /// so that an auditor can repeat it, for instance with `sha256sum golden.json model.onnx model.toml | sha256sum`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.listing().as_bytes())
    }

    /// What `sha256sum` prints for the files, in the order of their names.
    #[must_use]
    pub fn listing(&self) -> String {
        let line = |part: &PackageFile| format!("{}  {}\n", part.digest, part.file);
        self.files().into_iter().map(line).collect()
    }

    /// For messages: the name and version.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// What orders this package among those of its name.
    #[must_use]
    pub fn edition(&self) -> Edition {
        Edition {
            name: self.name.clone(),
            version: self.version.clone(),
            policy: self.policy.version().to_owned(),
            digest: self.digest(),
        }
    }

    /// The path of `model.toml`, for messages.
    #[must_use]
    pub fn manifest_path(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }
}

fn read_manifest(folder: &Path) -> Result<(PackageFile, Manifest)> {
    let file = PackageFile::read(folder, MANIFEST, MANIFEST_MAX_BYTES)?;
    let checked = manifest::read(&folder.join(MANIFEST), &file.bytes)?;
    Ok((file, checked))
}

impl PackageFile {
    fn read(folder: &Path, file: &str, max_bytes: u64) -> Result<PackageFile> {
        let path = folder.join(file);
        let refuse = |why: &str| {
            let path = path.display();
            Fatal::usage(format!("cannot read the model package: {path} {why}"))
        };
        let unreadable = |error: std::io::Error| {
            use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
            let refusal = refuse(
                "cannot be read; a package is a folder with model.toml and the ONNX file it names",
            );
            let is_about_the_package = matches!(
                error.kind(),
                NotFound | NotADirectory | IsADirectory | PermissionDenied
            );
            // A file system that fails now may be back soon.
            let exit = if is_about_the_package {
                Exit::Usage
            } else {
                Exit::Unreachable
            };
            Fatal { exit, ..refusal }.because(error)
        };
        let is_file = fs::metadata(&path).map_err(unreadable)?.is_file();
        if !is_file {
            return Err(refuse("is not a file"));
        }
        let mut bytes = Vec::new();
        let opened = File::open(&path).map_err(unreadable)?;
        opened
            .take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return Err(refuse(&format!(
                "has more than the {max_bytes} bytes that are allowed"
            )));
        }
        let digest = Digest::of(&bytes);
        Ok(PackageFile {
            file: file.to_owned(),
            bytes,
            digest,
        })
    }
}
