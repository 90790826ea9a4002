//! The reference packages explain themselves.

use std::path::Path;

use crate::explain::{Explainer, reasons};
use crate::infer::testing::runtime;
use crate::infer::{Model, Provider};
use crate::package::Package;

/// Both models are explained, every feature belongs to a group, and the groups have texts in two languages.
#[test]
fn the_reference_packages_are_explained() {
    let Some(runtime) = runtime("explain::the_reference_packages_are_explained") else {
        return;
    };
    for (name, method, evaluations) in [
        ("card-risk", "tree-interventional", 0),
        ("card-risk-mlp", "permutation", 8 * 2 * 35),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models");
        let package = Package::load(&folder.join(name)).unwrap();
        let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
        let explainer = Explainer::open(&package, &mut model, 256 << 20).unwrap();
        let explainer = explainer.expect("the package has reasons");
        assert_eq!(explainer.method(), method);
        assert_eq!(explainer.evaluations(), evaluations);
        let groups = &package.reasons.as_ref().unwrap().groups;
        let mut features: Vec<usize> = groups.iter().flat_map(|g| g.features.clone()).collect();
        features.sort_unstable();
        assert_eq!(features, (0..package.features.len()).collect::<Vec<_>>());
        for group in groups {
            for texts in [&group.raises, &group.lowers] {
                assert_eq!(texts.keys().collect::<Vec<_>>(), ["de", "en"]);
            }
        }
        // The last golden row is a fraud, and the reasons say so.
        let golden = package.golden.as_ref().unwrap();
        let row = golden.score.len() - 1;
        let found = explainer
            .explain(
                &mut model,
                &golden.columns,
                golden.margin.as_deref(),
                &[row],
            )
            .unwrap();
        let contributions: Vec<f64> = found.contributions.iter().map(|of| of[0]).collect();
        let reasons = reasons::rank(groups, &contributions);
        assert!(reasons[0].raises(), "{name}: {reasons:?}");
    }
}
