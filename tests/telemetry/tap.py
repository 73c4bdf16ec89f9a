"""A real receiver of traces, as a program of its own."""

import sys
from pathlib import Path
from typing import Any

from bench.free_port import find_free_port
from gateway.core import jsonio
from tests.e2e.child import Child, until


class TraceReceiver:
    """A receiver that writes each span as a line."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "oteltap", "--port", str(self.port)]
        self.child = Child(command, folder / "tap", PYTHONUNBUFFERED="1")
        until(lambda: "Listening" in self.child.out, f"a receiver: {self.child.err}")

    def spans(self, number: int) -> list[dict[str, Any]]:
        """Return the received spans in order, once there are so many."""
        return until(lambda: self._read("traceId", number), f"{number} spans")

    def logs(self, number: int) -> list[dict[str, Any]]:
        """Return the received log records in order, once there are so many."""
        return until(lambda: self._read("severityText", number), f"{number} log records")

    def metrics(self, number: int) -> dict[str, dict[str, Any]]:
        """Return the received metrics by name, once there are so many."""
        metrics = until(lambda: self._read("unit", number), f"{number} metrics")
        return {metric["name"]: metric for metric in metrics}

    def _read(self, member: str, number: int) -> list[dict[str, Any]]:
        """Return the lines that have a member, once there are so many."""
        lines = [line for line in self.child.out.split("\n")[:-1] if line.startswith("{")]
        found = [value for line in lines if member in (value := jsonio.loads(line.encode()))]
        return found if len(found) >= number else []


def read_attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span; OTLP in JSON writes whole numbers as strings."""
    return {
        attribute["key"]: next(iter(attribute["value"].values()))
        for attribute in span["attributes"]
    }
