//! Which nodes of a model run where, read from ONNX Runtime's profile of one run.
//!
//! Operators without a kernel on the GPU run on the CPU, and the library says so nowhere else. The profile names each
//! node that ran: what stands behind a condition that did not hold is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Trees have no CUDA kernel.
const TREES: &str = "TreeEnsemble";

/// How many nodes of the optimised graph each provider runs, by operator.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Nodes(BTreeMap<String, BTreeMap<String, usize>>);

/// One line of a profile.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "cat")]
    category: String,
    name: String,
    #[serde(default)]
    args: Args,
}

#[derive(Default, Deserialize)]
struct Args {
    op_name: Option<String>,
    provider: Option<String>,
    #[serde(default)]
    node_index: String,
}

impl Nodes {
    /// A node that ran several times, in a loop or in several runs, counts once.
    ///
    /// # Errors
    /// If the profile is no JSON: ONNX Runtime writes names of nodes into it as they are.
    pub fn parse(profile: &str) -> Result<Nodes, serde_json::Error> {
        let events: Vec<Event> = serde_json::from_str(profile)?;
        let mut seen = BTreeSet::new();
        let mut nodes = Nodes::default();
        for event in events {
            let (Some(operator), Some(provider)) = (event.args.op_name, event.args.provider) else {
                continue;
            };
            // Names need not differ, and numbers are those of a graph within the graph.
            let node = (event.name, event.args.node_index, provider.clone());
            if event.category == "Node" && seen.insert(node) {
                let operators = nodes.0.entry(provider_name(&provider)).or_default();
                *operators.entry(operator_name(operator)).or_default() += 1;
            }
        }
        Ok(nodes)
    }

    /// Operators of decision trees that the CPU runs.
    #[must_use]
    pub fn trees_on_cpu(&self) -> Vec<&str> {
        let operators = self
            .0
            .get("cpu")
            .into_iter()
            .flat_map(|operators| operators.keys());
        operators
            .map(String::as_str)
            .filter(|operator| operator.starts_with(TREES))
            .collect()
    }
}

/// As it is written in the configuration.
fn provider_name(name: &str) -> String {
    match name {
        "CPUExecutionProvider" => "cpu",
        "CUDAExecutionProvider" => "cuda",
        "TensorrtExecutionProvider" => "tensorrt",
        other => other,
    }
    .to_owned()
}

/// TensorRT calls a part of the graph by a number that need not be the same at the next start.
fn operator_name(name: String) -> String {
    if name.starts_with("TRTKernel") {
        "TRTKernel".to_owned()
    } else {
        name
    }
}

/// `12 nodes on cuda, 1 on cpu: TreeEnsembleClassifier`.
impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no node was seen to run");
        }
        // The CPU last, with what it runs.
        let others = self.0.iter().filter(|(provider, _)| *provider != "cpu");
        let cpu = self.0.get_key_value("cpu");
        for (at, (provider, operators)) in others.chain(cpu).enumerate() {
            let count: usize = operators.values().sum();
            match at {
                0 if count == 1 => write!(f, "1 node on {provider}")?,
                0 => write!(f, "{count} nodes on {provider}")?,
                _ => write!(f, ", {count} on {provider}")?,
            }
            if provider == "cpu" {
                let list: Vec<String> = operators.iter().map(counted).collect();
                write!(f, ": {}", list.join(" + "))?;
            }
        }
        Ok(())
    }
}

fn counted((operator, count): (&String, &usize)) -> String {
    match count {
        1 => operator.clone(),
        _ => format!("{count} {operator}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with ONNX Runtime 1.32.0 on a CPU: one run of `config/models/card-risk-mlp`.
    const CPU: &str = include_str!("nodes/cpu.json");

    /// Written by hand: the form is that of `profiler.cc` and `sequential_executor.cc` of ONNX Runtime, and of a kernel's
    /// event that of `gpu_profiler_common.h`. Trees are on the CPU, with a copy to the device and one back.
    const CUDA: &str = include_str!("nodes/cuda.json");

    #[test]
    fn a_recorded_profile_of_a_cpu_has_every_node_once() {
        let nodes = Nodes::parse(CPU).unwrap();
        let text =
            "9 nodes on cpu: Clip + Div + 2 FusedGemm + Gemm + IsNaN + Sigmoid + Sub + Where";
        assert_eq!(nodes.to_string(), text);
        assert!(nodes.trees_on_cpu().is_empty());
    }

    #[test]
    fn what_a_gpu_cannot_run_is_named() {
        let nodes = Nodes::parse(CUDA).unwrap();
        assert_eq!(
            nodes.to_string(),
            "5 nodes on cuda, 2 on cpu: Cast + TreeEnsembleClassifier"
        );
        assert_eq!(nodes.trees_on_cpu(), ["TreeEnsembleClassifier"]);
        let list = r#"{"cpu":{"Cast":1,"TreeEnsembleClassifier":1},"cuda":{"MemcpyFromHost":1,"MemcpyToHost":1,"Mul":2,"Sigmoid":1}}"#;
        assert_eq!(serde_json::to_string(&nodes).unwrap(), list);
    }

    #[test]
    fn a_part_that_tensorrt_compiled_has_one_name_at_every_start() {
        let event = |number: u64| {
            format!(
                r#"[{{"cat": "Node", "name": "TensorrtExecutionProvider_TRTKernel_graph_mlp_{number}_0_0_kernel_time",
                "args": {{"op_name": "TRTKernel_graph_mlp_{number}_0", "provider": "TensorrtExecutionProvider"}}}}]"#
            )
        };
        let nodes = [1, 2].map(|number| Nodes::parse(&event(number)).unwrap());
        assert_eq!(nodes[0], nodes[1]);
        assert_eq!(nodes[0].to_string(), "1 node on tensorrt");
    }

    #[test]
    fn a_profile_that_is_broken_by_a_name_is_an_error_and_nothing_is_guessed() {
        let broken = CUDA.replace("scale_kernel_time", "sc\"ale_kernel_time");
        assert!(Nodes::parse(&broken).is_err());
        assert_eq!(
            Nodes::parse("[]").unwrap().to_string(),
            "no node was seen to run"
        );
    }
}
