"""What each position of the quality dial gives, for admins, as `tiergate dial` prints it.

The gateway computes it in a thread that rests after each millisecond of work, so that no call waits
longer for the interpreter. It remembers what it has computed for a configuration.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.quality import find_position
from gateway.ledger.query_params import LedgerQuery
from gateway.routing.router import Router
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.admin.worker_thread import WorkerThread
from gateway.settings.errors import ConfigError

_JSON = "application/json"
_CONFLICT = 409
_GOLDEN_FILE = "golden.yaml"
_MAX_CALLS = 100_000
"""The maximum number of own calls of a curve."""
_CALLS_SECONDS = 300.0
"""Seconds for which a curve of own calls is remembered."""
_MAX_CURVES = 16
_SLICE_SECONDS = 0.001
"""Seconds of work, and of rest after it."""


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the route to an app."""
    router = APIRouter(prefix="/admin", dependencies=[Depends(AdminAuth.from_gateway(gateway))])
    curves = DialCurves(gateway)

    @router.get("/dial", summary="Compare the positions of the quality dial")
    async def dial(request: Request, since: str = "") -> Response:
        check_parameters(request, "since")
        return Response(jsonio.dumps(await curves.find(since)), media_type=_JSON)

    app.include_router(router)


class DialCurves:
    """Computes curves, one at a time, and remembers them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker_thread = WorkerThread(gateway)
        self._lock = asyncio.Lock()
        self._curves: dict[tuple[object, ...], dict[str, Any]] = {}

    async def find(self, since: str) -> dict[str, Any]:
        """Return the curve of golden prompts, or with `since` of own calls from then on.

        Raises ProblemError: not_found without golden prompts, invalid_request, ledger.
        """
        gateway, now = self._gateway, time.time()
        if since:
            zone = gateway.built_config.source.config.ledger.time_zone
            query = read_ledger_query((), since=since, until="", only=(), zone=zone, now=now)
            await self._worker_thread.ingest_journals()
            key = since, now // _CALLS_SECONDS
            return await self._compute(key, partial(self._read_calls, query), since=query.since)
        file, changed_at = await asyncio.to_thread(self._find_golden_file)
        decide = partial(self._decide_prompts, file, now)
        return await self._compute((file, changed_at), decide, file=str(file))

    async def _compute(
        self,
        key: tuple[object, ...],
        compute: Callable[[Router], list[Any]],
        *,
        since: float | None = None,
        file: str | None = None,
    ) -> dict[str, Any]:
        """Return the remembered curve of a key and the configuration in force, or a new one."""
        async with self._lock:
            version, router = self._gateway.revision.version, self._gateway.built_config.router
            key = version, *key
            if key not in self._curves:
                points = await self._worker_thread(partial(compute, router))
                if len(self._curves) >= _MAX_CURVES:
                    self._curves.clear()
                self._curves[key] = {
                    "at": time.time(),
                    "version": version,
                    "file": file,
                    "since": since,
                    "points": points,
                    "current": _describe_current(router),
                }
            return self._curves[key]

    def _find_golden_file(self) -> tuple[Path, int]:
        """Return the golden file beside the configuration, or in the data folder, with its time.

        Raises ProblemError: not_found.
        """
        gateway = self._gateway
        folders = gateway.built_config.source.file.parent, gateway.data
        files = [folder / _GOLDEN_FILE for folder in folders]
        for file in files:
            try:
                return file, file.stat().st_mtime_ns
            except OSError:
                continue
        message = (
            f"There are no golden prompts in {files[0]} or {files[1]}: write some, or ask with "
            "since=7d for the curve of your own calls."
        )
        raise ProblemError(Problem(kind="not_found", message=message))

    def _decide_prompts(self, file: Path, now: float, router: Router) -> list[Any]:
        # A serving gateway imports nothing of evaluation until an admin asks for it.
        from gateway.evaluation.dial_curve import compute_curve  # noqa: PLC0415
        from gateway.evaluation.golden_file import read_golden_file  # noqa: PLC0415

        keys = {key.name: key for key in self._gateway.keys.list_keys()}
        try:
            prompts = read_golden_file(file)
        except ConfigError as error:
            reason = "; ".join(str(mistake) for mistake in error.mistakes[:3])
            message = f"The golden prompts cannot be read: {reason}"
            raise ProblemError(
                Problem(kind="invalid_request", message=message, status=_CONFLICT)
            ) from None
        return list(compute_curve(router, prompts, keys, now, _make_pacer()))

    def _read_calls(self, query: LedgerQuery, router: Router) -> list[Any]:
        from gateway.evaluation.dial_curve import LedgerCurve  # noqa: PLC0415 - as above

        store, rest = self._gateway.store, _make_pacer()
        selection = {**query.selection, "only": {"source": ["classifier"]}}
        if (count := store.count(**selection)) > _MAX_CALLS:
            message = (
                f"A classifier decided {count:,} calls in this time, more than {_MAX_CALLS:,}: "
                "choose a shorter one, or use `tiergate dial --since`."
            )
            raise invalid_request(message, "since")
        curve = LedgerCurve(router)
        for row in store.read_replay_rows(**selection):
            curve.add(row)
            rest()
        return list(curve.compute())


def _describe_current(router: Router) -> list[dict[str, object]]:
    """Return the position that calls of each lab have, unless a key, header or guard sets one."""
    current: list[dict[str, object]] = []
    for lab in router.catalogue.labs.values():
        share, source = router.find_lab_quality(lab)
        position = None if share is None else round(find_position(share), 2)
        current.append({"lab": lab.name, "position": position, "share": share, "set_by": source})
    return current


def _make_pacer() -> Callable[[], None]:
    """Return a function that rests a moment if a moment's work was done since the last rest."""
    slice_end = time.monotonic() + _SLICE_SECONDS

    def rest() -> None:
        nonlocal slice_end
        if time.monotonic() > slice_end:
            time.sleep(_SLICE_SECONDS)
            slice_end = time.monotonic() + _SLICE_SECONDS

    return rest
