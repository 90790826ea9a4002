"""What a forger of archives can do, by the keys that he holds: a copy of the golden archive, and tools to alter it.

Written from `schemas/ARCHIVE.md`. Shares no code with probity, nor with any verifier: what a forger makes well, a
verifier must believe, and nothing else.
"""

import base64
import decimal
import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DATA = Path(__file__).parents[2] / "data"
GOLDEN = DATA / "golden"
TRUST = DATA / "golden.trust.toml"

TILE = 256
GROUP_ROWS = 131_072
DECIMALS = decimal.Context(prec=80)


class Key:
    def __init__(self, name: str, seed: bytes) -> None:
        self.name = name
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        public = b"\x01" + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.hash = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        self.text = f"{name}+{self.hash.hex()}+{base64.b64encode(public).decode()}"

    @classmethod
    def read(cls, file: str) -> "Key":
        """A test key with which the golden archive was signed."""
        name, _, seed = (DATA / "golden.keys" / file).read_text().strip().removeprefix("PRIVATE+KEY+").split("+", 2)
        return cls(name, base64.b64decode(seed)[1:])

    def line(self, text: str) -> str:
        signature = self.hash + self.private.sign(text.encode())
        return f"\u2014 {self.name} {base64.b64encode(signature).decode()}\n"


LOG, NEXT_LOG = Key.read("log.key"), Key.read("log-next.key")
ARCHIVER, NEXT_ARCHIVER = Key.read("archiver.key"), Key.read("archiver-next.key")
SCORER, OPERATOR = Key.read("scorer-next.key"), Key.read("operator.key")
# Keys of somebody else, under our names.
FOREIGN_LOG, FOREIGN = Key(LOG.name, bytes([99]) * 32), Key(ARCHIVER.name, bytes([98]) * 32)


def note(text: str, *keys: Key) -> bytes:
    return (text + "\n" + "".join(key.line(text) for key in keys)).encode()


def line(document: dict) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


def grouped(number: int) -> str:
    """A number as paths of the log have it."""
    rest, last = divmod(number, 1000)
    parts = [f"{last:03}"]
    while rest:
        rest, part = divmod(rest, 1000)
        parts.insert(0, f"x{part:03}")
    return "/".join(parts)


class Forger:
    """An archive in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()

    def alter(self, path: str, alter: Callable[[bytes], bytes]) -> None:
        self.write(path, alter(self.read(path)))

    def paths(self, pattern: str) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern) if path.is_file())

    # Entries.

    def entries(self) -> int:
        return len(self.paths("ledger/entry/*"))

    def text(self, n: int) -> str:
        return self.read(f"ledger/entry/{grouped(n)}").decode().rpartition("\n\n")[0] + "\n"

    def entry(self, n: int) -> dict:
        return json.loads(self.text(n))

    def put_entry(self, n: int, entry: dict, *keys: Key) -> None:
        self.write(f"ledger/entry/{grouped(n)}", note(line(entry), *keys))

    def append(self, kind: str, fields: dict, *keys: Key) -> None:
        """An entry at the end, a second after the one before."""
        last = self.entry(self.entries() - 1)
        n, time = self.entries(), last["time"] + 1_000_000
        self.put_entry(n, {"n": n, "archive": last["archive"], "time": time, "type": kind} | fields, *keys)

    def drop_entries(self, first: int) -> None:
        """Removes all entries from this one on, with their files."""
        for n in range(first, self.entries()):
            entry = self.entry(n)
            if entry["type"] == "segment" and (self.folder / entry["path"]).exists():
                self.remove(entry["path"])
            self.remove(f"ledger/entry/{grouped(n)}")

    # Files.

    def segment(self, n: int) -> str:
        return self.entry(n)["path"]

    def table(self, n: int) -> pa.Table:
        return pq.ParquetFile(self.folder / self.segment(n)).read()

    def put_table(self, n: int, table: pa.Table, **options: object) -> None:
        """Writes the file again. The entry does not learn of it."""
        pq.write_table(table, self.folder / self.segment(n), **options)

    def commit(self, n: int, table: pa.Table, *keys: Key, **fields: object) -> None:
        """Writes the file again, and an entry that says of it whatever is true."""
        entry = self.entry(n) | fields
        path = self.folder / entry["path"]
        pq.write_table(table, path)
        kinds, ids = table["kind"].to_pylist(), [each for each in table["event_id"].to_pylist() if each is not None]
        data, leaves = path.read_bytes(), self.leaves(entry["columns"], table)
        covered = entry["coverage"][0] | {"first": table["offset"][0].as_py(), "next": table["next_offset"][-1].as_py()}
        said = {
            "coverage": [covered],
            "rows": len(kinds),
            "scored": kinds.count("scored"),
            "rejected": kinds.count("rejected"),
            "gaps": kinds.count("gap"),
            "row_root": root(leaves).hex(),
            "group_roots": [root(leaves[at : at + GROUP_ROWS]).hex() for at in range(0, len(leaves), GROUP_ROWS)],
            "min_id": min(ids, default=None),
            "max_id": max(ids, default=None),
            "sha256": sha256(data),
            "bytes": len(data),
        }
        self.put_entry(n, entry | said | fields, *keys)

    def leaves(self, columns: str, table: pa.Table) -> list[bytes]:
        lines = self.read(f"columns/{columns}.txt").decode().splitlines()
        kinds = dict(line.rpartition(":")[::2] for line in lines)
        cells = [cells_of(kind, table[name]) for name, kind in kinds.items()]
        begin = b"\x00" + bytes.fromhex(columns)
        return [hashlib.sha256(begin + b"".join(row)).digest() for row in zip(*cells, strict=True)]

    # The log.

    def hashes(self, size: int) -> list[bytes]:
        records = (self.read(f"ledger/entry/{grouped(n)}") for n in range(size))
        return [hashlib.sha256(b"\x00" + record).digest() for record in records]

    def put_tiles(self, size: int) -> None:
        """The tiles and bundles of the log of the first entries."""
        hashes, level = self.hashes(size), 0
        while hashes:
            for at in range(0, len(hashes), TILE):
                tile = hashes[at : at + TILE]
                partial = f".p/{len(tile)}" if len(tile) < TILE else ""
                name = f"{grouped(at // TILE)}{partial}"
                self.write(f"ledger/tile/{level}/{name}", b"".join(tile))
                if level == 0:
                    records = [self.read(f"ledger/entry/{grouped(n)}") for n in range(at, at + len(tile))]
                    bundle = b"".join(struct.pack(">H", len(record)) + record for record in records)
                    self.write(f"ledger/tile/entries/{name}", bundle)
            full = len(hashes) // TILE * TILE
            hashes, level = [root(hashes[at : at + TILE]) for at in range(0, full, TILE)], level + 1

    def sizes(self) -> list[int]:
        return sorted(int(Path(path).name) for path in self.paths("ledger/cp/*"))

    def retile(self) -> None:
        """Makes tiles and bundles follow from the entries again. Checkpoints stay as they are."""
        for size in self.sizes():
            self.put_tiles(size)

    def checkpoint(self, size: int, *keys: Key, hashes: list[bytes] | None = None) -> bytes:
        archive = json.loads(self.read("archive.json"))["archive_id"]
        head = base64.b64encode(root(hashes or self.hashes(size))).decode()
        return note(f"{LOG.name}/{archive}\n{size}\n{head}\n", *keys)

    def put_checkpoint(self, size: int, *keys: Key) -> None:
        """Signs the head, and says that it is the newest."""
        checkpoint = self.checkpoint(size, *keys)
        self.write(f"ledger/cp/{size}", checkpoint)
        self.write("ledger/checkpoint", checkpoint)

    def seal(self, *keys: Key) -> None:
        """Makes tiles, bundles and a checkpoint of all entries, in the place of the newest one."""
        newest = self.sizes()[-1]
        self.remove(f"ledger/cp/{newest}")
        self.put_tiles(self.entries())
        self.put_checkpoint(self.entries(), *keys)


def cells_of(kind: str, column: pa.ChunkedArray) -> list[bytes]:
    if kind in ("date", "time"):
        column = column.cast(pa.int32() if kind == "date" else pa.int64())
    encode = ENCODERS[kind.partition("(")[0]]
    values = column.to_pylist()
    if kind.startswith("decimal"):
        scale = int(kind.rstrip(")").split(",")[1])
        values = [None if value is None else int(DECIMALS.scaleb(value, scale)) for value in values]
    return [b"\x00" if value is None else b"\x01" + encode(value) for value in values]


def sized(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def integer(value: int) -> bytes:
    return struct.pack(">q", value)


ENCODERS: dict[str, Callable] = {
    "bool": lambda value: bytes([value]),
    "int": integer,
    "date": integer,
    "time": integer,
    "f32": lambda value: bytes.fromhex("7fc00000") if math.isnan(value) else struct.pack(">f", value),
    "f64": lambda value: bytes.fromhex("7ff8000000000000") if math.isnan(value) else struct.pack(">d", value),
    "decimal": lambda unscaled: unscaled.to_bytes(16, "big", signed=True),
    "text": lambda value: sized(value.encode()),
    "bytes": sized,
}
