"""One run of probity on real Kafka, from an empty topic to a sealed archive, with a clock beside it."""

import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
from broker import Broker, free_ports
from child import Child
from confluent_kafka import TopicPartition

PARTITIONS = 4
START_SECONDS = 60
SCORE_SECONDS = 120
# A group's commits come without notice: how often to look.
LOOK_EVERY_SECONDS = 0.005


@dataclass
class Measured:
    """Times in seconds. The clock starts when the transaction with all events is committed: at once all
    of them are there to be read."""

    events: int
    first_commit: float
    last_commit: float
    """CPU time of the process: until the events came, from then to the last commit, and to its end."""
    cpu_start: float
    cpu_score: float
    cpu_seal: float
    """CPU time of the broker from the events to the last commit."""
    cpu_broker: float


class Pipeline:
    def __init__(self, probity: Path, broker: Broker, name: str, folder: Path, package: Path, schema: Path) -> None:
        self.probity = probity
        self.broker = broker
        self.name = name
        self.folder = folder
        self.archive = folder / "archive"
        self.keys = folder / "keys"
        self.config = folder / "probity.toml"
        self.admin = f"127.0.0.1:{next(free_ports())}"
        folder.mkdir()
        self.config.write_text(self.settings(package, schema))

    def settings(self, package: Path, schema: Path) -> str:
        return f"""
[pipeline]
name = "{self.name}"
instance = "a"
[kafka]
"bootstrap.servers" = "{self.broker.bootstrap}"
[input]
topic = "{self.name}"
schema = "{schema}"
[model]
package = "{package}"
[output]
allow_single_replica = true
[keys]
folder = "{self.keys}"
[archive]
url = "file://{self.archive}"
[admin]
listen = "{self.admin}"
"""

    def command(self, *arguments: str) -> list[str]:
        return [str(self.probity), "--config", str(self.config), *arguments]

    def run(self, events: list[bytes]) -> Measured:
        """Scores and archives `events`; event n goes to partition n modulo PARTITIONS."""
        self.archive.mkdir()
        subprocess.run(self.command("keys", "init", "--name", "test.example"), check=True, stdout=subprocess.DEVNULL)
        create = ["topics", "create", "--start", "earliest", "--replicas", "1", "--partitions", str(PARTITIONS)]
        subprocess.run(self.command(*create), check=True, stdout=subprocess.DEVNULL)
        producer = self.producer()
        with Child(self.command("run", "--seal-on-stop"), self.folder / "log") as process:
            self.wait_until_ready(process)
            producer.begin_transaction()
            for number, value in enumerate(events):
                producer.produce(self.name, value, partition=number % PARTITIONS)
            producer.flush()
            measured = self.measure(process, producer, ends(len(events)))
            code, whole = process.stop()
        if code != 0:
            raise RuntimeError(f"{process.log}: probity ended with {code}")
        measured.cpu_seal = whole - measured.cpu_score - measured.cpu_start
        return measured

    def producer(self) -> confluent_kafka.Producer:
        producer = confluent_kafka.Producer({
            "bootstrap.servers": self.broker.bootstrap,
            "transactional.id": f"{self.name}-events",
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": "lz4",
            # A coordinator that is still loading is asked again, and nobody need read of it.
            "log_level": 3,
        })
        producer.init_transactions(START_SECONDS)
        return producer

    def wait_until_ready(self, process: Child) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.is_running() and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{self.admin}/readyz"):
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(LOOK_EVERY_SECONDS)
        raise RuntimeError(f"{process.log}: probity did not become ready")

    def measure(self, process: Child, producer: confluent_kafka.Producer, ends: list[int]) -> Measured:
        # Offsets in a transaction that is still open are nobody's business here.
        watcher = confluent_kafka.Consumer({
            "bootstrap.servers": self.broker.bootstrap,
            "group.id": self.name,
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
        })
        asked = [TopicPartition(self.name, partition) for partition in range(PARTITIONS)]
        watcher.committed(asked, START_SECONDS)
        producer.commit_transaction(START_SECONDS)
        start, cpu_start, broker_start = time.monotonic(), process.cpu_seconds(), self.broker.child.cpu_seconds()
        first = None
        while True:
            committed = [each.offset for each in watcher.committed(asked, START_SECONDS)]
            now = time.monotonic() - start
            if first is None and max(committed) > 0:
                first = now
            if committed == ends:
                break
            if now > SCORE_SECONDS or not process.is_running():
                raise RuntimeError(f"{process.log}: {committed} of {ends} committed after {now:.1f} s")
            time.sleep(LOOK_EVERY_SECONDS)
        cpu_score = process.cpu_seconds() - cpu_start
        cpu_broker = self.broker.child.cpu_seconds() - broker_start
        watcher.close()
        return Measured(sum(ends), first, now, cpu_start, cpu_score, 0.0, cpu_broker)


def ends(events: int) -> list[int]:
    """The offset after the last event of each partition."""
    return [len(range(partition, events, PARTITIONS)) for partition in range(PARTITIONS)]
