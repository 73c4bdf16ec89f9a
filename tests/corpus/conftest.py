"""Read the corpus once, and relay it once through a gateway in every way that the tests need."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.exchanges import ChatExchange, read
from tests.corpus.gateway_relay import RelayedAnswer, ReplayRequest, relay
from tests.corpus.oracle import Row
from tests.corpus.oracle import read as read_rows

type Say = Callable[[str], None]


@pytest.fixture(scope="session")
def exchanges(corpus: Path) -> list[ChatExchange]:
    return read(corpus)


@pytest.fixture(scope="session")
def relayed(
    corpus: Path, exchanges: list[ChatExchange], tmp_path_factory: pytest.TempPathFactory
) -> list[RelayedAnswer]:
    """Relay each exchange as it was recorded.

    Streams go a second time in awkward pieces and a third time in one piece; short ones also byte
    by byte.
    """
    requests = [ReplayRequest(exchange, asks_usage=exchange.asks_usage) for exchange in exchanges]
    streams = [exchange for exchange in exchanges if exchange.stream]
    requests += [
        ReplayRequest(exchange, asks_usage=True, options=";split=awkward") for exchange in streams
    ]
    requests += [
        ReplayRequest(exchange, asks_usage=False, options=";split=whole") for exchange in streams
    ]
    short = [exchange for exchange in streams if len(exchange.body) < 2500]
    requests += [
        ReplayRequest(exchange, asks_usage=False, options=";split=bytes:1") for exchange in short
    ]
    return relay(corpus, tmp_path_factory.mktemp("relayed"), requests)


@pytest.fixture(scope="session")
def recordings(corpus: Path) -> list[Row]:
    """Read every recorded exchange of the four dialects."""
    return read_rows(corpus)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Return a function that writes a line into the report, even if output is captured."""
    terminal = request.config.get_terminal_writer()

    def line(text: str) -> None:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            terminal.line(f"\n    {text}")

    return line
