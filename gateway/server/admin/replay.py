"""Replays of recorded calls under edited rules: in a thread, one at a time.

A replay changes nothing. The thread works for a millisecond and then rests as long, so no call
waits longer for the interpreter. A replay ends when its client leaves.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path as FilePath
from typing import Any

from gateway.core.call import OPEN_KEY
from gateway.core.errors import Problem, ProblemError
from gateway.ledger import transcripts
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.query_params import LedgerQuery
from gateway.runtime.build import (
    BuiltConfig,
    adopt_classifiers,
    build_config,
    list_findings,
)
from gateway.runtime.composition import Gateway
from gateway.runtime.tenant_classifiers import TenantClassifiers
from gateway.server.admin.worker_thread import WorkerThread
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, format_path
from gateway.settings.loader import CandidateRules, ConfigSource, load
from gateway.settings.rule_hints import RULE_SECTIONS
from gateway.telemetry import process

RULES_NAME = "edited rules"
"""The file name of the edited rules in findings."""
MAX_CALLS = 100_000
"""The maximum number of calls in a replay."""
MAX_SECONDS = 120
"""The maximum number of seconds of a replay."""
LOCK_SECONDS = 5.0
"""Seconds to wait for the end of another replay: one whose client has left ends within moments."""
_LOCK_POLL_SECONDS = 0.05
_SLICE_SECONDS = 0.001
"""Seconds of work, and of rest after it."""
_CONFLICT, _CLIENT_CLOSED, _TOO_LONG = 409, 499, 504


class RulesReplay:
    """The replays of a gateway. One runs at a time, over all workers."""

    def __init__(
        self, gateway: Gateway, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._gateway = gateway
        self._worker_thread = WorkerThread(gateway)
        self._sleep = sleep

    async def __call__(
        self,
        rules: str,
        query: LedgerQuery,
        limit: int,
        wait_for_disconnect: Callable[[], Awaitable[object]],
    ) -> dict[str, Any]:
        """Return `report` and `findings`, or `findings` alone if the rules are wrong.

        The replay ends when `wait_for_disconnect` returns. `limit` is the number of changed calls
        to list. Raises ProblemError: invalid_request (409 if another replay runs, 504 if it takes
        too long), ledger.
        """
        stop = threading.Event()

        async def stop_on_disconnect() -> None:
            await wait_for_disconnect()
            stop.set()

        async with self._lock(self._gateway.data / "replay.lock"):
            watch_task = asyncio.create_task(stop_on_disconnect(), name="replay")
            try:
                await self._worker_thread.ingest_journals()
                return await self._worker_thread(partial(self._replay, rules, query, limit, stop))
            finally:
                stop.set()
                watch_task.cancel()

    @asynccontextmanager
    async def _lock(self, file: FilePath) -> AsyncIterator[None]:
        """Hold the lock of replays during a block. Raises ProblemError if another keeps it."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with try_lock_file(file) as has_lock:
                if has_lock:
                    yield
                    return
            if time.monotonic() >= deadline:
                message = "Another replay is running: wait for its end, or cancel it."
                raise _problem(message, _CONFLICT)
            await self._sleep(_LOCK_POLL_SECONDS)

    def _replay(
        self, rules: str, query: LedgerQuery, limit: int, stop: threading.Event
    ) -> dict[str, Any]:
        # A serving gateway imports nothing of evaluation until an admin asks for a replay.
        from gateway.evaluation.replay import report  # noqa: PLC0415
        from gateway.evaluation.replay.replay import build_replay  # noqa: PLC0415

        gateway, deadline = self._gateway, time.monotonic() + MAX_SECONDS
        if mistakes := find_foreign_values(rules, gateway.built_config.source):
            return {"findings": mistakes}
        try:
            candidate = self._build_candidate(rules)
        except ConfigError as error:
            return {"findings": error.mistakes}
        selection = {**query.selection, "zone": query.time_zone}
        if (count := gateway.store.count(**selection)) > MAX_CALLS:
            reason = f"There are {count:,} calls in this range, more than {MAX_CALLS:,}"
            raise _problem(f"{reason}: choose a shorter one, or use `tiergate replay`.")
        router = candidate.router
        text_features = transcripts.make_features_reader(
            gateway.ledger_runtime.content_folder, router.fetched_media
        )
        walk = build_replay(router, candidate.source.config, text_features, limit)
        slice_end = 0.0
        for row in gateway.store.read_replay_rows(**selection):
            walk.replay_row(row)
            if (now := time.monotonic()) > slice_end:
                if stop.is_set():
                    raise _problem("The client has disconnected.", _CLIENT_CLOSED)
                if now > deadline:
                    message = (
                        "The replay took too long: choose a shorter range, or use "
                        "`tiergate replay`."
                    )
                    raise _problem(message, _TOO_LONG)
                time.sleep(_SLICE_SECONDS)
                slice_end = time.monotonic() + _SLICE_SECONDS
        keys = [OPEN_KEY] if gateway.keys.is_open else gateway.keys.list_keys()
        return {
            "report": report.describe_totals(walk.totals, router.catalogue.version),
            "findings": list_findings(candidate, keys),
        }

    def _build_candidate(self, rules: str) -> BuiltConfig:
        """Return the configuration as written, with these rules. Raises ConfigError."""
        gateway = self._gateway
        candidate_rules = CandidateRules(RULES_NAME, rules) if rules else None
        with process.pause_cycle_search():
            source = load(gateway.built_config.source.file, gateway.environ, rules=candidate_rules)
            built_config = build_config(source, datetime.now(UTC))
            classifiers = TenantClassifiers(gateway.data)
            classifiers.refresh()
        adopt_classifiers(built_config, classifiers)
        gateway.own_traffic.adopt_into(built_config)
        return built_config


def find_foreign_values(text: str, source: ConfigSource) -> list[Mistake]:
    """Return a mistake for each variable or secret in a text that the current rules do not use."""
    known_values = {
        value
        for section in RULE_SECTIONS
        for _, value in _collect_texts(source.raw.get(section), ())
    }
    try:
        document = yaml.read(text, RULES_NAME)
    except ConfigError:
        return []  # `load` reports it
    return [
        Mistake(
            file=RULES_NAME,
            line=document.lines.get(path),
            path=format_path(path),
            message="reads a variable or a file that the rules in force do not read.",
            hint="Write the value itself: rules that are sent here cannot read the environment.",
        )
        for path, value in _collect_texts(document.value, ())
        if "${" in value and value not in known_values
    ]


def _collect_texts(value: Any, path: Path) -> list[tuple[Path, str]]:
    if isinstance(value, dict):
        return [
            entry for name, item in value.items() for entry in _collect_texts(item, (*path, name))
        ]
    if isinstance(value, list):
        return [
            entry
            for index, item in enumerate(value)
            for entry in _collect_texts(item, (*path, index))
        ]
    return [(path, value)] if isinstance(value, str) else []


def _problem(message: str, status: int = 0) -> ProblemError:
    return ProblemError(Problem(kind="invalid_request", message=message, status=status))
