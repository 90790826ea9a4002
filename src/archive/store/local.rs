//! An archive in a folder of a local or mounted file system that has hard links.
//!
//! A file is made ready under `.staging/`, synced, and hard-linked to its place: the link fails where
//! there is a file, which is the create-if-absent, and shows the whole file at once. Then the folders
//! are synced and the staged name goes away. A crash in between leaves a second name under `.staging/`,
//! where no reader looks.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Created, Store, StoreError, layout};
use crate::error::{Fatal, Result};
use crate::record::Digest;

/// Staged files older than this were left by a crash. Removing one that is still wanted does no harm:
/// the link fails, and its owner stages it again.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// A folder.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
    staged: AtomicU64,
}

impl Local {
    /// Opens the folder, and makes it where it is not there.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(root: impl Into<PathBuf>) -> Result<Local> {
        let root = root.into();
        let staging = root.join(layout::STAGING);
        let prepared = fs::create_dir_all(&staging).and_then(|()| remove_leftovers(&staging));
        prepared.map_err(|error| {
            let place = root.display();
            Fatal::unreachable(format!("cannot open the archive's folder {place}")).because(error)
        })?;
        Ok(Local {
            root,
            staged: AtomicU64::new(0),
        })
    }

    /// Takes the folder as it is, to read it.
    pub fn read(root: impl Into<PathBuf>) -> Local {
        Local {
            root: root.into(),
            staged: AtomicU64::new(0),
        }
    }

    /// Writes the bytes under a name that nobody else has. Process ids repeat, in containers that share
    /// the folder: so the file must be new, and its name says what is in it.
    pub(super) fn stage(&self, bytes: &Bytes) -> io::Result<PathBuf> {
        let digest = Digest::of(bytes);
        loop {
            let count = self.staged.fetch_add(1, Ordering::Relaxed);
            let name = format!("{digest}-{}-{count}", std::process::id());
            let staged = self.root.join(layout::STAGING).join(name);
            let mut file = match File::create_new(&staged) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            file.write_all(bytes)?;
            file.sync_all()?;
            return Ok(staged);
        }
    }

    pub(super) fn link(&self, staged: &Path, target: &Path) -> io::Result<Created> {
        let folder = target.parent().expect("a path has a folder above it");
        fs::create_dir_all(folder)?;
        let created = match fs::hard_link(staged, target) {
            Ok(()) => Created::New,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Created::Refused,
            Err(error) => return Err(error),
        };
        // Also when refused: who made the link may have died before it was safe.
        self.sync_folders(folder)?;
        Ok(created)
    }

    fn sync_folders(&self, folder: &Path) -> io::Result<()> {
        for folder in folder.ancestors() {
            File::open(folder)?.sync_all()?;
            if folder == self.root {
                break;
            }
        }
        Ok(())
    }
}

/// Removes what crashes left behind long ago.
fn remove_leftovers(staging: &Path) -> io::Result<()> {
    for leftover in fs::read_dir(staging)? {
        let leftover = leftover?;
        let age = leftover.metadata().and_then(|data| data.modified());
        let is_old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LEFTOVER_AGE));
        if is_old {
            ignore_absent(fs::remove_file(leftover.path()))?;
        }
    }
    Ok(())
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn present<T>(result: io::Result<T>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        StoreError::new(error)
    }
}

impl Store for Local {
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(present(fs::read(self.root.join(path)))?.map(Bytes::from))
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(present(fs::metadata(self.root.join(path)))?.map(|data| data.len()))
    }

    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError> {
        let staged = self.stage(bytes)?;
        let created = self.link(&staged, &self.root.join(path));
        crate::crash::point("store.between-link-and-unlink");
        ignore_absent(fs::remove_file(&staged))?;
        Ok(created?)
    }

    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let staged = self.stage(bytes)?;
        let target = self.root.join(path);
        let folder = target.parent().expect("a path has a folder above it");
        fs::create_dir_all(folder)?;
        #[allow(clippy::disallowed_methods, reason = "what is replaced is a hint")]
        fs::rename(staged, &target)?;
        Ok(self.sync_folders(folder)?)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut paths = Vec::new();
        let mut folders = vec![self.root.join(folder)];
        while let Some(folder) = folders.pop() {
            for found in present(fs::read_dir(folder))?.into_iter().flatten() {
                let found = found?;
                if found.file_type()?.is_dir() {
                    folders.push(found.path());
                    continue;
                }
                let path = found.path();
                let path = path.strip_prefix(&self.root).expect("it lies below");
                paths.push(path.to_string_lossy().into_owned());
            }
        }
        Ok(paths)
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}
