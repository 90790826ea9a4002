//! Which package may follow which: a newer one, or one that an operator goes back to on purpose.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::decide::is_plain;
use crate::error::{Fatal, Result};
use crate::metrics;
use crate::package::{Edition, Package};

/// Refuses a package at start that may not follow one that decided last for a partition.
///
/// # Errors
/// Usage, with the way to go back on purpose.
pub fn admit(package: &Package, before: &[Edition]) -> Result<()> {
    let is_other = |last: &&Edition| last.digest != package.digest();
    let mut others = before.iter().filter(is_other);
    others.try_for_each(|last| follow(package, last))
}

/// Whether the package may follow another one, which decided last.
pub(super) fn follow(package: &Package, last: &Edition) -> Result<()> {
    let edition = package.edition();
    let rollback = Rollback::of(&package.folder);
    match edition.compare(last) {
        None | Some(Ordering::Greater) => Ok(()),
        Some(Ordering::Less) if rollback.allows(&edition)? => Ok(()),
        Some(Ordering::Less) => Err(Fatal::usage(format!(
            "{} is older than {}, which decided last; to go back on purpose, write {} into {}",
            titled(&edition),
            titled(last),
            package.version,
            rollback.file.display()
        ))),
        Some(Ordering::Equal) => Err(Fatal::usage(format!(
            "{} has other files than the package of this version that decided last; raise `version`, or \
             `policy.version` where only the policy changed",
            titled(&edition)
        ))),
    }
}

/// For people.
pub(super) fn titled(edition: &Edition) -> String {
    let Edition {
        name,
        version,
        policy,
        ..
    } = edition;
    format!("{name} {version} with policy {policy}")
}

/// Says it where a partition comes from a process of the group whose package is newer than the one that decides here.
/// Payments do not wait until every process has the newer one, and evidence names the package of each decision.
pub fn heed(partition: i32, last: &Edition, decides: &Edition) {
    if decides.compare(last) == Some(Ordering::Less) {
        let (last, decides) = (titled(last), titled(decides));
        warn!(
            partition,
            last,
            decides,
            "a partition whose last decision was a newer package's goes on with an older one"
        );
        metrics::older_package();
    }
}

/// An operator's wish to go back: a file beside the package's folder, so that it is no file of the package. It holds the
/// oldest version that may decide again, and the oldest policy of it if one stands behind it; newer ones may as well, so
/// that what went back can be mended.
pub(super) struct Rollback {
    file: PathBuf,
    text: Option<String>,
}

impl Rollback {
    fn of(folder: &Path) -> Rollback {
        let file = Rollback::file(folder);
        let text = fs::read_to_string(&file).ok();
        Rollback { file, text }
    }

    /// `models/current.rollback`, also where the folder is written with a slash at its end.
    pub fn file(folder: &Path) -> PathBuf {
        let mut name = folder.components().as_path().as_os_str().to_owned();
        name.push(".rollback");
        PathBuf::from(name)
    }

    /// # Errors
    /// Usage, if the file is there and holds no version that can be compared: nobody goes back by an empty file or a
    /// remark.
    fn allows(&self, edition: &Edition) -> Result<bool> {
        let Some(text) = &self.text else {
            return Ok(false);
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (version, policy) = match words[..] {
            [version] => (version, &*edition.policy),
            [version, policy] => (version, policy),
            _ => return Err(self.is_no_version(edition)),
        };
        let begins = |version: &str| version.bytes().next().map(|first| first.is_ascii_digit());
        let has_digit = version.bytes().any(|byte| byte.is_ascii_digit());
        // Letters are older than digits, so `v1.6.0` would let 1.5.0 pass.
        if !has_digit || !is_plain(version) || begins(version) != begins(&edition.version) {
            return Err(self.is_no_version(edition));
        }
        let oldest = Edition {
            version: version.to_owned(),
            policy: policy.to_owned(),
            ..edition.clone()
        };
        Ok(edition.compare(&oldest) != Some(Ordering::Less))
    }

    fn is_no_version(&self, edition: &Edition) -> Fatal {
        Fatal::usage(format!(
            "{}: it must hold the oldest version that may decide again, such as {}, and may hold that of its policy \
             behind it; write one, or remove the file",
            self.file.display(),
            edition.version
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use crate::record::Digest;
    use crate::succession::testing::package;

    fn edition(version: &str, policy: &str) -> Edition {
        named("fixture-kinds", version, policy)
    }

    fn named(name: &str, version: &str, policy: &str) -> Edition {
        let digest = Digest::of(b"another package");
        Edition::parse(&format!("{name} {version} {policy} {digest}")).unwrap()
    }

    #[test]
    fn only_a_newer_package_follows() {
        let (_folder, next) = package("1.5.0", "p2");
        assert!(follow(&next, &edition("1.4.9", "p9")).is_ok());
        assert!(follow(&next, &edition("1.5.0", "p1")).is_ok());
        assert!(follow(&next, &named("other-risk", "9", "9")).is_ok());
        let refusal = |now| follow(&next, &now).unwrap_err().to_string();
        let older = refusal(edition("1.10.0", "p1"));
        assert!(
            older.contains("1.5.0 with policy p2 is older than fixture-kinds 1.10.0"),
            "{older}"
        );
        assert!(
            older.contains("write 1.5.0 into") && older.contains("package.rollback"),
            "{older}"
        );
        let same = refusal(edition("1.5.0", "p2"));
        assert!(same.contains("raise `version`"), "{same}");
    }

    #[test]
    fn an_operator_goes_back_to_the_version_that_is_written_down_and_to_none_before_it() {
        let (folder, next) = package("1.5.0", "p2");
        let newer = edition("1.6.0", "p2");
        let file = folder.path().join("package.rollback");
        let say = |version: &str| fs::write(&file, format!("{version}\n")).unwrap();
        say("1.5.1");
        assert!(follow(&next, &newer).is_err());
        say("1.5.0");
        assert!(follow(&next, &newer).is_ok());
        assert!(admit(&next, std::slice::from_ref(&newer)).is_ok());
        // What mends the one that was gone back to.
        say("1.4.0");
        assert!(follow(&next, &newer).is_ok());
        // No word allows other files under the same version.
        assert!(follow(&next, &edition("1.5.0", "p2")).is_err());
        say("1.5.0 p2");
        assert!(follow(&next, &newer).is_ok());
        say("1.5.0 p3");
        assert!(follow(&next, &newer).is_err(), "an older policy");
    }

    #[test]
    fn nobody_goes_back_by_a_file_that_holds_no_version() {
        let (folder, next) = package("1.5.0", "p2");
        let newer = edition("1.6.0", "p2");
        let file = folder.path().join("package.rollback");
        for text in [
            "",
            "\n",
            "no",
            "# not now",
            "TODO",
            "v1.4.0",
            "1.5.0 p2 x",
            "1.5.0, p2",
            "1…5",
        ] {
            fs::write(&file, text).unwrap();
            let refusal = follow(&next, &newer).unwrap_err();
            assert_eq!(refusal.exit, Exit::Usage, "{text}");
            let why = refusal.to_string();
            assert!(
                why.contains("package.rollback: it must hold the oldest version"),
                "{text}: {why}"
            );
            // What needs no word is not held up by it.
            assert!(follow(&next, &edition("1.4.0", "p2")).is_ok());
        }
    }

    #[test]
    fn a_start_is_refused_where_another_package_decided_last_that_it_may_not_follow() {
        let (_folder, next) = package("1.5.0", "p2");
        let before = [edition("1.4.0", "p1"), next.edition()];
        assert!(admit(&next, &[]).is_ok());
        assert!(admit(&next, &before).is_ok());
        let refusal = |last: Edition| {
            let before = [before.as_slice(), &[last]].concat();
            admit(&next, &before).unwrap_err()
        };
        let newer = refusal(edition("1.5.0", "p3"));
        assert_eq!(newer.exit, Exit::Usage);
        let newer = newer.to_string();
        assert!(newer.contains("which decided last"), "{newer}");
        let same = refusal(edition("1.5.0", "p2")).to_string();
        assert!(same.contains("has other files"), "{same}");
    }

    #[test]
    fn the_word_lies_beside_the_folder() {
        for folder in ["models/current", "models/current/"] {
            let file = Rollback::file(Path::new(folder));
            assert_eq!(file, Path::new("models/current.rollback"));
        }
    }
}
