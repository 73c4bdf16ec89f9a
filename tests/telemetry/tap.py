"""A real receiver of traces, as a program of its own."""

import socket
import sys
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from tests.e2e.child import Child, until


class TraceReceiver:
    """A receiver that writes each span as a line."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "oteltap", "--port", str(self.port)]
        self.child = Child(command, folder / "tap", PYTHONUNBUFFERED="1")
        until(lambda: "Listening" in self.child.out, f"a receiver: {self.child.err}")

    def spans(self, number: int) -> list[dict[str, Any]]:
        """Return the received spans in order, once there are so many."""

        def read_spans() -> list[dict[str, Any]]:
            lines = [line for line in self.child.out.split("\n")[:-1] if line.startswith("{")]
            return [jsonio.loads(line.encode()) for line in lines] if len(lines) >= number else []

        return until(read_spans, f"{number} spans")


def read_attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span; OTLP in JSON writes whole numbers as strings."""
    return {
        attribute["key"]: next(iter(attribute["value"].values()))
        for attribute in span["attributes"]
    }
