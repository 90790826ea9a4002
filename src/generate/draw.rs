//! Random numbers that depend on nothing but the seed, the entity and the number of its event.
//!
//! Knows nothing of payments. One `ChaCha8` key stream is cut into regions, one for each event of
//! each entity, and read by position: whatever other entities do, in whatever order, the draws of
//! an event stay the same. Logarithm and cosine come from `libm`, so the bits do not depend on the
//! platform.

use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const WORDS_PER_BLOCK: u128 = 16;
/// Blocks set aside for one event: 128 words, and no event draws more than half of them.
const BLOCKS_PER_EVENT: u64 = 8;

pub(super) struct Draw {
    stream: ChaCha8Rng,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Draw {
            stream: ChaCha8Rng::from_seed(key),
        }
    }

    /// Goes to the draws of event number `event` of `entity`.
    pub(super) fn seek(&mut self, entity: u32, event: u32) {
        let block = (u64::from(entity) << 35) | (u64::from(event) * BLOCKS_PER_EVENT);
        self.stream
            .set_word_pos(u128::from(block) * WORDS_PER_BLOCK);
    }

    pub(super) fn word(&mut self) -> u32 {
        self.stream.next_u32()
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.word()) / 4_294_967_296.0
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0 .. `limit`.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        let product = u64::from(self.word()) * u64::from(limit);
        u32::try_from(product >> 32).expect("a product of two words, without its low word")
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Standard normal, by Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(TAU * self.unit())
    }

    /// Log-normal with the given median; `sigma` is the deviation of the logarithm.
    pub(super) fn around(&mut self, median: f64, sigma: f64) -> f64 {
        median * libm::exp(sigma * self.normal())
    }

    /// Exponential with the given mean.
    pub(super) fn waiting(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.unit())
    }

    /// Index drawn with probability proportional to its weight.
    pub(super) fn pick(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut rest = self.unit() * weights.clone().sum::<f64>();
        let mut last = 0;
        for (index, weight) in weights.enumerate() {
            last = index;
            rest -= weight;
            if rest < 0.0 {
                break;
            }
        }
        last
    }
}

/// Spreads `number` over 64 bits: a bijection (the finaliser of `SplitMix64`).
pub(super) fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_of_an_event_do_not_depend_on_what_was_drawn_before() {
        let mut draw = Draw::new(7);
        draw.seek(3, 5);
        let first: Vec<u32> = (0..128).map(|_| draw.word()).collect();
        draw.seek(3, 6);
        let next = draw.word();
        draw.seek(4, 5);
        let other = draw.word();
        draw.seek(3, 5);
        assert_eq!(first, (0..128).map(|_| draw.word()).collect::<Vec<_>>());
        assert!(!first.contains(&next) && !first.contains(&other));
    }

    #[test]
    fn moments_are_those_of_the_named_distributions() {
        let mut draw = Draw::new(1);
        let count = 100_000;
        let mean = |draw: &mut Draw, one: fn(&mut Draw) -> f64| {
            (0..count).map(|_| one(draw)).sum::<f64>() / f64::from(count)
        };
        assert!((mean(&mut draw, Draw::unit) - 0.5).abs() < 0.01);
        assert!(mean(&mut draw, Draw::normal).abs() < 0.02);
        assert!((mean(&mut draw, |d| d.normal() * d.unit() + d.waiting(2.0)) - 2.0).abs() < 0.05);
        let share = mean(&mut draw, |d| {
            f64::from(u8::from(d.pick([1.0, 3.0].into_iter()) == 1))
        });
        assert!((share - 0.75).abs() < 0.01);
    }
}
