//! Exact interventional Shapley values of a tree ensemble, looked up in tables that are made when the model is
//! loaded.
//!
//! The value function of a coalition S is the mean, over the background rows, of what the trees say of a row whose
//! features in S are the explained row's and whose others are the background row's. The trees' sum is a sum of games,
//! one for each leaf and background row ([`super::shapley`]), and a leaf's part depends on the explained row only
//! by the pattern of conditions it meets. So all that can come of a block of leaves is in its table, and a row costs
//! one look-up for each block, however many background rows there are.
//!
//! Many rows go block by block, because a table is used again by the next row while it is near. A few rows go one by
//! one: then nothing is used again, and what counts is how many places of memory a row touches.
//!
//! The values of a row do not depend on the rows beside it, to the bit: sums are taken in the order of the blocks.

use std::collections::HashMap;
use std::ops::Range;

use super::bins::Bins;
use super::ensemble::Ensemble;
use super::plan::{Block, Classes, Condition, Leaf, Plan};
use super::shapley::Game;

/// Rows that are explained together: their sums stay in the cache that is nearest.
const ROWS: usize = 64;
/// So few rows are explained one by one. Measured: `benches/README.md`.
const FEW: usize = 4;

/// Everything that can be said of a row, made once for a model and its background rows.
pub struct Tables {
    bins: Vec<Bins>,
    /// What the background rows get on average.
    base: f64,
    blocks: Vec<TableOfBlock>,
    slots: Vec<Slot>,
    /// Of each slot and bin: how far the bin moves the look-up in the block's table.
    steps: Vec<u16>,
    /// The same numbers again, for rows that come alone.
    by_feature: Vec<StepsOfFeature>,
    /// Of each block and cell: one number for each slot of the block.
    values: Vec<f64>,
    deep: Vec<Deep>,
    planned_bytes: usize,
}

struct TableOfBlock {
    slots: Range<usize>,
    values: usize,
}

/// One feature of one block.
#[derive(Clone, Copy)]
struct Slot {
    feature: usize,
    steps: usize,
}

/// The steps of one feature in all blocks that ask for it: those of a bin lie beside each other.
struct StepsOfFeature {
    blocks: Vec<u32>,
    /// By bin, then by block.
    steps: Vec<u16>,
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
        let mut tables = Tables {
            bins: Vec::new(),
            base: ensemble.base,
            blocks: Vec::new(),
            slots: Vec::new(),
            steps: Vec::new(),
            by_feature: Vec::new(),
            values: Vec::new(),
            deep: Vec::new(),
            planned_bytes: plan.bytes,
        };
        for (leaves, blocks) in plan.trees() {
            // The games of one tree at a time: together they may be larger than all tables.
            let games = leaves.iter().map(|leaf| game(leaf, &background, rows));
            let games: Vec<Game> = games.collect();
            tables.base = games
                .iter()
                .fold(tables.base, |sum, game| sum + game.base());
            for block in &blocks {
                tables.add(block, &leaves, &games, &bins);
            }
        }
        tables.bins = bins;
        tables.by_feature = (0..tables.bins.len())
            .map(|feature| tables.steps_of(feature))
            .collect();
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
        let of_feature = |of: &StepsOfFeature| size_of_val(&*of.blocks) + size_of_val(&*of.steps);
        size_of_val(&*self.steps)
            + self.by_feature.iter().map(of_feature).sum::<usize>()
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

    fn add(&mut self, block: &Block, leaves: &[Leaf], games: &[Game], bins: &[Bins]) {
        let Some(classes) = &block.classes else {
            let leaf = block.leaves.start;
            let condition = |condition: &Condition| {
                let bins = 0..bins[condition.feature].count();
                let met = bins.map(|bin| condition.met.has(bin as u16));
                (condition.feature, met.collect())
            };
            self.deep.push(Deep {
                conditions: leaves[leaf].conditions.iter().map(condition).collect(),
                game: games[leaf].clone(),
            });
            return;
        };
        let first_slot = self.slots.len();
        let mut cells = 1;
        for of_slot in classes {
            self.slots.push(Slot {
                feature: of_slot.feature,
                steps: self.steps.len(),
            });
            let stride = u16::try_from(cells * classes.len()).expect("a block has few cells");
            self.steps.extend(of_slot.class.iter().map(|c| c * stride));
            cells *= of_slot.count();
        }
        let first_value = self.values.len();
        self.blocks.push(TableOfBlock {
            slots: first_slot..self.slots.len(),
            values: first_value,
        });
        self.values.resize(first_value + cells * classes.len(), 0.0);
        // Leaf by leaf, so that the patterns of one are known at a time.
        for leaf in block.leaves.clone() {
            let mut part = Part::new(&leaves[leaf], &games[leaf], classes);
            let mut class = vec![0; classes.len()];
            for values in self.values[first_value..].chunks_exact_mut(classes.len()) {
                part.add(&class, values);
                next(&mut class, classes);
            }
        }
    }

    fn steps_of(&self, feature: usize) -> StepsOfFeature {
        let of_block = |(at, block): (usize, &TableOfBlock)| {
            let mut slots = self.slots[block.slots.clone()].iter();
            let slot = slots.find(|slot| slot.feature == feature)?;
            Some((u32::try_from(at).expect("the plan is limited"), slot.steps))
        };
        let asking = self.blocks.iter().enumerate().filter_map(of_block);
        let (blocks, firsts): (Vec<u32>, Vec<usize>) = asking.unzip();
        let bins = 0..self.bins[feature].count();
        let of_bin = |bin| firsts.iter().map(move |first| self.steps[first + bin]);
        StepsOfFeature {
            blocks,
            steps: bins.flat_map(of_bin).collect(),
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
            let some = if rows - first <= FEW { 1 } else { ROWS };
            let next = rows.min(first + some);
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
        if rows == 1 {
            self.look_up_all(work);
        } else {
            for block in &self.blocks {
                self.look_up(block, rows, work);
            }
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

    /// One block, for all rows. Slots go by twos, which halves how often what is summed is fetched and put back.
    fn look_up(&self, block: &TableOfBlock, rows: usize, work: &mut Work) {
        let Work { bins, at, sums } = work;
        let slots = &self.slots[block.slots.clone()];
        at.clear();
        at.resize(rows, 0);
        let of_slot = |slot: &Slot| {
            let steps = &self.steps[slot.steps..slot.steps + self.bins[slot.feature].count()];
            (steps, &bins[slot.feature * rows..][..rows])
        };
        for slots in slots.chunks(2) {
            let (steps, bins) = of_slot(&slots[0]);
            let Some((more_steps, more_bins)) = slots.get(1).map(of_slot) else {
                for (at, bin) in at.iter_mut().zip(bins) {
                    *at += u32::from(steps[usize::from(*bin)]);
                }
                continue;
            };
            for ((at, bin), more) in at.iter_mut().zip(bins).zip(more_bins) {
                *at +=
                    u32::from(steps[usize::from(*bin)]) + u32::from(more_steps[usize::from(*more)]);
            }
        }
        let of_slot = |slot: &Slot| slot.feature * rows..(slot.feature + 1) * rows;
        for (pair, slots) in slots.chunks(2).enumerate() {
            let values = &self.values[block.values + 2 * pair..];
            let [one, two] = slots else {
                for (sum, at) in sums[of_slot(&slots[0])].iter_mut().zip(&*at) {
                    *sum += values[*at as usize];
                }
                continue;
            };
            let both = sums.get_disjoint_mut([of_slot(one), of_slot(two)]);
            let [one, two] = both.expect("a block has a feature once");
            for ((one, two), at) in one.iter_mut().zip(two).zip(&*at) {
                let values = &values[*at as usize..][..2];
                *one += values[0];
                *two += values[1];
            }
        }
    }

    /// All blocks, for one row.
    fn look_up_all(&self, work: &mut Work) {
        work.at.clear();
        work.at.resize(self.blocks.len(), 0);
        for (of_feature, bin) in self.by_feature.iter().zip(&work.bins) {
            let count = of_feature.blocks.len();
            let steps = &of_feature.steps[usize::from(*bin) * count..][..count];
            for (block, step) in of_feature.blocks.iter().zip(steps) {
                work.at[*block as usize] += u32::from(*step);
            }
        }
        for (block, at) in self.blocks.iter().zip(&work.at) {
            let slots = &self.slots[block.slots.clone()];
            let values = &self.values[block.values + *at as usize..];
            for (slot, value) in slots.iter().zip(values) {
                work.sums[slot.feature] += value;
            }
        }
    }
}

/// The next cell: the first slot's class changes fastest.
fn next(class: &mut [usize], classes: &[Classes]) {
    for (class, classes) in class.iter_mut().zip(classes) {
        *class += 1;
        if *class < classes.count() {
            return;
        }
        *class = 0;
    }
}

fn game(leaf: &Leaf, background: &[Vec<u16>], rows: usize) -> Game {
    let pattern = |row: usize| {
        let met = |(bit, condition): (usize, &Condition)| {
            u64::from(condition.met.has(background[condition.feature][row])) << bit
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
            // The bins of a class meet the same conditions.
            let first = slot.map_or(&[0][..], |slot| &classes[slot].first);
            let met = first.iter().map(|first| condition.met.has(*first));
            (slot, met.map(|met| u64::from(met) << bit).collect())
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
