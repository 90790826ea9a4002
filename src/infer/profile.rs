//! One run of a session, written down by ONNX Runtime and read back: [`Nodes`].
//!
//! The file lies in a folder of its own that nobody else may enter, and goes with it. It holds names and shapes, and
//! the run that it is of is that of made-up or golden rows: never a payment.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ort::session::Session;

use super::nodes::Nodes;
use crate::error::{Fatal, Result};

/// A place for the profile of one session. Dropping it removes the files.
pub(super) struct Profile {
    folder: PathBuf,
}

impl Profile {
    /// # Errors
    /// If there is no folder for temporary files that may be written.
    pub fn new() -> Result<Profile> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = std::env::temp_dir().join(format!(
            "probity-nodes-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        // One that is there already is somebody else's, and refused.
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| unusable(&folder, error))?;
        Ok(Profile { folder })
    }

    /// With what the names of the session's files begin.
    pub fn prefix(&self) -> PathBuf {
        self.folder.join("profile")
    }

    /// Ends the session's profile. What it runs from now on is not written down.
    ///
    /// # Errors
    /// If the file cannot be read, or is broken by the name of a node.
    pub fn read(self, session: &mut Session) -> Result<Nodes> {
        let file = session.end_profiling().map_err(|error| {
            Fatal::unreachable("ONNX Runtime does not say which nodes run where")
                .because(error.message().to_owned())
        })?;
        let text = fs::read_to_string(&file).map_err(|error| unusable(Path::new(&file), error))?;
        Nodes::parse(&text).map_err(|error| {
            Fatal::usage(
                "which nodes run where cannot be read from ONNX Runtime's profile; give the model's nodes names \
                 without quotation marks and backslashes",
            )
            .because(error)
        })
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "a folder for temporary files stays behind");
        }
    }
}

fn unusable(path: &Path, error: io::Error) -> Fatal {
    Fatal::unreachable(format!(
        "cannot use {}, where it is written down which nodes run on the GPU; set TMPDIR to a folder that may be \
         written",
        path.display()
    ))
    .because(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_with_the_profile() {
        let profile = Profile::new().unwrap();
        let folder = profile.folder.clone();
        assert_eq!(profile.prefix().parent(), Some(folder.as_path()));
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_ne!(Profile::new().unwrap().folder, folder);
        drop(profile);
        assert!(!folder.exists());
    }
}
