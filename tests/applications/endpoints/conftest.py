"""A gateway before scripted providers, for the tests of one module."""

from collections.abc import Iterator

import pytest

from tests.applications.endpoints.process import EndpointGateway, running
from tests.e2e.conftest import loop
from tests.e2e.upstream import Upstream
from tests.e2e.world import Loop

__all__ = ["loop"]


@pytest.fixture(scope="module")
def upstream(loop: Loop) -> Iterator[Upstream]:
    made = Upstream()
    loop.run(made.start())
    yield made
    loop.run(made.stop())


@pytest.fixture(scope="module")
def gateway(
    loop: Loop, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EndpointGateway]:
    with running(loop, upstream, tmp_path_factory.mktemp("endpoints")) as made:
        yield made
