"""The gateway reads each oddity of this folder correctly and passes it on unchanged.

The result does not depend on where reads cut the bytes.
"""

import json
from importlib import import_module
from pathlib import Path

import pytest

from gateway.core import sse
from gateway.dialects import OPENAI_CHAT, StreamInspector, WrittenBody
from tests.dialects.cases import ask, pieces
from tests.wire.oddity import Oddity, Refusal, Stream, Whole

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "oddity", "test_wire")
)
ODDITIES: dict[str, Oddity] = {name: import_module(f"tests.wire.{name}").ODDITY for name in NAMES}


def list_oddities[T: Oddity](kind: type[T]) -> list[object]:
    return [
        pytest.param(oddity, id=name)
        for name, oddity in ODDITIES.items()
        if isinstance(oddity, kind)
    ]


def run(oddity: Stream, size: int, *, asks_usage: bool) -> tuple[bytes, StreamInspector]:
    written = WrittenBody(b"", asks_usage=not asks_usage)
    inspector = OPENAI_CHAT.inspect_stream(
        ask(stream=True, usage=asks_usage, n=oddity.choices), written
    )
    parts = pieces(oddity.sent, range(0, len(oddity.sent), size))
    sent = [inspector.feed(part) for part in parts]
    return b"".join([*sent, inspector.end()]), inspector


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("oddity", list_oddities(Stream))
def test_the_gateway_passes_and_accounts_each_recorded_stream(oddity: Stream, size: int) -> None:
    """Reading byte by byte, in small pieces or at once gives the same bytes and the same usage."""
    for asks_usage, shown in ((False, oddity.shown), (True, oddity.shown_with_usage)):
        sent, inspector = run(oddity, size, asks_usage=asks_usage)
        assert sent == (oddity.sent if shown is None else shown)
        assert (inspector.usage, inspector.finish, inspector.served_model) == (
            oddity.usage,
            oddity.finish,
            oddity.served,
        )
        assert inspector.complete == oddity.complete
        assert (inspector.problem.kind if inspector.problem else None) == oddity.problem
        assert not (inspector.complete and inspector.problem)


@pytest.mark.parametrize("oddity", list_oddities(Stream))
def test_the_gateway_holds_back_what_comes_before_content(oddity: Stream) -> None:
    assert oddity.sent.startswith(oddity.held)
    inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, n=oddity.choices))
    assert inspector.feed(oddity.held) == b""
    assert not inspector.committed
    if oddity.complete:
        assert inspector.feed(sse.split_frames(oddity.sent[len(oddity.held) :])[0])
        assert inspector.committed


@pytest.mark.parametrize("oddity", list_oddities(Stream))
def test_a_complete_stream_folds_to_its_answer(oddity: Stream) -> None:
    """The folded answer has the same usage and finish."""
    if not oddity.complete:
        assert oddity.message is None
        return
    folded = OPENAI_CHAT.fold(oddity.sent)
    summary = OPENAI_CHAT.summarize(folded)
    assert (summary.usage, summary.served_model, summary.problem) == (
        oddity.usage,
        oddity.served,
        None,
    )
    choice = json.loads(folded)["choices"][0]
    assert oddity.choices > 1 or choice["finish_reason"] == oddity.finish
    assert choice["message"] == oddity.message


@pytest.mark.parametrize("oddity", list_oddities(Whole))
def test_the_gateway_reads_each_recorded_whole_answer(oddity: Whole) -> None:
    summary = OPENAI_CHAT.summarize(oddity.sent)
    assert (summary.usage, summary.finish, summary.served_model) == (
        oddity.usage,
        oddity.finish,
        oddity.served,
    )
    assert (summary.problem.kind if summary.problem else None) == oddity.problem
    own = summary.problem.body if summary.problem else None
    assert own == (oddity.sent if oddity.own else None)


@pytest.mark.parametrize("oddity", list_oddities(Refusal))
def test_the_gateway_reads_each_recorded_refusal(oddity: Refusal) -> None:
    problem = OPENAI_CHAT.read_problem(oddity.status, oddity.sent, None)
    assert (problem.kind, problem.http_status) == (oddity.problem, oddity.shown)
    body = OPENAI_CHAT.write_problem(problem)
    assert (body == oddity.sent) == oddity.own
    assert json.loads(body)
