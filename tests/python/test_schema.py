"""schemas/model.schema.json accepts every model.toml of the repository, and refuses what the program refuses.

tests/data/manifest is shared with src/package/tests/schema.rs: each change of a complete model.toml, and who must
refuse it."""

import json
import tomllib
import unittest
from pathlib import Path

import jsonschema

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "manifest"
SCHEMA = json.loads((ROOT / "schemas" / "model.schema.json").read_text())

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


class Schema(unittest.TestCase):
    def test_it_is_a_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_every_model_toml_of_the_repository_is_valid(self) -> None:
        folders = [ROOT / "config", ROOT / "tests"]
        found = [path for folder in folders for path in sorted(folder.rglob("model.toml"))]
        self.assertGreaterEqual(len(found), 10)
        for path in found:
            self.assertEqual(problems(path.read_text()), [], path)

    def test_changes_are_refused_as_the_program_refuses_them(self) -> None:
        complete = (DATA / "complete.toml").read_text()
        for change in json.loads((DATA / "changes.json").read_text()):
            self.assertIn(change["from"], complete)
            found = problems(complete.replace(change["from"], change["to"], 1))
            self.assertEqual(bool(found), change["refused_by"] == "both", (change, found))


if __name__ == "__main__":
    unittest.main()
