//! Which package may follow which: a newer one, or one that an operator goes back to on purpose.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Fatal, Result};
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
        Some(Ordering::Less) if rollback.allows(&edition) => Ok(()),
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

/// An operator's wish to go back: a file beside the package's folder, so that it is no file of the package. It holds the
/// oldest version that may decide again; newer ones may as well, so that what went back can be mended.
pub(super) struct Rollback {
    file: PathBuf,
    version: Option<String>,
}

impl Rollback {
    fn of(folder: &Path) -> Rollback {
        let file = Rollback::file(folder);
        let version = fs::read_to_string(&file).ok();
        Rollback {
            version: version.map(|text| text.trim().to_owned()),
            file,
        }
    }

    /// `models/current.rollback`, also where the folder is written with a slash at its end.
    pub fn file(folder: &Path) -> PathBuf {
        let mut name = folder.components().as_path().as_os_str().to_owned();
        name.push(".rollback");
        PathBuf::from(name)
    }

    fn allows(&self, edition: &Edition) -> bool {
        let Some(version) = &self.version else {
            return false;
        };
        let oldest = Edition {
            version: version.clone(),
            ..edition.clone()
        };
        edition.compare(&oldest) != Some(Ordering::Less)
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
