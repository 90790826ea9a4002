"""What was read, as plain data: the judge sees nothing else."""

from dataclasses import dataclass, field

SCORED, REJECTED, GAP = "scored", "rejected", "gap"


@dataclass(frozen=True)
class Row:
    """One row of evidence: what became of one event, or of a range that holds none."""

    kind: str
    offset: int
    next_offset: int


@dataclass
class Input:
    """One partition of the input: the offsets in [start, end) that hold an event."""

    start: int
    end: int
    offsets: list[int]


@dataclass(frozen=True)
class Source:
    """Where an event came from, as a scored record or a dead letter says it."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Score:
    source: Source
    partition: int
    score_id: str


@dataclass(frozen=True)
class DeadLetter:
    source: Source
    altered: bool


@dataclass
class Message:
    """One message of the evidence topic, decoded. `faults` are what contradicts itself inside it."""

    position: int
    first: int
    next: int
    prev_head: bytes
    head: bytes
    rows: list[Row]
    faults: list[str] = field(default_factory=list)


@dataclass
class Entry:
    """One segment entry of the ledger, and what was found at its path."""

    n: int
    partition: int
    first: int
    next: int
    coverage: tuple[int, int]
    prev_head: bytes
    head: bytes
    rows: int
    path: str
    sha256: str
    file_sha256: str | None = None
    file_rows: list[Row] = field(default_factory=list)


@dataclass
class Archive:
    entries: list[Entry]
    files: list[str]
    """(partition, row) of the whole folder, as each of two readers sees it without knowing of entries."""
    by_pyarrow: list[tuple[int, Row]]
    by_duckdb: list[tuple[int, Row]]
    """Numbers of the ledger that are absent although a later one exists."""
    holes: list[int] = field(default_factory=list)


@dataclass
class Books:
    topic: str
    input: dict[int, Input]
    committed: dict[int, int | None]
    scores: list[Score]
    dead_letters: list[DeadLetter]
    evidence: dict[int, list[Message]]
    archive: Archive | None = None
