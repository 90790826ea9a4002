//! ONNX Runtime's CUDA provider on a machine without a GPU: the real provider, and `tests/cuda` for what it calls.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::pipeline::root;
use super::{cuda_runtime, folder};

/// The libraries, as a process of probity finds them.
pub struct StandIn {
    folder: PathBuf,
    runtime: PathBuf,
}

/// Compiled once. `None`, and the calling test is skipped, where ONNX Runtime for CUDA is absent.
pub fn stand_in() -> Option<&'static StandIn> {
    static BUILT: OnceLock<StandIn> = OnceLock::new();
    let runtime = cuda_runtime()?;
    Some(BUILT.get_or_init(|| StandIn::build(&runtime)))
}

impl StandIn {
    fn build(runtime: &Path) -> StandIn {
        let folder = folder("cuda");
        let output = Command::new(root().join("tests/cuda/build.sh"))
            .args([&*folder, runtime])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let runtime = String::from_utf8(output.stdout).unwrap().trim().into();
        StandIn { folder, runtime }
    }

    /// The environment of a process that shall find the device, and these settings of it.
    pub fn variables<'a>(&'a self, settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let paths = [
            ("ORT_DYLIB_PATH", self.runtime.to_str().unwrap()),
            ("LD_LIBRARY_PATH", self.folder.to_str().unwrap()),
        ];
        [&paths, settings].concat()
    }
}
