"""Calls of the ledger decided again by rules that somebody thinks of: in a child, one at a time.

Nothing of it takes effect. The child is a program of its own, so that deciding takes nothing from
the loop that serves calls, and that it can be ended at once: when whoever asked is gone.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.ledger.file_lock import held
from gateway.runtime.composition import Gateway
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, written
from gateway.settings.loader import RULES, ConfigSource

MODULE = "gateway.cli.replay_worker"
NAME = "edited rules"
"""What findings call the text."""
_SECONDS = 120
"""That one may take."""
_CONFLICT, _LEFT, _TOO_LONG = 409, 499, 504


class Rehearsal:
    """One for a gateway; of all its workers one child runs at a time."""

    def __init__(self, gateway: Gateway, *, seconds: float = _SECONDS) -> None:
        self._gateway = gateway
        self._seconds = seconds

    async def __call__(
        self, asked: dict[str, Json], gone: Callable[[], Awaitable[object]]
    ) -> dict[str, Json]:
        """What the child has found; it is ended when `gone` returns.

        Raises ProblemError: invalid_request (409 where another runs, 504 where it took too long),
        internal.
        """
        source = self._gateway.site.source
        foreign = await asyncio.to_thread(strange, str(asked["rules"]), source)
        if foreign:
            return {"findings": [msgspec.structs.asdict(one) for one in foreign]}
        lock = self._gateway.data / "replay.lock"
        with held(lock) as mine:
            if not mine:
                message = "Another replay is running: wait for its end, or cancel it."
                raise _problem("invalid_request", message, _CONFLICT)
            told = {**asked, "config": str(source.file), "name": NAME, "seconds": _SECONDS}
            found = jsonio.loads(await self._run(jsonio.dumps(told), gone))
        if "error" in found:
            raise _problem("invalid_request", found["error"])
        return dict(found)

    async def _run(self, told: bytes, gone: Callable[[], Awaitable[object]]) -> bytes:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(self._gateway.environ),
            start_new_session=True,  # Ctrl-C is for the gateway
        )
        work = asyncio.ensure_future(child.communicate(told))
        left = asyncio.ensure_future(gone())
        try:
            await asyncio.wait(
                (work, left), timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if work.done():
                return self._said(child, *work.result())
            if left.done():
                raise _problem("invalid_request", "Whoever asked has left.", _LEFT)
            message = "It took too long: choose a shorter range, or use `tiergate replay`."
            raise _problem("invalid_request", message, _TOO_LONG)
        finally:
            left.cancel()
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await asyncio.gather(work, left, return_exceptions=True)

    def _said(self, child: Process, out: bytes, err: bytes) -> bytes:
        if child.returncode != 0:
            last = err.decode(errors="replace").strip().rpartition("\n")[2]
            self._gateway.log("bug", error=f"replay: status {child.returncode}", text=last[:200])
            raise _problem("internal", "The replay failed; the gateway's log has the reason.")
        return out


def strange(text: str, source: ConfigSource) -> list[Mistake]:
    """What of a text would put in what the rules in force do not: variables, files of secrets."""
    known = {one for part in RULES for _, one in _texts(source.raw.get(part), ())}
    try:
        document = yaml.read(text, NAME)
    except ConfigError:
        return []  # the child tells it
    return [
        Mistake(
            file=NAME,
            line=document.lines.get(path),
            path=written(path),
            message="puts in what the rules in force do not.",
            hint="Write the value itself; nothing of the environment is shown here.",
        )
        for path, one in _texts(document.value, ())
        if "${" in one and one not in known
    ]


def _texts(value: Any, path: Path) -> list[tuple[Path, str]]:
    if isinstance(value, dict):
        return [one for name, item in value.items() for one in _texts(item, (*path, name))]
    if isinstance(value, list):
        return [one for at, item in enumerate(value) for one in _texts(item, (*path, at))]
    return [(path, value)] if isinstance(value, str) else []


def _problem(kind: Any, message: str, status: int = 0) -> ProblemError:
    return ProblemError(Problem(kind=kind, message=message, status=status))
