"""Reads what a pipeline published by its written contracts, with libraries that are not ours.

    python contracts.py --bootstrap HOST:PORT --prefix TOPIC --archive FOLDER --keys FOLDER

Scored records against schemas/scored.avsc (fastavro), evidence by schemas/evidence.md (pyarrow), the
archive by the queries that README.md prints (DuckDB) and as a folder (pyarrow). Exit code 0 or a
traceback.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import struct
import tomllib
from pathlib import Path

import confluent_kafka
import duckdb
import fastavro
import pyarrow.dataset
import pyarrow.ipc
from books.signature import Scorers

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


def read_evidence(bootstrap: str, topic: str, scorers: Scorers) -> tuple[dict, dict]:
    """The rows by their place, and the facts of the last context."""
    rows, heads, contexts = {}, {}, {}
    for message in records(bootstrap, topic):
        header = dict(message.headers())["probity-evidence"]
        version, flags, first, after, count, _, _, context, prev = struct.unpack(">BBqqIqq32s32s", header)
        assert version == 1
        value, partition = message.value(), message.partition()
        assert heads.get(partition, bytes(32)) == prev
        heads[partition] = hashlib.sha256(header + value).digest()
        assert scorers.have_signed(partition, heads[partition], message.headers())
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
        facts = json.loads(batch.schema.metadata[b"probity"])
    return rows, facts


def check_seals(bootstrap: str, topic: str, evidence: dict, facts: dict, keys: Path) -> None:
    """Each row is committed to its payload, which it does not show, and has a salt of its own."""
    text = (keys / "commitment.key").read_text()
    key = base64.b64decode(text.removeprefix("probity commitment 1 "))
    name = hashlib.sha256(b"probity commitment 1 " + key).hexdigest()[:16]
    assert facts["commitment_key"] == f"commitment-{name}"
    for message in records(bootstrap, topic):
        row, value = evidence[message.partition(), message.offset()], message.value()
        place = struct.pack(">IQ", message.partition(), message.offset())
        said = b"probity payload 1\n" + facts["input_topic_id"].encode() + b"\n" + place
        wanted = None if value is None else hmac.digest(key, said + value, "sha256")
        assert row["payload_commitment"] == wanted
        assert row["payload_bytes"] == (None if value is None else len(value))
        assert row["leader_epoch"] == message.leader_epoch() is not None
        assert row["batch_row"] >= 0
    salts = {row["row_salt"] for row in evidence.values()}
    assert len(salts) == len(evidence) and all(len(salt) == 16 for salt in salts)


def check_policy(archive: Path, evidence: dict, facts: dict) -> None:
    """The decision, the threshold that it reached and the rule that made it follow from score and event."""
    text = (archive / f"policies/{facts['policy_sha256']}.txt").read_text()
    form, *lines = text.removesuffix("\n").split("\n")
    said = dict(line.split(" ") for line in lines[:3])
    rules = [line.removeprefix("rule ").split(" ", 2) for line in lines[3:]]
    assert form == f"probity policy {2 if rules else 1}"
    assert said["version"] == facts["policy_version"]
    bounds = {"approve": None, "review": float(said["review"]), "decline": float(said["decline"])}
    order = list(bounds)
    met = met_conditions(archive, [json.loads(when) for _, _, when in rules]) if rules else {}
    for place, row in evidence.items():
        assert ("rule" in row) == bool(rules)
        if row["kind"] != "scored":
            assert row["threshold"] is None and row.get("rule") is None
            continue
        by_score = [name for name in order if bounds[name] is None or row["score"] >= bounds[name]][-1]
        asked = [(name, decision) for (name, decision, _), is_met in zip(rules, met.get(place, ())) if is_met]
        strictest = max([by_score, *(decision for _, decision in asked)], key=order.index)
        wanted = (by_score, bounds[by_score], None)
        if strictest != by_score:
            wanted = (strictest, None, next(name for name, decision in asked if decision == strictest))
        assert (row["decision"], row["threshold"], row.get("rule")) == wanted, place


def met_conditions(archive: Path, conditions: list[str]) -> dict:
    """Which conditions each archived event meets, by its place, as DuckDB says. NULL is not met."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = f"read_parquet('{archive}/segments/**/*.parquet')"
        names = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()]
        events = [name for name in names if name.startswith("event_")]
        columns = ", ".join(f'"{name}" AS "{name.removeprefix("event_")}"' for name in events)
        asked = ", ".join(f"COALESCE(({condition}), FALSE)" for condition in conditions)
        events = f'SELECT "partition" AS "the partition", "offset" AS "the offset", {columns} FROM {rows}'
        found = connection.execute(f'SELECT "the partition", "the offset", {asked} FROM ({events})').fetchall()
    return {(partition, offset): met for partition, offset, *met in found}


def is_sampled(partition: int, offset: int, one_in: int) -> bool:
    """The approved events that are explained: SplitMix64 of the place, by README.md."""
    mask = (1 << 64) - 1
    number = ((offset ^ partition << 48) + 0x9E3779B97F4A7C15) & mask
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & mask
    number = (number ^ number >> 27) * 0x94D049BB133111EB & mask
    return (number ^ number >> 31) % one_in == 0


def check_explanations(archive: Path, scored: dict, evidence: dict, facts: dict) -> int:
    """Every decision that must be explained is, in record and row alike, and the numbers add up to the margin."""
    package = listed(archive, facts["package_sha256"])
    manifest = tomllib.loads(package["model.toml"].decode())
    groups = {group["code"]: group for group in manifest["reason"]}
    explained = 0
    for place, row in evidence.items():
        record = scored.get(place)
        wanted = record and (record["decision"] != "approve" or is_sampled(*place, 100))
        assert (row["explanation"] is not None) == bool(wanted), place
        if not wanted:
            assert record is None or record["explanation"] is None
            continue
        explained += 1
        told, public = json.loads(row["explanation"]), record["explanation"]
        assert list(told) == ["method", "base", "residual", "evaluations", "contributions", "reasons"]
        assert all(told[key] == public[key] for key in ("method", "base", "residual", "evaluations"))
        features = {f"feature_{name}" for name in told["contributions"]}
        assert features == {name for name in row if name.startswith("feature_")}
        whole = told["base"] + sum(told["contributions"].values())
        assert abs(whole + told["residual"] - row["margin"]) < 1e-9
        assert abs(told["residual"]) <= 2e-5 * max(1, abs(row["margin"]))
        listed_sum = sum(reason["contribution"] for reason in public["reasons"])
        assert abs(told["base"] + listed_sum - whole) < 1e-9
        assert abs(sum(reason["share"] for reason in public["reasons"]) - 1) < 1e-9
        signs = {"raises": "+", "lowers": "-"}
        codes = [signs[reason["direction"]] + reason["code"] for reason in public["reasons"]]
        assert codes == told["reasons"]
        named = [reason for reason in public["reasons"] if reason["code"] != "OTHER"]
        sizes = [abs(reason["contribution"]) for reason in named]
        assert sizes == sorted(sizes, reverse=True) and len(named) <= 4
        for reason in named:
            sums = sum(told["contributions"][name] for name in groups[reason["code"]]["features"])
            assert abs(sums - reason["contribution"]) < 1e-9
            assert (reason["contribution"] > 0) == (reason["direction"] == "raises")
    return explained


def listed(archive: Path, digest: str) -> dict:
    """The files of an archived package, by their names."""
    lines = (archive / f"models/{digest}").read_text().splitlines()
    return {name: (archive / f"models/{digest}").read_bytes() for digest, name in (line.split("  ") for line in lines)}


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
    # One asks what a shadow said; `tests/it/walkthrough.rs` runs it.
    has_shadow = any(name.startswith("shadow_") for name in table.column_names)
    queries = [query for query in queries if has_shadow or "shadow_" not in query]
    assert len(queries) >= 3
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{archive}'")
        for query in queries:
            assert connection.execute(query).fetchall(), query


def check_what_decided(archive: Path, table: pyarrow.Table) -> None:
    """What the rows name by SHA-256 is kept."""
    for column, place in {
        "model_sha256": "models/{}",
        "policy_sha256": "policies/{}.txt",
        "runtime_sha256": "runtimes/{}.json",
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
    for name in ("archive", "keys"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    asked = parser.parse_args()
    scored = check_scored(asked.bootstrap, f"{asked.prefix}.scored")
    scorers = Scorers.of_trust(asked.keys / "trust.toml")
    evidence, facts = read_evidence(asked.bootstrap, f"{asked.prefix}.evidence", scorers)
    for place, record in scored.items():
        row = evidence[place]
        assert struct.pack("f", row["score"]) == struct.pack("f", record["score"])
        assert row["decision"] == record["decision"]
        assert row.get("rule") == record["rule"]
        assert row["event_transaction_id"] == record["event_id"]
        assert row[facts["event_id"]] == record["event_id"]
        assert row[facts["event_time"]].timestamp() * 1_000_000 == record["event_time"]
    check_seals(asked.bootstrap, asked.prefix, evidence, facts, asked.keys)
    check_policy(asked.archive, evidence, facts)
    explained = check_explanations(asked.archive, scored, evidence, facts)
    assert explained, "no decision was explained"
    check_archive(asked.archive, evidence)
    print(f"{len(scored)} scored records, {len(evidence)} rows of evidence, {explained} explanations: as the contracts say")


if __name__ == "__main__":
    main()
