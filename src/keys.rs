//! The keys of one deployment: who signs what, and whose signatures count.
//!
//! One folder holds them. A process needs only those of its roles: the scorer its own and the
//! commitment key, the archiver its own, whoever keeps the ledger's head the log key. `trust.toml` is
//! public: hand it to whoever verifies.
//!
//! Private keys have no `Debug`, and no error here holds a part of one.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use toml::de::DeTable;

use crate::config::units;
use crate::error::{Exit, Fatal, Result};
use crate::record::{Digest, Offset};
use crate::tlog::{Signer, Verifier};

/// What a key may sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Checkpoints, and which keys have which role.
    Log,
    /// Segments of the archive.
    Archiver,
    /// Messages of evidence.
    Scorer,
    /// Breaks: that evidence is missing.
    Operator,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Log, Role::Archiver, Role::Scorer, Role::Operator];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Log => "log",
            Role::Archiver => "archiver",
            Role::Scorer => "scorer",
            Role::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The private keys that this process has, and whom it trusts.
pub struct Keys {
    pub scorer: Option<Signer>,
    pub archiver: Option<Signer>,
    /// More than one while the log key is changed: then all of them sign.
    pub log: Vec<Signer>,
    pub operator: Option<Signer>,
    pub commitment: Option<Commitment>,
    pub trust: Trust,
}

const TRUST: &str = "trust.toml";
const COMMITMENT: &str = "commitment.key";

/// The file of the log key that is on its way in or out, while two sign.
const SECOND_LOG: &str = "log-next.key";

fn file_of(role: Role) -> String {
    format!("{role}.key")
}

impl Keys {
    /// Makes a key for every role, in a new folder or one that has none of them.
    ///
    /// # Errors
    /// When one is there already, or the folder cannot be written.
    pub fn create(folder: &Path, name: &str) -> Result<Trust> {
        std::fs::create_dir_all(folder).map_err(|error| cannot("create", folder, error))?;
        let mut trust = Trust::default();
        for role in Role::ALL {
            let owner = match role {
                Role::Log => name.to_owned(),
                _ => format!("{name}/{role}"),
            };
            let signer = Signer::generate(&owner).map_err(|error| {
                Fatal::usage(format!("cannot name a key `{owner}`")).because(error)
            })?;
            let path = folder.join(file_of(role));
            write_new(&path, &format!("{}\n", signer.to_secret()), true)?;
            trust.of_mut(role).push(signer.verifier().clone());
        }
        let path = folder.join(COMMITMENT);
        write_new(&path, &Commitment::generate()?.to_secret(), true)?;
        write_new(&folder.join(TRUST), &trust.to_toml(), false)?;
        Ok(trust)
    }

    /// Makes the next key of a role beside the one in use, and trusts both. Returns where it is.
    ///
    /// # Errors
    /// When there is one already, or the folder cannot be written.
    pub fn next(folder: &Path, role: Role) -> Result<(PathBuf, Verifier)> {
        let path = folder.join(TRUST);
        let trust = Trust::load(&path)?;
        let Some(current) = trust.of(role).last() else {
            return Err(Fatal::usage(format!(
                "{} names no key of role {role}",
                path.display()
            )));
        };
        let signer = Signer::generate(current.name())
            .map_err(|error| Fatal::usage("cannot make a key").because(error))?;
        let next = folder.join(format!("{role}-next.key"));
        if next.try_exists().unwrap_or(true) {
            return Err(Fatal::usage(format!(
                "{} is there already: one change at a time. if trust.toml names it, put it in the place of \
                 {} and retire the old key with `probity ledger retire`; if not, nobody trusts it: remove it",
                next.display(),
                file_of(role)
            )));
        }
        let text = read(&path)?.unwrap_or_default();
        let text = with_key(&text, role, signer.verifier());
        write_new(&next, &format!("{}\n", signer.to_secret()), true)?;
        let key = signer.verifier().clone();
        replace(&path, &text)?;
        Ok((next, key))
    }

    /// Reads what is there. A key that is not there is none: who needs it says so.
    ///
    /// # Errors
    /// When a file cannot be read or holds no key, or `trust.toml` is missing or wrong.
    pub fn load(folder: &Path) -> Result<Keys> {
        let signer = |name: &str| -> Result<Option<Signer>> {
            let path = folder.join(name);
            let Some(text) = read(&path)? else {
                return Ok(None);
            };
            let signer = Signer::parse(text.trim_end());
            signer.map(Some).map_err(|error| {
                let path = path.display();
                Fatal::usage(format!(
                    "{path} is not a private key; restore it from a backup"
                ))
                .because(error)
            })
        };
        let trust = folder.join(TRUST);
        let Some(text) = read(&trust)? else {
            return Err(Fatal::usage(format!(
                "there are no keys in {}: there is no {TRUST}. make them with `probity keys init`, or \
                 set `keys.folder`",
                folder.display()
            )));
        };
        let log = [signer(&file_of(Role::Log))?, signer(SECOND_LOG)?];
        let path = folder.join(COMMITMENT);
        let commitment = match read(&path)? {
            Some(text) => Some(Commitment::parse(&text).ok_or_else(|| {
                let path = path.display();
                Fatal::usage(format!(
                    "{path} is not a commitment key; restore it from a backup"
                ))
            })?),
            None => None,
        };
        Ok(Keys {
            scorer: signer(&file_of(Role::Scorer))?,
            archiver: signer(&file_of(Role::Archiver))?,
            log: log.into_iter().flatten().collect(),
            operator: signer(&file_of(Role::Operator))?,
            commitment,
            trust: Trust::parse(&text, &trust)?,
        })
    }
}

/// Whose signatures count, and how old a checkpoint may be: the policy of whoever verifies. The log
/// keys are what all trust rests on, because they sign who has the other roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    pub log: Vec<Verifier>,
    pub archiver: Vec<Verifier>,
    pub scorer: Vec<Verifier>,
    pub operator: Vec<Verifier>,
    /// Between the newest entry below a checkpoint and now. Archivers that are idle write one each hour.
    pub max_age: Duration,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust {
            log: Vec::new(),
            archiver: Vec::new(),
            scorer: Vec::new(),
            operator: Vec::new(),
            max_age: MAX_AGE,
        }
    }
}

const MAX_AGE: Duration = Duration::from_secs(26 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    log: Vec<String>,
    #[serde(default)]
    archiver: Vec<String>,
    #[serde(default)]
    scorer: Vec<String>,
    #[serde(default)]
    operator: Vec<String>,
    max_age: Option<String>,
}

impl Trust {
    #[must_use]
    pub fn of(&self, role: Role) -> &[Verifier] {
        match role {
            Role::Log => &self.log,
            Role::Archiver => &self.archiver,
            Role::Scorer => &self.scorer,
            Role::Operator => &self.operator,
        }
    }

    /// Trusts one key and no other.
    #[must_use]
    pub fn of_key(role: Role, key: Verifier) -> Trust {
        let mut trust = Trust::default();
        trust.of_mut(role).push(key);
        trust
    }

    fn of_mut(&mut self, role: Role) -> &mut Vec<Verifier> {
        match role {
            Role::Log => &mut self.log,
            Role::Archiver => &mut self.archiver,
            Role::Scorer => &mut self.scorer,
            Role::Operator => &mut self.operator,
        }
    }

    /// # Errors
    /// When the file is missing or wrong.
    pub fn load(path: &Path) -> Result<Trust> {
        match read(path)? {
            Some(text) => Trust::parse(&text, path),
            None => Err(Fatal::usage(format!("there is no {}", path.display()))),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Trust> {
        let wrong = |what: String| Fatal::usage(format!("{}: {what}", path.display()));
        let file: TrustFile = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut trust = Trust::default();
        let roles = [
            (Role::Log, file.log),
            (Role::Archiver, file.archiver),
            (Role::Scorer, file.scorer),
            (Role::Operator, file.operator),
        ];
        for (role, keys) in roles {
            for key in keys {
                let verifier = Verifier::parse(&key)
                    .map_err(|error| wrong(format!("`{role}` has `{key}`: {error}")))?;
                trust.of_mut(role).push(verifier);
            }
        }
        if trust.log.is_empty() {
            return Err(wrong(
                "`log` names no key: nothing could be verified".into(),
            ));
        }
        if trust
            .log
            .iter()
            .any(|key| key.name() != trust.log[0].name())
        {
            return Err(wrong("all keys of `log` must have one name".into()));
        }
        if let Some(age) = file.max_age {
            trust.max_age =
                units::duration(&age).map_err(|error| wrong(format!("`max_age` {error}")))?;
        }
        Ok(trust)
    }

    fn to_toml(&self) -> String {
        let mut text = "# Whose signatures count. Public: hand it to whoever verifies the archive. The log keys are\n\
             # what all trust rests on: compare them by another way than the one this file came by.\n"
            .to_owned();
        for role in Role::ALL {
            let keys: Vec<String> = self
                .of(role)
                .iter()
                .map(|key| format!("\"{key}\""))
                .collect();
            text += &format!("{role} = [{}]\n", keys.join(", "));
        }
        let age = units::show_duration(self.max_age);
        text + &format!("# How old a checkpoint may be.\nmax_age = \"{age}\"\n")
    }
}

/// The text of `trust.toml` with one more key behind the last one of a role, which has one. All else stays as
/// whoever verifies has written it.
fn with_key(text: &str, role: Role, key: &Verifier) -> String {
    let table = DeTable::parse(text).expect("it was read just before");
    let entries = table.get_ref().iter();
    let mut lists = entries.filter(|(name, _)| name.get_ref() == role.as_str());
    let (_, list) = lists.next().expect("the role has a key");
    let keys = list.get_ref().as_array().expect("keys are a list");
    let last = keys.iter().last().expect("the role has a key").span().end;
    format!("{}, \"{key}\"{}", &text[..last], &text[last..])
}

/// Commits to payloads without giving them away: HMAC-SHA256 under a secret key. A plain hash of a
/// payment could be found by trying.
pub struct Commitment {
    key: [u8; 32],
    inner: Sha256,
    outer: Sha256,
}

const COMMITMENT_PREFIX: &str = "probity commitment 1 ";

impl Commitment {
    fn generate() -> Result<Commitment> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)
            .map_err(|_| Fatal::new(Exit::Bug, "the system gives no random numbers"))?;
        Ok(Commitment::new(key))
    }

    #[must_use]
    pub fn new(key: [u8; 32]) -> Commitment {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            Sha256::new().chain_update(block)
        };
        Commitment {
            key,
            inner: pad(0x36),
            outer: pad(0x5c),
        }
    }

    fn parse(text: &str) -> Option<Commitment> {
        let key = text.trim_end().strip_prefix(COMMITMENT_PREFIX)?;
        let key = BASE64.decode(key).ok()?;
        Some(Commitment::new(key.try_into().ok()?))
    }

    fn to_secret(&self) -> String {
        format!("{COMMITMENT_PREFIX}{}\n", BASE64.encode(self.key))
    }

    /// Names the key, and says nothing of it.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = Digest::of(&[COMMITMENT_PREFIX.as_bytes(), &self.key].concat());
        format!("commitment-{}", &digest.to_string()[..16])
    }

    /// The commitment to the payload of one input record.
    #[must_use]
    pub fn of(&self, topic_id: &str, partition: i32, offset: Offset, payload: &[u8]) -> Digest {
        let mut inner = self.inner.clone();
        inner.update(b"probity payload 1\n");
        inner.update(topic_id);
        inner.update(b"\n");
        inner.update(partition.to_be_bytes());
        inner.update(offset.0.to_be_bytes());
        inner.update(payload);
        let outer = self.outer.clone().chain_update(inner.finalize());
        Digest(outer.finalize().into())
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path, error)),
    }
}

fn write_new(path: &Path, text: &str, is_secret: bool) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    options.mode(if is_secret { 0o600 } else { 0o644 });
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Fatal::usage(format!(
            "{} is there already, and keys are never overwritten; choose another folder",
            path.display()
        )),
        _ => cannot("write", path, error),
    })
}

/// A public file: what it says more than before is in the new text whole, or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let staged = path.with_extension("toml.new");
    let written = std::fs::write(&staged, text);
    #[allow(
        clippy::disallowed_methods,
        reason = "no archive: a file that an operator edits"
    )]
    let replaced = written.and_then(|()| std::fs::rename(&staged, path));
    replaced.map_err(|error| cannot("write", path, error))
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Fatal {
    Fatal::usage(format!("cannot {verb} {}", PathBuf::from(path).display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_keys_is_made_once_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let trust = Keys::create(&folder, "bank.example").unwrap();
        let keys = Keys::load(&folder).unwrap();
        assert_eq!(keys.trust, trust);
        assert_eq!(keys.trust.log[0].name(), "bank.example");
        assert_eq!(keys.scorer.unwrap().verifier(), &trust.scorer[0]);
        assert_eq!(keys.archiver.unwrap().verifier(), &trust.archiver[0]);
        assert_eq!(keys.log[0].verifier(), &trust.log[0]);
        let again = Keys::create(&folder, "bank.example").unwrap_err();
        assert!(again.message.contains("never overwritten"), "{again}");
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path(), "bank.example").unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let is_secret = entry.path().extension().unwrap() == "key";
            assert_eq!(mode & 0o077 == 0, is_secret, "{:?}", entry.path());
        }
    }

    #[test]
    fn a_process_has_only_the_keys_of_its_roles() {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path(), "bank.example").unwrap();
        for name in ["log.key", "scorer.key", "commitment.key"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let keys = Keys::load(folder.path()).unwrap();
        assert!(keys.scorer.is_none() && keys.commitment.is_none() && keys.log.is_empty());
        assert!(keys.archiver.is_some());
        std::fs::remove_file(folder.path().join(TRUST)).unwrap();
        let error = Keys::load(folder.path()).err().unwrap();
        assert!(error.message.contains("probity keys init"), "{error}");
    }

    #[test]
    fn the_next_log_key_signs_beside_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::create(folder.path(), "bank.example").unwrap();
        let (path, key) = Keys::next(folder.path(), Role::Log).unwrap();
        assert!(path.ends_with("log-next.key"));
        let keys = Keys::load(folder.path()).unwrap();
        let signers: Vec<_> = keys
            .log
            .iter()
            .map(|signer| signer.verifier().clone())
            .collect();
        assert_eq!(signers, [first.log[0].clone(), key.clone()]);
        assert_eq!(keys.trust.log, signers);
        assert_eq!(keys.trust.scorer, first.scorer);
        let again = Keys::next(folder.path(), Role::Log).unwrap_err();
        assert!(again.message.contains("one change at a time"), "{again}");
        assert!(!again.message.contains("folder"), "{again}");
    }

    #[test]
    fn the_next_key_changes_nothing_else_that_a_verifier_has_written() {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path(), "bank.example").unwrap();
        let path = folder.path().join(TRUST);
        let made = std::fs::read_to_string(&path).unwrap();
        assert!(made.contains("\nmax_age = \"26h\"\n"), "{made}");
        let strict = made
            .replace(
                "max_age = \"26h\"",
                "max_age = \"90m\" # as agreed with audit",
            )
            .replace("scorer = [", "scorer = [ # of both sites\n  ")
            .replace("\"]\noperator", "\",\n]\noperator");
        std::fs::write(&path, &strict).unwrap();
        let (_, key) = Keys::next(folder.path(), Role::Scorer).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.replace(&format!(", \"{key}\""), ""), strict);
        let trust = Trust::load(&path).unwrap();
        assert_eq!(trust.max_age, Duration::from_secs(90 * 60));
        assert_eq!(trust.scorer.len(), 2);
        assert_eq!(trust.scorer[1], key);
    }

    #[test]
    fn a_wrong_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path(), "bank.example").unwrap();
        for (name, text) in [
            ("scorer.key", "PRIVATE+KEY+secret"),
            ("commitment.key", "secret"),
            ("trust.toml", "log = []"),
            ("trust.toml", "log = [\"a+b\"]"),
            ("trust.toml", "unknown = 1"),
        ] {
            let path = folder.path().join(name);
            let kept = std::fs::read(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            let error = Keys::load(folder.path()).err().unwrap();
            let told = format!("{error}");
            assert!(told.contains(name) && !told.contains("secret"), "{told}");
            std::fs::write(&path, kept).unwrap();
        }
        assert!(Keys::load(folder.path()).is_ok());
    }

    #[test]
    fn commitments_are_hmac_of_where_and_what() {
        let commitment = Commitment::new([7; 32]);
        let text = [
            &b"probity payload 1\nid\n"[..],
            &3u32.to_be_bytes(),
            &42u64.to_be_bytes(),
            b"payload",
        ]
        .concat();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
        let expected = aws_lc_rs::hmac::sign(&key, &text);
        let made = commitment.of("id", 3, Offset(42), b"payload");
        assert_eq!(made.0, expected.as_ref());
        assert_ne!(made, commitment.of("id", 3, Offset(43), b"payload"));
        assert_ne!(commitment.id(), Commitment::new([8; 32]).id());
    }
}
