//! What planning a forest takes, while the scorer runs.

use std::process::Command;
use std::time::Instant;

use super::random::Draw;
use crate::explain::ensemble::{Branch, Ensemble, Node, Test};
use crate::explain::tables::Tables;

const NAME: &str = "explain::tests::plan::a_forest_that_is_too_large_is_refused_in_little_memory";
const CHILD: &str = "PROBITY_TEST_PLAN";
/// Of addresses, in KiB: a thread's stack and all that the test is linked with are among them.
const LIMIT_KIB: u32 = 384 << 10;

/// Trees whose thresholds are all different, as exact split points are.
fn forest(trees: usize, leaves: usize) -> Ensemble {
    let mut draw = Draw::new(1);
    let mut ensemble = Ensemble {
        nodes: Vec::new(),
        roots: Vec::new(),
        base: 0.0,
    };
    for _ in 0..trees {
        let root = subtree(leaves, &mut draw, &mut ensemble.nodes);
        ensemble.roots.push(root);
    }
    ensemble
}

fn subtree(leaves: usize, draw: &mut Draw, nodes: &mut Vec<Node>) -> usize {
    let node = match leaves {
        1 => Node::Leaf(draw.unit()),
        _ => Node::Branch(Branch {
            feature: draw.below(8),
            test: Test::Le(draw.unit() as f32),
            missing: draw.below(2) == 0,
            yes: subtree(leaves / 2, draw, nodes),
            no: subtree(leaves - leaves / 2, draw, nodes),
        }),
    };
    nodes.push(node);
    nodes.len() - 1
}

/// 300 trees of 256 leaves once took 4.2 GiB before they were found too large for 1 MiB.
#[test]
fn a_forest_that_is_too_large_is_refused_in_little_memory() {
    if std::env::var_os(CHILD).is_some() {
        let background = Draw::new(2).rows(8, 100);
        let started = Instant::now();
        let why = Tables::new(&forest(300, 256), &background, 1 << 20);
        let why = why.err().expect("the tables take gigabytes");
        assert!(why.contains("and 1.0 MiB are allowed"), "{why}");
        println!("{why}: known after {:?}", started.elapsed());
        return;
    }
    let limited = format!("ulimit -v {LIMIT_KIB} && exec \"$0\" \"$@\"");
    let run = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{run:?}");
    assert!(said.contains("1 passed"), "{said}");
}

/// A small file may still ask for much: each leaf of this tree would hold what is left of a large set.
#[test]
fn a_tree_that_takes_too_much_to_plan_is_refused() {
    let branch = |test, yes, no| {
        Node::Branch(Branch {
            feature: 0,
            test,
            missing: false,
            yes,
            no,
        })
    };
    let members = (0..30_000).map(|member| member as f32).collect();
    let mut nodes = vec![branch(Test::In(members), 1, 2), Node::Leaf(1.0)];
    for member in 0..600 {
        let at = nodes.len();
        nodes.push(branch(Test::Ne(member as f32 + 0.5), at + 2, at + 1));
        nodes.push(Node::Leaf(f64::from(member)));
    }
    nodes.push(Node::Leaf(0.0));
    let ensemble = Ensemble {
        nodes,
        roots: vec![0],
        base: 0.0,
    };
    let why = Tables::new(&ensemble, &[vec![0.0]], usize::MAX).err();
    assert!(
        why.as_ref()
            .is_some_and(|why| why.contains("takes more than 64.0 MiB")),
        "{why:?}"
    );
}

/// What a plan counts on: a tree's conditions are kept as the places where they change, however many bins there are.
#[test]
fn a_forest_whose_tables_fit_is_explained_though_its_thresholds_are_all_different() {
    let ensemble = forest(60, 64);
    let background = Draw::new(2).rows(8, 20);
    let tables = Tables::new(&ensemble, &background, 1 << 28).unwrap();
    assert!(tables.bytes() <= tables.planned_bytes());
    let rows = Draw::new(3).rows(8, 16);
    let mut sums = vec![vec![0.0; 16]; 8];
    tables.explain(&rows, &mut sums);
    for row in 0..16 {
        let values: Vec<f32> = rows.iter().map(|values| values[row]).collect();
        let sum = sums.iter().fold(tables.base(), |sum, of| sum + of[row]);
        let margin = super::brute::margin(&ensemble, &values);
        assert!(
            (sum - margin).abs() < 1e-9,
            "row {row}: {sum} is not {margin}"
        );
    }
}
