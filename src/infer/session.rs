//! How a session of ONNX Runtime is set up: the execution providers, and everything that the bits depend on.
//!
//! Promises that a provider which is asked for is there or the session is refused, that the CPU runs nothing
//! unless it is asked for too, and that every session has one thread, works in order and keeps subnormal numbers.

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use serde::Serialize;

use super::Runtime;
use super::gpu::{self, Gpu};
use super::profile::Profile;
use super::trouble::Trouble;
use crate::error::{Fatal, Result};
use crate::package::Package;

/// A folder that no file can lie in. ONNX Runtime would look for a model's external weights in the current
/// directory, where nobody hashed them.
const NO_FOLDER: &str = "/dev/null";

/// How every session is set up, as far as bits may depend on it.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Options {
    intra_op_threads: usize,
    inter_op_threads: usize,
    /// `sequential`, or `parallel`.
    execution_mode: &'static str,
    /// `all`: everything that the library knows to do to a graph.
    graph_optimization: &'static str,
    deterministic_compute: bool,
    denormal_as_zero: bool,
}

pub(super) const OPTIONS: Options = Options {
    intra_op_threads: 1,
    inter_op_threads: 1,
    execution_mode: "sequential",
    graph_optimization: "all",
    deterministic_compute: true,
    denormal_as_zero: false,
};

/// What executes the nodes of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    Cpu,
    Cuda(Gpu),
    TensorRt(Gpu),
}

impl Provider {
    /// As it is written in the configuration and recorded in the evidence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda(_) => "cuda",
            Provider::TensorRt(_) => "tensorrt",
        }
    }

    /// By ONNX Runtime's names. The CPU has none: its options are those of the session.
    pub(super) fn options(self) -> gpu::Options {
        match self {
            Provider::Cpu => gpu::Options::new(),
            Provider::Cuda(gpu) => gpu.cuda(),
            Provider::TensorRt(gpu) => gpu.tensorrt(),
        }
    }

    /// How ONNX Runtime is asked for it. Nothing for the CPU, which every session has.
    fn dispatch(self) -> Option<ExecutionProviderDispatch> {
        let provider = match self {
            Provider::Cpu => return None,
            Provider::Cuda(_) => with(ep::CUDA::default(), self.options()).build(),
            Provider::TensorRt(_) => with(ep::TensorRT::default(), self.options()).build(),
        };
        Some(provider.error_on_failure())
    }
}

fn with<P: ArbitrarilyConfigurableExecutionProvider>(provider: P, options: gpu::Options) -> P {
    options
        .into_iter()
        .fold(provider, |provider, (name, value)| {
            provider.with_arbitrary_config(name, value)
        })
}

/// `cuda+cpu`.
pub(super) fn joined(providers: &[Provider]) -> String {
    let names: Vec<_> = providers.iter().map(|provider| provider.as_str()).collect();
    names.join("+")
}

impl Runtime {
    /// A session of the package's model, and those of the providers that run it. With a profile, each run is
    /// written down until it is read.
    pub(super) fn session(
        &self,
        package: &Package,
        providers: &[Provider],
        profile: Option<&Profile>,
    ) -> Result<(Session, Vec<Provider>)> {
        check_list(providers)?;
        let mut without_cpu = providers.to_vec();
        without_cpu.retain(|provider| *provider != Provider::Cpu);
        // Where both are allowed, ONNX Runtime does not say whether the CPU is needed, so find out.
        if !without_cpu.is_empty()
            && without_cpu.len() < providers.len()
            && let Ok(session) = self.try_session(package, &without_cpu, profile)?
        {
            return Ok((session, without_cpu));
        }
        let session = self.try_session(package, providers, profile)?;
        let session = session.map_err(|error| cannot_open(package, providers, &error))?;
        Ok((session, providers.to_vec()))
    }

    /// The outer error is a provider that is missing; the inner one, a model that these providers cannot open.
    fn try_session(
        &self,
        package: &Package,
        providers: &[Provider],
        profile: Option<&Profile>,
    ) -> Result<Result<Session, ort::Error>> {
        let mut builder = self.builder(providers, profile).map_err(|error| {
            Fatal::unreachable("cannot set up an ONNX Runtime session").because(error.to_string())
        })?;
        for provider in providers {
            builder = self.register(builder, *provider)?;
        }
        Ok(builder.commit_from_memory(&package.model.bytes))
    }

    fn builder(
        &self,
        providers: &[Provider],
        profile: Option<&Profile>,
    ) -> ort::Result<SessionBuilder> {
        let mut builder = Session::builder(&self.environment)?
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(OPTIONS.intra_op_threads)?
            .with_inter_threads(OPTIONS.inter_op_threads)?
            .with_parallel_execution(OPTIONS.execution_mode == "parallel")?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_deterministic_compute(OPTIONS.deterministic_compute)?
            .with_config_entry(
                "session.set_denormal_as_zero",
                u8::from(OPTIONS.denormal_as_zero).to_string(),
            )?
            .with_config_entry(
                "session.model_external_initializers_file_folder_path",
                NO_FOLDER,
            )?
            .with_log_level(LogLevel::Fatal)?;
        if let Some(profile) = profile {
            builder = builder.with_profiling(profile.prefix())?;
        }
        if providers.contains(&Provider::Cpu) {
            Ok(builder)
        } else {
            Ok(builder.with_disable_cpu_fallback()?)
        }
    }

    fn register(&self, builder: SessionBuilder, provider: Provider) -> Result<SessionBuilder> {
        let Some(dispatch) = provider.dispatch() else {
            return Ok(builder);
        };
        builder.with_execution_providers([dispatch]).map_err(|error| {
            let name = provider.as_str();
            Fatal::unreachable(format!(
                "the execution provider {name} is asked for, but {} cannot give it; take `{name}` out of \
                 `model.providers`, or name a library that was built with it and whose drivers are installed",
                self.library().display()
            ))
            .because(reason(error.message()))
        })
    }
}

/// What ONNX Runtime says, without the place in its own source that it says first:
/// `/onnxruntime_src/….cc:2043 … [ONNXRuntimeError] : 1 : FAIL : Failed to load …`.
fn reason(text: &str) -> String {
    let text = text.rsplit(" : FAIL : ").next().unwrap_or(text);
    text.trim_end().to_owned()
}

fn check_list(providers: &[Provider]) -> Result<()> {
    if providers.is_empty() {
        return Err(Fatal::usage(
            "no execution provider is asked for; write model.providers = [\"cpu\"]",
        ));
    }
    for (i, provider) in providers.iter().enumerate() {
        let name = provider.as_str();
        if providers[..i].iter().any(|other| other.as_str() == name) {
            return Err(Fatal::usage(format!(
                "`model.providers` has {name} twice; take one out"
            )));
        }
        if *provider == Provider::Cpu && i + 1 < providers.len() {
            let message = "`model.providers` has cpu before others, which would never be used; write cpu last";
            return Err(Fatal::usage(message));
        }
    }
    Ok(())
}

fn cannot_open(package: &Package, providers: &[Provider], error: &ort::Error) -> Fatal {
    if providers.iter().any(|provider| *provider != Provider::Cpu) {
        let (title, on) = (package.title(), joined(providers));
        match Trouble::of(error.code(), error.message()) {
            Trouble::OutOfMemory => {
                return Fatal::unreachable(format!(
                    "the device's memory does not hold the weights of the model {title} on {on}; free the device, lower \
                     `pipeline.lanes`, or raise `model.gpu.memory`"
                ));
            }
            Trouble::Device(failed) => {
                return Fatal::unreachable(format!(
                    "the model {title} cannot be opened on {on}: {failed}; look at `nvidia-smi` and at the kernel's log"
                ));
            }
            Trouble::Other => {}
        }
    }
    let mut message = format!(
        "cannot open {} of the model package {}: it must be a whole ONNX model in one file, of operators that ONNX \
         Runtime has",
        package.folder.join(&package.model.file).display(),
        package.title()
    );
    if !providers.contains(&Provider::Cpu) {
        message += ", whose every node the providers asked for can run; write \"cpu\" last in `model.providers` to \
                    let the CPU run the others";
    }
    Fatal::usage(message).because(error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_providers_that_make_no_sense_are_refused() {
        let (cuda, tensorrt) = (
            Provider::Cuda(Gpu::default()),
            Provider::TensorRt(Gpu::default()),
        );
        assert!(check_list(&[tensorrt, cuda, Provider::Cpu]).is_ok());
        let refused = |list: &[Provider]| check_list(list).unwrap_err().to_string();
        assert!(refused(&[]).contains("[\"cpu\"]"));
        let other = Gpu {
            device: 1,
            ..Gpu::default()
        };
        assert!(refused(&[cuda, Provider::Cuda(other)]).contains("cuda twice"));
        assert!(refused(&[Provider::Cpu, cuda]).contains("write cpu last"));
    }
}
