"""Evidence and archive are read from real Arrow and Parquet bytes as their contracts say."""

import base64
import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from books import evidence, read_archive, signature
from books.judge import judge_chain, Findings
from books.model import GAP, REJECTED, SCORED, Row
from books.signature import Scorers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCHEMA = pa.schema([("kind", pa.utf8()), ("offset", pa.int64()), ("next_offset", pa.int64())], {"model": "m"})
ROWS = [Row(SCORED, 0, 1), Row(REJECTED, 1, 2), Row(GAP, 2, 5)]


def batch(rows: list[Row], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = zip(*((row.kind, row.offset, row.next_offset) for row in rows), strict=True)
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=schema)


def header(flags: int, rows: list[Row], digest: bytes, prev_head: bytes = bytes(32), **other: int) -> bytes:
    version, count = other.get("version", 1), other.get("count", len(rows))
    return evidence.LAYOUT.pack(
        version, flags, rows[0].offset, rows[-1].next_offset, count, 0, 0, digest, prev_head
    )


class Evidence(unittest.TestCase):
    def setUp(self) -> None:
        self.context = SCHEMA.serialize().to_pybytes()
        self.digest = hashlib.sha256(self.context).digest()
        self.rows = batch(ROWS).serialize().to_pybytes()
        self.partition = evidence.Partition(3)

    def decode(self, position: int, header: bytes, value: bytes) -> evidence.Message:
        return self.partition.decode(position, [(evidence.HEADER, header)], value)

    def test_context_is_written_once(self) -> None:
        first_header, first_value = header(1, ROWS, self.digest), self.context + self.rows
        first = self.decode(0, first_header, first_value)
        self.assertEqual(first.head, hashlib.sha256(first_header + first_value).digest())
        self.assertEqual((first.rows, first.first, first.next, first.faults), (ROWS, 0, 5, []))

        later = [Row(SCORED, 5, 6)]
        value = batch(later).serialize().to_pybytes()
        second = self.decode(2, header(0, later, self.digest, first.head), value)
        self.assertEqual((second.rows, second.prev_head), (later, first.head))

        findings = Findings()
        judge_chain(0, [first, second], findings)
        self.assertEqual(findings.counts, {})

    def test_message_without_any_context(self) -> None:
        with self.assertRaisesRegex(evidence.Invalid, "context was never written"):
            self.decode(0, header(0, ROWS, self.digest), self.rows)

    def test_digest_of_another_context(self) -> None:
        message = self.decode(0, header(1, ROWS, b"x" * 32), self.context + self.rows)
        self.assertEqual(message.faults, ["the context is not the one that the header names"])

    def test_number_of_rows_is_compared(self) -> None:
        message = self.decode(0, header(1, ROWS, self.digest, count=2), self.context + self.rows)
        self.assertEqual(message.faults, ["3 rows, the header says 2"])

    def test_another_version(self) -> None:
        with self.assertRaisesRegex(evidence.Invalid, "version 2"):
            self.decode(0, header(1, ROWS, self.digest, version=2), self.context + self.rows)

    def test_header_absent_or_twice(self) -> None:
        one = (evidence.HEADER, header(1, ROWS, self.digest))
        for headers in ([], [one, one], [(evidence.HEADER, b"short")]):
            with self.assertRaises(evidence.Invalid):
                self.partition.decode(0, headers, self.context + self.rows)

    def test_a_message_is_signed_by_a_scorer_at_its_place(self) -> None:
        ours, theirs = (Ed25519PrivateKey.generate() for _ in range(2))
        coordinates = header(1, ROWS, self.digest)
        value = self.context + self.rows
        head = hashlib.sha256(coordinates + value).digest()
        good = sign(ours, 3, head)
        of_another_partition, of_another_message = sign(ours, 4, head), sign(ours, 3, bytes(32))
        forged = good[:4] + sign(theirs, 3, head)[4:]
        under_another_key = sign(theirs, 3, head)[:4] + good[4:]
        absent = "no scorer has signed it"
        for signatures, faults in (
            ([good], []),
            ([], [absent]),
            ([good, good], [absent]),
            ([good[1:]], [absent]),
            ([of_another_partition], [absent]),
            ([of_another_message], [absent]),
            ([sign(theirs, 3, head)], [absent]),
            ([forged], [absent]),
            ([under_another_key], [absent]),
        ):
            partition = evidence.Partition(3, Scorers([public_text(ours)]))
            headers = [(evidence.HEADER, coordinates)] + [(signature.HEADER, each) for each in signatures]
            self.assertEqual(partition.decode(0, headers, value).faults, faults)

    def test_a_key_that_was_cut_or_renamed_is_none(self) -> None:
        text = public_text(Ed25519PrivateKey.generate())
        for wrong in (text[:-4], text.replace("test", "best")):
            with self.assertRaises(ValueError):
                Scorers([wrong])


NAME = "test.example/scorer"


def public_key(key: Ed25519PrivateKey) -> bytes:
    return b"\1" + key.public_key().public_bytes_raw()


def key_hash(key: Ed25519PrivateKey) -> bytes:
    return hashlib.sha256(NAME.encode() + b"\n" + public_key(key)).digest()[:4]


def public_text(key: Ed25519PrivateKey) -> str:
    return f"{NAME}+{key_hash(key).hex()}+{base64.b64encode(public_key(key)).decode()}"


def sign(key: Ed25519PrivateKey, partition: int, head: bytes) -> bytes:
    return key_hash(key) + key.sign(b"probity evidence 1\n" + partition.to_bytes(4, "big") + head)


class ArchiveFolder(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def write_segment(self, n: int, rows: list[Row]) -> str:
        path = f"segments/dt=2026-01-0{n + 1}/payments-3-{n}.parquet"
        table = pa.Table.from_batches([batch(rows)])
        table = table.append_column("partition", pa.array([3] * len(rows), pa.int32()))
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.folder / path)
        return path

    def write_entry(self, n: int, rows: list[Row], kind: str = "segment") -> None:
        path = self.write_segment(n, rows)
        document = {
            "type": kind,
            "n": n,
            "stream": {"cluster_id": "c", "topic": "evidence", "topic_id": "t", "partition": 3},
            "first": n,
            "next": n + 1,
            "coverage": [{"topic": "payments", "topic_id": "p", "partition": 3, "first": rows[0].offset,
                          "next": rows[-1].next_offset}],
            "prev_head": "00" * 32,
            "head": "11" * 32,
            "rows": len(rows),
            "sha256": hashlib.sha256((self.folder / path).read_bytes()).hexdigest(),
            "path": path,
        }
        file = read_archive.entry_path(self.folder, n)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))

    def test_entries_and_files_are_read(self) -> None:
        later = [Row(SCORED, 5, 6)]
        self.write_entry(0, ROWS)
        self.write_entry(1, later)
        archive = read_archive.read_archive(self.folder, "evidence")
        self.assertEqual([entry.file_rows for entry in archive.entries], [ROWS, later])
        self.assertEqual([entry.coverage for entry in archive.entries], [(0, 5), (5, 6)])
        self.assertTrue(all(entry.file_sha256 == entry.sha256 for entry in archive.entries))
        self.assertEqual(archive.files, [entry.path for entry in archive.entries])
        expected = [(3, row) for row in ROWS + later]
        self.assertCountEqual(archive.by_pyarrow, expected)
        self.assertCountEqual(archive.by_duckdb, expected)
        self.assertEqual(archive.holes, [])
        self.assertEqual(read_archive.tips(self.folder, "evidence"), {3: 2})

    def test_files_that_the_ledger_does_not_know_are_listed(self) -> None:
        self.write_entry(0, ROWS)
        stray = self.write_segment(1, ROWS)
        archive = read_archive.read_archive(self.folder, "evidence")
        self.assertIn(stray, archive.files)
        self.assertEqual(len(archive.by_pyarrow), 6)
        self.assertEqual(len(archive.by_duckdb), 6)

    def test_hole_in_the_ledger(self) -> None:
        self.write_entry(0, ROWS)
        self.write_entry(2, ROWS)
        self.assertEqual(read_archive.read_archive(self.folder, "evidence").holes, [1])

    def test_entry_whose_file_is_absent(self) -> None:
        self.write_entry(0, ROWS)
        (self.folder / "segments/dt=2026-01-01/payments-3-0.parquet").unlink()
        archive = read_archive.read_archive(self.folder, "evidence")
        self.assertIsNone(archive.entries[0].file_sha256)
        self.assertIsNone(read_archive.tips(self.folder, "evidence"))

    def test_archive_that_does_not_exist_yet(self) -> None:
        archive = read_archive.read_archive(self.folder, "evidence")
        self.assertEqual((archive.entries, archive.files, archive.by_pyarrow), ([], [], []))
        self.assertEqual(read_archive.tips(self.folder, "evidence"), {})

    def test_paths_of_the_ledger(self) -> None:
        for n, path in ((0, "000"), (67, "067"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")):
            self.assertEqual(read_archive.entry_path(Path(), n), Path("ledger/entry") / path)


if __name__ == "__main__":
    unittest.main()
