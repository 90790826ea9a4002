//! What can be seen of packages without reading their files, and when it has settled.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Path, inode, length and time of change of every file that matters. Of a folder that cannot be read there is nothing
/// to see, so that its loss is noticed as any other change is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Look(Vec<(PathBuf, u64, u64, i64, i64)>);

impl Look {
    /// At the files of these folders, and at other files.
    pub fn at(folders: &[PathBuf], files: &[PathBuf]) -> Look {
        let mut seen = Vec::new();
        for folder in folders {
            let found = within(folder).unwrap_or_default();
            found.iter().for_each(|path| see(path, &mut seen));
        }
        files.iter().for_each(|path| see(path, &mut seen));
        seen.sort();
        Look(seen)
    }
}

fn within(folder: &Path) -> io::Result<Vec<PathBuf>> {
    // Where the folder is a link, another target is another package.
    let entries = fs::read_dir(folder.canonicalize()?)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn see(path: &Path, seen: &mut Vec<(PathBuf, u64, u64, i64, i64)>) {
    if let Ok(at) = fs::metadata(path) {
        let path = path.to_owned();
        seen.push((path, at.ino(), at.len(), at.mtime(), at.mtime_nsec()));
    }
}

/// Tells folders that have settled from some that are being written.
#[derive(Default)]
pub(super) struct Settling {
    last: Option<Look>,
    tried: Option<Look>,
}

impl Settling {
    /// Whether this look is new, and the same as the one before it.
    pub fn has_settled(&mut self, now: Look) -> bool {
        let settled = self.last.as_ref() == Some(&now) && self.tried.as_ref() != Some(&now);
        self.last = Some(now);
        settled
    }

    /// Whether nothing has changed since the last look.
    pub fn is_still(&self, now: &Look) -> bool {
        self.last.as_ref() == Some(now)
    }

    /// Not to be tried again until it changes.
    pub fn tried(&mut self) {
        self.tried.clone_from(&self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::succession::testing::package;

    #[test]
    fn a_folder_is_tried_when_two_looks_agree_and_once_only() {
        let (folder, package) = package("1.5.0", "p2");
        let word = folder.path().join("package.rollback");
        let look = || {
            Look::at(
                std::slice::from_ref(&package.folder),
                std::slice::from_ref(&word),
            )
        };
        let mut settling = Settling::default();
        assert!(!settling.has_settled(look()), "one look says nothing");
        assert!(settling.has_settled(look()));
        assert!(settling.has_settled(look()), "nobody has tried it yet");
        settling.tried();
        assert!(!settling.has_settled(look()));
        let mut changes = |what: &str, change: &dyn Fn()| {
            change();
            assert!(!settling.is_still(&look()), "{what}");
            assert!(!settling.has_settled(look()), "{what} may go on");
            assert!(settling.has_settled(look()), "{what}");
            settling.tried();
        };
        for file in [
            "package/golden.json",
            "package/model.toml",
            "package.rollback",
        ] {
            changes(file, &|| fs::write(folder.path().join(file), file).unwrap());
        }
        changes("a folder that is gone", &|| {
            fs::remove_dir_all(folder.path().join("package")).unwrap();
        });
    }
}
