"""A process that runs ledger queries for a gateway. It is seen from the gateway here."""

import asyncio
import contextlib
import os
import pickle
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from typing import Any, Protocol

from gateway.runtime.query_program import LENGTH_BYTES, QueryReply

# Not with -m: the classes of replies would then be those of another module.
_PROGRAM = "from gateway.runtime.query_program import main; main()"


class QueryProcess(Protocol):
    """A process that runs one query at a time."""

    def is_running(self) -> bool:
        """Return True if it can take a query."""
        ...

    async def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> QueryReply:
        """Run a query. Raises EOFError or ConnectionError if the process ends meanwhile."""
        ...

    async def kill(self) -> None:
        """End the process at once, also in the middle of a query."""
        ...


class ChildProcess:
    """A query process that is a child of the gateway."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process needs pipes for its input and its output")
        self._process, self._input, self._output = process, process.stdin, process.stdout

    def is_running(self) -> bool:
        """Return True if it can take a query."""
        if self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):  # on macOS before Python 3.13
            return True
        # Ask the kernel: the event loop may not have noticed yet.
        with contextlib.suppress(ChildProcessError):
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self._process.pid, options) is None
        return False

    async def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> QueryReply:
        """Run a query, see QueryProcess."""
        await self.send((function, arguments))
        length = int.from_bytes(await self._output.readexactly(LENGTH_BYTES))
        reply: QueryReply = pickle.loads(await self._output.readexactly(length))  # noqa: S301 - our own program's
        return reply

    async def send(self, value: object) -> None:
        """Write a value to the process's input."""
        self._input.write(pickle.dumps(value))
        await self._input.drain()

    async def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def start(store_url: str, version: str) -> QueryProcess:
    """Start a process for queries to the store at a URL. Raises OSError.

    The process gets the URL through its input, since everybody sees its arguments. It inherits no
    socket: only the files of its standard streams.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    child = ChildProcess(process)
    try:
        await child.send((store_url, version))
    except BaseException:
        await child.kill()
        raise
    return child
