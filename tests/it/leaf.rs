//! The roots of a segment's rows: plain Python finds the same ones, and they outlive other tools, but no
//! change of a value, of a row or of the rows' order.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::properties::WriterProperties;
use probity::archive::leaf::{Columns, GROUP_ROWS, Leaves, Roots, RowTree};

use crate::kit;

mod tables;
use tables::{Datum, Draw, types};

const SEED: u64 = 3;
const TABLES: u64 = 30;

/// Writes `rows` as `<name>.parquet`, and their columns text as `<name>.columns`.
fn write(folder: &Path, name: &str, rows: &RecordBatch) -> PathBuf {
    let file = folder.join(format!("{name}.parquet"));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS as usize))
        .build();
    let out = File::create(&file).unwrap();
    let mut writer = ArrowWriter::try_new(out, rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    let columns = Columns::of(&rows.schema()).unwrap();
    fs::write(file.with_extension("columns"), columns.text()).unwrap();
    file
}

/// Reads a file's roots, by the columns text alone. `trusting` also takes the Arrow types that the
/// file's writer may have noted.
fn roots(columns: &Path, file: &Path, trusting: bool) -> Roots {
    let columns = Columns::parse(&fs::read(columns).unwrap()).unwrap();
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(!trusting);
    let reader =
        ParquetRecordBatchReaderBuilder::try_new_with_options(File::open(file).unwrap(), options)
            .unwrap();
    let mut leaves = Leaves::new(&columns, reader.schema())
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut tree = RowTree::default();
    for rows in reader.build().unwrap() {
        tree.extend(leaves.of(&rows.unwrap()).iter().copied());
    }
    tree.roots()
}

/// What Python finds: a line per pair of columns text and file.
fn roots_by_python(python: &Path, pairs: &[(PathBuf, PathBuf)]) -> Vec<serde_json::Value> {
    let arguments = pairs.iter().flat_map(|(columns, file)| [columns, file]);
    let said = run(python, "leaf.py", arguments);
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn run<'a>(
    python: &Path,
    script: &str,
    arguments: impl IntoIterator<Item = &'a PathBuf>,
) -> String {
    let output = Command::new(python)
        .arg(kit::pipeline::root().join("tests/python").join(script))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn as_python_says(roots: &Roots) -> serde_json::Value {
    let groups: Vec<String> = roots.group_roots.iter().map(ToString::to_string).collect();
    serde_json::json!({"row_root": roots.row_root.to_string(), "group_roots": groups})
}

/// The file, and what [`run`] of `rewrite.py` makes of it.
fn rewritten(file: &Path) -> [PathBuf; 2] {
    ["duckdb.parquet", "pyarrow.parquet"].map(|tool| file.with_extension(tool))
}

#[test]
fn python_finds_the_same_roots_and_a_rewrite_keeps_them() {
    let Some(python) = kit::python() else {
        return;
    };
    let folder = kit::folder("leaf-tables");
    let mut files = Vec::new();
    for number in 0..TABLES {
        let mut draw = Draw::new(SEED + number);
        let (rows, columns) = match number {
            0 => (0, types().len()),
            1 => (GROUP_ROWS as usize + 1 + draw.below(1000), 3),
            _ => (draw.below(2001), 1 + draw.below(types().len())),
        };
        let table = draw.table(rows, columns);
        let name = format!("seed-{}", SEED + number);
        println!("{name}: {rows} rows, {}", table.columns_text.escape_debug());
        assert_eq!(table.rows.len(), rows);
        files.push(write(&folder, &name, &table.batch));
        let columns = fs::read_to_string(folder.join(format!("{name}.columns"))).unwrap();
        assert_eq!(columns, table.columns_text, "{name}");
    }
    run(&python, "rewrite.py", &files);
    let pairs: Vec<(PathBuf, PathBuf)> = files
        .iter()
        .flat_map(|file| {
            let [duckdb, pyarrow] = rewritten(file);
            [file.clone(), duckdb, pyarrow].map(|each| (file.with_extension("columns"), each))
        })
        .collect();
    let by_python = roots_by_python(&python, &pairs);
    assert_eq!(by_python.len(), pairs.len());
    for (three, said) in pairs.chunks(3).zip(by_python.chunks(3)) {
        let wanted = roots(&three[0].0, &three[0].1, false);
        for ((columns, file), said) in three.iter().zip(said) {
            let file_name = file.display();
            assert_eq!(roots(columns, file, false), wanted, "{file_name}");
            assert_eq!(roots(columns, file, true), wanted, "{file_name}");
            assert_eq!(*said, as_python_says(&wanted), "{file_name} by python");
        }
    }
}

/// Two columns, where every edit below changes something.
fn accounts() -> RecordBatch {
    let score = |row: usize| Datum::F64(row as f64 / 7.0);
    let note = |row: usize| match row % 5 {
        0 => Datum::Text(String::new()),
        _ => Datum::Text(format!("note {row}")),
    };
    columns((0..500).map(score).collect(), (0..500).map(note).collect())
}

fn columns(score: Vec<Datum>, note: Vec<Datum>) -> RecordBatch {
    let fields = [("score", DataType::Float64), ("note", DataType::Utf8)];
    let arrays = [score, note];
    let arrays = fields.iter().zip(arrays);
    let arrays = arrays.map(|((_, data_type), data)| tables::array(data_type, &data));
    let schema = Schema::new(
        fields
            .clone()
            .map(|(name, kind)| Field::new(name, kind, true))
            .to_vec(),
    );
    RecordBatch::try_new(Arc::new(schema), arrays.collect()).unwrap()
}

/// Row 200 with other values, and the rows around it.
fn edited(rows: &RecordBatch, score: Datum, note: Datum) -> RecordBatch {
    let one = columns(vec![score], vec![note]);
    let parts = [&rows.slice(0, 200), &one, &rows.slice(201, 299)];
    concat_batches(&rows.schema(), parts).unwrap()
}

fn picked(rows: &RecordBatch, order: impl IntoIterator<Item = u32>) -> RecordBatch {
    take_record_batch(rows, &UInt32Array::from_iter_values(order)).unwrap()
}

#[test]
fn every_edit_changes_the_roots_also_after_a_rewrite() {
    let Some(python) = kit::python() else {
        return;
    };
    let folder = kit::folder("leaf-edits");
    let rows = accounts();
    let (score, empty) = (200.0 / 7.0, Datum::Text(String::new()));
    let swap = |row| match row {
        200 => 201,
        201 => 200,
        row => row,
    };
    let files = [
        ("as it was", edited(&rows, Datum::F64(score), empty.clone())),
        ("1 ulp", edited(&rows, Datum::F64(score.next_up()), empty)),
        (
            "null for empty",
            edited(&rows, Datum::F64(score), Datum::Null),
        ),
        ("dropped", picked(&rows, (0..500).filter(|row| *row != 200))),
        ("swapped", picked(&rows, (0..500).map(swap))),
        ("twice", picked(&rows, (0..=200).chain(200..500))),
        ("last twice", picked(&rows, (0..500).chain(499..500))),
        ("no rows", rows.slice(0, 0)),
    ]
    .map(|(name, rows)| write(&folder, name, &rows));
    run(&python, "rewrite.py", &files);
    let columns = files[0].with_extension("columns");
    let original = roots(&columns, &files[0], false);
    let mut seen = Vec::new();
    for file in &files {
        let wanted = roots(&columns, file, false);
        for again in rewritten(file) {
            assert_eq!(
                roots(&columns, &again, false),
                wanted,
                "{}",
                again.display()
            );
        }
        assert!(!seen.contains(&wanted.row_root), "{}", file.display());
        seen.push(wanted.row_root);
    }
    let mut tree = RowTree::default();
    let mut leaves = Leaves::new(&Columns::of(&rows.schema()).unwrap(), &rows.schema()).unwrap();
    tree.extend(leaves.of(&rows).iter().copied());
    assert_eq!(tree.roots(), original);
}
