"""The stages of a run: a configuration, and the exchanges that both gateways play with it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tests.twin import configuration
from tests.twin.configuration import TwinConfiguration
from tests.twin.exchanges import (
    contention,
    conversations,
    faults,
    generated,
    mistakes,
    queries,
    recordings,
)
from tests.twin.exchanges.exchange import TwinExchange, unique


@dataclass(frozen=True)
class TwinStage:
    """A configuration and its exchanges."""

    configuration: TwinConfiguration
    exchanges: Callable[[Sequence[str]], Iterable[TwinExchange]]
    """Makes the exchanges, given the names of models that the base's gateway lists."""
    commands: bool = False
    """True if the run also compares the command line, on the files that the gateways leave."""

    @property
    def name(self) -> str:
        """The name of its configuration."""
        return self.configuration.name


def stages(corpus: Path | None) -> list[TwinStage]:
    """List the stages of a whole run. Without a corpus there is no stage of recorded answers."""
    listed = [
        TwinStage(configuration.keyed(faults.COUNT), _keyed, commands=True),
        TwinStage(configuration.opened(), lambda _: _opened()),
    ]
    if corpus is not None:
        stage = TwinStage(configuration.recorded(), lambda _: recordings.exchanges(corpus))
        listed.append(stage)
    return listed


def short() -> TwinStage:
    """Return the short form for the test suite: a sample of each kind of exchange."""
    return TwinStage(configuration.keyed(0), lambda _: _short())


def _keyed(models: Sequence[str]) -> Iterator[TwinExchange]:
    calls = unique(
        chain(
            generated.features(),
            generated.mixed(700),
            generated.repeated(),
            generated.shipped(models),
            generated.embeddings(),
            generated.token_counts(),
            conversations.talks(),
            conversations.tool_loops(),
            conversations.stored_answers(),
            contention.limits(),
            contention.together(),
            contention.leaving(),
            faults.faults(),
        )
    )
    yield from chain(queries.before_calls(), calls, generated.routes())
    yield from chain(mistakes.bad_bodies(), mistakes.bad_requests(), mistakes.smuggled(150))
    yield from chain(queries.rows(calls[::2]), queries.after_calls(), queries.figures())


def _opened() -> Iterator[TwinExchange]:
    calls = unique(
        chain(
            _every(3, generated.features()),
            generated.mixed(250),
            generated.repeated(),
            conversations.talks(),
            conversations.tool_loops(),
            conversations.stored_answers(),
        )
    )
    yield from chain(queries.before_calls(), calls, generated.routes())
    yield from chain(queries.rows(calls[::4]), queries.after_calls(), queries.figures())


def _short() -> Iterator[TwinExchange]:
    calls = unique(
        chain(
            _every(30, generated.features()),
            _every(6, generated.repeated()),
            _every(12, generated.embeddings()),
            _every(12, generated.token_counts()),
            _every(24, conversations.talks()),
            unique(conversations.tool_loops())[:12],
            unique(conversations.stored_answers())[:9],
        )
    )
    yield from calls
    yield from chain(_every(9, mistakes.bad_bodies()), _every(3, mistakes.smuggled(9)))
    yield from chain(queries.rows(calls[::9]), _every(3, queries.after_calls()))


def _every(step: int, exchanges: Iterable[TwinExchange]) -> list[TwinExchange]:
    return unique(exchanges)[::step]
