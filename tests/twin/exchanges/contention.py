"""Calls that run into limits and budgets, calls at the same time, and clients that leave."""

from collections.abc import Iterator
from dataclasses import replace

from tests.e2e.upstream import Answer
from tests.twin.configuration import DIALECTS, SHORT
from tests.twin.exchanges.client_requests import ClientRequest, write
from tests.twin.exchanges.exchange import ProviderRequest, TwinExchange
from tests.twin.exchanges.provider_answers import Responder, answering

_PLAIN = ClientRequest((("user", "What is the weather in Rome?"),))
_DELAY = 0.8
"""Seconds before an answer to calls that meet: long enough for the second call."""


def limits() -> Iterator[TwinExchange]:
    """Yield calls of keys until a limit or a budget is reached, and beyond."""
    for key, count in (("few", 7), ("poor", 14), ("spent", 10)):
        for number in range(count):
            model = "alpha/reasoning" if key == "poor" else "alpha/smart"
            request = replace(_PLAIN, max_tokens=900, stream=number % 3 == 2)
            name = f"{key} {number}"
            data = write(DIALECTS[number % 4], request, model, key=key)
            yield TwinExchange("limits", name, data, (answering(name, request),))


def together() -> Iterator[TwinExchange]:
    """Yield calls that meet: equal ones share one upstream call, a key allows only one at a time."""
    for dialect in DIALECTS:
        for stream in (False, True):
            title = f"{SHORT[dialect]}{' streamed' * stream}"
            equal = replace(_PLAIN, temperature=0.0, stream=stream, user=title)
            single = replace(_PLAIN, stream=stream)
            for name, request, key in ((f"equal {title}", equal, "cached"), (f"one at a time {title}", single, "busy")):  # fmt: skip
                data = write(dialect, request, "every/smart", key=key)
                yield TwinExchange("together", name, data, (_delayed(name),), concurrent=(data,))


def _delayed(name: str) -> Responder:
    honest = answering(name, _PLAIN)

    def respond(sent: ProviderRequest) -> Answer:
        return replace(honest(sent), delay=_DELAY)

    return respond


def leaving() -> Iterator[TwinExchange]:
    """Yield clients that leave in the middle of a stream that has stopped for good."""
    for dialect in DIALECTS:
        for model in ("every/smart", "alpha/smart", "beta/smart"):
            name = f"leaves {SHORT[dialect]} at {model}"
            data = write(dialect, replace(_PLAIN, stream=True), model)
            yield TwinExchange("leaving", name, data, (_stopping(name),), leave_after=b'"It')


def _stopping(name: str) -> Responder:
    honest = answering(name, _PLAIN)

    def respond(sent: ProviderRequest) -> Answer:
        answer = honest(sent)
        pieces = answer.pieces[: 2 * len(answer.pieces) // 3]
        return replace(answer, pieces=pieces, end="stall")

    return respond
