"""Test a local engine: started once, watched, restarted after longer pauses, and stopped."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.errors import ProblemError
from gateway.core.target import Provider
from gateway.upstream import local_engine
from gateway.upstream.local_engine import LocalEngine

SERVES = """
import os, sys
print("starting", "ready", flush=True)
print("ready http://127.0.0.1:%d/" % os.getpid(), flush=True)
sys.stderr.write("it runs\\n"); sys.stderr.flush()
sys.stdin.read()
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES.replace(
    "sys.stdin.read()", "sys.stdin.read(); import time; time.sleep(60)"
)
CRASHES = "import sys; sys.stderr.write('cannot\\n'); sys.exit(7)"
NOT_INSTALLED = (
    "import sys; sys.stderr.write('warning\\nit needs more: install more\\n'); sys.exit(3)"
)
CHATTY = "print('x' * 300_000, flush=True)" + SERVES
SILENT = "import sys; sys.stdin.read()"


class WatchedEngine:
    """An engine whose pauses the test counts and ends."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.messages: list[str] = []
        self.pauses: list[float] = []
        self.paused = asyncio.Event()
        self.go_on = asyncio.Semaphore(0)
        provider = Provider(name="local", urls={}, command=command)
        self.log = folder / "data" / "local.log"
        self.engine = LocalEngine(provider, self.log, self.messages.append, self.pause)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.paused.set()
        await self.go_on.acquire()
        self.paused.clear()

    @property
    def pid(self) -> int:
        return int(self.engine.url.rpartition(":")[2])


@pytest.fixture
async def watched(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[WatchedEngine]:
    """The engine that runs a test's script."""
    script = tmp_path / "engine.py"
    script.write_text(request.param)
    watched = WatchedEngine(tmp_path, "{python}", str(script))
    watched.engine.start()
    yield watched
    await watched.engine.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run_by(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()


def script(text: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("watched", [text], indirect=True, ids=["engine"])


@script(SERVES)
async def test_an_engine_is_ready_when_it_prints_so(watched: WatchedEngine) -> None:
    url = await watched.engine.wait_until_ready()
    assert url == f"http://127.0.0.1:{watched.pid}"
    assert watched.messages == [f"local: ready on {url}"]
    assert alive(watched.pid)
    assert run_by(watched.pid) == sys.executable


@script(SERVES)
async def test_the_gateway_stops_the_engine(watched: WatchedEngine) -> None:
    await watched.engine.wait_until_ready()
    pid = watched.pid
    await watched.engine.stop()
    assert not alive(pid)
    assert watched.pauses == []


@script(STUBBORN)
async def test_the_gateway_kills_an_engine_that_does_not_stop(
    watched: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "_STOP_TIMEOUT", 0.05)
    await watched.engine.wait_until_ready()
    pid = watched.pid
    await watched.engine.stop()
    assert not alive(pid)


@script(SERVES)
async def test_the_gateway_restarts_a_killed_engine(watched: WatchedEngine) -> None:
    """Calls that come meanwhile wait for it."""
    await watched.engine.wait_until_ready()
    first_pid = watched.pid
    os.kill(first_pid, signal.SIGKILL)
    await watched.paused.wait()
    waiting = asyncio.create_task(watched.engine.wait_until_ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    watched.go_on.release()
    assert await waiting != f"http://127.0.0.1:{first_pid}"
    assert alive(watched.pid)
    assert watched.pauses == [1.0]


@script(SERVES)
async def test_the_engine_ends_when_its_input_ends(watched: WatchedEngine) -> None:
    """An engine stops with a gateway that was killed: it sees the end of its input."""
    await watched.engine.wait_until_ready()
    process = watched.engine._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    await watched.paused.wait()
    assert process.returncode == 0


@script(CRASHES)
async def test_the_pause_before_a_restart_doubles_up_to_30_seconds(watched: WatchedEngine) -> None:
    for _ in range(7):
        await watched.paused.wait()
        watched.paused.clear()
        watched.go_on.release()
    await watched.paused.wait()
    assert watched.pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert watched.messages[0] == "local: ended with status 7; again in 1 s"


@script(NOT_INSTALLED)
async def test_an_engine_that_cannot_run_is_not_restarted(watched: WatchedEngine) -> None:
    """The gateway does not try it again; its last line says what would help."""
    with pytest.raises(ProblemError) as caught:
        await watched.engine.wait_until_ready()
    problem = caught.value.problem
    assert (problem.kind, problem.spent) == ("upstream_unreachable", "no")
    assert (
        problem.message == "The local engine 'local' is not running: it needs more: install more."
    )
    assert watched.messages == ["local: it needs more: install more"]
    assert watched.pauses == []


async def test_a_missing_command_is_an_error(tmp_path: Path) -> None:
    watched = WatchedEngine(tmp_path, "/no/such/program")
    watched.engine.start()
    with pytest.raises(ProblemError, match="No such file or directory"):
        await watched.engine.wait_until_ready()
    assert watched.pauses == []
    await watched.engine.stop()


async def test_an_unwritable_log_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    watched = WatchedEngine(tmp_path, "{python}")
    watched.engine.start()
    with pytest.raises(ProblemError, match="data"):
        await watched.engine.wait_until_ready()
    await watched.engine.stop()


@script(SILENT)
async def test_an_engine_that_never_becomes_ready_is_an_error(
    watched: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "_READY_TIMEOUT", 0.05)
    with pytest.raises(ProblemError, match="did not come up within"):
        await watched.engine.wait_until_ready()


@script(CHATTY)
async def test_the_gateway_ignores_other_output_of_the_engine(watched: WatchedEngine) -> None:
    """Long lines are no problem."""
    assert await watched.engine.wait_until_ready()
    assert watched.messages == [f"local: ready on {watched.engine.url}"]


@script(CRASHES)
async def test_the_engines_output_goes_to_its_log(watched: WatchedEngine) -> None:
    await watched.paused.wait()
    assert watched.log.read_text() == "cannot\n"


@script(SERVES)
async def test_an_engine_may_be_stopped_twice(watched: WatchedEngine) -> None:
    await watched.engine.wait_until_ready()
    await watched.engine.stop()
    await watched.engine.stop()


async def test_an_engine_that_was_never_started_may_be_stopped(tmp_path: Path) -> None:
    await WatchedEngine(tmp_path, "{python}").engine.stop()


@script(SERVES)
async def test_after_a_long_run_the_pause_starts_short_again(
    watched: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause is for an engine that crashes again and again, not for one crash a day."""
    for _ in range(3):
        await watched.engine.wait_until_ready()
        os.kill(watched.pid, signal.SIGKILL)
        await watched.paused.wait()
        watched.go_on.release()
    assert watched.pauses == [1.0, 2.0, 4.0]
    monkeypatch.setattr(local_engine, "_STABLE_RUN_SECONDS", 0.0)
    await watched.engine.wait_until_ready()
    os.kill(watched.pid, signal.SIGKILL)
    await watched.paused.wait()
    assert watched.pauses[-1] == 1.0


def test_sec_supply_no_secret_is_in_the_environment_of_a_program() -> None:
    """SEC-SUPPLY: a program gets no provider keys, in any form, and none of the gateway's own
    variables.
    """
    secret = "sk-acme-0123456789"
    environ = {
        "PATH": "/bin", "HOME": "/root", "OFF": "off", "HF_TOKEN": "hf-0123456789", "EMPTY": "",
        "ACME_API_KEY": secret, "AUTH": f"Bearer {secret}", "PART": secret[3:], "TIERGATE_SECRET": "x",
        "TIERGATE_ADMIN_KEY": "x", "REDIS_URL": "redis://:x@y",
    }  # fmt: skip
    child_environment = local_engine.build_child_environment(environ, ["", "off", secret])
    assert child_environment == {
        name: environ[name] for name in ("PATH", "HOME", "OFF", "HF_TOKEN", "EMPTY")
    }


TELLS = "import os, sys; sys.stderr.write(repr(dict(os.environ))); sys.stderr.flush()\n" + SERVES


@script(TELLS)
async def test_an_engine_starts_without_secrets_in_its_environment(
    watched: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_API_KEY", "sk-acme-0123456789")
    monkeypatch.setenv("TIERGATE_SECRET", "never-shown-0123456789")
    watched.engine._secrets = ["sk-acme-0123456789"]
    await watched.engine.wait_until_ready()
    assert "PATH" in watched.log.read_text()
    for canary in ("sk-acme-0123456789", "never-shown-0123456789"):
        assert canary not in watched.log.read_text()
