"""Compares the books. Pure: plain data in, findings out; no finding ever holds a payload.

An event is accounted for when one row of evidence says what became of it, one record says the same to
the outside, and the archive holds that row once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from .model import GAP, REJECTED, SCORED, Archive, Books, Entry, Message, Row, Source

EXAMPLES = 10
NO_HEAD = bytes(32)


class Findings:
    """What does not agree, by name, with a count and the first few examples."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, name: str, example: str) -> None:
        self.counts[name] += 1
        if len(self.examples[name]) < EXAMPLES:
            self.examples[name].append(example)

    def report(self) -> dict[str, dict[str, object]]:
        return {
            name: {"count": count, "examples": self.examples[name]}
            for name, count in sorted(self.counts.items())
        }


def judge(books: Books) -> Findings:
    findings = Findings()
    for partition in sorted(books.input.keys() | books.evidence.keys()):
        messages = books.evidence.get(partition, [])
        judge_chain(partition, messages, findings)
        judge_coverage(books, partition, messages, findings)
        judge_commit(partition, books.committed.get(partition), messages, findings)
    judge_scores(books, findings)
    judge_dead_letters(books, findings)
    if books.archive is not None:
        judge_archive(books.archive, books.evidence, findings)
    return findings


def judge_chain(partition: int, messages: list[Message], findings: Findings) -> None:
    """The messages of a partition join: no offset between them, none twice, and no other history."""
    head, expected = NO_HEAD, None
    for message in messages:
        where = f"evidence {partition}@{message.position}"
        for fault in message.faults:
            findings.add("evidence_invalid", f"{where}: {fault}")
        if expected is not None and message.first != expected:
            findings.add("evidence_does_not_join", f"{where}: first {message.first}, expected {expected}")
        if message.prev_head != head:
            findings.add("evidence_does_not_join", f"{where}: prev_head is not the head before it")
        if not tiles(message.rows, message.first, message.next):
            findings.add("evidence_invalid", f"{where}: rows do not cover [{message.first}, {message.next})")
        head, expected = message.head, message.next


def tiles(rows: list[Row], first: int, end: int) -> bool:
    """Whether the rows, in their order, cover [first, end) without hole and overlap."""
    at = first
    for row in rows:
        is_event = row.kind in (SCORED, REJECTED)
        if row.offset != at or row.next_offset <= row.offset:
            return False
        if is_event and row.next_offset != row.offset + 1 or not is_event and row.kind != GAP:
            return False
        at = row.next_offset
    return bool(rows) and at == end


def judge_coverage(books: Books, partition: int, messages: list[Message], findings: Findings) -> None:
    """Every offset of the input in one row of an event or inside one gap; only the tail may be bare,
    and only of control and aborted records."""
    topic = books.topic
    if partition not in books.input:
        findings.add("row_without_event", f"evidence {partition}: {topic} has no such partition")
        return
    log = books.input[partition]
    rows = [row for message in messages for row in message.rows]
    events = Counter(row.offset for row in rows if row.kind != GAP)
    gaps = Ranges((row.offset, row.next_offset) for row in rows if row.kind == GAP)
    data = set(log.offsets)
    for offset in log.offsets:
        where = f"{topic} {partition}@{offset}"
        times = events[offset]
        if times == 0 and gaps.count(offset):
            findings.add("event_in_gap", where)
        elif times == 0:
            findings.add("missing", where)
        elif times + gaps.count(offset) > 1:
            findings.add("twice", where)
    for offset in sorted(events):
        if log.start <= offset and offset not in data:
            findings.add("row_without_event", f"{topic} {partition}@{offset}")
    last = max((row.next_offset for row in rows), default=log.start)
    for offset in range(log.start, min(last, log.end)):
        if offset not in data and offset not in events and gaps.count(offset) != 1:
            name = "gap_missing" if gaps.count(offset) == 0 else "gap_twice"
            findings.add(name, f"{topic} {partition}@{offset}")


class Ranges:
    """How many of many half-open ranges hold an offset."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.held: Counter[int] = Counter()
        for first, end in ranges:
            self.held.update(range(first, end))

    def count(self, offset: int) -> int:
        return self.held[offset]


def judge_commit(
    partition: int, committed: int | None, messages: list[Message], findings: Findings
) -> None:
    """The offset of the group moves in the transaction that holds the evidence: they are one number."""
    if messages and committed != messages[-1].next:
        findings.add(
            "commit_differs", f"partition {partition}: committed {committed}, evidence {messages[-1].next}"
        )


def judge_scores(books: Books, findings: Findings) -> None:
    for score in books.scores:
        if score.partition != score.source.partition:
            findings.add("score_in_other_partition", f"{show(score.source)} in {score.partition}")
    for score_id, times in Counter(score.score_id for score in books.scores).items():
        if times > 1:
            findings.add("score_id_twice", score_id)
    match_rows(
        books,
        SCORED,
        (score.source for score in books.scores),
        {"absent": "missing_score", "twice": "scored_twice", "alone": "score_without_evidence"},
        findings,
    )


def judge_dead_letters(books: Books, findings: Findings) -> None:
    for letter in books.dead_letters:
        if letter.altered:
            findings.add("dead_letter_altered", show(letter.source))
    match_rows(
        books,
        REJECTED,
        (letter.source for letter in books.dead_letters),
        {
            "absent": "missing_dead_letter",
            "twice": "dead_letter_twice",
            "alone": "dead_letter_without_evidence",
        },
        findings,
    )


def match_rows(
    books: Books, kind: str, sources: Iterable[Source], names: dict[str, str], findings: Findings
) -> None:
    """One record per row of `kind`, and no record without its row."""
    published = Counter(sources)
    rows = {
        Source(books.topic, partition, row.offset)
        for partition, messages in books.evidence.items()
        for message in messages
        for row in message.rows
        if row.kind == kind
    }
    for source in sorted(rows - published.keys(), key=order):
        findings.add(names["absent"], show(source))
    for source, times in sorted(published.items(), key=lambda item: order(item[0])):
        if source not in rows:
            findings.add(names["alone"], show(source))
        if times > 1:
            findings.add(names["twice"], show(source))


def order(source: Source) -> tuple[str, int, int]:
    return (source.topic, source.partition, source.offset)


def show(source: Source) -> str:
    return f"{source.topic} {source.partition}@{source.offset}"


def judge_archive(
    archive: Archive, evidence: dict[int, list[Message]], findings: Findings
) -> None:
    for n in archive.holes:
        findings.add("ledger_has_hole", f"entry {n}")
    for partition in sorted(evidence.keys() | {entry.partition for entry in archive.entries}):
        entries = [entry for entry in archive.entries if entry.partition == partition]
        judge_stream(partition, entries, evidence.get(partition, []), findings)
    judge_files(archive, findings)
    judge_readers(archive, evidence, findings)


def judge_stream(
    partition: int, entries: list[Entry], messages: list[Message], findings: Findings
) -> None:
    """The entries of a partition cover its evidence in order, each message in one of them."""
    tip = 0
    for entry in entries:
        if entry.first != tip:
            findings.add("ledger_does_not_join", f"entry {entry.n}: first {entry.first}, expected {tip}")
        held = [message for message in messages if entry.first <= message.position < entry.next]
        judge_entry(entry, held, findings)
        tip = entry.next
    for message in messages:
        if message.position >= tip:
            findings.add("not_archived", f"evidence {partition}@{message.position}")


def judge_entry(entry: Entry, messages: list[Message], findings: Findings) -> None:
    """An entry says of its messages what they say of themselves, and its file holds their rows."""
    if not messages:
        findings.add("archive_mismatch", f"entry {entry.n}: holds no evidence")
        return
    rows = [row for message in messages for row in message.rows]
    checks: list[tuple[str, Callable[[], bool]]] = [
        ("coverage", lambda: entry.coverage == (messages[0].first, messages[-1].next)),
        ("prev_head", lambda: entry.prev_head == messages[0].prev_head),
        ("head", lambda: entry.head == messages[-1].head),
        ("rows", lambda: entry.rows == len(rows)),
    ]
    if entry.file_sha256 is None:
        findings.add("entry_without_file", f"entry {entry.n}: {entry.path}")
    else:
        checks.append(("sha256", lambda: entry.file_sha256 == entry.sha256))
        checks.append(("the rows of the file", lambda: entry.file_rows == rows))
    for what, agrees in checks:
        if not agrees():
            findings.add("archive_mismatch", f"entry {entry.n}: {what}")


def judge_files(archive: Archive, findings: Findings) -> None:
    entries = Counter(entry.path for entry in archive.entries)
    for path, times in sorted(entries.items()):
        if times > 1:
            findings.add("archive_mismatch", f"{path}: {times} entries")
    for path in sorted(set(archive.files) - entries.keys()):
        findings.add("file_without_entry", path)


def judge_readers(
    archive: Archive, evidence: dict[int, list[Message]], findings: Findings
) -> None:
    """Whoever reads the folder without knowing of the ledger sees each row of evidence once."""
    pyarrow, duckdb = Counter(archive.by_pyarrow), Counter(archive.by_duckdb)
    if pyarrow != duckdb:
        findings.add("readers_disagree", f"pyarrow {len(archive.by_pyarrow)} rows, duckdb {len(archive.by_duckdb)}")
    expected = {
        (partition, row)
        for partition, messages in evidence.items()
        for message in messages
        for row in message.rows
    }
    for (partition, row), times in pyarrow.items():
        if times > 1:
            findings.add("archived_twice", f"partition {partition}@{row.offset}")
        if (partition, row) not in expected:
            findings.add("archive_mismatch", f"partition {partition}@{row.offset}: no such row of evidence")
    for partition, row in sorted(expected - pyarrow.keys(), key=lambda item: (item[0], item[1].offset)):
        findings.add("archive_mismatch", f"partition {partition}@{row.offset}: not in the archive")
