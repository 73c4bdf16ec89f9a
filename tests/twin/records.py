"""Rows that a gateway leaves behind: in the journal, the store, the log, and the alerts it has sent."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.twin.compare import TwinDifference
from tests.twin.diff import MISSING, values
from tests.twin.exchanges.exchange import ProviderRequest
from tests.twin.gateway_process import GatewayProcess
from tests.twin.masks import Masks

type Json = dict[str, Any]
type Rows = dict[str, list[Json]]
"""Rows by a label: a word that says what they are, if any, and the masked id of their call."""

_SEAL = ("seq", "prev", "sum", "salt", "kept")
"""Members of a line in a journal that depend on all bytes of it and of the lines before it."""
_VIEWS = {"costs", "attempts", "feedback", "days"}
"""The public views of the store."""
_BY_CLOCK = frozenset({"refused", "budget", "redis", "limits"})
"""Events of the log that a gateway writes by the clock, so that their number varies."""
_EXCERPT = 300


def read(
    gateway: GatewayProcess, masks: Masks, alerts: Sequence[ProviderRequest]
) -> dict[str, Rows]:
    """Read the rows of a gateway that has ended, by the place that holds them."""
    data = gateway.deployment.data
    return {
        "ledger": _journal(data / "ledger", masks),
        "store": _store(data / "ledger.db", masks),
        "log": _log(gateway.child.err, masks),
        "alerts": _alerts(alerts, masks),
    }


def _journal(folder: Path, masks: Masks) -> Rows:
    rows: Rows = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(masks.text(line, measured=True))
            for name in _SEAL:
                row.pop(name, None)
            rows[str(row.get("id", "none"))].append(row)
    return rows


def _store(file: Path, masks: Masks) -> Rows:
    """Read the schema and the public views."""
    rows: Rows = defaultdict(list)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
        statements = {str(name): sql for name, sql in database.execute(schema)}
        for name, sql in statements.items():
            rows[f"schema {name}"] = [{"sql": sql}]
        for view in sorted(statements.keys() & _VIEWS):
            for record in database.execute(f"SELECT * FROM {view}"):  # noqa: S608 - names of this module
                row = json.loads(masks.text(json.dumps(dict(record)), measured=True))
                rows[f"{view} {row.get('id', '')}".strip()].append(row)
    return rows


def _log(text: str, masks: Masks) -> Rows:
    """Read the log by event and call. Lines of one event and call have no order."""
    rows: Rows = defaultdict(list)
    for line in text.splitlines():
        try:
            row = json.loads(masks.text(line, measured=True))
        except ValueError:
            row = {"event": "no JSON", "text": line}
        if row.get("event") not in _BY_CLOCK:
            rows[f"{row.get('event')} {row.get('id', '')}".strip()].append(row)
    return {label: sorted(lines, key=json.dumps) for label, lines in rows.items()}


def _alerts(alerts: Sequence[ProviderRequest], masks: Masks) -> Rows:
    """Read the alerts. A gateway sends them beside calls, so they have no order."""
    rows = [
        {"head": masks.text(sent.head), **json.loads(masks.text(sent.body, measured=True))}
        for sent in alerts
    ]
    return {"alerts": sorted(rows, key=json.dumps)}


def compare(
    where: str, base: Rows, tree: Rows, exchanges: Mapping[str, str]
) -> Iterator[TwinDifference]:
    """Compare rows by their labels. `exchanges` has the name of the exchange of each masked id."""
    for label in dict.fromkeys((*base, *tree)):
        before, after = base.get(label, []), tree.get(label, [])
        if json.dumps(before) == json.dumps(after):
            continue
        word, _, id = label.rpartition(" ")
        exchange, place = exchanges.get(id, label), f"{where} {word}".strip()
        if [row.get("kind") for row in before] != [row.get("kind") for row in after]:
            for row in _only_in(before, after):
                yield TwinDifference(where, exchange, _kind(place, row), "row is gone", _excerpt(row), MISSING)  # fmt: skip
            for row in _only_in(after, before):
                yield TwinDifference(where, exchange, _kind(place, row), "row is new", MISSING, _excerpt(row))  # fmt: skip
            continue
        for old, new in zip(before, after, strict=True):
            for what, was, now in values(old, new):
                yield TwinDifference(where, exchange, _kind(place, old), what, was, now)


def _only_in(rows: list[Json], others: list[Json]) -> list[Json]:
    return [row for row in rows if rows.count(row) > others.count(row)]


def _kind(place: str, row: Json) -> str:
    return f"{place} {row.get('kind', '')}".strip()


def _excerpt(row: Json) -> str:
    return json.dumps(row)[:_EXCERPT]
