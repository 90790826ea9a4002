"""Decodes the messages of one partition of the evidence topic (contract: schemas/evidence.md)."""

import hashlib
import struct

import pyarrow as pa

from .model import Message, Row
from .signature import Scorers

HEADER = "probity-evidence"
LAYOUT = struct.Struct(">BBqqIqq32s32s")
VERSION = 1
HAS_CONTEXT = 1


class Invalid(Exception):
    """A message that cannot be read as evidence at all."""


class Partition:
    """Reads messages in their order: the schema is written only where it changes.

    With `scorers` each message must be signed by one of them.
    """

    def __init__(self, number: int, scorers: Scorers | None = None) -> None:
        self.number = number
        self.scorers = scorers
        self.contexts: dict[bytes, bytes] = {}

    def decode(self, position: int, headers: list[tuple[str, bytes]], value: bytes) -> Message:
        header = only_header(headers)
        version, flags, first, next_, count, _ingest, _score, digest, prev_head = LAYOUT.unpack(header)
        if version != VERSION:
            raise Invalid(f"version {version}")
        faults = []
        if flags & HAS_CONTEXT:
            context = schema_message(value)
            batches = value[len(context) :]
            if hashlib.sha256(context).digest() != digest:
                faults.append("the context is not the one that the header names")
            self.contexts[digest] = context
        elif digest in self.contexts:
            context, batches = self.contexts[digest], value
        else:
            raise Invalid("its context was never written to this partition")
        rows = read_rows(context + batches)
        if len(rows) != count:
            faults.append(f"{len(rows)} rows, the header says {count}")
        head = hashlib.sha256(header + value).digest()
        if self.scorers is not None and not self.scorers.have_signed(self.number, head, headers):
            faults.append("no scorer has signed it")
        return Message(position, first, next_, prev_head, head, rows, faults)


def only_header(headers: list[tuple[str, bytes]]) -> bytes:
    found = [value for name, value in headers if name == HEADER]
    if len(found) != 1 or found[0] is None or len(found[0]) != LAYOUT.size:
        raise Invalid(f"not exactly one header {HEADER} of {LAYOUT.size} bytes")
    return found[0]


def schema_message(value: bytes) -> bytes:
    reader = pa.BufferReader(value)
    if pa.ipc.read_message(reader).type != "schema":
        raise Invalid("its context is not an Arrow schema")
    return value[: reader.tell()]


def read_rows(stream: bytes) -> list[Row]:
    table = pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
    return rows_of(table)


def rows_of(table: pa.Table) -> list[Row]:
    columns = (table.column(name).to_pylist() for name in ("kind", "offset", "next_offset"))
    return [Row(*values) for values in zip(*columns, strict=True)]
