//! A GPU: how it is set up, and what of it the bits of a score may depend on.
//!
//! The options of a provider are one list, which is handed to ONNX Runtime and recorded: what is not in it has the
//! library's default. Nothing here asks CUDA; the driver and the devices are what the kernel's files say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where NVIDIA's driver says what it is and what it drives.
const DRIVER: &str = "/proc/driver/nvidia";

/// What this process has loaded.
const LOADED: &str = "/proc/self/maps";

/// A device, and what one session may take of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gpu {
    /// Its number, as CUDA counts the devices that are visible.
    pub device: usize,
    /// The most that a session's arena may hold.
    pub memory_bytes: usize,
}

impl Default for Gpu {
    fn default() -> Gpu {
        Gpu {
            device: 0,
            memory_bytes: 1 << 30,
        }
    }
}

/// Options of a provider by ONNX Runtime's names.
pub(super) type Options = BTreeMap<&'static str, String>;

impl Gpu {
    /// Nothing is tuned by trying, and no number is rounded on its way.
    pub(super) fn cuda(self) -> Options {
        Options::from([
            ("device_id", self.device.to_string()),
            ("gpu_mem_limit", self.memory_bytes.to_string()),
            // Powers of two would take up to twice of what is needed, and fail at half of the limit.
            ("arena_extend_strategy", "kSameAsRequested".to_owned()),
            // One fixed algorithm: a search decides by time, and the next start may decide otherwise.
            ("cudnn_conv_algo_search", "DEFAULT".to_owned()),
            // TF32 would round the inputs of every multiplication to 10 bits.
            ("use_tf32", "0".to_owned()),
        ])
    }

    /// TensorRT takes what it needs for inputs and outputs from an arena of its own, which has no limit.
    pub(super) fn tensorrt(self) -> Options {
        Options::from([
            ("device_id", self.device.to_string()),
            ("trt_max_workspace_size", self.memory_bytes.to_string()),
            ("trt_fp16_enable", "0".to_owned()),
            ("trt_int8_enable", "0".to_owned()),
        ])
    }
}

/// Variables by which NVIDIA's libraries choose a device, or how exactly they compute.
const VARIABLES: [&str; 3] = [
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
];

/// The driver and what it drives: kernels are chosen by both.
#[derive(PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct Devices {
    /// The driver's version, in its own words; empty where it says nothing.
    driver: String,
    models: BTreeSet<String>,
    environment: BTreeMap<&'static str, String>,
}

impl Devices {
    pub fn here() -> Devices {
        let set = |name: &&'static str| Some((*name, std::env::var(name).ok()?));
        Devices {
            environment: VARIABLES.iter().filter_map(set).collect(),
            ..Devices::read(Path::new(DRIVER))
        }
    }

    /// What cannot be read is left out: a container may hide it, and the GPU works all the same.
    fn read(folder: &Path) -> Devices {
        let version = fs::read_to_string(folder.join("version")).unwrap_or_default();
        let gpus = fs::read_dir(folder.join("gpus")).into_iter().flatten();
        let files = gpus.flatten().map(|gpu| gpu.path().join("information"));
        let texts = files.filter_map(|file| fs::read_to_string(file).ok());
        Devices {
            driver: said(&version, "NVRM version").unwrap_or_default(),
            models: texts.filter_map(|text| said(&text, "Model")).collect(),
            environment: BTreeMap::new(),
        }
    }
}

/// What stands behind `key:`.
fn said(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.trim() == key)?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Libraries that the provider's own is linked to and that compute. Others are loaded only when a node needs them, so
/// whether they are there would depend on what this process did before.
fn linked(provider: &str) -> &'static [&'static str] {
    match provider {
        "cuda" => &["libcublas.so", "libcublasLt.so", "libcudart.so"],
        "tensorrt" => &["libcudart.so", "libnvinfer.so"],
        _ => &[],
    }
}

/// The files of the libraries that this provider computes with, as they are loaded.
pub(super) fn libraries(provider: &str) -> Vec<PathBuf> {
    let loaded = fs::read_to_string(LOADED).unwrap_or_default();
    among(&loaded, linked(provider))
}

/// Files among the mappings whose name is one of these, or goes on with a dot.
fn among(mappings: &str, names: &[&str]) -> Vec<PathBuf> {
    let is_named = |path: &Path| {
        let file = path.file_name().and_then(|name| name.to_str());
        file.is_some_and(|file| {
            let rests = names.iter().filter_map(|name| file.strip_prefix(name));
            rests
                .into_iter()
                .any(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let paths = mappings
        .lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
    let files: BTreeSet<PathBuf> = paths.filter(|path| is_named(path)).collect();
    files.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_capped_and_rounds_nothing() {
        let gpu = Gpu {
            device: 3,
            memory_bytes: 2 << 30,
        };
        let cuda = gpu.cuda();
        assert_eq!(cuda["device_id"], "3");
        assert_eq!(cuda["gpu_mem_limit"], "2147483648");
        assert_eq!(cuda["arena_extend_strategy"], "kSameAsRequested");
        assert_eq!(cuda["use_tf32"], "0");
        assert_ne!(cuda["cudnn_conv_algo_search"], "EXHAUSTIVE");
        let tensorrt = gpu.tensorrt();
        assert_eq!(tensorrt["device_id"], "3");
        assert_eq!(tensorrt["trt_max_workspace_size"], "2147483648");
        assert_eq!(tensorrt["trt_fp16_enable"], "0");
    }

    /// The form of the files is that of `nv-procfs.c` in NVIDIA's open kernel modules.
    #[test]
    fn devices_are_known_by_driver_and_model_and_not_by_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let information = |bus: &str, model: &str| {
            let gpu = folder.path().join("gpus").join(bus);
            fs::create_dir_all(&gpu).unwrap();
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 1{bus}\nGPU UUID: \t GPU-{bus}\n");
            fs::write(gpu.join("information"), text).unwrap();
        };
        assert_eq!(Devices::read(folder.path()), Devices::default());
        information("0000:1b:00.0", "NVIDIA H200");
        information("0000:43:00.0", "NVIDIA H200");
        information("0000:52:00.0", "NVIDIA L4");
        let version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n\
            GCC version:  gcc version 13.3.0\n";
        fs::write(folder.path().join("version"), version).unwrap();
        let devices = Devices::read(folder.path());
        assert_eq!(
            devices.driver,
            "NVIDIA UNIX Open Kernel Module for x86_64 580.65.06 Release Build"
        );
        let models = ["NVIDIA H200", "NVIDIA L4"].map(str::to_owned);
        assert_eq!(devices.models, BTreeSet::from(models));
    }

    #[test]
    fn libraries_are_found_among_what_is_loaded() {
        let mappings = "7f00-7f01 r-xp 00000000 fe:00 11  /libs/libcublas.so.13\n\
            7f01-7f02 r--p 00000000 fe:00 11  /libs/libcublas.so.13\n\
            7f02-7f03 r-xp 00000000 fe:00 12  /libs/of many/libcublasLt.so.13.1\n\
            7f03-7f04 r-xp 00000000 fe:00 13  /libs/libcudart.sorry\n\
            7f04-7f05 rw-p 00000000 00:00 0 \n";
        let found = among(mappings, linked("cuda"));
        let wanted = ["/libs/libcublas.so.13", "/libs/of many/libcublasLt.so.13.1"];
        assert_eq!(found, wanted.map(PathBuf::from));
        assert!(among(mappings, linked("cpu")).is_empty());
        assert!(libraries("cpu").is_empty());
    }
}
