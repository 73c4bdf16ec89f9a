"""Calls of the ledger decided again by rules that somebody thinks of: in a thread, one at a time.

Nothing of it takes effect. The thread works for a millisecond and then rests as long, so that calls
wait for the interpreter no longer than that. It ends when whoever asked is gone.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from gateway.core.call import OPEN
from gateway.core.errors import Problem, ProblemError
from gateway.ledger import transcripts
from gateway.ledger.file_lock import held
from gateway.ledger.query_params import LedgerQuery
from gateway.runtime.build import BuiltConfig, adopt, findings, site
from gateway.runtime.composition import Gateway
from gateway.runtime.tenant_classifiers import TenantClassifiers
from gateway.server.admin.worker_thread import WorkerThread
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, written
from gateway.settings.loader import RULES, CandidateRules, ConfigSource, load
from gateway.telemetry import process

NAME = "edited rules"
"""What findings call the text."""
ROWS = 100_000
"""Calls that are replayed at most."""
SECONDS = 120
"""That one may take."""
_SPELL = 0.001
"""Seconds of work, and of rest after it."""
_CONFLICT, _LEFT, _TOO_LONG = 409, 499, 504


class RulesReplay:
    """The replays of a gateway: of all its workers, one runs at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turn = WorkerThread(gateway)

    async def __call__(
        self, rules: str, question: LedgerQuery, limit: int, gone: Callable[[], Awaitable[object]]
    ) -> dict[str, Any]:
        """Return `report` and `findings`, or `findings` alone where the rules are wrong.

        It ends when `gone` returns. `limit` is how many changed calls are listed. Raises
        ProblemError: invalid_request (409 where another runs, 504 where it takes too long), ledger.
        """
        stop = threading.Event()

        async def leave() -> None:
            await gone()
            stop.set()

        with held(self._gateway.data / "replay.lock") as mine:
            if not mine:
                message = "Another replay is running: wait for its end, or cancel it."
                raise _problem(message, _CONFLICT)
            watch = asyncio.create_task(leave(), name="replay")
            try:
                await self._turn.feed()
                return await self._turn(partial(self._replay, rules, question, limit, stop))
            finally:
                stop.set()
                watch.cancel()

    def _replay(
        self, rules: str, question: LedgerQuery, limit: int, stop: threading.Event
    ) -> dict[str, Any]:
        # Until an admin asks for a replay, a serving gateway imports nothing of evaluation.
        from gateway.evaluation.replay import report  # noqa: PLC0415
        from gateway.evaluation.replay.replay import walker  # noqa: PLC0415

        gateway, until = self._gateway, time.monotonic() + SECONDS
        if foreign := strange(rules, gateway.site.source):
            return {"findings": foreign}
        try:
            candidate = self._candidate(rules)
        except ConfigError as error:
            return {"findings": error.mistakes}
        chosen = {**question.chosen, "zone": question.place}
        if (count := gateway.store.count(**chosen)) > ROWS:
            why = f"There are {count:,} calls in this range, more than {ROWS:,}"
            raise _problem(f"{why}: choose a shorter one, or use `tiergate replay`.")
        router = candidate.router
        texts = transcripts.features(gateway.archive.content_folder, router.fetches)
        walk = walker(router, candidate.source.config, texts, limit)
        rest = 0.0
        for row in gateway.store.logged(**chosen):
            walk.take(row)
            if (now := time.monotonic()) > rest:
                if stop.is_set():
                    raise _problem("Whoever asked has left.", _LEFT)
                if now > until:
                    message = "It took too long: choose a shorter range, or use `tiergate replay`."
                    raise _problem(message, _TOO_LONG)
                time.sleep(_SPELL)
                rest = time.monotonic() + _SPELL
        keys = [OPEN] if gateway.keys.is_open else gateway.keys.known()
        return {
            "report": report.view(walk.sums, router.catalogue.version),
            "findings": findings(candidate, keys),
        }

    def _candidate(self, rules: str) -> BuiltConfig:
        """Return the configuration as it is written, with these rules. Raises ConfigError."""
        gateway = self._gateway
        given = CandidateRules(NAME, rules) if rules else None
        with process.quietly():
            source = load(gateway.site.source.file, gateway.environ, rules=given)
            found, owned = site(source, datetime.now(UTC)), TenantClassifiers(gateway.data)
            owned.refresh()
        adopt(found, owned)
        return found


def strange(text: str, source: ConfigSource) -> list[Mistake]:
    """Return what of a text would put in what the rules in force do not: variables, secrets."""
    known = {one for part in RULES for _, one in _texts(source.raw.get(part), ())}
    try:
        document = yaml.read(text, NAME)
    except ConfigError:
        return []  # `load` tells it
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


def _problem(message: str, status: int = 0) -> ProblemError:
    return ProblemError(Problem(kind="invalid_request", message=message, status=status))
