"""Real Apache Kafka in KRaft mode, from its jars: one node on the loopback interface.

`tests/it/kit/cluster.rs` does the same for tests of what breaks, with short timeouts. This one is left
at Kafka's defaults wherever it can be, because it is measured.
"""

import itertools
import os
import socket
import subprocess
from pathlib import Path

from child import Child

# Any 16 bytes in base64.
CLUSTER_ID = "cHJvYml0eS1yZWFsZGF0YQ"
LOG_SETTINGS = Path(__file__).resolve().parents[1] / "kafka/log4j2.properties"
START_SECONDS = 90


class Broker:
    """Starts on entry to a `with`, and ends with it."""

    def __init__(self, libraries: Path, folder: Path) -> None:
        self.libraries = libraries
        self.folder = folder
        ports = free_ports()
        self.bootstrap = f"127.0.0.1:{next(ports)}"
        self.controller = f"127.0.0.1:{next(ports)}"

    def __enter__(self) -> "Broker":
        self.folder.mkdir()
        settings = self.folder / "node.properties"
        settings.write_text(self.settings())
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(settings)]
        subprocess.run(self.java("64m") + tool, check=True, stdout=subprocess.DEVNULL)
        command = self.java("512m") + ["kafka.Kafka", str(settings)]
        self.child = Child(command, self.folder / "log")
        try:
            self.child.wait_for("Kafka Server started", START_SECONDS)
        except BaseException:
            self.child.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.child.__exit__()

    def java(self, heap: str) -> list[str]:
        log = f"-Dlog4j2.configurationFile={LOG_SETTINGS}"
        return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", log, "-cp", f"{self.libraries}/*"]

    def settings(self) -> str:
        return "\n".join([
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@{self.controller}",
            f"listeners=PLAINTEXT://{self.bootstrap},CONTROLLER://{self.controller}",
            "controller.listener.names=CONTROLLER",
            "inter.broker.listener.name=PLAINTEXT",
            f"log.dirs={self.folder / 'data'}",
            "auto.create.topics.enable=false",
            "unclean.leader.election.enable=false",
            "min.insync.replicas=1",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "transaction.state.log.num.partitions=4",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            "share.coordinator.state.topic.num.partitions=1",
            "group.initial.rebalance.delay.ms=0",
            "",
        ])


def free_ports():
    """Ports that nobody listens on, below the range from which the system takes those of outgoing
    connections."""
    for step in itertools.count():
        port = 16_000 + (os.getpid() * 16 + step) % 16_000
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
