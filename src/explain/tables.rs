//! Exact interventional Shapley values of a tree ensemble, looked up in tables that are made when the model is
//! loaded.
//!
//! The value function of a coalition S is the mean, over the background rows, of what the trees say of a row whose
//! features in S are the explained row's and whose others are the background row's. The trees' sum is a sum of games,
//! one for each leaf and background row ([`super::shapley`]), and a leaf's part depends on the explained row only
//! by the pattern of conditions it meets. So all that can come of a block of leaves is in its table, and a row costs
//! one look-up for each block, however many background rows there are.
//!
//! The values of a row do not depend on the rows beside it, to the bit: sums are taken in the order of the blocks.

use std::collections::HashMap;
use std::ops::Range;

use super::bins::Bins;
use super::ensemble::Ensemble;
use super::plan::{Block, Classes, Condition, Leaf, Plan};
use super::shapley::Game;

/// Rows that are explained together: the sums of so many, and a table, stay near the processor.
const ROWS: usize = 256;

/// Everything that can be said of a row, made once for a model and its background rows.
pub struct Tables {
    bins: Vec<Bins>,
    /// What the background rows get on average.
    base: f64,
    blocks: Vec<TableOfBlock>,
    slots: Vec<Slot>,
    /// Of each slot and bin: the bin's class times the stride of the slot.
    steps: Vec<u16>,
    /// Of each block and cell: where its values begin.
    cells: Vec<u32>,
    /// One number for each slot of the block. Those at 0 are zeros, as many as the largest block has slots.
    values: Vec<f64>,
    deep: Vec<Deep>,
    planned_bytes: usize,
}

struct TableOfBlock {
    slots: Range<usize>,
    cells: usize,
}

/// One feature of one block.
#[derive(Clone, Copy)]
struct Slot {
    feature: usize,
    steps: usize,
}

/// A leaf whose table would be too large.
struct Deep {
    conditions: Vec<(usize, Vec<bool>)>,
    game: Game,
}

/// Buffers that are used again.
#[derive(Default)]
struct Work {
    bins: Vec<u16>,
    at: Vec<u32>,
    sums: Vec<f64>,
}

impl Tables {
    /// `background` has the rows that a score is compared with, feature by feature.
    ///
    /// # Errors
    /// When the tables would take more than `max_bytes`, or the trees are of a shape that has none.
    pub fn new(
        ensemble: &Ensemble,
        background: &[Vec<f32>],
        max_bytes: usize,
    ) -> Result<Tables, String> {
        let bins = Bins::of(ensemble, background.len())?;
        let rows = background.first().map_or(0, Vec::len);
        let plan = Plan::new(ensemble, &bins, rows, max_bytes)?;
        let in_bins = |(values, bins): (&Vec<f32>, &Bins)| -> Vec<u16> {
            values.iter().map(|value| bins.of_value(*value)).collect()
        };
        let background: Vec<Vec<u16>> = background.iter().zip(&bins).map(in_bins).collect();
        let games = plan.leaves.iter().map(|leaf| game(leaf, &background, rows));
        let games: Vec<Game> = games.collect();
        let widest = plan.blocks.iter().filter_map(|b| b.classes.as_ref());
        let widest = widest.map(Vec::len).max().unwrap_or(0);
        let mut tables = Tables {
            bins,
            base: games
                .iter()
                .fold(ensemble.base, |sum, game| sum + game.base()),
            blocks: Vec::new(),
            slots: Vec::new(),
            steps: Vec::new(),
            cells: Vec::new(),
            values: vec![0.0; widest],
            deep: Vec::new(),
            planned_bytes: plan.bytes,
        };
        for block in &plan.blocks {
            tables.add(block, &plan.leaves, &games);
        }
        Ok(tables)
    }

    /// What the background rows get on average.
    pub fn base(&self) -> f64 {
        self.base
    }

    /// What the tables take.
    pub fn bytes(&self) -> usize {
        let deep = |deep: &Deep| {
            let bins: usize = deep.conditions.iter().map(|(_, met)| met.len()).sum();
            bins + deep.game.patterns.len() * size_of::<(u64, f64)>()
        };
        size_of_val(&*self.steps)
            + size_of_val(&*self.cells)
            + size_of_val(&*self.values)
            + self.deep.iter().map(deep).sum::<usize>()
    }

    /// What they were predicted to take at most.
    pub fn planned_bytes(&self) -> usize {
        self.planned_bytes
    }

    /// Look-ups for each row, and leaves whose games are played for each row.
    pub fn effort(&self) -> (usize, usize) {
        (self.blocks.len(), self.deep.len())
    }

    fn add(&mut self, block: &Block, leaves: &[Leaf], games: &[Game]) {
        let Some(classes) = &block.classes else {
            let leaf = block.leaves.start;
            let conditions = leaves[leaf].conditions.iter();
            self.deep.push(Deep {
                conditions: conditions.map(|c| (c.feature, c.met.to_vec())).collect(),
                game: games[leaf].clone(),
            });
            return;
        };
        let first_slot = self.slots.len();
        let mut cells = 1;
        for classes in classes {
            self.slots.push(Slot {
                feature: classes.feature,
                steps: self.steps.len(),
            });
            let stride = u16::try_from(cells).expect("a block has few cells");
            self.steps.extend(classes.class.iter().map(|c| c * stride));
            cells *= classes.count;
        }
        let mut parts: Vec<Part> = block
            .leaves
            .clone()
            .map(|leaf| Part::new(&leaves[leaf], &games[leaf], classes))
            .collect();
        self.blocks.push(TableOfBlock {
            slots: first_slot..self.slots.len(),
            cells: self.cells.len(),
        });
        let mut known: HashMap<Vec<u64>, u32> = HashMap::new();
        known.insert(vec![0; classes.len()], 0);
        let mut values = vec![0.0; classes.len()];
        let mut class = vec![0; classes.len()];
        for _ in 0..cells {
            values.fill(0.0);
            for part in &mut parts {
                part.add(&class, &mut values);
            }
            let bits = values.iter().map(|value| (value + 0.0).to_bits()).collect();
            let at = *known.entry(bits).or_insert_with(|| {
                let at = u32::try_from(self.values.len()).expect("the plan is limited");
                self.values.extend(&values);
                at
            });
            self.cells.push(at);
            next(&mut class, classes);
        }
    }

    /// Adds the contributions of rows to `sums`. Both are feature by feature, `rows` numbers each.
    ///
    /// # Panics
    /// If there are not so many numbers of each feature.
    pub fn explain(&self, features: &[Vec<f32>], sums: &mut [Vec<f64>]) {
        assert_eq!(features.len(), self.bins.len(), "one column per feature");
        assert_eq!(sums.len(), self.bins.len(), "one sum per feature");
        let rows = features.first().map_or(0, Vec::len);
        let mut work = Work::default();
        let mut first = 0;
        while first < rows {
            let next = rows.min(first + ROWS);
            self.explain_some(features, first..next, &mut work);
            for (sums, found) in sums.iter_mut().zip(work.sums.chunks_exact(next - first)) {
                sums[first..next].copy_from_slice(found);
            }
            first = next;
        }
    }

    fn explain_some(&self, features: &[Vec<f32>], range: Range<usize>, work: &mut Work) {
        let rows = range.len();
        work.bins.clear();
        for (values, bins) in features.iter().zip(&self.bins) {
            let values = &values[range.clone()];
            work.bins
                .extend(values.iter().map(|value| bins.of_value(*value)));
        }
        work.sums.clear();
        work.sums.resize(rows * self.bins.len(), 0.0);
        for block in &self.blocks {
            self.look_up(block, rows, work);
        }
        for deep in &self.deep {
            for row in 0..rows {
                let met = |(bit, (feature, met)): (usize, &(usize, Vec<bool>))| {
                    u64::from(met[usize::from(work.bins[feature * rows + row])]) << bit
                };
                let pattern = deep.conditions.iter().enumerate().map(met).sum();
                deep.game.play(pattern, |bit, part| {
                    work.sums[deep.conditions[bit].0 * rows + row] += part;
                });
            }
        }
    }

    fn look_up(&self, block: &TableOfBlock, rows: usize, work: &mut Work) {
        let slots = &self.slots[block.slots.clone()];
        work.at.clear();
        work.at.resize(rows, 0);
        for slot in slots {
            let steps = &self.steps[slot.steps..slot.steps + self.bins[slot.feature].count()];
            let bins = &work.bins[slot.feature * rows..][..rows];
            for (at, bin) in work.at.iter_mut().zip(bins) {
                *at += u32::from(steps[usize::from(*bin)]);
            }
        }
        let cells = &self.cells[block.cells..];
        for at in &mut work.at {
            *at = cells[*at as usize];
        }
        for (slot, of_slot) in slots.iter().enumerate() {
            let sums = &mut work.sums[of_slot.feature * rows..][..rows];
            let values = &self.values[slot..];
            for (sum, at) in sums.iter_mut().zip(&work.at) {
                *sum += values[*at as usize];
            }
        }
    }
}

/// The next cell: the first slot's class changes fastest.
fn next(class: &mut [usize], classes: &[Classes]) {
    for (class, classes) in class.iter_mut().zip(classes) {
        *class += 1;
        if *class < classes.count {
            return;
        }
        *class = 0;
    }
}

fn game(leaf: &Leaf, background: &[Vec<u16>], rows: usize) -> Game {
    let pattern = |row: usize| {
        let met = |(bit, condition): (usize, &Condition)| {
            u64::from(condition.met[usize::from(background[condition.feature][row])]) << bit
        };
        leaf.conditions.iter().enumerate().map(met).sum()
    };
    Game::new(
        leaf.value,
        leaf.conditions.len(),
        (0..rows).map(pattern).collect(),
    )
}

/// One leaf of a block while its table is made.
struct Part<'a> {
    game: &'a Game,
    /// Of each condition: its slot, and of each of the slot's classes the condition's bit if it is met. A condition
    /// without a slot is met by all bins or by none.
    conditions: Vec<(Option<usize>, Vec<u64>)>,
    known: HashMap<u64, Vec<f64>>,
}

impl<'a> Part<'a> {
    fn new(leaf: &Leaf, game: &'a Game, classes: &[Classes]) -> Part<'a> {
        let condition = |(bit, condition): (usize, &Condition)| {
            let slot = classes.iter().position(|c| c.feature == condition.feature);
            let count = slot.map_or(1, |slot| classes[slot].count);
            let mut met = vec![0; count];
            for (bin, is_met) in condition.met.iter().enumerate() {
                let class = slot.map_or(0, |slot| classes[slot].class[bin]);
                met[usize::from(class)] = u64::from(*is_met) << bit;
            }
            (slot, met)
        };
        Part {
            game,
            conditions: leaf.conditions.iter().enumerate().map(condition).collect(),
            known: HashMap::new(),
        }
    }

    fn add(&mut self, class: &[usize], values: &mut [f64]) {
        let conditions = &self.conditions;
        let pattern = conditions
            .iter()
            .map(|(slot, met)| met[slot.map_or(0, |slot| class[slot])]);
        let pattern = pattern.sum();
        let game = self.game;
        let known = self.known.entry(pattern).or_insert_with(|| {
            let mut parts = vec![0.0; conditions.len()];
            game.play(pattern, |bit, part| parts[bit] += part);
            parts
        });
        for ((slot, _), part) in conditions.iter().zip(known) {
            // One that is always met or never met changes nothing.
            if let Some(slot) = slot {
                values[*slot] += *part;
            }
        }
    }
}
