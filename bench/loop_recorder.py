"""The part of `bench.loop_hold` that runs inside the gateway; it imports only the standard library.

    python -P bench/loop_recorder.py SOCKET

It runs `tiergate serve` on asyncio's own loop, and listens on a UNIX socket for windows: `start`
begins one, `stop` ends it and answers with its figures, as JSON.

A stretch is what the loop's thread computes between two waits for its sockets. Work in another
thread holds the loop too while it is inside of one call of C code, as of a JSON library: such a
call keeps the interpreter's lock to its end. A thread of the recorder sleeps for a millisecond again
and again. The CPU time that passes until it runs again is at least what such a call took. It is more
if the machine is busy, so `start calls` times each call of C code instead, which slows all down.
"""

import asyncio
import json
import selectors
import socket
import sys
import threading
import time
from pathlib import Path
from types import CodeType

_TOOL = sys.monitoring.PROFILER_ID
_QUIET_SECONDS = 0.05
_PROBE_SECONDS = 0.001
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Selector(selectors.EpollSelector):
    """A selector that knows how long the loop has computed since the last wait."""

    longest = 0.0
    """Seconds of CPU of the longest stretch."""
    _began = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, and begin a stretch after that."""
        Selector.longest = max(Selector.longest, time.thread_time() - self._began)
        events = super().select(timeout)
        self._began = time.thread_time()
        return events


class CallTimer:
    """Times the calls of C code of threads beside the loop's."""

    def __init__(self) -> None:
        """Take the thread that makes this object as the loop's."""
        self._loop_thread = threading.get_ident()
        self._began: dict[int, float] = {}
        self.longest = 0.0
        """Seconds of CPU of the longest call."""
        self.name = ""

    def start(self) -> None:
        """Time calls from now on."""
        events = sys.monitoring.events
        self.longest, self.name = 0.0, ""
        sys.monitoring.use_tool_id(_TOOL, "loop-hold")
        sys.monitoring.register_callback(_TOOL, events.CALL, self._begin)
        sys.monitoring.register_callback(_TOOL, events.C_RETURN, self._end)
        sys.monitoring.register_callback(_TOOL, events.C_RAISE, self._end)
        sys.monitoring.set_events(_TOOL, events.CALL)

    def stop(self) -> None:
        """Time no more."""
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)

    def _begin(self, _code: CodeType, _offset: int, _call: object, _first: object) -> None:
        thread = threading.get_ident()
        if thread != self._loop_thread:
            self._began[thread] = time.thread_time()

    def _end(self, _code: CodeType, _offset: int, call: object, _first: object) -> None:
        thread = threading.get_ident()
        began = self._began.pop(thread, None)
        if began is not None and (spent := time.thread_time() - began) > self.longest:
            self.longest, self.name = spent, getattr(call, "__qualname__", repr(call))


class LockProbe:
    """Measures for how much CPU time of the process no further thread got the interpreter's lock."""

    def __init__(self) -> None:
        """Start the thread, which idles outside of windows."""
        self.is_on = threading.Event()
        self.longest = 0.0
        """Seconds of CPU."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.is_on.wait()
            began = time.process_time()
            time.sleep(_PROBE_SECONDS)
            self.longest = max(self.longest, time.process_time() - began)


class Window:
    """A window: what the gateway computes, and how it grows, between `start` and `stop`."""

    def __init__(self, timer: CallTimer) -> None:
        """Take the timer of C code."""
        self._timer = timer
        self._probe = LockProbe()
        self._times_calls = False
        self._begins: tuple[int, float] = 0, 0.0

    def start(self, *, times_calls: bool) -> None:
        """Begin; with `times_calls` other threads' calls of C code count, which slows all down."""
        from gateway.telemetry import process  # noqa: PLC0415 - the recorder comes first

        process.trim()
        _CLEAR.write_text("5")  # the peak begins anew
        self._times_calls = times_calls
        self._begins = _read_status("VmRSS"), time.process_time()
        if times_calls:
            self._timer.start()
        else:
            self._probe.is_on.set()
        Selector.longest = self._probe.longest = 0.0

    def stop(self) -> dict[str, object]:
        """End once the process is quiet, and return the figures."""
        spent = -1.0
        while time.process_time() - spent > _QUIET_SECONDS / 5:
            spent = time.process_time()
            time.sleep(_QUIET_SECONDS)
        self._probe.is_on.clear()
        if self._times_calls:
            self._timer.stop()
        memory, began = self._begins
        return {
            "loop": Selector.longest,
            "call": self._timer.longest if self._times_calls else self._probe.longest,
            "call_name": self._timer.name if self._times_calls else "",
            "cpu": time.process_time() - began,
            "memory": _read_status("VmHWM") - memory,
        }


def _read_status(name: str) -> int:
    """Return bytes of memory of this process, as the kernel counts them."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def listen(path: str, window: Window) -> None:
    """Serve windows to each client that connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as lines:
                for line in lines:
                    answer: object = None
                    if line == b"stop\n":
                        answer = window.stop()
                    else:
                        window.start(times_calls=line == b"start calls\n")
                    lines.write(json.dumps(answer).encode() + b"\n")
                    lines.flush()


def main() -> None:
    """Run the gateway under the recorder."""
    window = Window(CallTimer())
    threading.Thread(target=listen, args=(sys.argv[1], window), daemon=True).start()
    sys.argv = ["tiergate", "serve"]
    import uvicorn  # noqa: PLC0415 - only the gateway's own packages have it

    setattr(uvicorn.Config, "get_loop_factory", lambda _: make_loop)  # noqa: B010 - typed otherwise
    from gateway.cli import main as serve  # noqa: PLC0415 - the recorder comes first

    serve()


def make_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that measures itself."""
    return asyncio.SelectorEventLoop(Selector())


if __name__ == "__main__":
    main()
