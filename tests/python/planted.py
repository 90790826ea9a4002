"""Small, healthy books for the tests to plant faults in: what an honest pipeline would have left behind."""

import hashlib

from books.model import GAP, REJECTED, SCORED, Archive, Books, DeadLetter, Entry, Input, Message, Row, Score, Source

TOPIC = "payments"
PARTITIONS = 2
BATCHES = 4
# Each batch is nine events and the control record that ends their transaction; the fourth event is rejected.
BATCH = 10
REJECTED_AT = 3


def healthy() -> Books:
    evidence = {partition: messages(partition) for partition in range(PARTITIONS)}
    return Books(
        topic=TOPIC,
        input={partition: log() for partition in range(PARTITIONS)},
        committed={partition: evidence[partition][-1].next for partition in range(PARTITIONS)},
        scores=[score(partition, row.offset) for partition, row in rows(evidence, SCORED)],
        dead_letters=[DeadLetter(Source(TOPIC, p, row.offset), altered=False) for p, row in rows(evidence, REJECTED)],
        evidence=evidence,
        archive=archive(evidence),
    )


def log() -> Input:
    offsets = [offset for offset in range(BATCHES * BATCH) if offset % BATCH != BATCH - 1]
    return Input(0, BATCHES * BATCH, offsets)


def score(partition: int, offset: int) -> Score:
    return Score(Source(TOPIC, partition, offset), partition, f"{partition}-{offset}")


def rows(evidence: dict[int, list[Message]], kind: str) -> list[tuple[int, Row]]:
    return [
        (partition, row)
        for partition, messages in evidence.items()
        for message in messages
        for row in message.rows
        if row.kind == kind
    ]


def messages(partition: int) -> list[Message]:
    """A batch begins with the control record of the one before; the last one stays at the tail."""
    found: list[Message] = []
    head = bytes(32)
    for batch in range(BATCHES):
        first = batch * BATCH - 1 if batch else 0
        next_ = batch * BATCH + BATCH - 1
        own = hashlib.sha256(f"{partition} {batch}".encode() + head).digest()
        # Between two messages lies the control record of the transaction that holds the first.
        found.append(Message(batch * 2, first, next_, head, own, batch_rows(first, next_)))
        head = own
    return found


def batch_rows(first: int, next_: int) -> list[Row]:
    return [Row(kind(offset), offset, offset + 1) for offset in range(first, next_)]


def kind(offset: int) -> str:
    return {REJECTED_AT: REJECTED, BATCH - 1: GAP}.get(offset % BATCH, SCORED)


def archive(evidence: dict[int, list[Message]]) -> Archive:
    entries: list[Entry] = []
    for partition, messages in evidence.items():
        half = len(messages) // 2
        entries.append(entry(len(entries), partition, 0, messages[:half]))
        entries.append(entry(len(entries), partition, entries[-1].next, messages[half:]))
    seen = [(each.partition, row) for each in entries for row in each.file_rows]
    return Archive(entries, [each.path for each in entries], list(seen), list(seen))


def entry(n: int, partition: int, first: int, held: list[Message]) -> Entry:
    found = [row for message in held for row in message.rows]
    return Entry(
        n=n,
        partition=partition,
        first=first,
        next=held[-1].position + 1,
        coverage=(held[0].first, held[-1].next),
        prev_head=held[0].prev_head,
        head=held[-1].head,
        rows=len(found),
        path=f"segments/dt=2026-01-01/{n}.parquet",
        sha256="00",
        file_sha256="00",
        file_rows=found,
    )
