"""Produces events as Avro that fastavro has written, which shares no code with probity.

    python produce_avro.py --bootstrap HOST:PORT --topic T --schema FILE.avsc --events FILE
        [--registry --older FILE.avsc]

Each line of `--events` is an event as JSON; the schema's missing fields are null. Without `--registry`
each becomes a bare record. With it, each is framed as a schema registry frames it, and every second one
is written with an older schema, which is made and kept as `--older`; then come values that are no
sound records, each with the reason for which it must be refused as its key.
"""

import argparse
import copy
import io
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import fastavro

CURRENT, OLDER, UNKNOWN = 7, 70_000, 8
DROPPED, PROMOTED = "merchant_count_1h", "amount_minor"


def encode(schema: dict, event: dict) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {field["name"]: event.get(field["name"]) for field in schema["fields"]})
    return out.getvalue()


def framed(schema_id: int, record: bytes) -> bytes:
    return struct.pack(">bI", 0, schema_id) + record


def older(schema: dict) -> dict:
    """Other fields in another order, an int that became a long, and null as the second branch."""
    written = copy.deepcopy(schema)
    fields = [field for field in reversed(written["fields"]) if field["name"] != DROPPED]
    for field in fields:
        if field["name"] == PROMOTED:
            field["type"] = "int"
        elif isinstance(field["type"], list):
            field["type"].reverse()
            field.pop("default", None)
    fields.insert(3, {"name": "no_longer_sent", "type": ["null", "string"]})
    return written | {"fields": fields}


def unsound(schema: dict, event: dict) -> Iterator[tuple[str, bytes | None]]:
    """Reasons, and values that must be refused for them."""
    for number in (math.nan, math.inf, -math.inf):
        yield "out_of_range", framed(CURRENT, encode(schema, event | {"card_amount_avg_30d": number}))
    sound = encode(schema, event)
    for length in range(len(sound)):
        yield "malformed", framed(CURRENT, sound[:length])
    for length in range(1, 5):
        yield "malformed", framed(CURRENT, b"")[:length]
    yield "malformed", framed(CURRENT, sound + b"\0")
    yield "malformed", b"\1" + framed(CURRENT, sound)[1:]
    yield "malformed", json.dumps(event).encode()
    yield "unknown_schema", framed(UNKNOWN, sound)
    yield "unknown_schema", framed(0xFFFFFFFF, sound)
    yield "malformed", framed(OLDER, sound)
    name = event["transaction_id"].encode()
    at = sound.index(name)
    yield "not_utf8", framed(CURRENT, sound[:at] + b"\xff" * len(name) + sound[at + len(name):])
    # The length of the first text: negative, far beyond the end, and of more than 64 bits.
    assert at == 1
    for length in (b"\1", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1", b"\xff" * 10 + b"\1"):
        yield "malformed", framed(CURRENT, length + sound[at:])
    kind = at + len(name)
    yield "unknown_symbol", framed(CURRENT, sound[:kind] + b"\x7e" + sound[kind + 1:])
    yield "empty_value", b""
    yield "empty_value", None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bootstrap", "topic"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("schema", "events", "older"):
        parser.add_argument(f"--{name}", type=Path, required=name != "older")
    parser.add_argument("--registry", action="store_true")
    asked = parser.parse_args()
    schema = json.loads(asked.schema.read_text())
    events = [json.loads(line) for line in asked.events.read_text().splitlines()]
    producer = confluent_kafka.Producer({"bootstrap.servers": asked.bootstrap, "enable.idempotence": True})

    def produce(value: bytes | None, key: str | None = None) -> None:
        producer.produce(asked.topic, value, key, partition=0)

    if not asked.registry:
        for event in events:
            produce(encode(schema, event))
    else:
        before = older(schema)
        asked.older.write_text(json.dumps(before))
        faults = list(unsound(schema, events[0]))
        for index, event in enumerate(events):
            schema_id, written = (OLDER, before) if index % 2 else (CURRENT, schema)
            produce(framed(schema_id, encode(written, event)))
            # Sound and unsound records share batches.
            for reason, value in faults[index::len(events)]:
                produce(value, reason)
    assert producer.flush(60) == 0, "not everything was produced"


if __name__ == "__main__":
    main()
