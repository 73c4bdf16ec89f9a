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


def built(folder: Path, value: Config) -> BuiltConfig:
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return build_config(load(file, {}), NOW)


def other_model(value: Config) -> None:
    value["labs"]["acme"]["smart"] = [{"model": "able-9"}]
    value["models"]["able-9"] = {"price": {"input": 100, "output": 100}}


def test_nothing_is_known_of_a_provider_that_is_another() -> None:
    known = ProviderState(jitter=lambda: 1.0)
    known.health.begin(("a", "main", "m"), stream=False)
    known.health.begin(("b", "main", "m"), stream=False)
    known.health.record_auth_failure(("a", "main", "m"), "upstream_auth", 1.0)
    known.health.record_auth_failure(("b", "main", "m"), "upstream_auth", 1.0)
    known.quota.record_refusal(("a", "main", "m"), 60.0, 1e9)
    known.forget({"a"})
    assert set(known.health.target_breakers) == {("b", "main", "m")}
    assert set(known.health.account_breakers) == {("b", "main")}
    assert not known.quota.reported_keys
    assert not known.health.all_closed
    known.forget(())
    assert not known.health.all_closed


class Watched:
    """A configuration file, and the reloader that puts it in force."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.value = config("http://provider.invalid")
        self.log: list[dict[str, Any]] = []
        self.taken: list[BuiltConfig] = []
        self.fails: Exception | None = None
        self.write()
        reads = FileSnapshot()
        self.renewal = ConfigWatcher(self.read(reads), self.read, reads, wall=lambda: 7.0)
        self.reload = Reloader(self.renewal, self.swap, self.say)

    def write(self, change: Change = lambda _: None) -> None:
        change(self.value)
        (self.folder / "gateway.yaml").write_bytes(jsonio.dumps(self.value))

    def read(self, reads: FileSnapshot) -> BuiltConfig:
        return build_config(load(self.folder / "gateway.yaml", {}, reads), NOW)

    def swap(self, made: BuiltConfig) -> None:
        if self.fails is not None:
            raise self.fails
        self.taken.append(made)

    def say(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    async def looks(self, times: int) -> None:
        """Let so many seconds pass."""
        over = asyncio.Event()
        left = times * 10

        async def sleep(seconds: float) -> None:
            nonlocal left
            assert seconds == 0.1
            left -= 1
            if left < 0:
                over.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(self.reload.watch(sleep))
        await over.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_a_file_that_has_changed_is_put_in_force_and_told(watched: Watched) -> None:
    watched.write(other_model)
    await watched.looks(2)
    assert len(watched.taken) == 1
    (line,) = watched.log
    version = watched.renewal.current.version
    assert line == {
        "event": "config",
        "version": version,
        "text": "in force",
        "changes": [
            "labs.acme.smart[0].model: able-1 -> able-9",
            'models.able-9: added, {"price":{"input":"100","output":"100","as_text":["image"]}}',
        ],
    }
    await watched.looks(2)
    assert len(watched.taken) == 1
    state = watched.reload.state()
    assert (state["version"], state["reloads"], state["failures"]) == (version, 1, 0)
    assert (state["since"], state["last_error"]) == (7.0, None)


async def test_one_with_mistakes_is_told_with_file_and_line_and_never_put_in_force(
    watched: Watched,
) -> None:
    before = watched.renewal.current.version
    watched.write(lambda value: value.update(serverr={}, labss={}))
    await watched.looks(3)
    assert not watched.taken
    assert [(row["event"], row["line"]) for row in watched.log] == [("config", 1)] * 2
    assert {row["error"] for row in watched.log} == {
        f"serverr: no such key. Did you mean 'server'? Version {before} stays in force.",
        f"labss: no such key. Did you mean 'labs'? Version {before} stays in force.",
    }
    (gauge,), (done, failed) = watched.reload.measures()
    assert (gauge.read(), done.read(), failed.read()) == (1.0, 0, 1)
    error = watched.reload.state()["last_error"]
    assert isinstance(error, dict)
    assert error["at"] == 7.0
    assert "no such key" in str(error["mistakes"])

    def mend(value: Config) -> None:
        del value["serverr"], value["labss"]

    watched.write(mend)
    assert (await watched.reload.read()).kind == "same"
    assert (gauge.read(), watched.reload.state()["last_error"]) == (0.0, None)


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (ConfigError([Mistake(message="no lab is on.")]), "no lab is on."),
        (KeyError("secret"), "the gateway cannot build it; the log has the reason."),
    ],
)
async def test_one_that_cannot_be_put_together_changes_nothing(
    watched: Watched, fails: Exception, told: str
) -> None:
    before = watched.renewal.current
    watched.fails = fails
    watched.write(other_model)
    found = await watched.reload.read()
    assert (found.kind, found.mistakes[0].message) == ("refused", told)
    assert watched.renewal.current is before
    bugs = [row for row in watched.log if row["event"] == "bug"]
    assert len(bugs) == isinstance(fails, KeyError)
    assert "secret" not in str(watched.log)


async def test_what_waits_for_a_new_start_is_told(watched: Watched) -> None:
    watched.write(lambda value: value.update(server={"port": 9}))
    await watched.looks(2)
    assert watched.log[-1] == {
        "event": "config",
        "waits": ["server.port"],
        "text": "these changes need a restart",
    }
    assert watched.reload.state()["waiting"] == ["server.port"]


async def test_of_many_changes_the_first_are_told(watched: Watched) -> None:
    def many(value: Config) -> None:
        value["choices"] = [
            {"name": f"c{at}", "tier": "fast", "when": {"turns": {"min": at}}}
            for at in range(1, 24)
        ]

    watched.write(many)
    watched.reload.start_read()
    await watched.reload.drain()
    (line,) = watched.log
    assert len(line["changes"]) == 21
    assert line["changes"][-1] == "and 3 more"


async def test_it_goes_back_and_tells(watched: Watched) -> None:
    first = watched.renewal.current.version
    assert (await watched.reload.roll_back()).kind == "refused"
    watched.write(other_model)
    assert (await watched.reload.read(dry=True)).kind == "taken"
    assert not watched.taken
    await watched.reload.read()
    assert watched.reload.state()["previous"] == first
    assert (await watched.reload.roll_back(dry=True)).kind == "taken"
    assert len(watched.taken) == 1
    await watched.reload.roll_back()
    assert watched.log[-1]["text"] == "went back"
    state = watched.reload.state()
    assert (state["version"], state["rolled_back"], state["previous"]) == (first, True, None)


async def test_a_gateway_ends_what_it_has_begun(tmp_path: Path) -> None:
    """A stop waits for a read that is under way, and for revisions that are over."""
    value = config("http://provider.invalid")
    gateway = Gateway(built(tmp_path, value), {"TIERGATE_DATA": str(tmp_path / "d")}, ignore_event)
    await gateway.start()
    other_model(value)
    gateway.swap(built(tmp_path, value))
    gateway.reloader.start_read()
    await gateway.stop()
    assert gateway.retiring_count == 0


async def test_a_call_that_runs_keeps_its_edition(tmp_path: Path) -> None:
    value = config("http://provider.invalid")
    gateway = Gateway(built(tmp_path, value), {"TIERGATE_DATA": str(tmp_path / "d")}, ignore_event)
    await gateway.start()
    before = gateway.revision
    engine = before.enter()
    other_model(value)
    gateway.swap(built(tmp_path, value))
    assert gateway.retiring_count == 1
    assert gateway.engine is not engine
    before.leave()
    await asyncio.gather(*gateway._closing_tasks)
    assert gateway.retiring_count == 0
    await gateway.stop()


async def test_what_is_over_is_gone_at_once(tmp_path: Path) -> None:
    """No revision waits for the cycle search, which would hold the event loop for long."""
    value = config("http://provider.invalid")
    gateway = Gateway(built(tmp_path, value), {"TIERGATE_DATA": str(tmp_path / "d")}, ignore_event)
    await gateway.start()
    gone = []
    gc.disable()
    try:
        for busy in (True, False):
            before = gateway.revision
            gone.append(weakref.ref(before))
            if busy:
                before.enter()
            other_model(value)
            gateway.swap(built(tmp_path, value))
            if busy:
                before.leave()
            del before
            await asyncio.gather(*gateway._closing_tasks)
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()
    await gateway.stop()
