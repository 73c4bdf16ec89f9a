"""Fixtures of every test: a hermetic environment, a real Redis, a corpus; and a list of the skips.

A test that cannot run here skips, and its reason names the command that would let it run, as in
`pytest.skip("no nginx: apt-get install nginx-light")`. Pytest prints the list after the tests;
`--no-skips` makes it a failure.
"""

import asyncio
import gc
import os
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from bench import redis_process
from bench.free_port import find_free_port
from tests.jumping_clock import JumpingClockLoop

# A busy machine is no counterexample; runs that judge a change use the same cases every time.
settings.register_profile(
    "tiergate",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("tiergate"), max_examples=20)
settings.register_profile(  # the same few cases for each mutant, and none made smaller
    "mutation",
    settings.get_profile("quick"),
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("tiergate")

_OUTSIDE = re.compile(
    r".*_(API_KEY|AUTH_TOKEN|BASE_URL|ENDPOINT)|TIERGATE_.*|REDIS_URL|AWS_.*|HF_TOKEN"
    r"|GOOGLE_(APPLICATION_CREDENTIALS|CLOUD_.*)|(HTTP|HTTPS|ALL|NO)_PROXY|PYTHONDONTWRITEBYTECODE",
    re.IGNORECASE,
)
"""Variables that would let the outside into a test: credentials, addresses, proxies, settings.

PYTHONDONTWRITEBYTECODE would let each process under test compile all its modules anew."""

_CORPUS = os.environ.get("TIERGATE_CORPUS", "")
_ROUTING = os.environ.get("TIERGATE_ROUTING", "")
"""The folder of outcomes.parquet, read before the environment is emptied."""

_KEEP = """
"$@" &
server=$!
read -r _
kill "$server"
wait "$server"
"""
"""A shell that stops its child when its own standard input ends: also after a SIGKILL of the test run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail when a test was skipped")


def _skipped(config: pytest.Config) -> Counter[str]:
    """Count the skipped tests by reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    counts: Counter[str] = Counter()
    for report in reporter.stats.get("skipped", []) if reporter else []:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        counts[why.removeprefix("Skipped: ")] += 1
    return counts


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run a test whose limits a busy machine could exceed on a clock of its own."""
    is_marked = item.get_closest_marker("jumping_clock") is not None
    return {"asyncio": JumpingClockLoop if is_marked else asyncio.new_event_loop}


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Search for cycles after each file, and never again among the objects that are left.

    A run keeps millions of objects. A search of them all stops every thread for a second, in the
    middle of a measurement.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if passed and session.config.getoption("--no-skips") and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = _skipped(config)
    if not skipped:
        return
    strict = config.getoption("--no-skips")
    terminalreporter.section("skipped, which --no-skips forbids" if strict else "skipped")
    for reason, count in sorted(skipped.items()):
        terminalreporter.line(f"{count:4} {reason}")


@pytest.fixture(scope="session", autouse=True)
def hermetic() -> Iterator[None]:
    """An environment without the outside's credentials, addresses, proxies and settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if _OUTSIDE.fullmatch(name):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def corpus() -> Path:
    """A folder of recorded exchanges with real providers."""
    if not (_CORPUS and Path(_CORPUS).is_dir()):
        pytest.skip("set TIERGATE_CORPUS to a folder of recorded exchanges")
    return Path(_CORPUS).resolve()


@pytest.fixture(scope="session")
def outcomes_file() -> Path:
    """The tiers' scores on the prompts that the shipped classifier was trained on."""
    file = Path(_ROUTING) / "outcomes.parquet"
    if not (_ROUTING and file.is_file()):
        pytest.skip("set TIERGATE_ROUTING to the folder of outcomes.parquet")
    return file.resolve()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real, empty server of the Redis protocol on loopback, one for the whole run."""
    if redis_program() is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


redis_program = redis_process.program
"""The program of a Redis server; None if there is none."""


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a real, empty server of the Redis protocol on loopback; yield its URL."""
    program = redis_program()
    assert program is not None, "no server of the Redis protocol"
    with _serve(program, folder) as port:
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _serve(program: str, folder: Path) -> Iterator[int]:
    """Run a server that writes into the folder; yield its port."""
    port = find_free_port()
    log = folder / "log"
    settings = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder), "save": ""}
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    command = ["/bin/sh", "-c", _KEEP, "sh", program, *options]
    with (
        log.open("wb") as out,
        # A session of its own: Ctrl-C reaches the tests, whose end stops the server.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        ) as shell,
    ):
        try:
            _wait(port, folder, log)
            yield port
        finally:
            if shell.stdin:
                shell.stdin.close()
            shell.wait(timeout=10)


def _wait(port: int, folder: Path, log: Path) -> None:
    """Wait until the server of this folder answers; another server that took the port does not count."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"CONFIG GET dir\r\n")
                if str(folder).encode() in connection.recv(4096):
                    return
        except OSError:
            pass
        time.sleep(0.02)  # a real server starts
    message = f"{log.parent.name} did not start:\n{log.read_text()[-2000:]}"
    raise RuntimeError(message)
