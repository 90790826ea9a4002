#!/usr/bin/env python3
"""Real card transactions through real Kafka, and what came of it.

Trains LightGBM on the first 80 % by time of the ULB credit-card set, sends the last 20 % through Apache Kafka
and a release build of probity, and reads back the scored topic and the archive. `tests/real/run.sh` says
where everything comes from. Exit code 1: something is not as it must be.

What was made stays in the cache, folder real-data, until the next run: the model package, and a pipeline's
configuration, log and archive for each run.
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import compare
import dataset
import fit
import lightgbm
import numpy
import onnxruntime
import pyarrow.dataset
from broker import Broker
from pipeline import Measured, Pipeline
from sklearn.metrics import average_precision_score

HERE = Path(__file__).resolve().parent
PYTHON_TESTS = HERE.parent / "python"
sys.path.append(str(PYTHON_TESTS))

from books import read_kafka  # found by the line before


@dataclass
class Archive:
    """The rows of the archive, in the order of the set."""

    ids: list[int]
    score: numpy.ndarray
    margin: numpy.ndarray
    features: numpy.ndarray
    chunk_rows: numpy.ndarray
    decision: numpy.ndarray
    admission: set[str]
    kinds: set[str]


class Checks:
    """Prints each check as it is made, and remembers whether one failed."""

    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, holds: bool, what: str) -> None:
        self.failed += not holds
        print(f"  {'✔' if holds else '✘'} {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="creditcard.csv")
    parser.add_argument("--probity", required=True, type=Path, help="the program, in release")
    parser.add_argument("--runs", type=int, default=3, help="how often the events are sent")
    asked = parser.parse_args()
    # What was started is ended on the way out, also after a kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cache = Path(os.environ["CACHE"])
    work = cache / "real-data"
    with (cache / ".real-data.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        failed = everything(asked, work)
    print(f"\n{failed} checks failed" if failed else "\nevery check holds", f"({work})")
    return 1 if failed else 0


def everything(asked: argparse.Namespace, work: Path) -> int:
    describe_data(asked.data)
    describe_machine(asked.probity)
    transactions = dataset.read(asked.data)
    repeated, known = transactions.repeats()
    print(f"Rows like an earlier one: {repeated:,}; in the last part like one of the training part: {known}")
    fitted = train(transactions, work / "model")
    last = transactions.last()
    ids = range(last.start, last.stop)
    events = [transactions.event(row) for row in ids]
    checks = Checks()
    measured = []
    archive = None
    with tempfile.TemporaryDirectory(prefix="probity-kafka-") as folder:
        with Broker(Path(os.environ["KAFKA_LIBS"]), Path(folder) / "kafka") as broker:
            for n in range(1, asked.runs + 1):
                name = f"ulb-{n}"
                pipeline = Pipeline(
                    asked.probity, broker, name, work / name, fitted.package, HERE / "creditcard.avsc"
                )
                print(f"\nRun {n}: {len(events):,} events, load average {os.getloadavg()[0]:.1f} before", flush=True)
                measured.append(pipeline.run(events))
                print(f"  {describe_run(measured[-1])}")
                archive = read_archive(pipeline.archive)
                check(checks, pipeline, archive, fitted, transactions)
    if not checks.failed:
        describe_model(transactions, fitted, archive)
    describe_speed(measured)
    return checks.failed


def describe_data(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    print(f"Data: {path.name}, {path.stat().st_size:,} bytes, SHA-256 {digest}")
    print(f"  source: {dataset.SOURCE}\n  licence: {dataset.LICENCE}\n  cite: {dataset.CITATION}")


def describe_machine(probity: Path) -> None:
    version = subprocess.run([probity, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    (kafka,) = Path(os.environ["KAFKA_LIBS"]).glob("kafka-server-[0-9]*.jar")
    java = subprocess.run(["java", "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"Machine: {os.cpu_count()} cores, {model[1] if model else platform.machine()}, {platform.platform()}")
    print(
        f"Versions: {version}, {kafka.stem}, {java}, ONNX Runtime {onnxruntime.__version__},"
        f" LightGBM {lightgbm.__version__}, Python {platform.python_version()}",
        flush=True,
    )


def train(transactions: dataset.Transactions, package: Path) -> fit.Fitted:
    start = time.monotonic()
    fitted = fit.make(transactions, package)
    early = transactions.early()
    print(f"\nModel: LightGBM on the first {early.stop:,} of {len(transactions):,}, {time.monotonic() - start:.0f} s")
    print(f"  {fit.describe(fitted.choice)}")
    print(f"  {describe_policy(package)}", flush=True)
    return fitted


def describe_policy(package: Path) -> str:
    review, decline = thresholds(package)
    return f"review from {review} on, decline from {decline} on, both chosen in the training part"


def thresholds(package: Path) -> tuple[float, float]:
    policy = tomllib.loads((package / "model.toml").read_text())["policy"]
    return policy["review"], policy["decline"]


def read_archive(folder: Path) -> Archive:
    table = pyarrow.dataset.dataset(folder / "segments").to_table()
    ids = table["event_transaction_id"].to_pylist()
    if None in ids:
        return Archive([], *[numpy.array([])] * 5, set(), set(table["kind"].to_pylist()))
    table = table.append_column("row", pyarrow.array([int(each) for each in ids])).sort_by("row")
    return Archive(
        ids=table["row"].to_pylist(),
        score=table["score"].to_numpy(),
        margin=table["margin"].to_numpy(),
        features=numpy.column_stack([table[f"feature_{name}"].to_numpy() for name in dataset.FEATURES]),
        chunk_rows=table["chunk_rows"].to_numpy(),
        decision=table["decision"].to_numpy(),
        admission=set(table["admission"].to_pylist()),
        kinds=set(table["kind"].to_pylist()),
    )


def check(
    checks: Checks, pipeline: Pipeline, archive: Archive, fitted: fit.Fitted, transactions: dataset.Transactions
) -> None:
    last = transactions.last()
    ids = range(last.start, last.stop)
    report = accounts(pipeline)
    counts = report.get("counts", {})
    checks(report["ok"], f"the books agree: {json.dumps(counts) if report['ok'] else json.dumps(report)}")
    wrong = compare.not_once(archive.ids, ids)
    holds = wrong == 0 and archive.kinds == {"scored"}
    checks(holds, f"each of {len(ids):,} events is scored once in the archive ({wrong} are not)")
    scored = read_scored(pipeline)
    wrong_scored = compare.not_once([row for row, _ in scored], ids)
    checks(wrong_scored == 0, f"each of {len(ids):,} events is once in the scored topic ({wrong_scored} are not)")
    if wrong or wrong_scored:
        return
    topic = numpy.array([score for _, score in sorted(scored)], dtype=numpy.float32)
    different = compare.different_bits(topic, archive.score)
    checks(different == 0, f"scored topic and archive have the same scores to the bit ({different} differ)")
    rows = transactions.features()[last]
    different = compare.different_bits(archive.features, rows)
    checks(different == 0, f"{rows.size:,} features equal Python's to the bit ({different} differ)")
    score, margin = compare.in_chunks(rows, archive.chunk_rows, runner(fitted.package))
    different = compare.different_bits(archive.score, score) + compare.different_bits(archive.margin, margin)
    checks(
        different == 0,
        f"{len(score):,} scores and margins equal Python's onnxruntime to the bit ({different} differ;"
        f" chunks of {sorted(set(archive.chunk_rows.tolist()))}, {', '.join(archive.admission)})",
    )
    decided = compare.decisions(archive.score, *thresholds(fitted.package))
    checks(bool((decided == archive.decision).all()), "decisions are what the thresholds say of the scores")
    verified = audit(pipeline, "verify")
    checks(
        verified["findings"] == [] and verified["rows"] == len(ids),
        f"probity verify: {verified['rows']:,} rows, {len(verified['findings'])} findings",
    )
    for alone, name in (([], "in batches"), (["--alone"], "each row alone")):
        replayed = audit(pipeline, "replay", *alone)
        checks(
            replayed["policy_same"] == replayed["bits_same"] == replayed["exact"] == len(ids),
            f"probity replay, {name}: {replayed['policy_same']:,} decisions and {replayed['bits_same']:,} scores are"
            " the same to the bit",
        )


def audit(pipeline: Pipeline, command: str, *more: str) -> dict:
    """What a command for auditors reports of the archive."""
    trust = ["--trust", str(pipeline.keys / "trust.toml"), "--output", "json"]
    line = [str(pipeline.probity), command, str(pipeline.archive), *trust, *more]
    return reported(line)


def accounts(pipeline: Pipeline) -> dict:
    """What the accounting tool of the tests says."""
    name = pipeline.name
    command = [os.environ["PROBITY_PYTHON"], "-B", PYTHON_TESTS / "accounting.py"]
    command += ["--bootstrap", pipeline.broker.bootstrap, "--group", name, "--input", name]
    command += ["--scored", f"{name}.scored", "--evidence", f"{name}.evidence", "--dlq", f"{name}.dlq"]
    command += ["--trust", pipeline.keys / "trust.toml", "--archive", pipeline.archive, "--wait", "10"]
    return reported(command)


def reported(command: list) -> dict:
    """The JSON that a program prints, whatever it ends with: findings are for the caller to judge."""
    ended = subprocess.run(command, capture_output=True, text=True)
    if not ended.stdout:
        raise SystemExit(f"{command[0]} ended with {ended.returncode} and reported nothing: {ended.stderr}")
    return json.loads(ended.stdout)


def read_scored(pipeline: Pipeline) -> list[tuple[int, float]]:
    """Event and score of each record, as a reader of committed records sees them."""
    reader = read_kafka.consumer(pipeline.broker.bootstrap, "real-data")
    try:
        logs = read_kafka.read(reader, f"{pipeline.name}.scored")
        values = [json.loads(record.value()) for _, log in logs for record in log.records]
    finally:
        reader.close()
    return [(int(value["event_id"]), value["score"]) for value in values]


def runner(package: Path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(package / "model.onnx", options, ["CPUExecutionProvider"])
    names = ["probability", "margin"]
    return lambda rows: [output[:, 0] for output in session.run(names, {"features": rows})]


def describe_model(transactions: dataset.Transactions, fitted: fit.Fitted, archive: Archive) -> None:
    last = transactions.last()
    fraud = transactions.fraud[last]
    precision = average_precision_score(fraud, archive.score)
    low, high = compare.interval(fraud, archive.score, average_precision_score)
    expected = fitted.expected(transactions.features()[last])
    print(f"\nOn the last {len(fraud):,} transactions, {int(fraud.sum())} of them fraud, from the archive:")
    print(f"  average precision {precision:.4f} (95 % interval of the sample: {low:.2f} to {high:.2f})")
    print(
        f"  LightGBM without ONNX: {average_precision_score(fraud, expected):.4f}; the largest difference of a"
        f" score is {numpy.abs(archive.score - expected).max():.1e}"
    )
    stopped, declined = archive.decision != "approve", archive.decision == "decline"
    for what, chosen in (("stopped", stopped), ("of those declined", declined)):
        caught = int(fraud[chosen].sum())
        print(f"  {what}: {int(chosen.sum())}, {caught} of them fraud, of {int(fraud.sum())} in all")


def describe_run(run: Measured) -> str:
    return (
        f"last commit {run.last_commit:.2f} s after the events came (first {run.first_commit:.3f} s);"
        f" {run.events / run.last_commit:,.0f} events/s; CPU {run.cpu_score / run.events * 1e6:.1f} µs/event"
        f" to the last commit, {(run.cpu_score + run.cpu_seal) / run.events * 1e6:.1f} with the archive sealed;"
        f" start-up {run.cpu_start:.2f} s CPU; broker {run.cpu_broker / run.events * 1e6:.1f} µs/event"
    )


def describe_speed(runs: list[Measured]) -> None:
    print(f"\nSpeed of {len(runs)} runs, one lane, Kafka on the same {os.cpu_count()} cores (median, least to most):")
    for name, values, form in (
        ("events/s, from all events there to the last commit", [r.events / r.last_commit for r in runs], ",.0f"),
        ("µs CPU/event, to the last commit", [r.cpu_score / r.events * 1e6 for r in runs], ".1f"),
        ("µs CPU/event, archive sealed", [(r.cpu_score + r.cpu_seal) / r.events * 1e6 for r in runs], ".1f"),
        ("µs CPU/event, the broker's", [r.cpu_broker / r.events * 1e6 for r in runs], ".1f"),
    ):
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"  {middle:{form}}  ({low:{form}} to {high:{form}})  {name}")


if __name__ == "__main__":
    sys.exit(main())
