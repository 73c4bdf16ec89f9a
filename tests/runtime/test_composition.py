"""A configuration becomes a gateway: what is chosen, what is refused, what an earlier run left."""

import asyncio
import hashlib
import re
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger.errors import StoreError
from gateway.ledger.journal import Journal
from gateway.ledger.recovery import Recovered
from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand
from gateway.runtime.build import BuiltConfig, build_config
from gateway.runtime.composition import Gateway
from gateway.settings.data_folder import find_data_folder, resolve_store_url
from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from gateway.state.memory import MemoryStore
from gateway.state.redis.store import RedisStore
from gateway.telemetry.log import ignore_event
from tests.e2e.world import Change, config
from tests.settings import world

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = {"TIERGATE_KEYS": f"one={hashlib.sha256(b's').hexdigest()}"}


INTENT = IntentRow(
    id="tg-1", at=1.0, key="open", dialect="openai-chat", lab="acme", tier="smart",
    provider="acme", model="able-1", config="c",
)  # fmt: skip
ENTRY = FinalRow(
    id="tg-2", at=1.0, key="open", dialect="openai-chat", state="refused", status=400,
    duration=0.1, config="c",
)  # fmt: skip


def build(folder: Path, *changes: Change) -> BuiltConfig:
    value = config("http://provider.invalid")
    for change in changes:
        change(value)
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return build_config(load(file, {}), NOW)


async def start_gateway(
    built: BuiltConfig, folder: Path, host: str | None = None, **environ: str
) -> Gateway:
    gateway = Gateway(
        built, {"TIERGATE_DATA": str(folder / "data"), **environ}, ignore_event, host=host
    )
    await gateway.start()
    return gateway


def setting(path: str, value: Any) -> Change:
    *parents, member = path.split(".")

    def change(whole: dict[str, Any]) -> None:
        for name in parents:
            whole = whole.setdefault(name, {})
        whole[member] = value

    return change


HOSTS: list[tuple[str | None, Change | None, dict[str, str], bool]] = [
    (None, None, {}, True),
    ("127.0.0.1", None, {}, True),
    ("::1", None, {}, True),
    ("localhost", None, {}, True),
    ("0.0.0.0", None, {}, False),
    ("::", None, {}, False),
    ("", None, {}, True),
    (None, setting("server.host", ""), {}, False),
    ("10.0.0.1", None, {}, False),
    (None, setting("server.host", "0.0.0.0"), {}, False),
    ("127.0.0.1", setting("server.host", "0.0.0.0"), {}, True),
    ("0.0.0.0", setting("server.open", True), {}, True),
    ("0.0.0.0", None, KEY, True),
]


@pytest.mark.parametrize(("host", "change", "environ", "starts"), HOSTS)
async def test_open_keys_may_listen_only_on_this_machine(
    tmp_path: Path, host: str | None, change: Change | None, environ: dict[str, str], starts: bool
) -> None:
    built = build(tmp_path, *([change] if change else []))
    if starts:
        await (await start_gateway(built, tmp_path, host, **environ)).stop()
    else:
        with pytest.raises(ConfigError, match="let every client that reaches"):
            await start_gateway(built, tmp_path, host, **environ)


async def test_a_gateway_does_not_start_without_a_lab(tmp_path: Path) -> None:
    def turn_labs_off(value: dict[str, Any]) -> None:
        del value["providers"]["spare"]
        for name in ("acme", "other"):
            value["providers"][name]["accounts"] = {"main": f"${{{name.upper()}_KEY}}"}

    with pytest.raises(
        ConfigError, match=r"no lab is on \(acme: set ACME_KEY, other: set OTHER_KEY\)"
    ):
        await start_gateway(build(tmp_path, turn_labs_off), tmp_path)


async def test_state_is_in_redis_if_there_is_one_and_else_in_memory(tmp_path: Path) -> None:
    without_cache = build(tmp_path)
    with_cache = build(tmp_path, setting("cache.ttl", "1h"))
    kinds = []
    for built, environ in (
        (with_cache, {}),
        (with_cache, {"REDIS_URL": "redis://127.0.0.1:1/0"}),
        (without_cache, {"REDIS_URL": "redis://127.0.0.1:1/0"}),
    ):
        gateway = await start_gateway(built, tmp_path, **environ)
        kinds.append(type(gateway._state_store))
        await gateway.stop()
    assert kinds == [MemoryStore, RedisStore, RedisStore]


async def test_the_first_start_after_a_crash_closes_open_calls(tmp_path: Path) -> None:
    """Only the first start after the crash closes it."""
    journal = Journal(tmp_path / "data" / "ledger")
    journal.write(INTENT)
    journal.close()
    built = build(tmp_path)
    first = await start_gateway(built, tmp_path)
    assert [entry.id for entry in first.recovered.entries] == ["tg-1"]
    assert {entry.state for entry in first.recovered.entries} == {"unknown_crash"}
    await first.stop()
    second = await start_gateway(built, tmp_path)
    assert not second.recovered.entries
    await second.stop()
    rows = read_stored(tmp_path)
    assert rows == [("tg-1", "unknown_crash")]


def read_stored(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "data" / "ledger.db")) as base:
        return list(base.execute("select id, state from entries"))


async def test_a_start_settles_the_reservations_of_crashed_calls(tmp_path: Path) -> None:
    """A worker settles what its supervisor, which does not serve, has recovered.

    A call that was over is charged its cost. A call whose end nobody saw is charged its
    reservation. Both concurrency slots are free again. A call without a reservation changes
    nothing.
    """
    budget = {"name": "b", "usd": 1, "every": "total"}
    limit = {"name": "two", "concurrency": 2}
    built = build(tmp_path, setting("budgets", [budget]), setting("limits", [limit]))
    gateway = Gateway(built, {"TIERGATE_DATA": str(tmp_path / "data")}, ignore_event)
    slot = CounterDemand(kind="concurrency", name="two", field="concurrency|two|all", limit=2)
    money = CounterDemand(kind="usd", name="b", field="usd|b|all|total", limit=10**6, amount=5_000)
    for id in ("over", "open"):
        request = AdmissionRequest(id=id, tenant="default", demands=(slot, money), expires_at=2e9)
        assert await gateway._counter_store.admit(request, 1e9) == Admitted()
    cost = {
        "attempts": 1,
        "input": 1,
        "output": 1,
        "cost": Decimal("0.000040"),
        "wasted": Decimal(0),
    }
    finished = msgspec.structs.replace(ENTRY, id="over", state="settled", **cost)
    crashed = msgspec.structs.replace(ENTRY, id="open", state="unknown_crash", attempts=1)
    gateway.adopt_recovered(Recovered(entries=(crashed,), ended_rows=(finished, ENTRY)))
    await gateway.start()
    assert await gateway._counter_store.read_counters("default") == {money.field: 5_040}
    requests = [
        AdmissionRequest(id=id, tenant="default", demands=(slot,), expires_at=2e9)
        for id in ("one", "two")
    ]
    assert [await gateway._counter_store.admit(request, 1e9) for request in requests] == [
        Admitted()
    ] * 2
    await gateway.stop()


async def test_stopping_the_gateway_feeds_the_store_with_its_rows(tmp_path: Path) -> None:
    gateway = await start_gateway(build(tmp_path), tmp_path)
    gateway.ledger_runtime.journal.write(ENTRY)
    await gateway.stop()
    assert read_stored(tmp_path) == [("tg-2", "refused")]


async def test_background_work_continues_after_a_failure(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    gateway = Gateway(
        build(tmp_path),
        {"TIERGATE_DATA": str(tmp_path / "data")},
        lambda event, **fields: rows.append({"event": event, **fields}),
    )
    times = 0
    has_run_three_times = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        nonlocal times
        times += 1
        if times == 3:
            loop.call_soon_threadsafe(has_run_three_times.set)
        if times == 2:
            raise StoreError("the ledger's store is locked")
        raise KeyError("my secret")

    task = asyncio.create_task(gateway.ledger_runtime._run_every(0, work))
    await has_run_three_times.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await gateway.stop()
    first, second = (str(row["error"]) for row in rows[:2])
    assert re.fullmatch(r"KeyError at test_composition\.py:\d+", first)
    assert second == "the ledger's store is locked"


def test_every_mistake_of_a_configuration_is_reported_together(tmp_path: Path) -> None:
    def add_mistakes(value: dict[str, Any]) -> None:
        value["ledger"] = {"time_zone": "Europe/Bern"}
        value["choices"] = [{"name": "a", "when": {"matches": "("}, "tier": "fast"}]
        value["labs"]["acme"]["fast"][0]["provider"] = "acne"

    with pytest.raises(ConfigError) as caught:
        build(tmp_path, add_mistakes)
    messages = [str(mistake) for mistake in caught.value.mistakes]
    assert len(messages) == 3
    assert any("no time zone 'Europe/Bern'" in line for line in messages)
    assert any("choices[0].when.matches" in line for line in messages)
    assert any("Did you mean 'acme'?" in line for line in messages)


def test_an_unknown_price_is_a_warning(tmp_path: Path) -> None:
    def remove_price(value: dict[str, Any]) -> None:
        del value["models"]["able-1"]

    warnings = [str(warning) for warning in build(tmp_path, remove_price).warnings]
    assert any("the price of acme/able-1 is unknown" in line for line in warnings)
    assert not build(tmp_path).warnings


def test_the_classifier_can_be_turned_off(tmp_path: Path) -> None:
    assert build(tmp_path).router.classifier is not None
    assert build(tmp_path, setting("routing.classifier", "off")).router.classifier is None


async def test_a_background_task_that_ends_with_an_error_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks go on, and tasks that the gateway itself stops are not logged."""
    events: list[tuple[str, dict[str, object]]] = []

    def log(event: str, **fields: object) -> None:
        events.append((event, fields))

    gateway = Gateway(build(tmp_path), {"TIERGATE_DATA": str(tmp_path / "data")}, log)

    async def fail() -> None:
        raise ValueError("with a prompt in its text")

    monkeypatch.setattr(gateway.keys, "watch", lambda *_: fail())
    await gateway.start()
    await asyncio.sleep(0)
    await gateway.stop()
    ((_, task_fields),) = [logged for logged in events if logged[0] == "task"]
    assert task_fields["name"] == "keys"
    assert str(task_fields["error"]).startswith(f"ValueError at {Path(__file__).name}:")
    assert "prompt" not in jsonio.dumps(events).decode()


def test_the_data_folder_follows_the_environment() -> None:
    assert find_data_folder({}) == Path("data")
    assert find_data_folder({"TIERGATE_DATA": "/x"}) == Path("/x")
    data = Path("/data")
    assert resolve_store_url("sqlite:///ledger.db", data) == "sqlite:////data/ledger.db"
    assert resolve_store_url("sqlite:////else/ledger.db", data) == "sqlite:////else/ledger.db"


@pytest.mark.parametrize(
    ("media", "kinds"),
    [
        ("{fetch: on}", {"image", "file"}),
        ("{fetch: on, types: audio/wav}", {"audio"}),
        ("{fetch: on, types: [image/png]}", {"image"}),
        ("{fetch: off, types: [image/png]}", set()),
    ],
)
def test_kinds_of_fetched_media_follow_from_types(
    tmp_path: Path, media: str, kinds: set[str]
) -> None:
    text = f"{world.BASE}media: {media}\n"
    assert world.whole(tmp_path, text).router.fetched_media == kinds


@pytest.mark.parametrize("part", ["traces", "otlp"])
def test_a_receiver_without_the_extra_is_a_mistake_of_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    for name in ("otel", "otel_logs", "otel_metrics"):
        monkeypatch.setitem(sys.modules, f"gateway.telemetry.{name}", None)
    built = build(tmp_path, lambda value: value.update({part: {"endpoint": "http://here:4318"}}))
    with pytest.raises(ConfigError, match=rf"{part}\.endpoint.*pip install 'tiergate\[otel\]'"):
        Gateway(built, {"TIERGATE_DATA": str(tmp_path / "data")}, ignore_event)
