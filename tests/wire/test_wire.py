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


def of[T: Oddity](kind: type[T]) -> list[object]:
    return [pytest.param(it, id=name) for name, it in ODDITIES.items() if isinstance(it, kind)]


def run(oddity: Stream, size: int, *, asked: bool) -> tuple[bytes, StreamInspector]:
    written = WrittenBody(b"", asks_usage=not asked)
    watch = OPENAI_CHAT.inspect_stream(ask(stream=True, usage=asked, n=oddity.choices), written)
    parts = pieces(oddity.sent, range(0, len(oddity.sent), size))
    sent = [watch.feed(part) for part in parts]
    return b"".join([*sent, watch.end()]), watch


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("oddity", of(Stream))
def test_a_stream(oddity: Stream, size: int) -> None:
    """Reading byte by byte, in small pieces or at once gives the same bytes and the same usage."""
    for asked, shown in ((False, oddity.shown), (True, oddity.asked)):
        sent, watch = run(oddity, size, asked=asked)
        assert sent == (oddity.sent if shown is None else shown)
        assert (watch.usage, watch.finish, watch.served_model) == (
            oddity.usage,
            oddity.finish,
            oddity.served,
        )
        assert watch.complete == oddity.complete
        assert (watch.problem.kind if watch.problem else None) == oddity.problem
        assert not (watch.complete and watch.problem)


@pytest.mark.parametrize("oddity", of(Stream))
def test_what_comes_before_content_is_held(oddity: Stream) -> None:
    assert oddity.sent.startswith(oddity.held)
    watch = OPENAI_CHAT.inspect_stream(ask(stream=True, n=oddity.choices))
    assert watch.feed(oddity.held) == b""
    assert not watch.committed
    if oddity.complete:
        assert watch.feed(sse.split_frames(oddity.sent[len(oddity.held) :])[0])
        assert watch.committed


@pytest.mark.parametrize("oddity", of(Stream))
def test_a_complete_stream_can_be_told_whole(oddity: Stream) -> None:
    """The folded answer has the same usage and finish."""
    if not oddity.complete:
        assert oddity.said is None
        return
    folded = OPENAI_CHAT.fold(oddity.sent)
    glance = OPENAI_CHAT.summarize(folded)
    assert (glance.usage, glance.served_model, glance.problem) == (
        oddity.usage,
        oddity.served,
        None,
    )
    choice = json.loads(folded)["choices"][0]
    assert oddity.choices > 1 or choice["finish_reason"] == oddity.finish
    assert choice["message"] == oddity.said


@pytest.mark.parametrize("oddity", of(Whole))
def test_a_whole_answer(oddity: Whole) -> None:
    glance = OPENAI_CHAT.summarize(oddity.sent)
    assert (glance.usage, glance.finish, glance.served_model) == (
        oddity.usage,
        oddity.finish,
        oddity.served,
    )
    assert (glance.problem.kind if glance.problem else None) == oddity.problem
    own = glance.problem.body if glance.problem else None
    assert own == (oddity.sent if oddity.own else None)


@pytest.mark.parametrize("oddity", of(Refusal))
def test_a_refusal(oddity: Refusal) -> None:
    problem = OPENAI_CHAT.read_problem(oddity.status, oddity.sent, None)
    assert (problem.kind, problem.http_status) == (oddity.problem, oddity.shown)
    body = OPENAI_CHAT.write_problem(problem)
    assert (body == oddity.sent) == oddity.own
    assert json.loads(body)
