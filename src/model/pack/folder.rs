//! The folder that is being made: staged beside its place, and put there in one step.
//!
//! Copies files and folders. A signature stays behind, because it is of other files, and so does what begins with a dot.
//! A link is refused: a signed package may have none.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Fatal, Result};
use crate::package::SIGNATURE;

/// Bounds what is copied; a package is small.
const FILES_MAX: usize = 10_000;

/// Is removed unless it is published.
pub(super) struct Staged {
    source: PathBuf,
    staging: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// A copy of `source`, which is to become `target`.
    pub fn copy(source: &Path, target: &Path) -> Result<Staged> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(Fatal::usage(format!(
                "{} is there already; name a new folder",
                target.display()
            )));
        }
        let name = target.file_name().ok_or_else(|| {
            Fatal::usage(format!(
                "{} cannot be the name of a folder",
                target.display()
            ))
        })?;
        let beside = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(beside).map_err(|error| cannot("create", beside, error))?;
        refuse_inside(source, beside)?;
        let name = format!(".{}-{}", name.to_string_lossy(), std::process::id());
        let staging = beside.join(name);
        fs::create_dir(&staging).map_err(|error| cannot("create", &staging, error))?;
        let staged = Staged {
            source: source.to_owned(),
            staging,
            target: target.to_owned(),
        };
        staged.fill()?;
        Ok(staged)
    }

    pub fn path(&self) -> &Path {
        &self.staging
    }

    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.staging.join(name);
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| cannot("write", &path, error))
    }

    /// Puts the folder in its place.
    pub fn publish(self) -> Result<()> {
        #[allow(
            clippy::disallowed_methods,
            reason = "a folder never takes the place of a file, or of a folder that holds something"
        )]
        let placed = fs::rename(&self.staging, &self.target);
        placed.map_err(|error| cannot("write", &self.target, error))
    }

    /// A text with the name that the reader knows: of the folder that the package is made from.
    pub fn renamed(&self, text: &str) -> String {
        let staging = self.staging.display().to_string();
        text.replace(&staging, &self.source.display().to_string())
    }

    /// As [`Staged::renamed`], for an error.
    pub fn in_source(&self, fatal: &Fatal) -> Fatal {
        Fatal::new(fatal.exit, self.renamed(&fatal.to_string()))
    }

    fn fill(&self) -> Result<()> {
        let mut folders = vec![PathBuf::new()];
        let mut files = 0;
        while let Some(below) = folders.pop() {
            let folder = self.source.join(&below);
            let entries = fs::read_dir(&folder).map_err(|error| cannot("read", &folder, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| cannot("read", &folder, error))?;
                let (path, name) = (entry.path(), below.join(entry.file_name()));
                let stays = entry.file_name().to_string_lossy().starts_with('.')
                    || name == Path::new(SIGNATURE);
                if stays {
                    continue;
                }
                files += 1;
                if files > FILES_MAX {
                    let folder = self.source.display();
                    let message =
                        format!("{folder} has more than {FILES_MAX} files; a package is small");
                    return Err(Fatal::usage(message));
                }
                let kind = entry
                    .file_type()
                    .map_err(|error| cannot("read", &path, error))?;
                let copy = self.staging.join(&name);
                let copied = if kind.is_dir() {
                    folders.push(name);
                    fs::create_dir(copy)
                } else if kind.is_file() {
                    fs::copy(&path, copy).map(drop)
                } else {
                    let path = path.display();
                    let message = format!(
                        "{path} is a link or no file; copy what it stands for into the package"
                    );
                    return Err(Fatal::usage(message));
                };
                copied.map_err(|error| cannot("copy", &path, error))?;
            }
        }
        Ok(())
    }
}

impl Drop for Staged {
    /// After it was published there is nothing any more.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.staging);
    }
}

/// A copy within what is copied would have no end.
fn refuse_inside(source: &Path, beside: &Path) -> Result<()> {
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| cannot("read", path, error))
    };
    if real(beside)?.starts_with(real(source)?) {
        let (folder, source) = (beside.display(), source.display());
        return Err(Fatal::usage(format!(
            "{folder} lies in {source}; write the new package beside it"
        )));
    }
    Ok(())
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Fatal {
    Fatal::usage(format!("cannot {verb} {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source with a file, a file in a folder, a signature and a hidden file.
    fn source() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("package/notes")).unwrap();
        for name in ["model.toml", "notes/why.md", SIGNATURE, ".gitignore"] {
            fs::write(folder.path().join("package").join(name), name).unwrap();
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let place = source();
        let (from, to) = (place.path().join("package"), place.path().join("new"));
        let staged = Staged::copy(&from, &to).unwrap();
        staged.write("golden.json", "{}").unwrap();
        assert!(!to.exists());
        drop(staged);
        assert_eq!(
            names(place.path()),
            ["package"],
            "what is given up leaves nothing"
        );
        let staged = Staged::copy(&from, &to).unwrap();
        staged.write("golden.json", "{}").unwrap();
        staged.publish().unwrap();
        assert_eq!(names(&to), ["golden.json", "model.toml", "notes"]);
        assert_eq!(names(place.path()), ["new", "package"]);
        assert_eq!(fs::read(to.join("notes/why.md")).unwrap(), b"notes/why.md");
    }

    #[test]
    fn nothing_is_overwritten() {
        let place = source();
        let (from, to) = (place.path().join("package"), place.path().join("new"));
        let staged = Staged::copy(&from, &to).unwrap();
        // Somebody else was faster.
        fs::create_dir(&to).unwrap();
        fs::write(to.join("precious"), "").unwrap();
        assert!(staged.publish().is_err());
        assert_eq!(names(&to), ["precious"]);
        let refused = Staged::copy(&from, &to).err().unwrap().to_string();
        assert!(refused.contains("is there already"), "{refused}");
        let inside = Staged::copy(&from, &from.join("notes/new")).err().unwrap();
        assert!(inside.to_string().contains("beside it"), "{inside}");
    }

    #[test]
    fn a_link_is_refused_by_name() {
        let place = source();
        let from = place.path().join("package");
        std::os::unix::fs::symlink("model.toml", from.join("link")).unwrap();
        let refused = Staged::copy(&from, &place.path().join("new"))
            .err()
            .unwrap();
        assert!(
            refused.to_string().contains("package/link is a link"),
            "{refused}"
        );
    }
}
