//! The chunk sizes that a model may be run with, and which come next where the device's memory is too small.

/// Never without a size in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    /// Rising; the bits are the same with each.
    in_use: Vec<usize>,
    /// Rising. Their bits differ from the others', though no more than the package is recorded with: only for want of
    /// memory.
    spare: Vec<usize>,
}

impl Sizes {
    pub fn one(size: usize) -> Sizes {
        Sizes {
            in_use: vec![size],
            spare: Vec::new(),
        }
    }

    /// `equal` are sizes whose bits are those of `largest`, `spare` are others. All are smaller, and rising.
    pub fn new(mut equal: Vec<usize>, largest: usize, spare: Vec<usize>) -> Sizes {
        equal.push(largest);
        Sizes {
            in_use: equal,
            spare,
        }
    }

    pub fn in_use(&self) -> &[usize] {
        &self.in_use
    }

    pub fn largest(&self) -> usize {
        *self.in_use.last().expect("there is a size in use")
    }

    /// The largest size that the rows fill, else the smallest, which is then padded.
    pub fn for_rows(&self, rows: usize) -> usize {
        let filled = self.in_use.iter().rev().find(|size| **size <= rows);
        *filled.unwrap_or(&self.in_use[0])
    }

    /// Gives up this size and all larger ones. Sizes with the same bits go on; where none is left, the largest spare one
    /// does. Without any, nothing changes.
    pub fn shrink_below(&mut self, size: usize) -> Option<usize> {
        let smaller = |sizes: &[usize]| -> Vec<usize> {
            sizes.iter().copied().filter(|left| *left < size).collect()
        };
        let (mut in_use, mut spare) = (smaller(&self.in_use), smaller(&self.spare));
        if in_use.is_empty() {
            in_use.push(spare.pop()?);
        }
        *self = Sizes { in_use, spare };
        Some(self.largest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_failed_is_never_used_again() {
        let mut sizes = Sizes::new(vec![1, 16, 64], 256, Vec::new());
        assert_eq!(sizes.for_rows(1000), 256);
        assert_eq!(sizes.for_rows(63), 16);
        assert_eq!(sizes.shrink_below(256), Some(64));
        assert_eq!((sizes.for_rows(1000), sizes.largest()), (64, 64));
        // A smaller size failed than the largest: that one would fail too.
        assert_eq!(sizes.shrink_below(16), Some(1));
        assert_eq!(sizes.for_rows(1000), 1);
        assert_eq!(sizes.shrink_below(1), None);
        assert_eq!(sizes.in_use(), [1]);
    }

    #[test]
    fn other_bits_come_only_when_no_size_with_the_same_bits_is_left() {
        let mut sizes = Sizes::new(vec![4], 64, vec![1, 16]);
        assert_eq!(sizes.shrink_below(64), Some(4));
        assert_eq!(sizes.shrink_below(4), Some(1));
        assert_eq!(sizes.shrink_below(1), None);
        let mut sizes = Sizes::new(Vec::new(), 64, vec![1, 16]);
        assert_eq!(sizes.for_rows(5), 64);
        assert_eq!(sizes.shrink_below(64), Some(16));
        assert_eq!(sizes.in_use(), [16]);
    }
}
