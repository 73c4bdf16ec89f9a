"""One gateway in a process of its own for all tests, in front of four labs that follow a script."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.core import jsonio
from tests.clients.lab import Lab, labs
from tests.clients.program import ROOT
from tests.e2e.child import Child, GatewayChild
from tests.e2e.conftest import loop
from tests.e2e.upstream import Upstream
from tests.e2e.world import Loop, config

__all__ = ["loop"]


@dataclass(frozen=True)
class ClientPlace:
    """The gateway's address, and the labs behind it."""

    url: str
    lab: Lab
    child: Child


@pytest.fixture(scope="session")
def running(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientPlace]:
    upstream = Upstream()
    loop.run(upstream.start())
    lab = Lab(upstream)
    folder = tmp_path_factory.mktemp("gateway")
    value = config(upstream.url)
    labs(value)
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    child = GatewayChild(file, program=[str(ROOT / ".venv/bin/tiergate")])
    try:
        yield ClientPlace(child.url, lab, child)
    finally:
        child.stop()
        loop.run(upstream.stop())


@pytest.fixture
def place(running: ClientPlace) -> Iterator[ClientPlace]:
    """Reset the labs for each test, and fail it if a lab refused anything."""
    running.lab.begin({})
    yield running
    assert not running.lab.wrong, "\n".join(running.lab.wrong)
