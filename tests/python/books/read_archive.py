"""Reads the archive from a folder: the ledger, each file that it names, and the folder as a whole."""

import hashlib
import json
from pathlib import Path

import duckdb
import pyarrow.dataset
import pyarrow.parquet

from .evidence import rows_of
from .model import Archive, Entry, Row

COLUMNS = ["partition", "kind", "offset", "next_offset"]


def entry_path(folder: Path, n: int) -> Path:
    """Groups of three digits, all but the last behind an x: 1234067 is x001/x234/067."""
    digits = str(n)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return folder.joinpath("ledger", "entry", *(f"x{group}" for group in groups[:-1]), groups[-1])


def read_archive(folder: Path, evidence_topic: str) -> Archive:
    documents, holes = read_ledger(folder)
    entries = [
        read_entry(folder, document)
        for document in documents
        if document["type"] == "segment" and document["stream"]["topic"] == evidence_topic
    ]
    files = sorted(str(path.relative_to(folder)) for path in folder.glob("segments/**/*") if path.is_file())
    return Archive(entries, files, by_pyarrow(folder, files), by_duckdb(folder, files), holes)


def read_ledger(folder: Path) -> tuple[list[dict], list[int]]:
    """The entries in their order, and the numbers below the last one that are absent."""
    count = sum(1 for path in (folder / "ledger" / "entry").glob("**/*") if path.is_file())
    documents, holes, n = [], [], 0
    while len(documents) < count:
        path = entry_path(folder, n)
        if path.is_file():
            documents.append(json.loads(path.read_bytes().split(b"\n")[0]))
            if documents[-1]["n"] != n:
                raise ValueError(f"{path}: says that it is entry {documents[-1]['n']}")
        else:
            holes.append(n)
            if len(holes) > count:
                raise ValueError(f"{folder / 'ledger' / 'entry'}: holds files that are no entries")
        n += 1
    return documents, holes


def read_entry(folder: Path, document: dict) -> Entry:
    (coverage,) = document["coverage"]
    entry = Entry(
        n=document["n"],
        partition=document["stream"]["partition"],
        first=document["first"],
        next=document["next"],
        coverage=(coverage["first"], coverage["next"]),
        prev_head=bytes.fromhex(document["prev_head"]),
        head=bytes.fromhex(document["head"]),
        rows=document["rows"],
        path=document["path"],
        sha256=document["sha256"],
    )
    file = folder / entry.path
    if file.is_file():
        entry.file_sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        entry.file_rows = rows_of(pyarrow.parquet.ParquetFile(file).read(columns=COLUMNS))
    return entry


def by_pyarrow(folder: Path, files: list[str]) -> list[tuple[int, Row]]:
    if not files:
        return []
    table = pyarrow.dataset.dataset(folder / "segments").to_table(columns=COLUMNS)
    return list(zip(table.column("partition").to_pylist(), rows_of(table), strict=True))


def by_duckdb(folder: Path, files: list[str]) -> list[tuple[int, Row]]:
    if not files:
        return []
    found = duckdb.sql(
        'SELECT "partition", kind, "offset", next_offset FROM read_parquet(?)',
        params=[str(folder / "segments/**/*.parquet")],
    ).fetchall()
    return [(partition, Row(*row)) for partition, *row in found]


def tips(folder: Path, evidence_topic: str) -> dict[int, int] | None:
    """Up to where each partition of evidence is archived; `None` while the file of an entry is absent."""
    tips: dict[int, int] = {}
    for document in read_ledger(folder)[0]:
        if document["type"] == "segment" and document["stream"]["topic"] == evidence_topic:
            tips[document["stream"]["partition"]] = document["next"]
            if not (folder / document["path"]).is_file():
                return None
    return tips
