"""Every threat has a mutant, every finding is provoked by one, and each mutant is what it says."""

import hashlib
import json
import re
import shutil
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import mutants
from mutants.forger import GOLDEN, LOG, NEXT_LOG, Forger, line, root, sha256

FORMAT = Path(__file__).parents[2] / "schemas" / "ARCHIVE.md"

# Who has signed the checkpoints of the golden archive: there was one log key, then two, then the other one.
SIGNERS = {8: [LOG], 13: [LOG, NEXT_LOG], 17: [NEXT_LOG], 258: [NEXT_LOG]}


def findings() -> dict[str, bool]:
    """The names that the format has for what a verifier may find, and whether each makes an archive not verified."""
    _, _, section = FORMAT.read_text().partition("\n## 11. Findings\n")
    return {name: not mark for name, mark in re.findall(r"^\| `([a-z-]+)`( ✓)? \|", section, re.MULTILINE)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        mutants.write(cls.folder)
        cls.expected = json.loads((cls.folder / "expected.json").read_text())

    def test_every_threat_has_a_mutant(self) -> None:
        without = set(mutants.Threat) - {mutant.threat for mutant in mutants.MUTANTS}
        self.assertEqual(without, set())

    def test_every_finding_is_provoked_and_none_is_made_up(self) -> None:
        provoked = {finding for mutant in mutants.MUTANTS for finding in mutant.findings}
        self.assertEqual(provoked, set(findings()))

    def test_only_what_must_not_alarm_is_verified(self) -> None:
        alarms = findings()
        for each in self.expected:
            with self.subTest(each["name"]):
                self.assertEqual(each["verified"], each["threat"] == mutants.Threat.USUAL)
                self.assertEqual(each["verified"], not any(alarms[finding] for finding in each["findings"]))

    def test_each_mutant_differs_from_the_golden_archive_and_from_all_others(self) -> None:
        seen = {hash_of(GOLDEN): "the golden archive"}
        for each in self.expected:
            with self.subTest(each["name"]):
                digest = hash_of(self.folder / each["path"])
                self.assertIsNone(seen.get(digest))
                seen[digest] = each["name"]

    def test_what_is_expected_names_what_is_there(self) -> None:
        names = Counter(each["name"] for each in self.expected)
        self.assertEqual(names, dict.fromkeys(names, 1))
        for each in self.expected:
            with self.subTest(each["name"]):
                self.assertTrue((self.folder / each["path"]).is_dir())
                self.assertTrue((self.folder / each["trust"]).is_file())
                self.assertIn(each["kept_checkpoint"], [None, "kept-checkpoint"])
        self.assertEqual((self.folder / "kept-checkpoint").read_bytes(), (GOLDEN / "ledger/cp/258").read_bytes())

    def test_a_trust_of_few_hours_has_the_same_keys(self) -> None:
        [file] = {each["trust"] for each in self.expected} - {"trust.toml"}
        keys, age = (self.folder / file).read_text().splitlines()
        self.assertEqual(keys, (self.folder / "trust.toml").read_text().splitlines()[0])
        self.assertEqual(age, 'max_age = "26h"')


class ForgerTest(unittest.TestCase):
    """What a forger makes of the golden archive without altering it is the golden archive: so all that differs in a
    mutant is what was meant to."""

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "archive"
        shutil.copytree(GOLDEN, folder)
        self.archive = Forger(folder)

    def test_tiles_bundles_and_checkpoints(self) -> None:
        shutil.rmtree(self.archive.folder / "ledger/tile")
        self.archive.retile()
        for size in self.archive.sizes():
            self.archive.put_checkpoint(size, *SIGNERS[size])
        self.assertEqual(contents(self.archive.folder), contents(GOLDEN))

    def test_entries(self) -> None:
        for n in range(self.archive.entries()):
            self.assertEqual(line(self.archive.entry(n)), self.archive.text(n))

    def test_roots_of_rows(self) -> None:
        seen = 0
        for n in range(self.archive.entries()):
            entry = self.archive.entry(n)
            if entry["type"] == "segment" and (self.archive.folder / entry["path"]).exists():
                leaves = self.archive.leaves(entry["columns"], self.archive.table(n))
                self.assertEqual((len(leaves), root(leaves).hex()), (entry["rows"], entry["row_root"]))
                seen += 1
        self.assertEqual(seen, 7)

    def test_names_that_are_digests(self) -> None:
        for folder in ("columns", "contexts", "models", "policies", "runtimes", "configs", "schemas"):
            paths = self.archive.paths(f"{folder}/*")
            self.assertTrue(paths)
            for path in paths:
                self.assertEqual(Path(path).stem, sha256(self.archive.read(path)))


def hash_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path, data in sorted(contents(folder).items()):
        digest.update(f"{path} {sha256(data)}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    unittest.main()
