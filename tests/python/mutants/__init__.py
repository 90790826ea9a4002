"""Altered copies of the golden archive, and what a verifier must say of each.

`python -m mutants FOLDER` writes all of them, with an `expected.json`: a list of `name`, `threat`, `path`, `trust` and
`kept_checkpoint` (what to verify it with), `findings` (each must be reported; others may follow from the same cause)
and `verified`. Where that is true, nothing may be reported but what is listed. Paths are relative to FOLDER.
"""

import json
import shutil
from pathlib import Path

# Each adds its mutants to the list.
from mutants import entries, files, histories, objects, rules, usual  # noqa: F401
from mutants.base import INFORMATION, MUTANTS, Mutant, Threat
from mutants.forger import GOLDEN, TRUST, Forger

__all__ = ["INFORMATION", "MUTANTS", "Mutant", "Threat", "make", "write"]

TRUSTED, KEPT = "trust.toml", "kept-checkpoint"


def make(mutant: Mutant, folder: Path) -> None:
    """Writes the mutant to a folder that is not there yet."""
    shutil.copytree(GOLDEN, folder)
    mutant.alter(Forger(folder))


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(TRUST, folder / TRUSTED)
    shutil.copy(GOLDEN / "ledger/checkpoint", folder / KEPT)
    for mutant in MUTANTS:
        make(mutant, folder / "mutants" / mutant.name)
    expected = [expect(mutant, folder) for mutant in MUTANTS]
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def expect(mutant: Mutant, folder: Path) -> dict:
    return {
        "name": mutant.name,
        "threat": mutant.threat,
        "path": f"mutants/{mutant.name}",
        "trust": trust(mutant, folder),
        "kept_checkpoint": KEPT if mutant.has_kept else None,
        "findings": mutant.findings,
        "verified": INFORMATION.issuperset(mutant.findings),
    }


def trust(mutant: Mutant, folder: Path) -> str:
    """The file that says whom to trust, and how old a checkpoint may be."""
    if mutant.max_age is None:
        return TRUSTED
    name = f"trust-{mutant.max_age}.toml"
    keys, _, _ = TRUST.read_text().partition("max_age")
    (folder / name).write_text(f'{keys}max_age = "{mutant.max_age}"\n')
    return name
