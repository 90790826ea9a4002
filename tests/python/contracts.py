"""Reads what a pipeline published by its written contracts, with libraries that are not ours.

    python contracts.py --bootstrap HOST:PORT --prefix TOPIC --archive FOLDER

Scored records against schemas/scored.avsc (fastavro), evidence by schemas/evidence.md (pyarrow), the
archive by the queries that README.md prints (DuckDB) and as a folder (pyarrow). Exit code 0 or a
traceback.
"""

import argparse
import hashlib
import json
import re
import struct
from pathlib import Path

import confluent_kafka
import duckdb
import fastavro
import pyarrow.dataset
import pyarrow.ipc

ROOT = Path(__file__).parents[2]


def records(bootstrap: str, topic: str):
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "contracts",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    })
    partitions = consumer.list_topics(topic).topics[topic].partitions
    beginning = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, p, beginning) for p in partitions])
    unfinished = len(partitions)
    while unfinished:
        message = consumer.poll(30)
        assert message is not None, f"{topic}: no answer"
        if message.error() is None:
            yield message
        elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
            unfinished -= 1
        else:
            raise confluent_kafka.KafkaException(message.error())
    consumer.close()


def check_scored(bootstrap: str, topic: str) -> dict:
    schema = fastavro.schema.load_schema(ROOT / "schemas/scored.avsc")
    names = {field["name"] for field in schema["fields"]}
    scored = {}
    for message in records(bootstrap, topic):
        record = json.loads(message.value())
        assert set(record) == names, set(record) ^ names
        fastavro.validate(record, schema)
        place = (record["input"]["partition"], record["input"]["offset"])
        assert place[0] == message.partition()
        scored[place] = record
    return scored


def read_evidence(bootstrap: str, topic: str) -> dict:
    rows, heads, contexts = {}, {}, {}
    for message in records(bootstrap, topic):
        header = dict(message.headers())["probity-evidence"]
        version, flags, first, after, count, _, _, context, prev = struct.unpack(">BBqqIqq32s32s", header)
        assert version == 1
        value, partition = message.value(), message.partition()
        assert heads.get(partition, bytes(32)) == prev
        heads[partition] = hashlib.sha256(header + value).digest()
        if flags & 1:
            length = 8 + int.from_bytes(value[4:8], "little")
            contexts[context], value = value[:length], value[length:]
            assert hashlib.sha256(contexts[context]).digest() == context
        batch = pyarrow.ipc.open_stream(contexts[context] + value).read_next_batch()
        assert batch.num_rows == count
        assert batch.column("offset")[0].as_py() == first
        assert batch.column("next_offset")[-1].as_py() == after
        for row in batch.to_pylist():
            rows[partition, row["offset"]] = row
    return rows


def check_archive(archive: Path, evidence: dict) -> None:
    table = pyarrow.dataset.dataset(archive / "segments", partitioning="hive").to_table()
    assert table.num_rows == len(evidence)
    fields = json.loads((ROOT / "schemas/payment.avsc").read_text())["fields"]
    personal = {f"event_{field['name']}" for field in fields if field.get("personal")}
    assert personal and not personal & set(table.column_names), "personal data in clear"
    for row in table.to_pylist():
        told = evidence[row["partition"], row["offset"]]
        assert {name: row[name] for name in told} == told
    check_what_decided(archive, table)
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    queries = [query for block in blocks for query in block.split(";") if query.strip()]
    assert len(queries) >= 3
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{archive}'")
        for query in queries:
            assert connection.execute(query).fetchall(), query


def check_what_decided(archive: Path, table: pyarrow.Table) -> None:
    """What the rows name by SHA-256 is kept."""
    for column, place in {
        "model_sha256": "models/{}",
        "config_sha256": "configs/{}.toml",
        "input_schema": "schemas/{}.avsc",
    }.items():
        for digest in table[column].unique().to_pylist():
            kept = (archive / place.format(digest)).read_bytes()
            assert hashlib.sha256(kept).hexdigest() == digest, (column, digest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bootstrap", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--archive", type=Path, required=True)
    asked = parser.parse_args()
    scored = check_scored(asked.bootstrap, f"{asked.prefix}.scored")
    evidence = read_evidence(asked.bootstrap, f"{asked.prefix}.evidence")
    for place, record in scored.items():
        row = evidence[place]
        assert struct.pack("f", row["score"]) == struct.pack("f", record["score"])
        assert row["decision"] == record["decision"]
        assert row["event_transaction_id"] == record["event_id"]
    check_archive(asked.archive, evidence)
    print(f"{len(scored)} scored records, {len(evidence)} rows of evidence: as the contracts say")


if __name__ == "__main__":
    main()
