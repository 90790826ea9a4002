//! What scores are computed on, as a document: who repeats a score compares it with their own.
//!
//! Holds what bits may depend on and nothing that changes between two starts of one program on one machine,
//! so that its digest names a way to compute.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::gpu::{self, Devices};
use super::session::{OPTIONS, Options, Provider};
use super::{Model, Nodes, Runtime};
use crate::error::{Fatal, Result};
use crate::record::Digest;

/// What the kernel says of the processors.
const PROCESSORS: &str = "/proc/cpuinfo";

/// The file of this process, also where another version was put in its place since it started.
const PROGRAM: &str = "/proc/self/exe";

/// What tells one kind of processor from another; on x86 and on ARM.
const IDENTITY: [&str; 10] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "CPU revision",
];

/// Instructions between which libraries of mathematics choose when they are loaded.
const FEATURES: [&str; 23] = [
    "amx_bf16",
    "amx_fp16",
    "amx_int8",
    "amx_tile",
    "asimd",
    "asimddp",
    "asimdhp",
    "avx",
    "avx2",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx512bw",
    "avx512dq",
    "avx512f",
    "avx512vl",
    "avx_vnni",
    "bf16",
    "f16c",
    "fma",
    "i8mm",
    "sve",
    "sve2",
];

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    library: Library<'a>,
    provider: &'a str,
    /// Libraries of the providers, beside the first one, and those that they compute with.
    provider_libraries: BTreeMap<String, String>,
    /// What only a device adds: without one the document is what it was before there were any.
    #[serde(flatten)]
    on_device: Option<OnDevice<'a>>,
    session: Options,
    processor: Processor<'a>,
    floats: Floats,
    program: Program,
}

#[derive(Serialize)]
struct OnDevice<'a> {
    provider_options: BTreeMap<&'static str, gpu::Options>,
    devices: Devices,
    nodes: Option<&'a Nodes>,
}

#[derive(Serialize)]
struct Library<'a> {
    name: &'static str,
    version: &'a str,
    build: &'a str,
    sha256: String,
}

#[derive(PartialEq, Eq, Debug, Serialize)]
struct Processor<'a> {
    identity: BTreeMap<&'a str, &'a str>,
    features: Vec<&'a str>,
}

/// What the thread that loaded the library does with numbers too small to be normal. A session sets it for its
/// own threads.
#[derive(Serialize)]
struct Floats {
    flush_to_zero: bool,
    denormals_are_zero: bool,
}

#[derive(Serialize)]
struct Program {
    version: &'static str,
    target: String,
    sha256: String,
}

impl Runtime {
    /// The document for this model: JSON, the same for every start of this program on this machine.
    ///
    /// # Errors
    /// When the program or a library cannot be read.
    pub fn document(&self, model: &Model) -> Result<String> {
        self.document_of(&model.provider, &model.providers, model.nodes())
    }

    fn document_of(
        &self,
        provider: &str,
        providers: &[Provider],
        nodes: Option<&Nodes>,
    ) -> Result<String> {
        let cpuinfo = fs::read_to_string(PROCESSORS)
            .map_err(|error| cannot_read(Path::new(PROCESSORS), error))?;
        let devices: Vec<Provider> = providers
            .iter()
            .copied()
            .filter(|provider| *provider != Provider::Cpu)
            .collect();
        let mut provider_libraries = BTreeMap::new();
        for path in devices
            .iter()
            .flat_map(|provider| self.libraries_of(*provider))
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            provider_libraries.insert(name.into_owned(), named_digest(&path)?.to_string());
        }
        let on_device = (!devices.is_empty()).then(|| OnDevice {
            provider_options: devices.iter().map(|p| (p.as_str(), p.options())).collect(),
            devices: Devices::here(),
            nodes,
        });
        let document = Document {
            format: 1,
            library: Library {
                name: "onnxruntime",
                version: self.version(),
                build: self.build(),
                sha256: self.digest().to_string(),
            },
            provider,
            provider_libraries,
            on_device,
            session: OPTIONS,
            processor: processor(&cpuinfo),
            floats: floats(),
            program: Program {
                version: env!("CARGO_PKG_VERSION"),
                target: target(),
                sha256: named_digest(Path::new(PROGRAM))?.to_string(),
            },
        };
        let text = serde_json::to_string_pretty(&document).expect("texts and numbers serialize");
        Ok(text + "\n")
    }

    /// The provider's own library, and those that it computes with.
    fn libraries_of(&self, provider: Provider) -> Vec<PathBuf> {
        let name = provider.as_str();
        let file = format!("libonnxruntime_providers_{name}.so");
        let mut paths = gpu::libraries(name);
        paths.push(self.library().with_file_name(file));
        paths
    }
}

fn cannot_read(path: &Path, error: io::Error) -> Fatal {
    Fatal::unreachable(format!(
        "cannot read {}, which the evidence must name; mount /proc and let the program be read",
        path.display()
    ))
    .because(error)
}

fn named_digest(path: &Path) -> Result<Digest> {
    digest_of(path).map_err(|error| cannot_read(path, error))
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The first processor of the list: kernels do not mix kinds within what a server is.
fn processor(cpuinfo: &str) -> Processor<'_> {
    let lines = cpuinfo.lines().take_while(|line| !line.trim().is_empty());
    let said: BTreeMap<&str, &str> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let features = said.get("flags").or_else(|| said.get("Features"));
    let mut features: Vec<&str> = features
        .map_or("", |features| features)
        .split_whitespace()
        .filter(|feature| FEATURES.contains(feature))
        .collect();
    features.sort_unstable();
    let identity = said.into_iter().filter(|(key, _)| IDENTITY.contains(key));
    Processor {
        identity: identity.collect(),
        features,
    }
}

fn floats() -> Floats {
    let halved = black_box(f32::MIN_POSITIVE) * black_box(0.5);
    let raised = black_box(f32::from_bits(1)) * black_box(f32::MAX);
    Floats {
        flush_to_zero: halved.to_bits() == 0,
        denormals_are_zero: raised.to_bits() == 0,
    }
}

/// What the program was compiled for.
fn target() -> String {
    let environment = match () {
        () if cfg!(target_env = "gnu") => "gnu",
        () if cfg!(target_env = "musl") => "musl",
        () => "unknown",
    };
    let (machine, system) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("{machine}-{system}-{environment}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::testing;

    const INTEL: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n\
        model name\t: Intel(R) Xeon(R)\nstepping\t: 8\ncpu MHz\t\t: 2000.123\n\
        flags\t\t: fpu sse2 avx fma avx512f avx2\n\nprocessor\t: 1\nvendor_id\t: other\n";

    #[test]
    fn a_processor_is_known_by_what_does_not_change() {
        let found = processor(INTEL);
        let identity = [
            ("cpu family", "6"),
            ("model", "143"),
            ("model name", "Intel(R) Xeon(R)"),
            ("stepping", "8"),
            ("vendor_id", "GenuineIntel"),
        ];
        assert_eq!(found.identity, BTreeMap::from(identity));
        assert_eq!(found.features, ["avx", "avx2", "avx512f", "fma"]);
        assert_eq!(found, processor(&INTEL.replace("2000.123", "3100.5")));
        let arm = "CPU implementer\t: 0x41\nFeatures\t: fp asimd sve2\nCPU part\t: 0xd4f\n";
        let found = processor(arm);
        assert_eq!(found.features, ["asimd", "sve2"]);
        assert_eq!(found.identity["CPU part"], "0xd4f");
    }

    #[test]
    fn subnormal_numbers_are_kept_unless_somebody_turned_that_off() {
        let floats = floats();
        assert!(!floats.flush_to_zero && !floats.denormals_are_zero);
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = vec![7; (1 << 20) + 5];
        fs::write(file.path(), &bytes).unwrap();
        assert_eq!(digest_of(file.path()).unwrap(), Digest::of(&bytes));
    }

    #[test]
    fn the_document_says_what_ran_and_does_not_change() {
        let Some(runtime) =
            testing::runtime("infer::document::the_document_says_what_ran_and_does_not_change")
        else {
            return;
        };
        let model = Model::open(&testing::fixture("mlp"), runtime, &[Provider::Cpu]).unwrap();
        let text = runtime.document(&model).unwrap();
        assert_eq!(runtime.document(&model).unwrap(), text);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read["library"]["sha256"],
            fs::read(runtime.library())
                .map(|bytes| Digest::of(&bytes).to_string())
                .unwrap()
        );
        assert_eq!(read["library"]["version"], runtime.version());
        assert_eq!(read["provider"], "cpu");
        assert_eq!(read["session"]["intra_op_threads"], 1);
        assert_eq!(read["session"]["graph_optimization"], "all");
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(read["program"]["sha256"], Digest::of(&program).to_string());
        assert!(
            !read["processor"]["identity"]
                .as_object()
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn without_a_device_the_document_says_nothing_of_one() {
        let Some(runtime) =
            testing::runtime("infer::document::without_a_device_the_document_says_nothing_of_one")
        else {
            return;
        };
        let package = testing::fixture("mlp");
        let model = Model::open_and_look(&package, runtime, &[Provider::Cpu]).unwrap();
        let text = runtime.document(&model).unwrap();
        let keys = [
            "floats",
            "format",
            "library",
            "processor",
            "program",
            "provider",
            "provider_libraries",
            "session",
        ];
        let read: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), keys);
        let plain = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
        assert_eq!(text, runtime.document(&plain).unwrap());
    }

    #[test]
    fn a_device_is_recorded_with_its_options_its_libraries_and_its_nodes() {
        let name =
            "infer::document::a_device_is_recorded_with_its_options_its_libraries_and_its_nodes";
        let Some(runtime) = testing::runtime(name) else {
            return;
        };
        let cuda = [Provider::Cuda(gpu::Gpu::default()), Provider::Cpu];
        let of = |runtime: &Runtime, nodes| runtime.document_of("cuda+cpu", &cuda, nodes);
        let absent = of(runtime, None).unwrap_err().to_string();
        let file = "libonnxruntime_providers_cuda.so";
        assert!(absent.contains(file), "{absent}");

        // A process has one library; this one is said to lie beside a provider.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), "provider").unwrap();
        let beside = runtime.as_if_at(folder.path().join("libonnxruntime.so"));
        let nodes = r#"[{"cat": "Node", "name": "a", "args": {"op_name": "Gemm", "provider": "CUDAExecutionProvider"}}]"#;
        let nodes = Nodes::parse(nodes).unwrap();
        let read: serde_json::Value =
            serde_json::from_str(&of(&beside, Some(&nodes)).unwrap()).unwrap();
        assert_eq!(read["provider"], "cuda+cpu");
        let digest = Digest::of(b"provider").to_string();
        assert_eq!(read["provider_libraries"][file], digest);
        assert_eq!(read["provider_options"]["cuda"]["device_id"], "0");
        assert_eq!(read["provider_options"]["cuda"]["use_tf32"], "0");
        assert_eq!(read["nodes"]["cuda"]["Gemm"], 1);
        assert!(read["devices"]["driver"].is_string());
    }
}
