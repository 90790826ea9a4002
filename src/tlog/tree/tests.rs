use proptest::prelude::*;

use super::*;

/// The leaves of the reference tests of Certificate Transparency, which most implementations share. Their
/// hashes here and below are those of `proof/verify_test.go` in github.com/transparency-dev/merkle, given
/// by their first 8 bytes where the root of a proof depends on all of them.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The roots over the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Index, size, path.
const INCLUSIONS: [(usize, usize, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        3,
        &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    ),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Old size, new size, path.
const CONSISTENCIES: [(usize, usize, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn texts(path: &[Digest]) -> Vec<String> {
    path.iter().map(Digest::to_string).collect()
}

fn reference_leaves() -> Vec<Digest> {
    LEAVES.map(leaf_hash).to_vec()
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(root(&[]).to_string(), empty);
    let leaves = reference_leaves();
    for (size, expected) in (1..).zip(ROOTS) {
        assert_eq!(root(&leaves[..size]).to_string(), expected, "{size}");
    }
}

#[test]
fn proofs_are_those_of_certificate_transparency() {
    let leaves = reference_leaves();
    for (index, size, expected) in INCLUSIONS {
        let path = inclusion(&leaves[..size], index);
        assert_eq!(texts(&path), expected, "{index} {size}");
    }
    for (old, new, expected) in CONSISTENCIES {
        let path = consistency(&leaves[..new], old);
        assert_eq!(texts(&path), expected, "{old} {new}");
    }
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn flipped(hash: Digest) -> Digest {
    let mut hash = hash;
    hash.0[31] ^= 1;
    hash
}

/// The path with one hash altered, with one too few, and with one too many, at each place.
fn altered(path: &[Digest]) -> Vec<Vec<Digest>> {
    let mut altered = Vec::new();
    for at in 0..path.len() {
        let mut one = path.to_vec();
        one[at] = flipped(one[at]);
        altered.push(one);
        let mut fewer = path.to_vec();
        fewer.remove(at);
        altered.push(fewer);
    }
    for at in 0..=path.len() {
        let mut more = path.to_vec();
        more.insert(at, path.first().copied().unwrap_or(Digest::ZERO));
        altered.push(more);
    }
    altered
}

/// All sizes of small trees, and those around 256 leaves.
fn sizes() -> impl Iterator<Item = usize> {
    (1..=130).chain(250..=262).chain([300])
}

#[test]
fn every_inclusion_in_small_trees_is_proven() {
    let leaves = leaves(300);
    for size in sizes() {
        let leaves = &leaves[..size];
        let root = root(leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            let path = inclusion(leaves, index);
            assert!(verify_inclusion(
                *leaf,
                index as u64,
                size as u64,
                &path,
                root
            ));
        }
    }
}

#[test]
fn every_consistency_of_small_trees_is_proven() {
    let leaves = leaves(300);
    let roots: Vec<Digest> = (0..=leaves.len())
        .map(|size| root(&leaves[..size]))
        .collect();
    for new in sizes() {
        for old in 0..=new {
            let path = consistency(&leaves[..new], old);
            let (old, new) = ((old as u64, roots[old]), (new as u64, roots[new]));
            assert!(verify_consistency(old, new, &path), "{old:?} {new:?}");
        }
    }
}

/// Whether each step from the root of a tree to a leaf goes right: what a path says of its tree.
fn steps(index: u64, size: u64) -> Vec<bool> {
    let is_right = |sibling: &Range<u64>| sibling.start < index;
    inclusion_ranges(size, index).iter().map(is_right).collect()
}

#[test]
fn what_is_altered_proves_no_inclusion() {
    for size in 1..=70 {
        let leaves = leaves(size as usize);
        let root = root(&leaves);
        for index in 0..size {
            let (path, leaf) = (inclusion(&leaves, index as usize), leaves[index as usize]);
            for altered in altered(&path) {
                assert!(!verify_inclusion(leaf, index, size, &altered, root));
            }
            assert!(!verify_inclusion(flipped(leaf), index, size, &path, root));
            assert!(!verify_inclusion(leaf, index, size, &path, flipped(root)));
            for other in (0..=size).filter(|other| *other != index) {
                assert!(!verify_inclusion(leaf, other, size, &path, root));
            }
            assert!(!verify_inclusion(leaf, index, 0, &path, root));
            // The same steps lead to this leaf in some trees of other sizes; in all others they do not.
            for other in index + 1..=2 * size {
                let holds = verify_inclusion(leaf, index, other, &path, root);
                assert_eq!(holds, steps(index, other) == steps(index, size));
            }
        }
    }
}

#[test]
fn what_is_altered_proves_no_consistency() {
    for new in 2..=40 {
        let leaves = leaves(new as usize);
        let new_root = root(&leaves);
        for old in 1..new {
            let old_root = root(&leaves[..old as usize]);
            let path = consistency(&leaves, old as usize);
            let holds = |old, new, path: &[Digest]| verify_consistency(old, new, path);
            for altered in altered(&path) {
                assert!(!holds((old, old_root), (new, new_root), &altered));
            }
            assert!(!holds((old, flipped(old_root)), (new, new_root), &path));
            assert!(!holds((old, old_root), (new, flipped(new_root)), &path));
            assert!(!holds((old, new_root), (new, old_root), &path));
            assert!(!holds((new, new_root), (old, old_root), &path));
            for other in (0..=new + 1).filter(|other| *other != old) {
                assert!(!holds((other, old_root), (new, new_root), &path));
            }
            for other in [new / 2, new * 2] {
                assert!(!holds((old, old_root), (other, new_root), &path));
            }
        }
    }
}

#[test]
fn the_empty_tree_and_equal_trees_need_no_proof() {
    let (empty, one) = ((0, empty_root()), (1, leaf_hash(b"")));
    assert!(verify_consistency(empty, empty, &[]));
    assert!(verify_consistency(empty, one, &[]));
    assert!(verify_consistency(one, one, &[]));
    for (old, new) in [
        ((0, one.1), one),
        ((0, one.1), (0, one.1)),
        (empty, (0, one.1)),
        (one, (1, empty.1)),
        (one, empty),
        (one, (2, one.1)),
    ] {
        assert!(!verify_consistency(old, new, &[]), "{old:?} {new:?}");
    }
    assert!(!verify_consistency(empty, one, &[one.1]));
    assert!(!verify_consistency(one, one, &[one.1]));
}

#[test]
fn a_frontier_is_one_subtree_per_bit() {
    assert_eq!(Frontier::from_subtrees(5, vec![Digest::ZERO]), None);
    let leaves = leaves(5);
    let mut frontier = Frontier::default();
    frontier.extend(leaves.iter().copied());
    assert_eq!(frontier.size(), 5);
    assert_eq!(frontier.subtrees(), [root(&leaves[..4]), leaves[4]]);
    let subtrees = frontier.subtrees().to_vec();
    assert_eq!(Frontier::from_subtrees(5, subtrees), Some(frontier));
}

/// The root as RFC 6962 §2.1 defines it.
fn defined_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&defined_root(left), &defined_root(right))
        }
    }
}

proptest! {
    #[test]
    fn a_frontier_has_the_root_that_is_defined(size in 0_usize..3_000) {
        let leaves = leaves(size);
        prop_assert_eq!(root(&leaves), defined_root(&leaves));
    }

    #[test]
    fn large_trees_are_proven(size in 1_usize..3_000, index: prop::sample::Index) {
        let leaves = leaves(size);
        let index = index.index(size);
        let path = inclusion(&leaves, index);
        prop_assert!(verify_inclusion(leaves[index], index as u64, size as u64, &path, root(&leaves)));
        let path = consistency(&leaves, index);
        let old = (index as u64, root(&leaves[..index]));
        prop_assert!(verify_consistency(old, (size as u64, root(&leaves)), &path));
    }
}
