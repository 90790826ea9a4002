//! The input schema and the model package that the program carries, and keys of its own, for a demo from anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Fatal, Result};
use crate::keys::Keys;

const FILES: [(&str, &[u8]); 7] = [
    ("payment.avsc", include_bytes!("../../schemas/payment.avsc")),
    (
        "card-risk/model.toml",
        include_bytes!("../../config/models/card-risk/model.toml"),
    ),
    (
        "card-risk/model.onnx",
        include_bytes!("../../config/models/card-risk/model.onnx"),
    ),
    (
        "card-risk/golden.json",
        include_bytes!("../../config/models/card-risk/golden.json"),
    ),
    (
        "card-risk/background.json",
        include_bytes!("../../config/models/card-risk/background.json"),
    ),
    (
        "card-risk/reference.json",
        include_bytes!("../../config/models/card-risk/reference.json"),
    ),
    (
        "card-risk/MODEL_CARD.md",
        include_bytes!("../../config/models/card-risk/MODEL_CARD.md"),
    ),
];

/// Writes the files to a folder of this process. Returns the folder.
///
/// # Errors
/// When the system's temporary folder cannot be written.
pub fn unpack() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("probity-demo-{}", std::process::id()));
    for (name, bytes) in FILES {
        let path = folder.join(name);
        let parent = path.parent().expect("every file is in the folder");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| {
                Fatal::unreachable(format!("writing {}", path.display())).because(error)
            })?;
    }
    Ok(folder)
}

/// Makes new keys in `folder`, in the place of those of an earlier process of the same number. Returns
/// their folder.
///
/// # Errors
/// When they cannot be written.
pub fn make_keys(folder: &Path) -> Result<PathBuf> {
    let keys = folder.join("keys");
    if keys.exists() {
        fs::remove_dir_all(&keys).map_err(|error| {
            Fatal::unreachable(format!("removing {}", keys.display())).because(error)
        })?;
    }
    Keys::create(&keys, "demo.example")?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Package;

    #[test]
    fn the_program_carries_the_whole_package() {
        let unpacked = unpack().unwrap();
        let carried = Package::load(&unpacked.join("card-risk")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models/card-risk");
        assert_eq!(carried.digest(), Package::load(&source).unwrap().digest());
        fs::remove_dir_all(unpacked).unwrap();
    }
}
