"""A running gateway takes another configuration: what calls see of it, and what outlives it."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.runtime.build import BuiltConfig, build_config
from gateway.settings.loader import load
from tests.e2e.service import read_until
from tests.e2e.upstream import DONE, ROLE, Answer, Upstream, chunk, stream, whole
from tests.e2e.world import Change, Config, Loop, World, chat, config, spared

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HEL, LO = (chunk({"content": word}) for word in ("Hel", "lo"))


def built(folder: Path, value: Config) -> BuiltConfig:
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return build_config(load(file, {}), NOW)


class Changing:
    """A running gateway, and the configuration that it has."""

    def __init__(self, loop: Loop, folder: Path, upstream: Upstream, *changes: Change) -> None:
        self.value = config(upstream.url)
        for change in changes:
            change(self.value)
        self.world = World(loop, folder, upstream, self.value, {})
        self.gateway = self.world.gateway

    def swap(self, change: Change) -> None:
        change(self.value)
        new_config = built(self.world.folder, self.value)

        async def swap() -> None:
            self.gateway.swap(new_config)

        self.world.loop.run(swap())
        upstream = self.gateway.upstream
        upstream._sleep, upstream._jitter = self.world._wait, lambda: 1.0

    def settled(self) -> None:
        """Wait until the gateway has closed all retired revisions."""

        async def wait() -> None:
            await asyncio.gather(*self.gateway._closing_tasks)

        self.world.loop.run(wait())


@pytest.fixture
def changing(loop: Loop, tmp_path: Path, upstream: Upstream) -> Iterator[Callable[..., Changing]]:
    all_running: list[Changing] = []

    def make(*changes: Change) -> Changing:
        all_running.append(Changing(loop, tmp_path / f"{len(all_running)}", upstream, *changes))
        return all_running[-1]

    yield make
    for item in all_running:
        item.world.close()


def set_(name: str, part: Any, value: Config) -> None:
    value[name] = part


def other_model(value: Config) -> None:
    value["labs"]["acme"]["smart"] = [{"model": "able-9"}]
    value["models"]["able-9"] = {"price": {"input": 100, "output": 100}}


def test_p_07_a_running_call_keeps_its_configuration_and_a_new_call_gets_the_new(
    changing: Callable[..., Changing], upstream: Upstream
) -> None:
    """P-07: the model, the price and the version on the row are all of one configuration."""
    running = changing()
    first = running.gateway.revision.version
    upstream.on("/acme", stream(ROLE, HEL, None, LO, chunk({}, "stop"), DONE), whole())
    with running.world.leaving(chat(stream=True)) as connection:
        read_until(connection, b"Hel")
        running.swap(other_model)
        assert running.gateway.retiring_count == 1
        assert running.world.ask(chat()).status_code == 200
        running.world.release()
        read_until(connection, DONE)
    running.settled()
    assert running.gateway.retiring_count == 0
    second = running.gateway.revision.version
    rows = {row.config: row for row in running.world.entries()}
    assert set(rows) == {first, second}
    assert (rows[first].model, rows[second].model) == ("able-1", "able-9")
    assert rows[second].price != rows[first].price
    assert upstream.requests[0].connection != upstream.requests[1].connection


def test_a_reload_keeps_connections_to_unchanged_providers(
    changing: Callable[..., Changing], upstream: Upstream
) -> None:
    running = changing()
    upstream.on("/acme", whole())
    running.world.ask(chat())
    running.swap(other_model)
    running.world.ask(chat())
    assert [request.connection for request in upstream.requests] == [1, 1]
    assert [request.json["model"] for request in upstream.requests] == ["able-1", "able-9"]


def test_the_next_call_after_a_reload_uses_the_new_credential(
    changing: Callable[..., Changing], upstream: Upstream
) -> None:
    def rotate(value: Config) -> None:
        value["providers"]["acme"]["accounts"]["main"] = "sk-next-never-shown"

    running = changing()
    upstream.on("/acme", whole())
    running.world.ask(chat())
    running.swap(rotate)
    running.world.ask(chat())
    authorizations = [request.header("authorization") for request in upstream.requests]
    assert authorizations[1] == "Bearer sk-next-never-shown"
    assert authorizations[0] != authorizations[1]


def test_a_reload_keeps_provider_health_unless_the_address_changes(
    changing: Callable[..., Changing], upstream: Upstream
) -> None:
    """An unhealthy target stays out when rules change; one with a new address is in again."""

    def refuse(_: Any) -> Answer:
        return Answer(status=500, pieces=(b"{}",), length=2)

    running = changing(spared)
    upstream.on("/acme", refuse)
    upstream.on("/spare", whole())
    for _ in range(8):
        assert running.world.ask(chat()).status_code == 200
    place = ("acme", "main", "able-1")
    health = running.gateway._provider_state.health
    assert health.get_skip_reason(place)
    running.swap(lambda value: value.update(aliases={"x": "auto"}))
    assert health.get_skip_reason(place)
    assert running.gateway.upstream.health is health

    def move(value: Config) -> None:
        value["providers"]["acme"]["base_url"] += "/next"

    running.swap(move)
    assert place not in health.target_breakers
    assert ("spare", "main", "able-2") in health.target_breakers


def test_spans_after_a_reload_have_the_providers_new_address(
    changing: Callable[..., Changing],
) -> None:
    running = changing(partial(set_, "traces", {"endpoint": "http://127.0.0.1:9"}))
    traces = running.gateway.ledger_runtime.traces
    assert traces is not None
    assert traces.addresses["acme"].host == "127.0.0.1"

    def moved(value: Config) -> None:
        value["providers"]["acme"]["base_url"] = "https://moved.invalid/acme"

    running.swap(moved)
    assert traces.addresses["acme"].host == "moved.invalid"


def test_the_next_call_after_a_reload_has_the_new_settings(
    changing: Callable[..., Changing], upstream: Upstream
) -> None:
    """The settings are the cache, limits (whose counters go on), the log and the build's metric."""
    running = changing()
    upstream.on("/acme", whole())
    running.swap(
        lambda value: value.update(cache={"default": "on", "ttl": "1h"}, log={"calls": "all"})
    )
    assert [running.world.ask(chat()).headers["x-tiergate-cache"] for _ in range(2)] == [
        "miss",
        "hit",
    ]
    assert [row["event"] for row in running.world.log] == ["call", "call"]
    figures, _ = running.gateway.ledger_runtime.metrics.render()
    assert f'config="{running.gateway.revision.version}"'.encode() in figures
    limit = {"name": "few", "requests": "3/h"}
    running.swap(
        lambda value: value.update(cache={"ttl": "0s"}, log={"calls": "off"}, limits=[limit])
    )
    assert [running.world.ask(chat()).status_code for _ in range(2)] == [200, 200]
    running.swap(lambda value: value.update(aliases={"x": "auto"}))
    assert [running.world.ask(chat()).status_code for _ in range(2)] == [200, 429]
    running.swap(lambda value: value.update(limits=[]))
    assert running.world.ask(chat()).status_code == 200
    assert len(running.world.log) == 2


def test_the_model_list_after_a_reload_has_the_new_names(changing: Callable[..., Changing]) -> None:
    running = changing()
    running.swap(other_model)
    names = {model["id"] for model in running.world.client.get("/v1/models").json()["data"]}
    assert "able-9" in names
    assert "able-1" not in names
    for path in ("/health", "/ready"):
        assert running.world.client.get(path).json()["config"] == running.gateway.revision.version
    targets = running.world.client.get("/admin/health").json()["targets"]
    assert "able-9" in {target["model"] for target in targets}


def engine(word: str) -> Change:
    """Add a local engine that says where it answers, and ends with the gateway."""
    program = f"import sys; print('ready http://127.0.0.1:1/{word}', flush=True); sys.stdin.read()"

    def change(value: Config) -> None:
        value["providers"]["local"] = {
            "dialects": {"openai-chat": "/c"}, "auth": "none",
            "command": [sys.executable, "-c", program],
        }  # fmt: skip
        value["labs"]["other"]["fast"] = [{"model": "own", "provider": "local"}]

    return change


def test_a_reload_restarts_a_local_engine_only_for_a_new_command(
    changing: Callable[..., Changing],
) -> None:
    running = changing(engine("a"))
    first = running.gateway.revision.local_engines["local"]
    assert running.world.loop.run(first.wait_until_ready()) == "http://127.0.0.1:1/a"
    running.swap(other_model)
    assert running.gateway.revision.local_engines["local"] is first
    running.swap(engine("b"))
    second = running.gateway.revision.local_engines["local"]
    assert running.world.loop.run(second.wait_until_ready()) == "http://127.0.0.1:1/b"
    running.settled()
    assert first._process is not None
    assert first._process.returncode is not None
    assert second._process is not None
    assert second._process.returncode is None
    texts = [row["text"] for row in running.world.log if row["event"] == "engine"]
    assert texts[:2] == [
        "local: ready on http://127.0.0.1:1/a",
        "local: started, as its command is new",
    ]


def test_counts_of_a_removed_budget_stay_readable_after_a_reload(
    changing: Callable[..., Changing], upstream: Upstream
) -> None:
    """The counts of a removed budget stay readable: an earlier call may still need them."""
    budget = {"name": "b", "usd": 100, "every": "total"}
    running = changing(lambda value: value.update(budgets=[budget]))
    upstream.on("/acme", whole())
    assert running.world.ask(chat(max_tokens=9)).status_code == 200
    (need,) = running.gateway.limiter._limits.make_demands(
        key="open", tags=(), tier="smart", now=1e9, tokens=1, micro_usd=1
    )
    running.swap(lambda value: value.update(budgets=[]))
    assert running.gateway.limit_runtime._find_scope(None, need).filters == {}
    for number in range(9):
        limits = [{"name": f"l{number}", "requests": "9/s"}]
        running.swap(partial(set_, "limits", limits))
    with pytest.raises(ValueError, match="nothing is counted by"):
        running.gateway.limit_runtime._find_scope("default", need)
