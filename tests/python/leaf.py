"""The roots of rows in Parquet files, plainly, from the description of the format alone.

    python leaf.py COLUMNS FILE [COLUMNS FILE …]    COLUMNS: a file with the columns text
"""

import decimal
import hashlib
import json
import math
import pathlib
import struct
import sys

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 131_072
PACKED = {"bool": ">?", "int": ">q", "date": ">q", "time": ">q", "f32": ">f", "f64": ">d"}
NAN = {"f32": b"\x7f\xc0" + bytes(2), "f64": b"\x7f\xf8" + bytes(6)}
COUNTED = {"date": pa.int32(), "time": pa.int64()}  # Python's dates end before Arrow's do.
decimal.getcontext().prec = 38


def cell(kind: str, value: object) -> bytes:
    if value is None:
        return b"\0"
    if kind in NAN and math.isnan(value):
        return b"\1" + NAN[kind]
    if kind in PACKED:
        return b"\1" + struct.pack(PACKED[kind], value)
    if kind.startswith("decimal"):
        return b"\1" + int(value.scaleb(int(kind[:-1].split(",")[1]))).to_bytes(16, "big", signed=True)
    value = value.encode() if kind == "text" else value
    return b"\1" + struct.pack(">I", len(value)) + value


def cells(column: pa.ChunkedArray, kind: str) -> list[bytes]:
    return [cell(kind, value) for value in column.cast(COUNTED.get(kind, column.type)).to_pylist()]


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, of leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    at = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:at]) + root(leaves[at:])).digest()


def roots(columns: bytes, file: str) -> dict:
    table, lines = pq.ParquetFile(file).read(), columns.decode().split("\n")[:-1]
    rows = zip(*(cells(table.column(name), kind) for name, kind in (line.split(":") for line in lines)), strict=True)
    start = b"\0" + hashlib.sha256(columns).digest()
    leaves = [hashlib.sha256(start + b"".join(row)).digest() for row in rows]
    groups = [root(leaves[at : at + GROUP_ROWS]) for at in range(0, len(leaves), GROUP_ROWS)]
    return {"row_root": root(leaves).hex(), "group_roots": [group.hex() for group in groups]}


if __name__ == "__main__":
    for columns, file in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        print(json.dumps(roots(pathlib.Path(columns).read_bytes(), file)))
