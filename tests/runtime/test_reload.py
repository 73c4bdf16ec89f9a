"""Which configurations come into force, when, what the log says, and how to go back."""

import asyncio
import gc
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.runtime.build import BuiltConfig, build_config
from gateway.runtime.composition import Gateway
from gateway.runtime.reloader import ConfigWatcher, Reloader
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import load
from gateway.telemetry.log import ignore_event
from gateway.upstream.provider_state import ProviderState
from tests.e2e.upstream import chunk
from tests.e2e.world import Change, Config, config

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HEL, LO = (chunk({"content": word}) for word in ("Hel", "lo"))


def build(folder: Path, value: Config) -> BuiltConfig:
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return build_config(load(file, {}), NOW)


def change_model(value: Config) -> None:
    value["labs"]["acme"]["smart"] = [{"model": "able-9"}]
    value["models"]["able-9"] = {"price": {"input": 100, "output": 100}}


def test_a_reload_forgets_the_state_of_changed_providers() -> None:
    state = ProviderState(jitter=lambda: 1.0)
    state.health.begin(("a", "main", "m"), stream=False)
    state.health.begin(("b", "main", "m"), stream=False)
    state.health.record_auth_failure(("a", "main", "m"), "upstream_auth", 1.0)
    state.health.record_auth_failure(("b", "main", "m"), "upstream_auth", 1.0)
    state.quota.record_refusal(("a", "main", "m"), 60.0, 1e9)
    state.forget({"a"})
    assert set(state.health.target_breakers) == {("b", "main", "m")}
    assert set(state.health.account_breakers) == {("b", "main")}
    assert not state.quota.reported_keys
    assert not state.health.all_closed
    state.forget(())
    assert not state.health.all_closed


class WatchedConfig:
    """A configuration file, and the reloader that puts it in force."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.value = config("http://provider.invalid")
        self.log: list[dict[str, Any]] = []
        self.taken: list[BuiltConfig] = []
        self.fails: Exception | None = None
        self.write()
        reads = FileSnapshot()
        self.watcher = ConfigWatcher(self.read(reads), self.read, reads, wall=lambda: 7.0)
        self.reloader = Reloader(self.watcher, self.swap, self.record_event)

    def write(self, change: Change = lambda _: None) -> None:
        change(self.value)
        (self.folder / "gateway.yaml").write_bytes(jsonio.dumps(self.value))

    def read(self, reads: FileSnapshot) -> BuiltConfig:
        return build_config(load(self.folder / "gateway.yaml", {}, reads), NOW)

    def swap(self, made: BuiltConfig) -> None:
        if self.fails is not None:
            raise self.fails
        self.taken.append(made)

    def record_event(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    async def wait_seconds(self, times: int) -> None:
        """Let so many seconds pass."""
        is_over = asyncio.Event()
        remaining_sleeps = times * 10

        async def sleep(seconds: float) -> None:
            nonlocal remaining_sleeps
            assert seconds == 0.1
            remaining_sleeps -= 1
            if remaining_sleeps < 0:
                is_over.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(self.reloader.watch(sleep))
        await is_over.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def watched(tmp_path: Path) -> WatchedConfig:
    return WatchedConfig(tmp_path)


async def test_a_changed_file_takes_effect_and_is_logged(watched: WatchedConfig) -> None:
    watched.write(change_model)
    await watched.wait_seconds(2)
    assert len(watched.taken) == 1
    (row,) = watched.log
    version = watched.watcher.current.version
    assert row == {
        "event": "config",
        "version": version,
        "text": "in force",
        "changes": [
            "labs.acme.smart[0].model: able-1 -> able-9",
            'models.able-9: added, {"price":{"input":"100","output":"100","as_text":["image"]}}',
        ],
    }
    await watched.wait_seconds(2)
    assert len(watched.taken) == 1
    state = watched.reloader.state()
    assert (state["version"], state["reloads"], state["failures"]) == (version, 1, 0)
    assert (state["since"], state["last_error"]) == (7.0, None)


async def test_a_file_with_mistakes_is_logged_with_its_line_and_takes_no_effect(
    watched: WatchedConfig,
) -> None:
    before = watched.watcher.current.version
    watched.write(lambda value: value.update(serverr={}, labss={}))
    await watched.wait_seconds(3)
    assert not watched.taken
    assert [(row["event"], row["line"]) for row in watched.log] == [("config", 1)] * 2
    assert {row["error"] for row in watched.log} == {
        f"serverr: no such key. Did you mean 'server'? Version {before} stays in force.",
        f"labss: no such key. Did you mean 'labs'? Version {before} stays in force.",
    }
    (gauge,), (successes, failures) = watched.reloader.measures()
    assert (gauge.read(), successes.read(), failures.read()) == (1.0, 0, 1)
    error = watched.reloader.state()["last_error"]
    assert isinstance(error, dict)
    assert error["at"] == 7.0
    assert "no such key" in str(error["mistakes"])

    def repair(value: Config) -> None:
        del value["serverr"], value["labss"]

    watched.write(repair)
    assert (await watched.reloader.read()).kind == "same"
    assert (gauge.read(), watched.reloader.state()["last_error"]) == (0.0, None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError([Mistake(message="no lab is on.")]), "no lab is on."),
        (KeyError("secret"), "the gateway cannot build it; the log has the reason."),
    ],
)
async def test_a_configuration_that_cannot_be_built_changes_nothing(
    watched: WatchedConfig, error: Exception, message: str
) -> None:
    before = watched.watcher.current
    watched.fails = error
    watched.write(change_model)
    result = await watched.reloader.read()
    assert (result.kind, result.mistakes[0].message) == ("refused", message)
    assert watched.watcher.current is before
    bugs = [row for row in watched.log if row["event"] == "bug"]
    assert len(bugs) == isinstance(error, KeyError)
    assert "secret" not in str(watched.log)


async def test_the_log_names_the_settings_that_need_a_restart(watched: WatchedConfig) -> None:
    watched.write(lambda value: value.update(server={"port": 9}))
    await watched.wait_seconds(2)
    assert watched.log[-1] == {
        "event": "config",
        "waits": ["server.port"],
        "text": "these changes need a restart",
    }
    assert watched.reloader.state()["waiting"] == ["server.port"]


async def test_the_log_lists_the_first_of_many_changes(watched: WatchedConfig) -> None:
    def add_choices(value: Config) -> None:
        value["choices"] = [
            {"name": f"c{number}", "tier": "fast", "when": {"turns": {"min": number}}}
            for number in range(1, 24)
        ]

    watched.write(add_choices)
    watched.reloader.start_read()
    await watched.reloader.drain()
    (row,) = watched.log
    assert len(row["changes"]) == 21
    assert row["changes"][-1] == "and 3 more"


async def test_the_operator_can_roll_back(watched: WatchedConfig) -> None:
    first = watched.watcher.current.version
    assert (await watched.reloader.roll_back()).kind == "refused"
    watched.write(change_model)
    assert (await watched.reloader.read(dry=True)).kind == "taken"
    assert not watched.taken
    await watched.reloader.read()
    assert watched.reloader.state()["previous"] == first
    assert (await watched.reloader.roll_back(dry=True)).kind == "taken"
    assert len(watched.taken) == 1
    await watched.reloader.roll_back()
    assert watched.log[-1]["text"] == "went back"
    state = watched.reloader.state()
    assert (state["version"], state["rolled_back"], state["previous"]) == (first, True, None)


async def test_a_stop_waits_for_a_read_and_for_old_revisions(tmp_path: Path) -> None:
    """A stop waits for a read that is under way, and for revisions that are over."""
    value = config("http://provider.invalid")
    gateway = Gateway(build(tmp_path, value), {"TIERGATE_DATA": str(tmp_path / "d")}, ignore_event)
    await gateway.start()
    change_model(value)
    gateway.swap(build(tmp_path, value))
    gateway.reloader.start_read()
    await gateway.stop()
    assert gateway.retiring_count == 0


async def test_a_running_call_keeps_its_revision(tmp_path: Path) -> None:
    value = config("http://provider.invalid")
    gateway = Gateway(build(tmp_path, value), {"TIERGATE_DATA": str(tmp_path / "d")}, ignore_event)
    await gateway.start()
    before = gateway.revision
    engine = before.enter()
    change_model(value)
    gateway.swap(build(tmp_path, value))
    assert gateway.retiring_count == 1
    assert gateway.engine is not engine
    before.leave()
    await asyncio.gather(*gateway._closing_tasks)
    assert gateway.retiring_count == 0
    await gateway.stop()


async def test_a_revision_without_calls_is_freed_at_once(tmp_path: Path) -> None:
    """No revision waits for the cycle search, which would hold the event loop for long."""
    value = config("http://provider.invalid")
    gateway = Gateway(build(tmp_path, value), {"TIERGATE_DATA": str(tmp_path / "d")}, ignore_event)
    await gateway.start()
    references = []
    gc.disable()
    try:
        for has_call in (True, False):
            before = gateway.revision
            references.append(weakref.ref(before))
            if has_call:
                before.enter()
            change_model(value)
            gateway.swap(build(tmp_path, value))
            if has_call:
                before.leave()
            del before
            await asyncio.gather(*gateway._closing_tasks)
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()
    await gateway.stop()
