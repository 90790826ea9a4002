"""A tiny pipeline on real Kafka that makes one mistake on purpose: what the accounting tool must find.

    python plant.py --bootstrap HOST:PORT --prefix P --archive FOLDER --fault none|failed-seek|…

Fills topic P (its producer also aborts) and reads it; writes P.scored, P.evidence, P.dlq, the offsets of group P
and an archive, as the contracts say.
"""

import argparse
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from books import evidence, read_archive, read_kafka
from books.model import GAP, REJECTED, SCORED, Message, Row
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 2
BATCHES = 4
BATCH = 25
FAULTS = ("none", "failed-seek", "revoke-in-gather", "rescored", "skipped", "score-first")
# The batch that the mistake is made in.
FAULTY = 1

SCHEMA = pa.schema([("kind", pa.utf8()), ("offset", pa.int64()), ("next_offset", pa.int64())])
CONTEXT = SCHEMA.serialize().to_pybytes()
CONTEXT_DIGEST = hashlib.sha256(CONTEXT).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bootstrap", "prefix", "archive"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--fault", choices=FAULTS, required=True)
    asked = parser.parse_args()
    create_topics(asked.bootstrap, asked.prefix)
    fill_input(asked.bootstrap, asked.prefix)
    reader = read_kafka.consumer(asked.bootstrap, asked.prefix)
    pipeline = Pipeline(asked, reader)
    for partition, log in read_kafka.read(reader, asked.prefix):
        pipeline.process(partition, log)
    archive = Path(asked.archive)
    for n, partition in enumerate(range(PARTITIONS)):
        log = read_kafka.read_partition(reader, f"{asked.prefix}.evidence", partition, 0)
        write_archive(archive, n, partition, read_kafka.decode("evidence", partition, log), asked.prefix)
    reader.close()


def create_topics(bootstrap: str, prefix: str) -> None:
    topics = [NewTopic(f"{prefix}{suffix}", PARTITIONS, 1) for suffix in ("", ".scored", ".evidence", ".dlq")]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.create_topics(topics).values():
        done.result()


def fill_input(bootstrap: str, prefix: str) -> None:
    """Committed transactions of one batch each, with an aborted one after each."""
    producer = transactional(bootstrap, f"{prefix}-input")
    for partition in range(PARTITIONS):
        for batch in range(BATCHES):
            for commit, count in ((True, BATCH), (False, 5)):
                producer.begin_transaction()
                for n in range(count):
                    producer.produce(prefix, partition=partition, value=f"{batch} {n}".encode())
                producer.flush()
                producer.commit_transaction() if commit else producer.abort_transaction()


def transactional(bootstrap: str, transactional_id: str) -> Producer:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
    producer.init_transactions()
    return producer


class Pipeline:
    def __init__(self, asked: argparse.Namespace, reader: read_kafka.Consumer) -> None:
        self.prefix, self.fault, self.reader = asked.prefix, asked.fault, reader
        self.producer = transactional(asked.bootstrap, f"{asked.prefix}-scorer")
        self.head = bytes(32)
        self.next = 0

    def process(self, partition: int, log: read_kafka.Log) -> None:
        self.head, self.next = bytes(32), 0
        faulty = self.fault if partition == 0 else "none"
        for batch in range(BATCHES):
            offsets = [record.offset() for record in log.records[batch * BATCH : (batch + 1) * BATCH]]
            self.batch(partition, offsets, faulty if batch == FAULTY else "none")

    def batch(self, partition: int, offsets: list[int], fault: str) -> None:
        if fault == "failed-seek":
            # The batch is aborted, and the consumer is left behind it.
            self.next = offsets[-1] + 1
            return
        if fault == "skipped":
            self.transaction(partition, [Row(GAP, self.next, offsets[-1] + 1)])
            return
        if fault == "score-first":
            self.transaction(partition, self.rows(offsets), with_evidence=False)
            self.next = offsets[-1] + 1
            return
        first, rows = self.next, self.rows(offsets)
        self.transaction(partition, rows)
        if fault == "revoke-in-gather":
            # The new owner of the partition had read the same records.
            self.next = first
            self.transaction(partition, rows)
        if fault == "rescored":
            self.transaction(partition, rows, with_evidence=False)

    def rows(self, offsets: list[int]) -> list[Row]:
        rows, at = [], self.next
        for n, offset in enumerate(offsets):
            if offset > at:
                rows.append(Row(GAP, at, offset))
            rows.append(Row(REJECTED if n == 3 else SCORED, offset, offset + 1))
            at = offset + 1
        return rows

    def transaction(self, partition: int, rows: list[Row], with_evidence: bool = True) -> None:
        end = rows[-1].next_offset
        self.producer.begin_transaction()
        for row in rows:
            if row.kind == SCORED:
                self.score(partition, row.offset)
            elif row.kind == REJECTED:
                self.reject(partition, row.offset)
        if with_evidence:
            self.witness(partition, rows)
            self.next = end
        self.producer.send_offsets_to_transaction(
            [TopicPartition(self.prefix, partition, end)], self.reader.consumer_group_metadata()
        )
        self.producer.commit_transaction()

    def score(self, partition: int, offset: int) -> None:
        record = {
            "event_id": None,
            "score_id": f"{partition}-{offset}",
            "input": {"topic": self.prefix, "partition": partition, "offset": offset},
            "score": 0.5,
            "decision": "review",
        }
        self.producer.produce(f"{self.prefix}.scored", partition=partition, value=json.dumps(record))

    def reject(self, partition: int, offset: int) -> None:
        batch, n = divmod(offset - offset // (BATCH + 7) * 7, BATCH)
        headers = {
            "__connect.errors.topic": self.prefix,
            "__connect.errors.partition": str(partition),
            "__connect.errors.offset": str(offset),
            "probity.reason": "malformed",
        }
        self.producer.produce(
            f"{self.prefix}.dlq", partition=0, value=f"{batch} {n}".encode(), headers=headers
        )

    def witness(self, partition: int, rows: list[Row]) -> None:
        flags = 0 if self.head != bytes(32) else evidence.HAS_CONTEXT
        columns = zip(*((row.kind, row.offset, row.next_offset) for row in rows), strict=True)
        batch = pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)
        value = (CONTEXT if flags else b"") + batch.serialize().to_pybytes()
        header = evidence.LAYOUT.pack(
            evidence.VERSION, flags, rows[0].offset, rows[-1].next_offset, len(rows), 0, 0, CONTEXT_DIGEST, self.head
        )
        self.head = hashlib.sha256(header + value).digest()
        self.producer.produce(
            f"{self.prefix}.evidence", partition=partition, value=value, headers={evidence.HEADER: header}
        )


def write_archive(folder: Path, n: int, partition: int, messages: list[Message], prefix: str) -> None:
    rows = [row for message in messages for row in message.rows]
    path = f"segments/dt=2026-01-01/{n}.parquet"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [getattr(row, name) for row in rows] for name in ("kind", "offset", "next_offset")}
    pq.write_table(pa.table(columns | {"partition": pa.array([partition] * len(rows), pa.int32())}), folder / path)
    document = {
        "type": "segment",
        "n": n,
        "stream": {"topic": f"{prefix}.evidence", "partition": partition},
        "first": 0,
        "next": messages[-1].position + 1,
        "coverage": [{"partition": partition, "first": messages[0].first, "next": messages[-1].next}],
        "prev_head": messages[0].prev_head.hex(),
        "head": messages[-1].head.hex(),
        "rows": len(rows),
        "sha256": hashlib.sha256((folder / path).read_bytes()).hexdigest(),
        "path": path,
    }
    entry = read_archive.entry_path(folder, n)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(json.dumps(document))


if __name__ == "__main__":
    main()
