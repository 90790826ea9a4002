"""A process that the run starts, watches, measures and ends."""

import os
import signal
import subprocess
import threading
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Child:
    """Its output goes to the file `log`, and can be waited for. Used in a `with`, it ends with it."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
        )
        self.lines: list[str] = []
        self.ended = False
        self.more = threading.Condition()
        threading.Thread(target=self._copy, daemon=True).start()

    def _copy(self) -> None:
        with self.log.open("w") as file:
            for line in map(bytes.decode, self.process.stdout):
                file.write(line)
                file.flush()
                with self.more:
                    self.lines.append(line)
                    self.more.notify_all()
        with self.more:
            self.ended = True
            self.more.notify_all()

    def wait_for(self, text: str, seconds: float) -> None:
        """Until a line holds `text`."""

        def told() -> bool:
            return any(text in line for line in self.lines)

        with self.more:
            self.more.wait_for(lambda: told() or self.ended, seconds)
            if not told():
                raise RuntimeError(f"{self.log}: {text!r} did not come within {seconds} s")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """What it has used until now, in user and kernel mode, on all threads."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        # The name of the program, in parentheses, may hold blanks.
        fields = stat[stat.rindex(")") + 2 :].split()
        user, system = fields[11], fields[12]
        return (int(user) + int(system)) / TICKS_PER_SECOND

    def stop(self) -> tuple[int, float]:
        """Ends it with SIGTERM. Its exit code, and the CPU time of its whole life in seconds."""
        self.process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode, usage.ru_utime + usage.ru_stime

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
