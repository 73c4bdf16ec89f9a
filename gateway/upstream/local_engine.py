"""Local engines: programs that a provider's `command` names, started once, watched and stopped.

An engine prints `ready http://127.0.0.1:PORT` when it can answer. Its input stays open as long as
the gateway lives. So an engine that ends with its input outlives no gateway, not even a killed one.
Each worker has engines of its own, which end with it.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Provider

EXIT_NOT_INSTALLED = 3
"""Exit status of an engine whose parts are missing: a restart cannot help."""
_READY_TIMEOUT = 60.0
_MAX_PAUSE = 30.0
_STABLE_RUN_SECONDS = 60.0
"""Seconds of a run after which the pauses start over: the next crash is a new one."""
_STOP_TIMEOUT = 3.0
_CHUNK_BYTES = 65_536
_MIN_SECRET_LENGTH = 8
"""Characters from which a value may be a credential; a shorter one is a word, as on or none."""

type Report = Callable[[str], None]


class LocalEngine:
    """One supervised program."""

    def __init__(
        self,
        provider: Provider,
        log_path: Path,
        report: Report,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        secrets: Collection[str] = (),
    ) -> None:
        """Take the credentials of all providers as `secrets`: none of them reaches the program."""
        self.provider = provider
        self.url = ""
        """The URL of the running engine; empty while it cannot answer."""
        self.failure_reason = ""
        """The reason why the engine will not answer any more."""
        self._log_path = log_path
        self._report = report
        self._sleep = sleep
        self._secrets = secrets
        self._ready_or_failed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None

    def start(self) -> None:
        """Start the program and watch it."""
        self._task = asyncio.create_task(self._supervise(), name=f"engine {self.provider.name}")

    async def wait_until_ready(self) -> str:
        """Return the URL of the engine. Raises ProblemError if it does not come up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_TIMEOUT):
                await self._ready_or_failed.wait()
        if not self.url:
            reason = self.failure_reason or f"it did not come up within {_READY_TIMEOUT:g} s"
            message = f"The local engine {self.provider.name!r} is not running: {reason}."
            raise ProblemError(Problem(kind="upstream_unreachable", message=message))
        return self.url

    async def stop(self) -> None:
        """Terminate the program, and kill it if it does not stop in time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _supervise(self) -> None:
        clock = asyncio.get_running_loop().time
        pause = 1.0
        while True:
            started_at = clock()
            status = await self._run()
            self.url = ""
            self._ready_or_failed.clear()
            if status == EXIT_NOT_INSTALLED:
                self.failure_reason = (
                    self.failure_reason or self._read_log_tail() or "its parts are not installed"
                )
                self._ready_or_failed.set()
                self._report(f"{self.provider.name}: {self.failure_reason}")
                return
            if clock() - started_at >= _STABLE_RUN_SECONDS:
                pause = 1.0
            self._report(f"{self.provider.name}: ended with status {status}; again in {pause:g} s")
            await self._sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)

    async def _run(self) -> int:
        command = [sys.executable if word == "{python}" else word for word in self.provider.command]
        try:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            with _open_private_file(self._log_path) as log:
                process = self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=build_child_environment(os.environ, self._secrets),
                    start_new_session=True,  # Ctrl-C is for the gateway, which drains first
                )
        except OSError as error:
            self.failure_reason = f"{error.filename or command[0]}: {error.strerror}"
            return EXIT_NOT_INSTALLED
        if process.stdout is not None:
            async for line in _read_lines(process.stdout):
                word, _, url = line.strip().partition(" ")
                if word == "ready" and url.startswith("http"):
                    self.url = url.rstrip("/")
                    self._ready_or_failed.set()
                    self._report(f"{self.provider.name}: ready on {self.url}")
        return await process.wait()

    def _read_log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = (
                self._log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            )
            return lines[-1][:300] if lines else ""
        return ""


def build_child_environment(environ: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """Return an environment for another program: no variable of the gateway, no credential.

    Leave out a variable if its value contains a secret or is part of one.
    """
    long_secrets = [secret for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH]

    def contains_secret(value: str) -> bool:
        return len(value) >= _MIN_SECRET_LENGTH and any(
            secret in value or value in secret for secret in long_secrets
        )

    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("TIERGATE_") and name != "REDIS_URL" and not contains_secret(value)
    }


async def _read_lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines of an output; of a line without end keep only the last bytes."""
    remainder = b""
    while data := await stream.read(_CHUNK_BYTES):
        *lines, remainder = (remainder + data).split(b"\n")
        remainder = remainder[-_CHUNK_BYTES:]
        for line in lines:
            yield line.decode("utf-8", "replace")


def _open_private_file(path: Path) -> BinaryIO:
    """Open an empty file that only its owner may read: an engine may log what it is asked."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")
