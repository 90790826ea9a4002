"""Recomputes what the ledger says of drift, from the archived rows and the archived package alone.

    python drift.py --archive FOLDER

Each entry `drift` has the begin and the end of its window: the rows that its package scored within are binned by the
reference.json that the archive keeps, and every number of the entry must come out within 1e-9. Prints the entries' facts
in their order. Exit code 0 or a traceback.
"""

import argparse
import json
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset
from books.read_archive import read_ledger

# As schemas/ARCHIVE.md says.
SHARE_MIN = 1e-4
TOLERANCE = 1e-9


def package(archive: Path, digest: str) -> dict[str, bytes]:
    """The files of a package, by name."""
    lines = (archive / "models" / digest).read_text().splitlines()
    named = (line.split("  ", 1) for line in lines)
    return {name: (archive / "models" / part).read_bytes() for part, name in named}


def psi(item: dict, values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    bins = np.searchsorted(item["edges"], known, side="right")
    counts = [*np.bincount(bins, minlength=len(item["edges"]) + 1), len(values) - len(known)]
    reference = [*item["counts"], item["missing"]]
    p, q = (np.maximum(np.array(each) / np.sum(each), SHARE_MIN) for each in (counts, reference))
    return float(np.sum((p - q) * np.log(p / q)))


def expected(files: dict[str, bytes], rows: pyarrow.Table) -> dict[str, float]:
    reference = json.loads(files["reference.json"])
    ranges = {each["name"]: each.get("range") for each in tomllib.loads(files["model.toml"].decode())["feature"]}
    found = {}
    for item in [{"name": "score"} | reference["score"], *reference["features"]]:
        name = item["name"]
        column = rows["score" if name == "score" else f"feature_{name}"]
        values = column.cast("float64").fill_null(np.nan).to_numpy()
        found[f"psi.{name}"] = psi(item, values)
        found[f"missing.{name}"] = float(np.mean(np.isnan(values)))
        if ranges.get(name):
            low, high = ranges[name]
            found[f"out_of_range.{name}"] = float(np.mean((values < low) | (values > high)))
    return found


def check(archive: Path, facts: dict[str, str], scored: pyarrow.Table) -> None:
    times = scored["score_time"].cast("int64")
    inside = pc.and_(pc.greater_equal(times, int(facts["begun"])), pc.less(times, int(facts["ended"])))
    rows = scored.filter(pc.and_(inside, pc.equal(scored["package_sha256"].cast("string"), facts["package_sha256"])))
    assert len(rows) == int(facts["rows"]), (len(rows), facts["rows"])
    numbers = expected(package(archive, facts["package_sha256"]), rows)
    told = {name: float(value) for name, value in facts.items() if "." in name}
    assert told.keys() == numbers.keys(), told.keys() ^ numbers.keys()
    for name, number in numbers.items():
        assert abs(told[name] - number) <= TOLERANCE, (name, told[name], number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", required=True, type=Path)
    archive = parser.parse_args().archive
    entries, holes = read_ledger(archive)
    assert not holes, holes
    found = [entry["facts"] for entry in entries if entry["type"] == "event" and entry["kind"] == "drift"]
    rows = pyarrow.dataset.dataset(archive / "segments", format="parquet").to_table()
    scored = rows.filter(pc.equal(rows["kind"].cast("string"), "scored"))
    for facts in found:
        check(archive, facts, scored)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
