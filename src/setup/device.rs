//! The device that a model runs on, from the configuration to what is said of it at the start.

use crate::config::Config;
pub(super) use crate::infer::Nodes;
use crate::infer::{Gpu, Model};

/// What every provider but the CPU is given.
pub(super) fn gpu(config: &Config) -> Gpu {
    Gpu {
        device: config.model.gpu.device,
        memory_bytes: config.model.gpu.memory_bytes,
    }
}

/// Which nodes run where, if that is not all on the CPU. Trees there are warned of: they cost a copy to the device and
/// back, and gain nothing.
pub(super) fn nodes(model: &Model) -> Option<Nodes> {
    let nodes = model.nodes()?;
    if let Some(warning) = warning(nodes) {
        tracing::warn!(provider = model.provider(), "{warning}");
    }
    Some(nodes.clone())
}

fn warning(nodes: &Nodes) -> Option<String> {
    let trees = nodes.trees_on_cpu();
    (!trees.is_empty()).then(|| {
        format!(
            "the CPU runs {}, though a GPU is asked for: ONNX Runtime has no kernel for trees there. write \
             model.providers = [\"cpu\"], which spares the copies to the device and back",
            trees.join(" and ")
        )
    })
}

/// Stands behind the provider's name.
pub(super) fn said(nodes: Option<&Nodes>) -> String {
    nodes.map_or_else(String::new, |nodes| format!(" ({nodes})"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::setup::Setup;

    const CUDA: &str = include_str!("../infer/nodes/cuda.json");

    #[test]
    fn the_gpu_is_the_one_that_is_configured() {
        let sets = ["model.gpu.device=2", "model.gpu.memory=3GiB"].map(str::to_owned);
        let config = Config::load(None, &sets, &config::Environment::default()).unwrap();
        let wanted = Gpu {
            device: 2,
            memory_bytes: 3 << 30,
        };
        assert_eq!(gpu(&config), wanted);
        let config = Config::load(None, &[], &config::Environment::default()).unwrap();
        assert_eq!(gpu(&config), Gpu::default());
    }

    #[test]
    fn where_nodes_run_is_said_only_if_there_is_a_choice() {
        let name = "setup::device::where_nodes_run_is_said_only_if_there_is_a_choice";
        if crate::infer::testing::runtime(name).is_none() {
            return;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/probity.toml");
        let config = Config::load(Some(&file), &[], &config::environment()).unwrap();
        let mut setup = Setup::load(&config).unwrap();
        let text = setup.describe();
        assert!(text.ends_with(" cpu, deterministic"), "{text}");
        setup.nodes = Some(Nodes::parse(CUDA).unwrap());
        let text = setup.describe();
        let nodes = " cpu (5 nodes on cuda, 2 on cpu: Cast + TreeEnsembleClassifier), ";
        assert!(text.contains(nodes), "{text}");
    }

    #[test]
    fn trees_that_the_cpu_runs_are_warned_of_and_other_nodes_are_not() {
        let text = warning(&Nodes::parse(CUDA).unwrap()).unwrap();
        assert!(
            text.contains("the CPU runs TreeEnsembleClassifier"),
            "{text}"
        );
        assert!(text.contains("model.providers = [\"cpu\"]"), "{text}");
        let without = CUDA.replace("TreeEnsembleClassifier", "Shape");
        assert_eq!(warning(&Nodes::parse(&without).unwrap()), None);
    }
}
