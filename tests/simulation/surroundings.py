"""What the gateways see of their process: the clocks, the chance and the memory of the simulation.

Some code reads the time or random bytes by itself, as ids of calls and defaults of arguments do.
So the functions of `time` and `os` are replaced while a simulation runs. It has one thread.
"""

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from fastapi.routing import APIRouter

from gateway.core import jsonio
from gateway.limits.keys import KeyTable
from gateway.limits.load_shedding import LoadShedder
from gateway.pipeline import ledger_runtime
from gateway.runtime.reloader import Reloader
from gateway.runtime.shadow import Shadow
from gateway.server import request_headers
from gateway.settings import loader, yaml
from gateway.telemetry import process
from tests.simulation.event_loop import SimulatedLoop
from tests.simulation.ledger_engine import Engines
from tests.simulation.network import find_machine, name_host

EPOCH = 1_795_000_000.0
"""The wall clock at the start of a simulation: a Wednesday in November 2026."""
_RESIDENT_BYTES, _PHYSICAL_BYTES, _OPEN_FILES, _MAX_FILES = 10**8, 10**10, 50, 10_000
_IDLE_LOOKS: tuple[tuple[type, str], ...] = (
    (Reloader, "watch"),
    (KeyTable, "watch"),
    (Shadow, "watch"),
    (LoadShedder, "sample_periodically"),
)
"""Tasks of a gateway that would take a third of all callbacks, to see that nothing is new."""
_NANOSECONDS = 1_000_000_000


class WallClocks:
    """The wall clock of each host; a jump changes one of them."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._offsets: dict[str, float] = {}

    def read(self) -> float:
        """Return the seconds since the epoch on the host that runs now."""
        now = EPOCH + self._loop.time()
        return now + self._offsets.get(name_host(find_machine()), 0.0) if self._offsets else now

    def jump(self, host: str, seconds: float) -> None:
        """Let the clock of a host be wrong by some seconds."""
        self._offsets[host] = seconds

    def correct(self, host: str) -> None:
        """Let the clock of a host be right again."""
        self._offsets.pop(host, None)


@contextmanager
def replace_surroundings(
    loop: SimulatedLoop, clocks: WallClocks, engines: Engines, seed: str
) -> Generator[None]:
    """Replace what gateways read of their process, until the end of the block."""
    chance = random.Random(f"{seed} bytes")
    replacements: tuple[tuple[Any, str, object], ...] = (
        (time, "time", clocks.read),
        (time, "time_ns", lambda: int(clocks.read() * _NANOSECONDS)),
        (time, "monotonic", loop.time),
        (time, "perf_counter", loop.time),
        (time, "thread_time", loop.time),
        (time, "sleep", lambda _seconds: None),  # in a thread, of which there is none
        (os, "urandom", chance.randbytes),
        (random, "_urandom", chance.randbytes),  # of `secrets`
        (request_headers, "_id_suffixes", []),
        (process, "read_resident_bytes", lambda: _RESIDENT_BYTES),
        (process, "read_physical_bytes", lambda: _PHYSICAL_BYTES),
        (process, "count_open_files", lambda: _OPEN_FILES),
        (process, "raise_file_limit", lambda: _MAX_FILES),
        (process, "trim", lambda: None),
        (ledger_runtime, "open_store", engines.open_store),
        (ledger_runtime, "open_sink", engines.open_sink),
        # The files are JSON; the reader of YAML, which notes lines, would take a third of a start.
        (yaml, "read", _read_json),
        (loader, "find_stray_variables", lambda _: []),
        # Their routes take most of a start, and no client asks for documents or administration.
        (APIRouter, "add_api_route", lambda *_, **__: None),
        # They look up to ten times a second at what does not change here: files, and memory.
        *((place, name, _rest) for place, name in _IDLE_LOOKS),
    )
    with ExitStack() as stack:
        for place, name, replacement in replacements:
            stack.enter_context(mock.patch.object(place, name, replacement))
        stack.enter_context(
            mock.patch.object(process.ControlGroup, "find_tightest_reach", return_value=None)
        )
        yield


async def _rest(*_: object) -> None:
    """Wait until the gateway ends."""
    await asyncio.get_running_loop().create_future()


def _read_json(text: str, file: str) -> yaml.YamlDocument:
    return yaml.YamlDocument(file, jsonio.loads(text.encode()), defaultdict(lambda: 1))
