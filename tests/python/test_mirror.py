"""The copy of a bucket from which the books are taken."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import moto
from books import mirror

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


@mock.patch.dict(os.environ, CREDENTIALS)
class MirrorTest(unittest.TestCase):
    def setUp(self):
        self.enterContext(moto.mock_aws())
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        mirror.client.cache_clear()
        self.addCleanup(mirror.client.cache_clear)
        mirror.client().create_bucket(Bucket="bucket")

    def put(self, key: str, value: bytes) -> None:
        mirror.client().put_object(Bucket="bucket", Key=key, Body=value)

    def test_everything_under_the_prefix_is_copied_and_then_what_is_new(self):
        self.put("a/b/segments/dt=1/x.parquet", b"rows")
        self.put("a/bc", b"another archive's")
        mirror.mirror("s3://bucket/a/b", self.folder)
        self.put("a/b/ledger/entry/000", b"{}")
        mirror.mirror("s3://bucket/a/b", self.folder)
        files = {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}
        self.assertEqual(files, {"segments/dt=1/x.parquet": b"rows", "ledger/entry/000": b"{}"})

    def test_an_object_that_changes_is_found(self):
        self.put("a/b/ledger/entry/000", b"{}")
        mirror.mirror("s3://bucket/a/b", self.folder)
        self.put("a/b/ledger/entry/000", b"[]")
        with self.assertRaisesRegex(ValueError, "ledger/entry/000 has changed"):
            mirror.mirror("s3://bucket/a/b", self.folder)

    def test_only_the_hint_may_change(self):
        self.put("a/b/ledger/checkpoint", b"1")
        mirror.mirror("s3://bucket/a/b", self.folder)
        self.put("a/b/ledger/checkpoint", b"2")
        mirror.mirror("s3://bucket/a/b", self.folder)
        self.assertEqual((self.folder / "ledger/checkpoint").read_bytes(), b"2")


if __name__ == "__main__":
    unittest.main()
