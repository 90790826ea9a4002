"""What a mutant is, and what several of them need."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from mutants.forger import NEXT_LOG, Forger

# Entries of the golden archive: segments of partition 0 by the first model, by the second, and the last one that is
# signed for; that of partition 2 after its break; those in flight, of partition 1 and 2, of which the last has no file.
FIRST, SECOND, NEWEST = 5, 19, 257
AFTER_BREAK = 12
IN_FLIGHT, LAST = 258, 259
BREAK, HEARTBEAT = 11, 100

# Findings that tell something, and do not make the archive not verified.
INFORMATION = {"in-flight", "gap"}


class Threat(StrEnum):
    """Everything that can be done to an archive's data, and shows in the data."""

    EDITED = "somebody edits a file"
    REWRITTEN = "a file is written again by other tools, with the same rows or others"
    TRICKED = "a file misleads who reads it: columns too many or too few, names, statistics"
    DELETED = "a file or an entry is deleted"
    MISTAKEN = "a file is taken for an entry's because of its name"
    DOUBLED = "a file too many doubles rows for who reads the folder"
    OVERLAP = "evidence counts twice, because segments overlap or offsets begin anew"
    HOLE = "evidence is left out, by who may sign for its absence and who may not"
    REORDERED = "entries are out of order, or taken from elsewhere"
    UNSIGNED = "who may write to the store, and has no key, puts an entry"
    ROLE = "a key signs what is not of its role, or gives a role away"
    RETIRED = "a key is used after it was retired"
    STOLEN = "the archiver's key is stolen, and history is made again without the log's"
    WRONG = "who has every key lets a decision be what neither policy nor score gives"
    SPLIT = "two histories are signed, for different people"
    FORGED = "a checkpoint is altered, or signed by somebody else"
    TRUNCATED = "the end of the log is cut off"
    RESTORED = "the store is restored from an older backup, and goes on"
    SILENT = "nothing is archived any more, and nobody notices"
    REPLACED = "what made decisions is replaced: model, policy, schema, configuration"
    DERIVED = "what follows from the entries is altered: tiles, bundles, folds"
    FOREIGN = "the archive is another one's, or of another format"
    USUAL = "usual life, which must not alarm"


@dataclass(frozen=True)
class Mutant:
    name: str
    threat: Threat
    findings: tuple[str, ...]
    alter: Callable[[Forger], None]
    has_kept: bool
    max_age: str | None


MUTANTS: list[Mutant] = []


def mutant(threat: Threat, *findings: str, kept: bool = False, max_age: str | None = None) -> Callable:
    """Each must be reported. `kept` is whether who verifies has kept the newest checkpoint of the golden archive."""

    def add(alter: Callable[[Forger], None]) -> Callable[[Forger], None]:
        MUTANTS.append(Mutant(alter.__name__.replace("_", "-"), threat, findings, alter, kept, max_age))
        return alter

    return add


def flip(data: bytes, at: int, mask: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def replaced(table: pa.Table, name: str, alter: Callable[[list], list]) -> pa.Table:
    """With other values in one column."""
    at = table.column_names.index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(alter(table[name].to_pylist()), field.type))


def set_row(row: int, value: object) -> Callable[[list], list]:
    return lambda values: [value if at == row else each for at, each in enumerate(values)]


def edit(archive: Forger, n: int, name: str, alter: Callable[[list], list]) -> None:
    archive.put_table(n, replaced(archive.table(n), name, alter))


def row_of(table: pa.Table, name: str, value: object) -> int:
    return table[name].to_pylist().index(value)


def resign(archive: Forger) -> None:
    """Makes the log follow from the entries again, as who has the log's newest key can."""
    archive.retile()
    archive.put_checkpoint(NEWEST + 1, NEXT_LOG)


def next_break(archive: Forger) -> dict:
    """What an operator could say of partition 0."""
    last = archive.entry(NEWEST)
    [covered] = last["coverage"]
    covered |= {"first": covered["next"], "next": covered["next"] + 5}
    return {
        "stream": last["stream"],
        "first": last["next"],
        "next": last["next"] + 1,
        "coverage": [covered],
        "head": last["head"],
        "reason": "lost",
        "operator": "J. Doe",
    }
