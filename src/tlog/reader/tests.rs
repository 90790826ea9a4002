use std::convert::Infallible;

use super::*;
use crate::tlog::tree::{consistency, inclusion, root};

/// Sizes at which something changes: of a tile, of a level, of both.
const SIZES: [u64; 10] = [
    1,
    2,
    255,
    256,
    257,
    600,
    65_535,
    65_536,
    65_537,
    65_536 + 300,
];

type Files = BTreeMap<String, Bytes>;

/// The leaf hashes of a log, and its files after it grew to each of these sizes.
fn log(sizes: &[u64]) -> (Vec<Digest>, Files) {
    let last = *sizes.last().unwrap();
    let leaf = |n: u64| tree::leaf_hash(&n.to_be_bytes());
    let leaves: Vec<Digest> = (0..last).map(leaf).collect();
    let (mut edge, mut files) = (Edge::default(), Files::new());
    for size in sizes {
        let new = &leaves[edge.size() as usize..*size as usize];
        let tiles = edge.grow(new.iter().copied()).into_iter();
        files.extend(tiles.map(|(tile, bytes)| (tile.path(), Bytes::from(bytes))));
    }
    (leaves, files)
}

fn reading(files: &Files) -> impl FnMut(&str) -> Result<Option<Bytes>, Infallible> {
    |path| Ok(files.get(path).cloned())
}

fn reader(
    leaves: &[Digest],
    files: &Files,
) -> TileReader<impl FnMut(&str) -> Result<Option<Bytes>, Infallible>> {
    TileReader::new(leaves.len() as u64, root(leaves), reading(files))
}

/// Indexes at which a path turns, each with its neighbours.
fn indexes(size: u64) -> Vec<u64> {
    let turns = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, size >> bit]);
    let mut indexes: Vec<u64> = turns.chain([size - 1]).collect();
    indexes.retain(|index| *index < size);
    indexes
}

#[test]
fn proofs_from_tiles_are_those_from_leaves() {
    let sizes = &SIZES[..6];
    let (leaves, files) = log(sizes);
    for size in sizes {
        let leaves = &leaves[..*size as usize];
        let mut reader = reader(leaves, &files);
        for (index, leaf) in leaves.iter().enumerate() {
            let path = reader.inclusion(index as u64, *leaf);
            assert_eq!(path, Ok(inclusion(leaves, index)), "{index} {size}");
        }
        for old in 0..=leaves.len() {
            let path = reader.consistency(old as u64, root(&leaves[..old]));
            assert_eq!(path, Ok(consistency(leaves, old)), "{old} {size}");
        }
    }
}

/// The reader checks a proof itself before it gives one.
#[test]
fn tiles_of_three_levels_give_proofs() {
    let (leaves, files) = log(&SIZES);
    for size in SIZES {
        let leaves = &leaves[..size as usize];
        let mut reader = reader(leaves, &files);
        for index in indexes(size) {
            let path = reader.inclusion(index, leaves[index as usize]);
            assert!(path.is_ok(), "{index} {size}");
        }
        for old in SIZES.into_iter().filter(|old| *old <= size) {
            let path = reader.consistency(old, root(&leaves[..old as usize]));
            assert!(path.is_ok(), "{old} {size}");
        }
    }
}

#[test]
fn a_log_grows_on_from_its_tiles() {
    for size in SIZES {
        let (leaves, files) = log(&[size]);
        let mut edge = reader(&leaves, &files).edge().unwrap();
        let mut grown = Edge::default();
        let _ = grown.grow(leaves.iter().copied());
        assert_eq!(edge, grown);
        assert_eq!(edge.root(), root(&leaves));
        let more = [tree::leaf_hash(b"more"); 300];
        assert_eq!(edge.grow(more), grown.grow(more));
    }
}

#[test]
fn the_empty_log_has_an_edge_and_nothing_else() {
    let files = Files::new();
    let mut reader = reader(&[], &files);
    assert_eq!(reader.edge(), Ok(Edge::default()));
    assert_eq!(reader.consistency(0, tree::empty_root()), Ok(vec![]));
    let beyond = TileError::Beyond { asked: 0, size: 0 };
    assert_eq!(reader.inclusion(0, Digest::ZERO), Err(beyond));
}

#[test]
fn a_proof_reads_few_tiles_and_each_once() {
    let (leaves, files) = log(&[65_536 + 300]);
    let mut paths = Vec::new();
    let size = leaves.len() as u64;
    let mut reader = TileReader::new(size, root(&leaves), |path: &str| {
        paths.push(path.to_owned());
        reading(&files)(path)
    });
    reader.inclusion(1_000, leaves[1_000]).unwrap();
    reader.inclusion(1_001, leaves[1_001]).unwrap();
    reader.consistency(500, root(&leaves[..500])).unwrap();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "tile/0/001",
            "tile/0/003",
            "tile/0/257.p/44",
            "tile/1/000",
            "tile/1/001.p/1",
        ]
    );
}

#[test]
fn a_full_tile_stands_in_for_a_partial_one() {
    let (leaves, mut files) = log(&[257, 600]);
    let old = &leaves[..257];
    // Where both are there, the partial one is read.
    let whole = reader(old, &files).inclusion(256, old[256]).unwrap();
    files.remove("tile/0/001.p/1").unwrap();
    let path = reader(old, &files).inclusion(256, old[256]);
    assert_eq!(path, Ok(whole));
    assert!(reader(old, &files).edge().is_ok());
    // Without either there is no proof.
    files.remove("tile/0/001").unwrap();
    let path = "tile/0/001.p/1".to_owned();
    let absent = TileError::Absent { path };
    assert_eq!(reader(old, &files).edge(), Err(absent));
}

#[test]
fn a_partial_tile_does_not_stand_in_for_a_full_one() {
    let (leaves, mut files) = log(&[257, 600]);
    let partial = files["tile/0/001.p/1"].clone();
    files.insert("tile/0/001".to_owned(), partial);
    let (path, bytes, width) = ("tile/0/001".to_owned(), 32, 256);
    let length = TileError::Length { path, bytes, width };
    assert_eq!(
        reader(&leaves, &files).inclusion(256, leaves[256]),
        Err(length)
    );
}

#[test]
fn a_tile_of_another_length_is_an_error() {
    let (leaves, files) = log(&[600]);
    for path in ["tile/0/002.p/88", "tile/1/000.p/2"] {
        for alter in [
            |bytes: &Bytes| bytes.slice(..bytes.len() - 1),
            |bytes: &Bytes| bytes.slice(..bytes.len() - 32),
            |bytes: &Bytes| [&bytes[..], &[0]].concat().into(),
            |bytes: &Bytes| [&bytes[..], &[0; 32]].concat().into(),
            |_: &Bytes| Bytes::new(),
        ] {
            let mut files = files.clone();
            let altered = alter(&files[path]);
            files.insert(path.to_owned(), altered);
            let error = reader(&leaves, &files).edge().unwrap_err();
            let is_length = matches!(&error, TileError::Length { path: at, .. } if at == path);
            assert!(is_length, "{path}: {error}");
        }
    }
}

#[test]
fn an_altered_tile_proves_nothing() {
    let (leaves, files) = log(&[257, 600]);
    let old = (257, root(&leaves[..257]));
    let contradiction = TileError::Contradiction { size: 600 };
    // Which hash of which tile is altered, and whether the inclusion, the consistency and the edge need it.
    for (path, hash, parts) in [
        ("tile/0/000", 3, [false, false, false]),
        ("tile/0/001", 45, [true, true, false]),
        ("tile/1/000.p/2", 0, [true, true, true]),
        ("tile/0/002.p/88", 87, [true, true, true]),
    ] {
        let mut files = files.clone();
        let mut bytes = files[path].to_vec();
        bytes[32 * hash] ^= 1;
        files.insert(path.to_owned(), bytes.into());
        let mut reader = reader(&leaves, &files);
        let inclusion = reader.inclusion(300, leaves[300]).err();
        let consistency = reader.consistency(old.0, old.1).err();
        let edge = reader.edge().err();
        for (error, needs) in [inclusion, consistency, edge].into_iter().zip(parts) {
            assert_eq!(error, needs.then(|| contradiction.clone()), "{path} {hash}");
        }
    }
}

#[test]
fn what_is_not_of_the_log_is_not_proven() {
    let (leaves, files) = log(&[600]);
    let contradiction = TileError::Contradiction { size: 600 };
    let mut good = reader(&leaves, &files);
    assert_eq!(good.inclusion(300, leaves[301]), Err(contradiction.clone()));
    assert_eq!(
        good.consistency(300, root(&leaves[1..301])),
        Err(contradiction.clone())
    );
    let beyond = |asked| TileError::Beyond { asked, size: 600 };
    assert_eq!(good.inclusion(600, leaves[0]), Err(beyond(600)));
    assert_eq!(good.consistency(601, root(&leaves)), Err(beyond(601)));
    let mut wrong = TileReader::new(600, root(&leaves[1..]), reading(&files));
    assert_eq!(
        wrong.inclusion(300, leaves[300]),
        Err(contradiction.clone())
    );
    assert_eq!(
        wrong.consistency(600, root(&leaves)),
        Err(contradiction.clone())
    );
    assert_eq!(wrong.edge(), Err(contradiction));
}

#[test]
fn what_the_store_says_is_passed_on() {
    let mut reader = TileReader::new(1, Digest::ZERO, |_: &str| Err("the store is away"));
    assert_eq!(reader.edge(), Err(TileError::Read("the store is away")));
}
