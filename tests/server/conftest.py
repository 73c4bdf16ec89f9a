"""Fixtures: HTTP tests use real sockets, the worlds of the end-to-end tests and real processes."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import loop, make, redis_server, upstream, world
from tests.e2e.four_labs import GEMINI, MESSAGES, RESPONSES, host
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Loop
from tests.server.gate import KEYS, Gate

__all__ = [
    "gate", "gate_with_keys", "loop", "make", "provider", "redis_server", "strict_gate", "upstream",
    "world",
]  # fmt: skip

claude, replies, google = host(MESSAGES), host(RESPONSES), host(GEMINI)
"""The providers of the dialects beside Chat Completions."""


@pytest.fixture(scope="session")
def _provider(loop: Loop) -> Iterator[Upstream]:
    upstream = Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())


@pytest.fixture(scope="session")
def _gate(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    gateway = Gate(tmp_path_factory.mktemp("gate") / "gateway", _provider.url)
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def gate_with_keys(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway that requires keys, also for admins."""
    folder = tmp_path_factory.mktemp("gate_with_keys") / "gateway"
    gateway = Gate(
        folder, _provider.url, TIERGATE_KEYS=KEYS, TIERGATE_ADMIN_KEY="of-an-admin-and-no-client"
    )
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def strict_gate(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway with short timeouts and a body limit of 2 kB."""

    def limit_body(value: Config) -> None:
        value["server"] = {"max_body": "2KB"}

    folder = tmp_path_factory.mktemp("strict_gate") / "gateway"
    gateway = Gate(folder, _provider.url, limit_body, within=(0.15, 0.15))
    yield gateway
    gateway.stop()


@pytest.fixture
def provider(_provider: Upstream) -> Upstream:
    """The provider of the gateways that run as processes, reset for each test."""
    _provider.renew()
    _provider.on("/claude", claude)
    _provider.on("/reply", replies)
    _provider.on("/google", google)
    return _provider


@pytest.fixture
def gate(_gate: Gate, provider: Upstream) -> Iterator[Gate]:
    """A gateway that lives for the whole session; no test may leave a bug in its log."""
    yield _gate
    assert not [row for row in _gate.rows() if row["event"] in ("bug", "library")]
