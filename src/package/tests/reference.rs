//! Reference distributions.

use super::*;

const REFERENCE: &str = r#"{
"score": {"edges": [0.1, 0.25], "counts": [7, 2, 1], "missing": 0},
"features": [
{"name": "count", "edges": [1], "counts": [4, 6], "missing": 0},
{"name": "amount", "edges": [-1e3, 4.135166645050049], "counts": [0, 5, 2], "missing": 3}
]
}"#;

fn load(reference: &str) -> Result<Package> {
    let named = "chunk_rows = 64\nreference = \"reference.json\"";
    let folder = folder(&MANIFEST_TEXT.replace("chunk_rows = 64", named));
    std::fs::write(folder.path().join("reference.json"), reference).unwrap();
    Package::load(folder.path())
}

#[test]
fn a_reference_says_what_values_were_where() {
    let package = load(REFERENCE).unwrap();
    let reference = package.reference.as_ref().unwrap();
    assert_eq!(reference.score.edges, [0.1, 0.25]);
    assert_eq!(reference.score.counts, [7, 2, 1]);
    // As they are listed, not as in model.toml.
    let indices: Vec<usize> = reference.features.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [1, 0]);
    let amount = &reference.features[1].1;
    // A float of 32 bits, whose shortest decimal a careless parser reads one unit off.
    assert_eq!(amount.edges, [-1000.0, f64::from(4.135_166_6_f32)]);
    assert_eq!((amount.missing, amount.rows()), (3, 10));
    assert!(
        Package::load(folder(MANIFEST_TEXT).path())
            .unwrap()
            .reference
            .is_none()
    );
}

#[test]
fn the_reference_belongs_to_the_digest_and_to_what_is_kept() {
    let one = load(REFERENCE).unwrap();
    let names: Vec<_> = one.files().iter().map(|part| part.file.as_str()).collect();
    assert_eq!(names, ["model.onnx", "model.toml", "reference.json"]);
    assert!(one.listing().contains("  reference.json\n"));
    let other = load(&REFERENCE.replace("[4, 6]", "[6, 4]")).unwrap();
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn a_reference_that_cannot_be_is_refused_with_the_fix() {
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let many = format!("\"edges\": [{}], \"counts\": [4, 6]", many.join(","));
    for (from, to, says) in [
        (
            "\"score\"",
            "\"scores\"",
            "not the JSON of a reference at line ",
        ),
        (
            "\"name\": \"count\"",
            "\"name\": \"counts\"",
            "feature `counts`: is no feature of model.toml",
        ),
        (
            "\"name\": \"count\"",
            "\"name\": \"amount\"",
            "feature `amount`: is there twice",
        ),
        (
            "[0.1, 0.25]",
            "[0.25, 0.1]",
            "`score`: `edges`: write 1 to 64 finite numbers, each above",
        ),
        (
            "[0.1, 0.25]",
            "[0.1, 0.1]",
            "`score`: `edges`: write 1 to 64",
        ),
        (
            "[0.1, 0.25]",
            "[0.1, 1e999]",
            "`score`: `edges`: write 1 to 64",
        ),
        (
            "[0.1, 0.25]",
            "[0.1, \"1\"]",
            "`score`: `edges`: write 1 to 64",
        ),
        (
            "\"edges\": [1], \"counts\": [4, 6]",
            "\"edges\": [], \"counts\": [10]",
            "feature `count`: `edges`: write 1",
        ),
        (
            "\"edges\": [1], \"counts\": [4, 6]",
            &many,
            "feature `count`: `edges`: write 1 to 64",
        ),
        (
            "[7, 2, 1]",
            "[7, 3]",
            "`score`: `counts` has 2 numbers; write 3, one more than edges",
        ),
        ("[7, 2, 1]", "[7, 2, -1]", "not the JSON of a reference"),
        (
            "[7, 2, 1]",
            "[0, 0, 0]",
            "`score`: `counts` and `missing` are of no row",
        ),
        (
            "[7, 2, 1]",
            "[9007199254740992, 0, 0]",
            "or of more than 2^53",
        ),
        (
            "[7, 2, 1]",
            "[18446744073709551615, 1, 0]",
            "or of more than 2^53",
        ),
        (
            "[7, 2, 1], \"missing\": 0",
            "[7, 2, 0], \"missing\": 1",
            "`score`: no score is missing; write 0",
        ),
        (
            "[4, 6]",
            "[4, 5]",
            "feature `count`: is of 9 rows, and `score` of 10; count the same rows",
        ),
        (
            "\"missing\": 3",
            "\"missed\": 3",
            "not the JSON of a reference",
        ),
    ] {
        assert!(REFERENCE.contains(from), "{from}");
        let refusal = load(&REFERENCE.replacen(from, to, 1)).unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        let text = refusal.to_string();
        assert!(
            text.contains("reference.json: ") && text.contains(says),
            "{to}: wanted {says}: {text}"
        );
    }
}

#[test]
fn a_text_has_no_edges() {
    let text = MANIFEST_TEXT
        .replace(
            "chunk_rows = 64",
            "chunk_rows = 64\nreference = \"reference.json\"",
        )
        .replace("\"int64\"\nimpute = 0", "\"string\"");
    let folder = folder(&text);
    std::fs::write(folder.path().join("reference.json"), REFERENCE).unwrap();
    let refusal = Package::load(folder.path()).unwrap_err().to_string();
    assert!(
        refusal.contains("feature `count`: is a text, and edges are between numbers"),
        "{refusal}"
    );
}

#[test]
fn a_feature_is_not_mistaken_for_the_score() {
    let text = MANIFEST_TEXT
        .replace(
            "chunk_rows = 64",
            "chunk_rows = 64\nreference = \"reference.json\"",
        )
        .replace("\"count\"", "\"score\"");
    let folder = folder(&text);
    let reference = REFERENCE.replace("\"name\": \"count\"", "\"name\": \"score\"");
    std::fs::write(folder.path().join("reference.json"), reference).unwrap();
    let refusal = Package::load(folder.path()).unwrap_err().to_string();
    assert!(
        refusal.contains("feature `score`: is called as the score is"),
        "{refusal}"
    );
}

#[test]
fn the_reference_is_a_file_of_its_own() {
    for file in ["model.onnx", "model.toml", "../reference.json", "model.sig"] {
        let named = format!("chunk_rows = 64\nreference = \"{file}\"");
        let text = refusal("chunk_rows = 64", &named);
        assert!(
            text.starts_with("/model.toml:7: `model.reference`"),
            "{text}"
        );
    }
}
