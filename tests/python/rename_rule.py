"""Copies an archive and lets the first row that a rule decided name another rule. Nothing else follows.

    python rename_rule.py ARCHIVE COPY RULE OTHER
"""

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def main(archive: str, copy: str, rule: str, other: str) -> None:
    shutil.copytree(archive, copy)
    for path in sorted(Path(copy, "segments").rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        rules = table["rule"].to_pylist()
        if rule in rules:
            rules[rules.index(rule)] = other
            at = table.column_names.index("rule")
            pq.write_table(table.set_column(at, table.schema.field(at), pa.array(rules, pa.string())), path)
            return
    raise SystemExit(f"no row was decided by {rule}")


if __name__ == "__main__":
    main(*sys.argv[1:])
