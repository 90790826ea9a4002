//! Tiles: where the hashes and the records of a log lie, and how they are encoded (C2SP tlog-tiles).
//!
//! A tile holds up to 256 consecutive hashes of one level; a hash of level 1 is the root over a full tile of
//! level 0, and so on. A bundle holds the records of a tile of level 0. What is full never changes; what is
//! not, is partial, and lies under a name of its own for each width. Paths begin with `tile/`.
//!
//! Knows no hash and no store: numbers, names and lengths alone.

use std::fmt;
use std::ops::Range;

use bytes::{Buf as _, Bytes};

use crate::record::Digest;

/// How many hashes a full tile has, and how many records a full bundle.
pub const WIDTH: u64 = 256;

/// How many levels of the tree one level of tiles spans: the binary logarithm of [`WIDTH`].
pub const HEIGHT: u32 = 8;

/// How many bytes a record may have: its length has two bytes in a bundle.
pub const RECORD_BYTES_MAX: usize = u16::MAX as usize;

const HASH_BYTES: usize = size_of::<Digest>();

/// A tile of hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tile {
    /// 0 for the hashes of records.
    pub level: u8,
    pub index: u64,
    /// How many hashes: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// Tile `index` of this level as a log of `size` records has it. None if it has none.
    #[must_use]
    pub fn of(level: u8, index: u64, size: u64) -> Option<Tile> {
        let hashes = hashes_of(level, size).saturating_sub(index.saturating_mul(WIDTH));
        let width = hashes.min(WIDTH) as u16;
        (width > 0).then_some(Tile {
            level,
            index,
            width,
        })
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The tile that this one becomes, or is.
    #[must_use]
    pub fn full(self) -> Tile {
        let width = WIDTH as u16;
        Tile { width, ..self }
    }

    /// Which hashes of its level it holds.
    #[must_use]
    pub fn hashes(&self) -> Range<u64> {
        numbers(self.index, self.width)
    }

    /// `tile/<level>/<index>`, with `.p/<width>` if it is partial.
    #[must_use]
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, name(self.index, self.width))
    }

    /// # Panics
    /// When there are not as many hashes as it is wide.
    #[must_use]
    pub fn encode(&self, hashes: &[Digest]) -> Vec<u8> {
        assert_eq!(hashes.len(), usize::from(self.width), "hashes of a tile");
        hashes.iter().flat_map(|hash| hash.0).collect()
    }

    /// The hashes, or None if the bytes are not those of exactly so many.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> Option<Vec<Digest>> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        let fits = rest.is_empty() && hashes.len() == usize::from(self.width);
        fits.then(|| hashes.iter().map(|hash| Digest(*hash)).collect())
    }
}

/// How many hashes of this level a log of `size` records has.
fn hashes_of(level: u8, size: u64) -> u64 {
    size.checked_shr(HEIGHT * u32::from(level)).unwrap_or(0)
}

fn numbers(index: u64, width: u16) -> Range<u64> {
    let first = index * WIDTH;
    first..first + u64::from(width)
}

fn name(index: u64, width: u16) -> String {
    match u64::from(width) == WIDTH {
        true => number(index),
        false => format!("{}.p/{width}", number(index)),
    }
}

/// A number in groups of three digits, so that no folder has many files: 1234067 is `x001/x234/067`.
#[must_use]
pub fn number(n: u64) -> String {
    let mut path = format!("{:03}", n % 1000);
    let mut rest = n / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// The tiles that a log must have at size `new` and did not have at size `old`, lower levels first: those
/// that became full, and the partial one of each level that grew.
#[must_use]
pub fn tiles_between(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for level in 0..8 {
        let (before, after) = (hashes_of(level, old), hashes_of(level, new));
        if before >= after {
            break;
        }
        let indexes = before / WIDTH..after.div_ceil(WIDTH);
        tiles.extend(indexes.filter_map(|index| Tile::of(level, index, new)));
    }
    tiles
}

/// The records of a tile of level 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bundle {
    pub index: u64,
    /// How many records: 1 to 256.
    pub width: u16,
}

impl Bundle {
    /// Which records of the log it holds.
    #[must_use]
    pub fn records(&self) -> Range<u64> {
        numbers(self.index, self.width)
    }

    /// `tile/entries/<index>`, with `.p/<width>` if it is partial.
    #[must_use]
    pub fn path(&self) -> String {
        format!("tile/entries/{}", name(self.index, self.width))
    }

    /// Each record after its length in two bytes, big-endian.
    ///
    /// # Errors
    /// When a record is longer than [`RECORD_BYTES_MAX`].
    ///
    /// # Panics
    /// When there are not as many records as it is wide.
    pub fn encode(&self, records: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, BadBundle> {
        let width = usize::from(self.width);
        assert_eq!(records.len(), width, "records of a bundle");
        let mut bundle = Vec::new();
        for record in records.iter().map(AsRef::as_ref) {
            let length = u16::try_from(record.len())
                .map_err(|_| BadBundle("a record is longer than 65,535 bytes"))?;
            bundle.extend(length.to_be_bytes());
            bundle.extend(record);
        }
        Ok(bundle)
    }

    /// The records, which share the memory of `bytes`.
    ///
    /// # Errors
    /// When the bytes are not those of exactly so many records.
    pub fn decode(&self, mut bytes: Bytes) -> Result<Vec<Bytes>, BadBundle> {
        let mut records = Vec::with_capacity(usize::from(self.width));
        while !bytes.is_empty() {
            let cut = BadBundle("its last record is cut off");
            let length = bytes.try_get_u16().map_err(|_| cut)?;
            let length = usize::from(length);
            if bytes.len() < length {
                return Err(cut);
            }
            records.push(bytes.split_to(length));
        }
        match records.len() == usize::from(self.width) {
            true => Ok(records),
            false => Err(BadBundle("it has too few or too many records")),
        }
    }
}

/// The bundles that a log must have at size `new` and did not have at size `old`.
#[must_use]
pub fn bundles_between(old: u64, new: u64) -> Vec<Bundle> {
    let tiles = tiles_between(old, new).into_iter();
    let of_records = tiles.take_while(|tile| tile.level == 0);
    of_records
        .map(|Tile { index, width, .. }| Bundle { index, width })
        .collect()
}

/// Why records are no bundle, or bytes are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadBundle(pub &'static str);

impl fmt::Display for BadBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadBundle {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn tile(level: u8, index: u64, width: u16) -> Tile {
        Tile {
            level,
            index,
            width,
        }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile(0, 1_234_067, 256).path(), "tile/0/x001/x234/067");
        assert_eq!(tile(1, 1_067, 5).path(), "tile/1/x001/067.p/5");
        assert_eq!(tile(2, 0, 255).path(), "tile/2/000.p/255");
        let (index, width) = (1_000, 256);
        assert_eq!(Bundle { index, width }.path(), "tile/entries/x001/000");
        let (index, width) = (999, 1);
        assert_eq!(Bundle { index, width }.path(), "tile/entries/999.p/1");
    }

    /// The examples of the specification's section on partial tiles.
    #[test]
    fn tiles_are_those_of_the_specification() {
        let tiles = tiles_between(0, 70_000);
        assert_eq!(tiles.len(), 273 + 4);
        assert!((0..273).all(|index| tiles.contains(&tile(0, index, 256))));
        for partial in [
            tile(0, 273, 112),
            tile(1, 0, 256),
            tile(1, 1, 17),
            tile(2, 0, 1),
        ] {
            assert!(tiles.contains(&partial), "{partial:?}");
        }
        assert_eq!(tiles_between(0, 256), [tile(0, 0, 256), tile(1, 0, 1)]);
    }

    #[test]
    fn the_largest_log_has_tiles() {
        let last = tiles_between(u64::MAX - 1, u64::MAX);
        assert_eq!(last, [tile(0, u64::MAX / 256, 255)]);
        assert_eq!(Tile::of(7, 0, u64::MAX), Some(tile(7, 0, 255)));
        assert_eq!(Tile::of(8, 0, u64::MAX), None);
        assert_eq!(Tile::of(0, u64::MAX, 1), None);
    }

    #[test]
    fn tiles_of_another_length_are_refused() {
        let hashes = [Digest([1; 32]), Digest([2; 32])];
        let two = tile(0, 0, 2);
        let bytes = two.encode(&hashes);
        assert_eq!(two.decode(&bytes).as_deref(), Some(&hashes[..]));
        for wrong in [&bytes[..63], &bytes[..32], &[]] {
            assert_eq!(two.decode(wrong), None);
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(two.decode(&longer), None);
        assert_eq!(tile(0, 0, 3).decode(&bytes), None);
    }

    #[test]
    fn bundles_hold_records_after_their_lengths() {
        let bundle = Bundle { index: 0, width: 3 };
        let records: [&[u8]; 3] = [b"ab", b"", b"c"];
        let bytes = bundle.encode(&records).unwrap();
        assert_eq!(bytes, b"\0\x02ab\0\0\0\x01c");
        assert_eq!(bundle.decode(bytes.into()).unwrap(), records);
        let one = Bundle { index: 0, width: 1 };
        assert!(one.encode(&[vec![0; RECORD_BYTES_MAX]]).is_ok());
        assert!(one.encode(&[vec![0; RECORD_BYTES_MAX + 1]]).is_err());
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let bundle = Bundle { index: 0, width: 2 };
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\x01",
            b"\0\x01a",
            b"\0\x01a\0",
            b"\0\x01a\0\x02b",
            b"\0\x01a\0\x01b\0\x01c",
        ] {
            let decoded = bundle.decode(Bytes::from_static(bytes));
            assert!(decoded.is_err(), "{bytes:?}");
        }
    }

    /// All tiles that a log of this size has.
    fn tiles(size: u64) -> BTreeSet<Tile> {
        let level = |level: u8| (0..).map_while(move |index| Tile::of(level, index, size));
        (0..8).flat_map(level).collect()
    }

    proptest! {
        #[test]
        fn growth_writes_what_is_new(old in 0_u64..200_000, more in 0_u64..1_000) {
            let (before, after) = (tiles(old), tiles(old + more));
            let written = tiles_between(old, old + more);
            let new: Vec<Tile> = after.difference(&before).copied().collect();
            prop_assert_eq!(&written, &new);
            let records: Vec<_> = written.iter().filter(|tile| tile.level == 0).map(Tile::hashes).collect();
            let bundles: Vec<_> = bundles_between(old, old + more).iter().map(Bundle::records).collect();
            prop_assert_eq!(bundles, records);
        }
    }
}
