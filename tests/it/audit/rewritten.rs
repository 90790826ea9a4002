//! Other tools wrote the files again: the same rows in other bytes.

use super::*;

/// The segment that a proof is of.
fn path_of(proof: &str) -> String {
    let proof: Value = serde_json::from_str(proof).unwrap();
    let entry = proof["entry"].as_str().unwrap();
    let entry: Value = serde_json::from_str(entry.lines().next().unwrap()).unwrap();
    entry["path"].as_str().unwrap().to_owned()
}

/// Lets one file be written again by DuckDB, the other by pyarrow, in another order of columns.
fn rewrite(archive: &Archive, by_duckdb: &str, by_pyarrow: &str) {
    let python = kit::python().expect("the archive could not be made without");
    let folder = archive.folder.with_file_name("rewritten");
    fs::create_dir(&folder).unwrap();
    let files = [("a", by_duckdb, "duckdb"), ("b", by_pyarrow, "pyarrow")];
    let mut command = std::process::Command::new(python);
    command.arg(kit::pipeline::root().join("tests/python/rewrite.py"));
    for (name, path, _) in files {
        let file = folder.join(format!("{name}.parquet"));
        fs::copy(archive.folder.join(path), &file).unwrap();
        command.arg(file);
    }
    assert!(command.status().unwrap().success());
    for (name, path, tool) in files {
        let file = folder.join(format!("{name}.{tool}.parquet"));
        let target = archive.folder.join(path);
        assert_ne!(fs::read(&file).unwrap(), fs::read(&target).unwrap());
        fs::rename(file, target).unwrap();
    }
}

#[test]
fn a_rewritten_file_is_told_and_proves_and_replays_as_before() {
    let Some(archive) = at_rest() else { return };
    let archive = archive.copy("audit-rewritten");
    let id = id_of(&twice());
    let events = ["audit:0:100", "audit:1:100", &id];
    let before = events.map(|event| archive.prove(event));
    let [by_duckdb, by_pyarrow] = [&before[0][0], &before[1][0]].map(|proof| path_of(proof));
    rewrite(&archive, &by_duckdb, &by_pyarrow);

    let mut told = [by_duckdb, by_pyarrow].map(|path| ("file-bytes".to_owned(), path));
    told.sort();
    assert_eq!(archive.findings(&[]), told);
    let here = kit::folder("audit-rewritten-proofs");
    for (event, before) in events.iter().zip(&before) {
        for proof in before {
            assert_eq!(check(&here, &archive.key, proof).code, 0, "{event}");
        }
        assert_eq!(archive.prove(event), *before, "{event}");
    }
    let replayed = archive.report("replay", &["--partition", "0", "--partition", "1"]);
    assert!(replayed["scored"].as_u64().unwrap() > 10_000, "{replayed}");
    assert_eq!(replayed["bits_same"], replayed["scored"]);
}
