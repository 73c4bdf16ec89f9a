"""What each position of the quality dial gives, for admins, as `tiergate dial` prints it.

A query process computes it, and the gateway remembers it for its configuration.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.ledger.query_params import LedgerQuery
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.admin.replay import describe_config_files
from gateway.server.queries.dial import DialQuery, compute_dial

_JSON = "application/json"
_GOLDEN_FILE = "golden.yaml"
_CALLS_SECONDS = 300.0
"""Seconds for which a curve of own calls is remembered."""
_MAX_CURVES = 16
_MAX_SECONDS = 60
"""The maximum number of seconds of a computation."""


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
    """Has curves computed, one at a time, and remembers them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._run_query = LedgerQueries(gateway)
        self._lock = asyncio.Lock()
        self._curves: dict[tuple[object, ...], dict[str, Any]] = {}

    async def find(self, since: str) -> dict[str, Any]:
        """Return the curve of golden prompts, or with `since` of own calls from then on.

        Raises ProblemError: not_found without golden prompts, invalid_request, ledger.
        """
        gateway, now = self._gateway, time.time()
        if since:
            zone = gateway.built_config.source.config.ledger.time_zone
            only = ["source:classifier"]
            calls = read_ledger_query((), since=since, until="", only=only, zone=zone, now=now)
            return await self._compute((since, now // _CALLS_SECONDS), None, calls)
        file, changed_at = await asyncio.to_thread(self._find_golden_file)
        return await self._compute((file, changed_at), file, None)

    async def _compute(
        self, key: tuple[object, ...], file: Path | None, calls: LedgerQuery | None
    ) -> dict[str, Any]:
        """Return the remembered curve of a key and the configuration in force, or a new one."""
        gateway = self._gateway
        async with self._lock:
            version = gateway.revision.version
            key = version, *key
            if key not in self._curves:
                query = DialQuery(
                    files=describe_config_files(gateway),
                    version=version,
                    keys=gateway.keys.list_keys(),
                    golden_file=file,
                    calls=calls,
                )
                curve = await self._run_query(compute_dial, query, seconds=_MAX_SECONDS)
                if len(self._curves) >= _MAX_CURVES:
                    self._curves.clear()
                self._curves[key] = {
                    "at": time.time(),
                    "version": version,
                    "file": None if file is None else str(file),
                    "since": None if calls is None else calls.since,
                    **curve,
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
