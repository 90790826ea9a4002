//! The input schema and the model package that the program carries, for a demo from anywhere.

use std::fs;
use std::path::PathBuf;

use crate::error::{Fatal, Result};

const FILES: [(&str, &[u8]); 3] = [
    ("payment.avsc", include_bytes!("../../schemas/payment.avsc")),
    (
        "card-risk/model.toml",
        include_bytes!("../../config/models/card-risk/model.toml"),
    ),
    (
        "card-risk/model.onnx",
        include_bytes!("../../config/models/card-risk/model.onnx"),
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
