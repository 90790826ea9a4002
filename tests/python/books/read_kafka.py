"""Reads topics up to their last stable offsets, as a reader of committed records sees them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import confluent_kafka
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, TopicPartition

from . import evidence
from .model import DeadLetter, Input, Message, Score, Source
from .signature import Scorers

TIMEOUT = 60.0
"""Says how large a value was that is too large for its dead letter, which has none."""
STUB = "probity.value.bytes"


class Unreadable(Exception):
    """A topic that cannot be read, or a record in it that breaks its contract."""


@dataclass
class Log:
    """One partition as read: [start, end) and the records in it."""

    start: int
    end: int
    records: list[confluent_kafka.Message] = field(default_factory=list)


def consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            # The end of a partition is only told after an empty fetch: it need not be waited for.
            "fetch.wait.max.ms": 10,
        }
    )


def partitions(reader: Consumer, topic: str) -> list[int]:
    found = reader.list_topics(topic, timeout=TIMEOUT).topics[topic]
    if found.error is not None:
        raise Unreadable(f"topic {topic}: {found.error}")
    return sorted(found.partitions)


def committed(reader: Consumer, topic: str) -> dict[int, int | None]:
    """The offsets that the reader's group has committed."""
    asked = [TopicPartition(topic, partition) for partition in partitions(reader, topic)]
    answer = reader.committed(asked, timeout=TIMEOUT)
    return {each.partition: each.offset if each.offset >= 0 else None for each in answer}


def read(reader: Consumer, topic: str, from_: dict[int, int] | None = None) -> Iterator[tuple[int, Log]]:
    """Each partition from `from_` (its start where absent) to its last stable offset."""
    for partition in partitions(reader, topic):
        low, _ = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT)
        start = max(low, (from_ or {}).get(partition, low))
        yield partition, read_partition(reader, topic, partition, start)


def read_partition(reader: Consumer, topic: str, partition: int, start: int) -> Log:
    reader.assign([TopicPartition(topic, partition, start)])
    log = Log(start, start)
    while True:
        message = reader.poll(TIMEOUT)
        if message is None:
            raise Unreadable(f"{topic} {partition}: nothing came within {TIMEOUT} s")
        error = message.error()
        if error is None:
            log.records.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            log.end = message.offset()
            return log
        elif error.fatal() or not passes(error):
            raise Unreadable(f"{topic} {partition}: {error}")


def passes(error: KafkaError) -> bool:
    """The client tells of brokers that are down, and goes on with others."""
    return error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


def has_records(reader: Consumer, topic: str, from_: dict[int, int]) -> bool:
    """Whether anything but control and aborted records lies at or after `from_`."""
    return any(log.records for _, log in read(reader, topic, from_))


def read_scores(reader: Consumer, topic: str) -> list[Score]:
    return [score(message) for _, log in read(reader, topic) for message in log.records]


def score(message: confluent_kafka.Message) -> Score:
    where = f"scored {message.partition()}@{message.offset()}"
    try:
        record = json.loads(message.value())
        came_from = record["input"]
        source = Source(came_from["topic"], came_from["partition"], came_from["offset"])
        if not isinstance(record["score"], int | float) or "event_id" not in record:
            raise ValueError("score or event id")
        if not isinstance(record["score_id"], str) or not isinstance(record["decision"], str):
            raise ValueError("score id or decision")
        return Score(source, message.partition(), record["score_id"])
    except (TypeError, ValueError, KeyError) as error:
        raise Unreadable(f"{where}: not a scored record ({type(error).__name__})") from None


@dataclass
class Letter:
    """A dead letter before its value was compared with the input's."""

    source: Source
    digest: bytes | None
    stub_bytes: int | None


def read_letters(reader: Consumer, topic: str) -> list[Letter]:
    return [letter(message) for _, log in read(reader, topic) for message in log.records]


def letter(message: confluent_kafka.Message) -> Letter:
    headers = dict(message.headers() or [])
    try:
        source = Source(
            headers["__connect.errors.topic"].decode(),
            int(headers["__connect.errors.partition"]),
            int(headers["__connect.errors.offset"]),
        )
        stub_bytes = int(headers[STUB]) if STUB in headers else None
        if not headers["probity.reason"]:
            raise ValueError("reason")
    except (ValueError, KeyError) as error:
        where = f"dead letter {message.partition()}@{message.offset()}"
        raise Unreadable(f"{where}: headers ({type(error).__name__})") from None
    return Letter(source, digest(message.value()), stub_bytes)


def digest(value: bytes | None) -> bytes | None:
    return None if value is None else hashlib.sha256(value).digest()


def read_input(
    reader: Consumer, topic: str, letters: list[Letter]
) -> tuple[dict[int, Input], list[DeadLetter]]:
    """The offsets of the input that hold an event, and the dead letters compared with them."""
    by_source = {each.source: each for each in letters}
    altered: set[Source] = set()
    logs: dict[int, Input] = {}
    for partition, log in read(reader, topic):
        logs[partition] = Input(log.start, log.end, [record.offset() for record in log.records])
        for record in log.records:
            source = Source(topic, partition, record.offset())
            if source in by_source and not is_faithful(by_source[source], record.value()):
                altered.add(source)
    return logs, [DeadLetter(each.source, each.source in altered) for each in letters]


def is_faithful(letter: Letter, value: bytes | None) -> bool:
    """The value of the input, byte by byte; or where it was too large, nothing but its size."""
    if letter.stub_bytes is None:
        return letter.digest == digest(value)
    return value is not None and letter.stub_bytes == len(value) and letter.digest in (None, digest(b""))


def read_evidence(reader: Consumer, topic: str, scorers: Scorers | None) -> dict[int, list[Message]]:
    return {partition: decode(topic, partition, log, scorers) for partition, log in read(reader, topic)}


def decode(topic: str, partition: int, log: Log, scorers: Scorers | None = None) -> list[Message]:
    decoder = evidence.Partition(partition, scorers)
    messages = []
    for record in log.records:
        try:
            messages.append(decoder.decode(record.offset(), record.headers() or [], record.value() or b""))
        except (evidence.Invalid, pa.ArrowInvalid, KeyError) as error:
            where = f"{topic} {partition}@{record.offset()}"
            raise Unreadable(f"{where}: not evidence: {error}") from None
    return messages
