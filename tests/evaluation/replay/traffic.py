"""Calls served by the real engine, and their rows as a replay reads them."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, Call, Key, RequestOptions
from gateway.core.ledger_rows import FinalRow, ReplayRow, Row
from gateway.ledger import journal
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.router import Router
from gateway.routing.rules.compile import RuleSet
from gateway.runtime.build import BuiltConfig, build_config
from gateway.runtime.composition import Gateway
from gateway.settings.loader import load
from gateway.telemetry.log import ignore_event
from tests.e2e.world import config

type Json = dict[str, Any]

START = 1_793_000_000.0
USAGE = {
    "prompt_tokens": 4_000,
    "completion_tokens": 50,
    "total_tokens": 4_050,
    "prompt_tokens_details": {"cached_tokens": 3_000},
}


def answer(request: httpx.Request) -> httpx.Response:
    """Answer with one word, as a provider does."""
    model = jsonio.loads(request.content)["model"]
    message = {"role": "assistant", "content": "Yes."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": model}
    return httpx.Response(200, json={**body, "choices": [choice], "usage": USAGE})


def router(folder: Path, **changes: Any) -> Router:
    """Return the router of the configuration of tests/e2e/world.py with top-level changes."""
    return _build(folder, changes).router


def _build(folder: Path, changes: Json) -> BuiltConfig:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps({**config("http://127.0.0.1:9"), **changes}))
    environ = {"TIERGATE_DATA": str(folder / "data")}
    return build_config(load(file, environ), datetime(2026, 11, 24, tzinfo=UTC))


class Ask:
    """One call of a client."""

    def __init__(
        self,
        text: str = "hi",
        *,
        model: str = "auto",
        talk: str | None = None,
        turn: int = 1,
        after: float = 1.0,
        key: Key = OPEN_KEY,
        tags: tuple[str, ...] = (),
        **body: Any,
    ) -> None:
        """Make the call of user turn `turn` of conversation `talk`, `after` seconds later."""
        exchange = [
            {"role": "user", "content": "Let us begin."},
            {"role": "assistant", "content": "."},
        ]
        turns = [*exchange * turn, {"role": "user", "content": text}]
        self.body = jsonio.dumps({"model": model, "messages": turns, **body})
        self.steer = RequestOptions(conversation=talk, tags=tags)
        self.after, self.key = after, key


def served(
    folder: Path, asks: list[Ask], rules: RuleSet | None = None, **changes: Any
) -> tuple[Router, list[FinalRow]]:
    """Return the router and the final rows of calls, in their order, as the journal has them.

    `rules` take the place of the configuration's, unchecked.
    """
    return asyncio.run(_served(_build(folder, changes), folder, asks, rules))


async def _served(
    built: BuiltConfig, folder: Path, asks: list[Ask], rules: RuleSet | None
) -> tuple[Router, list[FinalRow]]:
    gateway = Gateway(
        built,
        {"TIERGATE_DATA": str(folder / "data")},
        ignore_event,
        transports=lambda _: httpx.MockTransport(answer),
    )
    if rules is not None:
        router = msgspec.structs.replace(gateway.engine.router, rules=rules)
        gateway.engine.router, gateway.engine._decision_cache = router, DecisionCache(router)
    rows: list[Row] = []
    gateway.ledger_runtime.writer.adopt("serve", [rows.append])
    at = START
    for number, ask in enumerate(asks):
        at += ask.after
        call = Call(
            id=f"tg-{number:023x}", dialect="openai-chat", operation="generate", body=ask.body,
            key=ask.key, options=ask.steer, received_at=at, started_at=time.monotonic(),
        )  # fmt: skip
        await gateway.engine.serve(call)
    await gateway.stop()
    decoded = [
        journal.decode_row(journal.encode_row(row)) for row in rows if isinstance(row, FinalRow)
    ]
    return gateway.engine.router, [row for row in decoded if isinstance(row, FinalRow)]


def logged(row: FinalRow) -> ReplayRow:
    """Return a row as the store gives it to a replay."""
    return ReplayRow(**{name: getattr(row, name) for name in ReplayRow.__struct_fields__})
