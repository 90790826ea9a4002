//! For tests that need ONNX Runtime: the library, or a skip that cannot go unseen.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::Runtime;
use crate::package::Package;

/// The library that `ORT_DYLIB_PATH` names. Without it, a failure where `CI` is `true`; else nothing, and the
/// test's name is added to the file that `PROBITY_SKIP_LOG` names, from which `make test` prints what it left out.
pub fn runtime(test: &str) -> Option<&'static Runtime> {
    if env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty()) {
        return Some(
            Runtime::load(None).expect("the library that ORT_DYLIB_PATH names can be loaded"),
        );
    }
    assert_ne!(
        env::var("CI").as_deref(),
        Ok("true"),
        "{test} needs ORT_DYLIB_PATH, which is not set"
    );
    if let Some(path) = env::var_os("PROBITY_SKIP_LOG") {
        let mut skips = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the file for skips");
        writeln!(skips, "{test}: ORT_DYLIB_PATH is not set").expect("the file for skips");
    }
    None
}

/// A package of `tests/models`.
pub fn fixture(name: &str) -> Package {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/models")
        .join(name);
    Package::load(&folder).expect("the fixture is whole")
}
