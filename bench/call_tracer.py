"""The part of `bench.trace_call` that runs inside the gateway; it imports only the standard
library.

    python -P bench/call_tracer.py SOCKET

It runs `tiergate serve` of the tree on PYTHONPATH, and listens on a UNIX socket for windows:
`start` begins one. `stop` ends it, and answers in JSON with the functions that began in it and
with the number of instructions by file.
"""

import json
import socket
import sys
import threading
import time
from collections import Counter
from types import CodeType

_TOOL = sys.monitoring.PROFILER_ID
_PACKAGE = "/gateway/"
_QUIET_SECONDS = 0.004
"""Seconds for which the event loop must run no gateway code before a window may end."""


class Recorder:
    """Records functions of gateway/ that begin on the event loop's thread, and their instructions."""

    def __init__(self) -> None:
        """Record the thread that makes this object."""
        self._thread = threading.get_ident()
        self._functions: list[CodeType] | None = None
        self._instructions = Counter[str]()
        """Instructions of the interpreter, by the file of their function."""

    def install(self) -> None:
        """Make the interpreter report each function that begins, and each instruction."""
        events = sys.monitoring.events
        sys.monitoring.use_tool_id(_TOOL, "trace-call")
        sys.monitoring.register_callback(_TOOL, events.PY_START, self._record)
        sys.monitoring.register_callback(_TOOL, events.INSTRUCTION, self._count)
        sys.monitoring.set_events(_TOOL, events.PY_START | events.INSTRUCTION)

    def start(self) -> None:
        """Begin a window."""
        self._instructions.clear()
        self._functions = []

    def stop(self) -> dict[str, object]:
        """End the window when its work is done; return the members of a `bench.trace_call.Trace`."""
        functions = self._functions or []
        count = -1
        while count < len(functions):
            count = len(functions)
            time.sleep(_QUIET_SECONDS)
        self._functions = None
        return {
            "functions": [
                (_get_file(code), f"{code.co_qualname}:{code.co_firstlineno}") for code in functions
            ],
            "instructions": dict(self._instructions),
        }

    def _record(self, code: CodeType, _offset: int) -> object:
        if _PACKAGE not in code.co_filename:
            return sys.monitoring.DISABLE
        if self._functions is not None and threading.get_ident() == self._thread:
            self._functions.append(code)
        return None

    def _count(self, code: CodeType, _offset: int) -> object:
        if _PACKAGE not in code.co_filename:
            return sys.monitoring.DISABLE
        if self._functions is not None and threading.get_ident() == self._thread:
            self._instructions[_get_file(code)] += 1
        return None


def _get_file(code: CodeType) -> str:
    return code.co_filename.rpartition(_PACKAGE)[2]


def listen(path: str, recorder: Recorder) -> None:
    """Serve windows to each client that connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as lines:
                for line in lines:
                    answer: object = None
                    if line == b"start\n":
                        recorder.start()
                    else:
                        answer = recorder.stop()
                    lines.write(json.dumps(answer).encode() + b"\n")
                    lines.flush()


def main() -> None:
    """Run the gateway under the recorder."""
    recorder = Recorder()
    recorder.install()
    threading.Thread(target=listen, args=(sys.argv[1], recorder), daemon=True).start()
    sys.argv = ["tiergate", "serve"]
    from gateway.cli import main as serve  # noqa: PLC0415 - the recorder comes first

    serve()


if __name__ == "__main__":
    main()
