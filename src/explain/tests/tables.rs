use super::brute;
use super::random::Draw;
use crate::explain::ensemble::{Ensemble, Node};
use crate::explain::tables::Tables;

const SEED: u64 = 4;
const ENSEMBLES: u64 = 3000;
const TOLERANCE: f64 = 1e-9;
const AMPLE: usize = 1 << 30;

fn row_of(features: &[Vec<f32>], row: usize) -> Vec<f32> {
    features.iter().map(|values| values[row]).collect()
}

fn explain(tables: &Tables, rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> = rows.iter().map(|values| vec![0.0; values.len()]).collect();
    tables.explain(rows, &mut sums);
    sums
}

/// The tables are as good as the definition, and say the same however small they had to be.
#[test]
fn contributions_are_the_shapley_values_of_random_ensembles() {
    let mut played = 0;
    for seed in SEED..SEED + ENSEMBLES {
        let mut draw = Draw::new(seed);
        let features = 1 + draw.below(7);
        let trees = 1 + draw.below(4);
        let ensemble = draw.ensemble(features, trees, 12);
        let (background, rows) = (1 + draw.below(6), 1 + draw.below(4));
        let background = draw.rows(features, background);
        let rows = draw.rows(features, rows);
        let tables = Tables::new(&ensemble, &background, AMPLE).unwrap();
        let mut least = tables.planned_bytes();
        while let Some(less) = least.checked_sub(1)
            && let Ok(smaller) = Tables::new(&ensemble, &background, less)
        {
            played += smaller.effort().1;
            least = smaller.planned_bytes();
            assert_close(seed, &ensemble, &background, &rows, &smaller);
        }
        assert!(tables.bytes() <= tables.planned_bytes(), "seed {seed}");
        assert_close(seed, &ensemble, &background, &rows, &tables);
    }
    assert!(played > 0, "no leaf was ever without a table");
}

fn assert_close(
    seed: u64,
    ensemble: &Ensemble,
    background: &[Vec<f32>],
    rows: &[Vec<f32>],
    tables: &Tables,
) {
    let found = explain(tables, rows);
    for row in 0..rows[0].len() {
        let values = row_of(rows, row);
        let (base, expected) = brute::shapley(ensemble, &values, background);
        assert!(
            (tables.base() - base).abs() <= TOLERANCE,
            "seed {seed}: base"
        );
        let mut sum = tables.base();
        for (feature, expected) in expected.iter().enumerate() {
            let found = found[feature][row];
            assert!(
                (found - expected).abs() <= TOLERANCE,
                "seed {seed}, row {row}, feature {feature}: {found} instead of {expected}"
            );
            sum += found;
        }
        let margin = brute::margin(ensemble, &values);
        assert!(
            (sum - margin).abs() <= TOLERANCE,
            "seed {seed}, row {row}: {sum} is not {margin}"
        );
    }
}

/// A row's contributions do not depend on the rows beside it, to the bit, and what nothing asks for adds nothing.
#[test]
fn a_row_is_explained_alike_alone_and_among_others() {
    let mut draw = Draw::new(SEED);
    let ensemble = draw.ensemble(9, 60, 31);
    let width = ensemble.width();
    let features = width + 2;
    let background = draw.rows(features, 50);
    let rows = draw.rows(features, 1024);
    // The smaller tables leave some leaves without one.
    for (max_bytes, some_without) in [(AMPLE, false), (5 << 17, true)] {
        let tables = Tables::new(&ensemble, &background, max_bytes).unwrap();
        assert_eq!(tables.effort().1 > 0, some_without, "{:?}", tables.effort());
        let together = explain(&tables, &rows);
        for row in 0..1024 {
            let alone: Vec<Vec<f32>> = rows.iter().map(|values| vec![values[row]]).collect();
            let alone = explain(&tables, &alone);
            for feature in 0..features {
                let (together, alone) = (together[feature][row], alone[feature][0]);
                assert_eq!(
                    together.to_bits(),
                    alone.to_bits(),
                    "row {row}, feature {feature}"
                );
                assert!(
                    feature < width || alone == 0.0,
                    "feature {feature} is not asked for"
                );
            }
        }
    }
}

/// Features that the trees treat alike get the same, where rows and background give them the same values.
#[test]
fn equal_parts_get_equal_shares() {
    let mut draw = Draw::new(SEED);
    for _ in 0..200 {
        let ensemble = draw.ensemble(3, 3, 8);
        // The same trees again, over features 3 to 5.
        let mut twice = ensemble.clone();
        let nodes = ensemble.nodes.len();
        for node in &ensemble.nodes {
            let mut node = node.clone();
            if let Node::Branch(branch) = &mut node {
                branch.feature += 3;
                branch.yes += nodes;
                branch.no += nodes;
            }
            twice.nodes.push(node);
        }
        let roots: Vec<usize> = ensemble.roots.iter().map(|root| root + nodes).collect();
        twice.roots.extend(roots);
        let (background, rows) = (draw.rows(3, 4), draw.rows(3, 3));
        let both = |values: &[Vec<f32>]| [values, values].concat();
        let once = explain(&Tables::new(&ensemble, &background, AMPLE).unwrap(), &rows);
        let tables = Tables::new(&twice, &both(&background), AMPLE).unwrap();
        let found = explain(&tables, &both(&rows));
        for feature in 0..3 {
            for row in 0..3 {
                // Symmetry, and linearity: what one set of trees gives does not depend on the others.
                let expected = once[feature][row];
                assert!((found[feature][row] - expected).abs() <= TOLERANCE);
                assert!((found[feature + 3][row] - expected).abs() <= TOLERANCE);
            }
        }
    }
}

/// Features that trees exchange for each other get the same, where rows and background give them the same values.
#[test]
fn features_that_play_alike_get_the_same() {
    let mut draw = Draw::new(SEED);
    let mut told_apart = 0;
    for _ in 0..200 {
        // What a tree asks of feature 0, its twin asks of feature 1, and the other way round.
        let ensemble = draw.ensemble(3, 2, 10);
        let nodes = ensemble.nodes.len();
        let mut both = ensemble.clone();
        for node in &ensemble.nodes {
            let mut node = node.clone();
            if let Node::Branch(branch) = &mut node {
                branch.feature = [1, 0, 2][branch.feature];
                branch.yes += nodes;
                branch.no += nodes;
            }
            both.nodes.push(node);
        }
        both.roots
            .extend(ensemble.roots.iter().map(|root| root + nodes));
        let alike =
            |values: Vec<Vec<f32>>| [values[0].clone(), values[0].clone(), values[1].clone()];
        let (background, rows) = (alike(draw.rows(2, 4)), alike(draw.rows(2, 3)));
        let found = explain(&Tables::new(&both, &background, AMPLE).unwrap(), &rows);
        for ((one, other), third) in found[0].iter().zip(&found[1]).zip(&found[2]) {
            assert!((one - other).abs() <= TOLERANCE);
            told_apart += usize::from((one - third).abs() > TOLERANCE);
        }
    }
    assert!(told_apart > 100, "the third feature plays another part");
}

/// Linearity: what a forest gives a feature is what its trees give it, one by one; twice the leaves give twice as much.
#[test]
fn a_forest_gives_what_its_trees_give() {
    let mut draw = Draw::new(SEED);
    for _ in 0..100 {
        let ensemble = draw.ensemble(5, 6, 12);
        let (background, rows) = (draw.rows(5, 4), draw.rows(5, 3));
        let of = |ensemble: &Ensemble| {
            let tables = Tables::new(ensemble, &background, AMPLE).unwrap();
            (tables.base(), explain(&tables, &rows))
        };
        let (base, whole) = of(&ensemble);
        let parts = ensemble.roots.iter().map(|root| {
            of(&Ensemble {
                roots: vec![*root],
                base: 0.0,
                ..ensemble.clone()
            })
        });
        let parts: Vec<_> = parts.collect();
        let bases: f64 = parts.iter().map(|(base, _)| base).sum();
        assert!((ensemble.base + bases - base).abs() <= TOLERANCE);
        let mut doubled = ensemble.clone();
        for node in &mut doubled.nodes {
            if let Node::Leaf(value) = node {
                *value *= 2.0;
            }
        }
        let (_, doubled) = of(&doubled);
        for feature in 0..5 {
            for row in 0..3 {
                let sum: f64 = parts.iter().map(|(_, found)| found[feature][row]).sum();
                assert!((whole[feature][row] - sum).abs() <= TOLERANCE);
                assert!((doubled[feature][row] - 2.0 * whole[feature][row]).abs() <= TOLERANCE);
            }
        }
    }
}
