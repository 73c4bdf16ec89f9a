"""What each position of the quality dial gives, on golden prompts or on own calls."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.call import Key
from gateway.core.errors import conflict, invalid_request
from gateway.core.quality import find_position
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore
from gateway.routing.router import Router
from gateway.server.queries.config_files import ConfigFiles, build_from_files
from gateway.settings.errors import ConfigError

MAX_CALLS = 100_000
"""The maximum number of own calls of a curve."""


class DialQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query for a curve: of the prompts of a golden file, or of own calls."""

    files: ConfigFiles
    version: str
    """The version of the configuration in force."""
    keys: Sequence[Key]
    golden_file: Path | None
    calls: LedgerQuery | None
    """The calls, if there is no golden file."""


def compute_dial(store: LedgerStore, query: DialQuery) -> dict[str, Any]:
    """Return the points of a curve, and the position that each lab has now.

    Raises ProblemError: invalid_request, with 409 for files that cannot be used.
    """
    try:
        router = build_from_files(query.files).router
        if router.catalogue.version != query.version:
            message = "The files of the configuration have changed: reload it first."
            raise conflict(message)
        points = (
            _read_calls(store, router, query.calls)
            if query.golden_file is None
            else _decide_prompts(router, query.golden_file, query.keys)
        )
    except ConfigError as error:
        reason = "; ".join(str(mistake) for mistake in error.mistakes[:3])
        raise conflict(f"There is no curve: {reason}") from None
    return {"points": points, "current": _describe_current(router)}


def _decide_prompts(router: Router, file: Path, keys: Sequence[Key]) -> list[Any]:
    # Only a query process imports what evaluates, and only for a curve.
    from gateway.evaluation.dial_curve import compute_curve  # noqa: PLC0415
    from gateway.evaluation.golden_file import read_golden_file  # noqa: PLC0415

    prompts = read_golden_file(file)
    keys_by_name = {key.name: key for key in keys}
    return [
        msgspec.to_builtins(point)
        for point in compute_curve(router, prompts, keys_by_name, time.time())
    ]


def _read_calls(store: LedgerStore, router: Router, query: LedgerQuery | None) -> list[Any]:
    from gateway.evaluation.dial_curve import LedgerCurve  # noqa: PLC0415 - as above

    selection = (query or LedgerQuery()).selection
    if (count := store.count(**selection)) > MAX_CALLS:
        message = (
            f"A classifier decided {count:,} calls in this time, more than {MAX_CALLS:,}: "
            "choose a shorter one, or use `tiergate dial --since`."
        )
        raise invalid_request(message, "since")
    curve = LedgerCurve(router)
    for row in store.read_replay_rows(**selection):
        curve.add(row)
    return [msgspec.to_builtins(point) for point in curve.compute()]


def _describe_current(router: Router) -> list[dict[str, object]]:
    """Return the position that calls of each lab have, unless a key, header or guard sets one."""
    current: list[dict[str, object]] = []
    for lab in router.catalogue.labs.values():
        share, source = router.find_lab_quality(lab)
        position = None if share is None else round(find_position(share), 2)
        current.append({"lab": lab.name, "position": position, "share": share, "set_by": source})
    return current
