//! The signature of a package, `model.sig`, in the format of OpenSSF Model Signing 1.0: who is trusted made every
//! file of the folder.
//!
//! Verifies what `model_signing sign key` (the Python package model-signing) writes with a P-256 key: a Sigstore
//! bundle around an in-toto statement that lists the SHA-256 of each file. Decides as its `verify key` does: a file
//! that differs, is gone, or is not listed is refused; only the paths that were ignored when signing, `model.sig` and
//! Git's own files may be there unlisted; no symbolic link may be. Refuses more than it: a signature by a certificate
//! or in a form older than 1.0, other hashes than SHA-256, files signed in shards, more than one signature, and a
//! name that is listed twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MODEL_MAX_BYTES, Package, PackageFile};
use crate::error::{Fatal, Result};
use crate::record::Digest;

/// The name of the signature in the folder.
pub const SIGNATURE: &str = "model.sig";

/// Bounds what is read and walked before anything is known to be signed.
const SIGNATURE_MAX_BYTES: u64 = 1 << 24;
const FILES_MAX: usize = 10_000;

/// So many files of a kind are named; the rest is counted.
const NAMED_MAX: usize = 5;

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// What the reference tool passes over without being told.
const IGNORED: [&str; 5] = [SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"];

/// What stands before the 65 bytes of an uncompressed P-256 point in a DER `SubjectPublicKeyInfo`.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// The public key of who may sign packages.
#[derive(Clone, Debug)]
pub struct TrustKey {
    /// An uncompressed point of P-256.
    point: Vec<u8>,
    /// SHA-256 of the key's PEM text: how a bundle names the key.
    hint: Digest,
}

impl TrustKey {
    /// Reads the key in the PEM file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or is no public key of the curve P-256.
    pub fn load(path: &Path) -> Result<TrustKey> {
        let text = fs::read_to_string(path).map_err(|error| {
            Fatal::usage(format!("the public key {} cannot be read", path.display())).because(error)
        })?;
        TrustKey::parse(&text)
            .map_err(|problem| Fatal::usage(format!("{} {problem}", path.display())))
    }

    /// Its error is the rest of a sentence that begins with the file.
    fn parse(pem: &str) -> Result<TrustKey, String> {
        let (begin, end) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");
        if pem.contains("PRIVATE KEY-----") {
            let problem = "is a private key, which belongs to the signer alone; \
                           write the public one: openssl pkey -in KEY -pubout";
            return Err(problem.to_owned());
        }
        let refuse = || {
            format!(
                "is no PEM of a P-256 public key; write the text from {begin:?} to {end:?} that openssl pkey -pubout prints"
            )
        };
        let body = pem.trim().strip_prefix(begin);
        let body = body.and_then(|body| body.strip_suffix(end));
        let body: String = body.ok_or_else(refuse)?.split_whitespace().collect();
        let der = BASE64.decode(&body).map_err(|_| refuse())?;
        let point = der.strip_prefix(&P256_PREFIX).ok_or_else(refuse)?;
        if point.len() != POINT_BYTES {
            return Err(refuse());
        }
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        let canonical = format!("{begin}\n{}\n{end}\n", lines.join("\n"));
        Ok(TrustKey {
            point: point.to_vec(),
            hint: Digest::of(canonical.as_bytes()),
        })
    }
}

/// The files of a folder that were found to be as they were signed.
#[derive(Debug)]
pub struct Signed {
    digests: BTreeMap<String, Digest>,
}

/// Verifies that `folder` holds exactly what its `model.sig`, made with `key`, says.
///
/// # Errors
/// [`Exit::Integrity`](crate::error::Exit::Integrity) if there is no signature, if it is not by `key` or in a form
/// that is not known, or if a file differs, is gone or is not signed; usage if the folder cannot be read.
pub fn verify(folder: &Path, key: &TrustKey) -> Result<Signed> {
    let title = folder.display();
    if !folder.join(SIGNATURE).exists() {
        return Err(Fatal::integrity(format!(
            "the model package {title} has no {SIGNATURE}, and `model.trust_key` demands one; \
             sign it with `model_signing sign key`, or take the key out"
        )));
    }
    let bundle = PackageFile::read(folder, SIGNATURE, SIGNATURE_MAX_BYTES)?.bytes;
    let listed = Listed::open(&bundle, key).map_err(|problem| {
        let path = folder.join(SIGNATURE);
        Fatal::integrity(format!("{} {problem}", path.display()))
    })?;
    let differences = listed.compare(folder)?;
    if !differences.is_empty() {
        return Err(Fatal::integrity(format!(
            "the model package {title} is not what was signed: {differences}"
        )));
    }
    Ok(Signed {
        digests: listed.digests,
    })
}

impl Signed {
    /// That `package` was read from the bytes that were verified: nobody wrote in between, and no file that it reads
    /// was passed over when signing.
    ///
    /// # Errors
    /// [`Exit::Integrity`](crate::error::Exit::Integrity) if it was not.
    pub fn covers(&self, package: &Package) -> Result<()> {
        let is_other = |part: &&PackageFile| self.digests.get(&part.file) != Some(&part.digest);
        match package.files().into_iter().find(is_other) {
            None => Ok(()),
            Some(part) => Err(Fatal::integrity(format!(
                "{} is not what {SIGNATURE} says: it was ignored when signing, or written while it was verified; \
                 sign the whole package again",
                package.folder.join(&part.file).display()
            ))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<KeyHint>,
}

#[derive(Deserialize)]
struct KeyHint {
    /// Early signers wrote none.
    hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
    /// Of a form that the type tells.
    predicate: Box<RawValue>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    #[serde(default)]
    ignore_paths: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// What a signature says of a folder.
struct Listed {
    digests: BTreeMap<String, Digest>,
    ignored: Vec<PathBuf>,
}

impl Listed {
    /// Verifies the signature in `bundle`, and only then reads what it signs.
    fn open(bundle: &[u8], key: &TrustKey) -> Result<Listed, String> {
        let payload = signed_payload(bundle, key)?;
        let statement: Statement = json("its payload", &payload)?;
        expect("its payload", &statement.kind, STATEMENT_TYPE)?;
        expect("its predicate", &statement.predicate_type, PREDICATE_TYPE)?;
        let predicate: Predicate = json("its predicate", statement.predicate.get().as_bytes())?;
        let Serialization {
            method,
            hash_type,
            ignore_paths,
        } = predicate.serialization;
        if method != "files" {
            return Err(format!(
                "signs the files by {method:?}; sign them whole, by \"files\", as `model_signing sign key` does"
            ));
        }
        expect("its hash", &hash_type, "sha256")?;
        let [subject] = statement.subject.as_slice() else {
            let count = statement.subject.len();
            return Err(format!("has {count} subjects; a package is one"));
        };
        let (digests, root) = digests(&predicate.resources)?;
        if subject.digest.get("sha256") != Some(&root.to_string()) {
            return Err(format!(
                "contradicts itself: the digest of its subject is not that of its files, {root}"
            ));
        }
        let mut ignored: Vec<PathBuf> = IGNORED.iter().map(PathBuf::from).collect();
        ignored.extend(ignore_paths);
        Ok(Listed { digests, ignored })
    }

    /// What is different in `folder`.
    fn compare(&self, folder: &Path) -> Result<Differences> {
        let found = files(folder, &self.ignored)?;
        let mut differences = Differences::default();
        for (name, digest) in &self.digests {
            if !found.contains(name) {
                differences.gone.push(name.clone());
            } else if PackageFile::read(folder, name, MODEL_MAX_BYTES)?.digest != *digest {
                differences.changed.push(name.clone());
            }
        }
        let is_listed = |name: &String| self.digests.contains_key(name);
        differences.unsigned = found.into_iter().filter(|name| !is_listed(name)).collect();
        Ok(differences)
    }
}

/// The payload of the envelope, if `key` signed it.
fn signed_payload(bundle: &[u8], key: &TrustKey) -> Result<Vec<u8>, String> {
    let bundle: Bundle = json("it", bundle)?;
    expect("it", &bundle.media_type, BUNDLE_TYPE)?;
    let Some(KeyHint { hint }) = bundle.verification_material.public_key else {
        let problem = "is not signed with a bare key but by a certificate or an identity; \
                       sign with `model_signing sign key`";
        return Err(problem.to_owned());
    };
    let hint = hint.unwrap_or_default();
    if !hint.is_empty() && hint != key.hint.to_string() {
        return Err(format!(
            "was signed with another key than the trusted one: it names {hint:?}, the trusted is {}",
            key.hint
        ));
    }
    let envelope = bundle
        .dsse_envelope
        .ok_or("has no DSSE envelope; sign with `model_signing sign key`")?;
    expect("its payload", &envelope.payload_type, PAYLOAD_TYPE)?;
    let [signature] = envelope.signatures.as_slice() else {
        let count = envelope.signatures.len();
        return Err(format!("has {count} signatures; exactly one is verified"));
    };
    let decode = |what: &str, text: &str| {
        let decoded = BASE64.decode(text);
        decoded.map_err(|_| format!("is damaged: {what} is not base64"))
    };
    let payload = decode("its payload", &envelope.payload)?;
    let signature = decode("its signature", &signature.sig)?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.point);
    public
        .verify(&authenticated(&payload), &signature)
        .map_err(|_| "is not signed by the trusted key, or was altered afterwards".to_owned())?;
    Ok(payload)
}

/// What DSSE signs: the payload with its type and both lengths before it.
fn authenticated(payload: &[u8]) -> Vec<u8> {
    let (type_bytes, bytes) = (PAYLOAD_TYPE.len(), payload.len());
    let mut text = format!("DSSEv1 {type_bytes} {PAYLOAD_TYPE} {bytes} ").into_bytes();
    text.extend_from_slice(payload);
    text
}

/// The digests by file, and the digest of all of them as they are listed.
fn digests(resources: &[Resource]) -> Result<(BTreeMap<String, Digest>, Digest), String> {
    let mut digests = BTreeMap::new();
    let mut all = Vec::with_capacity(32 * resources.len());
    for Resource {
        name,
        algorithm,
        digest,
    } in resources
    {
        expect(&format!("the hash of {name:?}"), algorithm, "sha256")?;
        let digest = Digest::parse(digest)
            .ok_or_else(|| format!("is damaged: the hash of {name:?} is not 64 digits"))?;
        all.extend_from_slice(&digest.0);
        if digests.insert(name.clone(), digest).is_some() {
            return Err(format!("lists {name:?} twice; sign the package again"));
        }
    }
    Ok((digests, Digest::of(&all)))
}

/// All files below `folder` that are not ignored, by their path from there with `/`.
fn files(folder: &Path, ignored: &[PathBuf]) -> Result<BTreeSet<String>> {
    let unreadable = |path: &Path| {
        let message = format!(
            "cannot read the model package: {} cannot be read",
            path.display()
        );
        move |error: std::io::Error| Fatal::usage(message).because(error)
    };
    let refuse = |path: &Path, problem: &str| {
        let path = folder.join(path);
        Err(Fatal::integrity(format!("{} {problem}", path.display())))
    };
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(below) = folders.pop() {
        let path = folder.join(&below);
        for entry in fs::read_dir(&path).map_err(unreadable(&path))? {
            let entry = entry.map_err(unreadable(&path))?;
            let name = below.join(entry.file_name());
            if ignored.iter().any(|path| is_below(&name, path)) {
                continue;
            }
            seen += 1;
            if seen > FILES_MAX {
                let problem = format!("has more than {FILES_MAX} files; a package is small");
                return refuse(Path::new(""), &problem);
            }
            let kind = entry.file_type().map_err(unreadable(&entry.path()))?;
            if kind.is_dir() {
                folders.push(name);
            } else if kind.is_file() {
                found.insert(name.to_string_lossy().into_owned());
            } else {
                return refuse(
                    &name,
                    "is a link or no file; a signed package has files and folders alone",
                );
            }
        }
    }
    Ok(found)
}

/// Whether `path` is `ignored` or lies below it. `.` ignores everything, a path out of the folder nothing.
fn is_below(path: &Path, ignored: &Path) -> bool {
    path.starts_with(ignored.strip_prefix(".").unwrap_or(ignored))
}

fn json<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        format!("is no signature of Model Signing 1.0: {what} is not its JSON: {error}")
    })
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!(
            "has a form that is not supported: {what} is of type {found:?}; only {expected:?} is"
        )),
    }
}

/// The files that are not as they were signed.
#[derive(Default)]
struct Differences {
    changed: Vec<String>,
    gone: Vec<String>,
    unsigned: Vec<String>,
}

impl Differences {
    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty() && self.unsigned.is_empty()
    }
}

impl Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |names: &[String], [one, many]: [&str; 2]| {
            let named: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
            let rest = match names.len() - named.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            let said = if names.len() == 1 { one } else { many };
            format!("{}{rest} {said}", named.join(", "))
        };
        let parts = [
            (&self.changed, ["differs", "differ"]),
            (
                &self.gone,
                ["is signed and not there", "are signed and not there"],
            ),
            (&self.unsigned, ["is not signed", "are not signed"]),
        ];
        let said = parts.iter().filter(|(names, _)| !names.is_empty());
        let said: Vec<String> = said.map(|(names, words)| part(names, *words)).collect();
        f.write_str(&said.join("; "))
    }
}
