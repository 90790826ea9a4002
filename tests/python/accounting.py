"""Says whether a pipeline's books agree: every event once, every score with its evidence.

    python accounting.py --bootstrap HOST:PORT --group GROUP --input T --scored T --evidence T --dlq T
        [--trust trust.toml] [--archive FOLDER [--bucket s3://BUCKET/PREFIX]] [--wait SECONDS]

With --trust each message of evidence must be signed by a scorer of that file.
With --bucket the archive is copied from there into the folder, which is judged. boto3's environment variables
say where the bucket is.

Prints a report as JSON. Exit code 0: all agrees; 1: something does not; 3: something cannot be read.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from books import read_archive, read_kafka
from books.judge import Findings, judge
from books.mirror import mirror
from books.model import GAP, REJECTED, SCORED, Books
from books.read_kafka import Unreadable
from books.signature import Scorers

# A group's commits and an archive's files come without notice: how often to look.
LOOK_EVERY_SECONDS = 0.2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bootstrap", "group", "input", "scored", "evidence", "dlq"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--trust", type=Path, help="the file that says whose signatures count")
    parser.add_argument("--archive", type=folder, help="a folder, or its file:// URL")
    parser.add_argument("--bucket", help="the archive's s3:// URL")
    parser.add_argument(
        "--wait", type=float, default=0, help="seconds to wait until all that came in is processed and archived"
    )
    return parser.parse_args()


def folder(text: str) -> Path:
    url = urlsplit(text)
    if url.scheme not in ("", "file"):
        raise argparse.ArgumentTypeError("only folders can be read")
    return Path(unquote(url.path))


def main() -> int:
    asked = arguments()
    try:
        finished = wait_until_finished(asked)
        books = read(asked)
    except (Unreadable, read_kafka.confluent_kafka.KafkaException, OSError, ValueError, KeyError) as error:
        print(json.dumps({"ok": False, "unreadable": f"{error}"}, indent=2))
        return 3
    findings = judge(books)
    if not finished:
        findings.add("not_finished", f"within {asked.wait} s")
    print(json.dumps(report(books, findings), indent=2))
    return 1 if findings.counts else 0


def wait_until_finished(asked: argparse.Namespace) -> bool:
    """Whether all events were processed, and all evidence archived, before the time was up."""
    if not asked.wait:
        return True
    deadline = time.monotonic() + asked.wait
    reader = read_kafka.consumer(asked.bootstrap, asked.group)
    try:
        while not is_finished(asked, reader):
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY_SECONDS)
        return True
    finally:
        reader.close()


def is_finished(asked: argparse.Namespace, reader: read_kafka.Consumer) -> bool:
    committed = read_kafka.committed(reader, asked.input)
    processed = {partition: offset or 0 for partition, offset in committed.items()}
    if read_kafka.has_records(reader, asked.input, processed):
        return False
    if asked.archive is None:
        return True
    if asked.bucket is not None:
        mirror(asked.bucket, asked.archive)
    tips = read_archive.tips(asked.archive, asked.evidence)
    return tips is not None and not read_kafka.has_records(reader, asked.evidence, tips)


def read(asked: argparse.Namespace) -> Books:
    if asked.bucket is not None:
        mirror(asked.bucket, asked.archive)
    reader = read_kafka.consumer(asked.bootstrap, asked.group)
    scorers = asked.trust and Scorers.of_trust(asked.trust)
    try:
        letters = read_kafka.read_letters(reader, asked.dlq)
        logs, dead_letters = read_kafka.read_input(reader, asked.input, letters)
        return Books(
            topic=asked.input,
            input=logs,
            committed=read_kafka.committed(reader, asked.input),
            scores=read_kafka.read_scores(reader, asked.scored),
            dead_letters=dead_letters,
            evidence=read_kafka.read_evidence(reader, asked.evidence, scorers),
            archive=asked.archive and read_archive.read_archive(asked.archive, asked.evidence),
        )
    finally:
        reader.close()


def report(books: Books, findings: Findings) -> dict:
    kinds = [row.kind for messages in books.evidence.values() for m in messages for row in m.rows]
    counts = {
        "input": sum(len(log.offsets) for log in books.input.values()),
        "scored": len(books.scores),
        "dead_letters": len(books.dead_letters),
        "evidence_messages": sum(map(len, books.evidence.values())),
        "evidence_rows": {kind: kinds.count(kind) for kind in (SCORED, REJECTED, GAP)},
    }
    if books.archive is not None:
        counts["archive_entries"] = len(books.archive.entries)
        counts["archive_files"] = len(books.archive.files)
        counts["archive_rows"] = len(books.archive.by_pyarrow)
    return {"ok": not findings.counts, "counts": counts, "findings": findings.report()}


if __name__ == "__main__":
    sys.exit(main())
