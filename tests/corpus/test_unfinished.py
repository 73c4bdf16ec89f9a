"""Every recorded answer without the reason for its end: no client of any dialect is told that it is whole."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core import sse
from gateway.core.events import End, Finish
from gateway.dialects import DIALECTS, ResponseContext, Translation
from tests.corpus import asks
from tests.corpus.conftest import Say
from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Object, Row, read

type Change = Callable[[Object], bool]
"""Removes the reason from one JSON value of an answer; False if all of the value must go."""

TELLING = ResponseContext(id="01", created_at=7, model="m", prompt_tokens=9, state_label="x")


def chat(value: Object) -> bool:
    for choice in value.get("choices") or ():
        choice.pop("finish_reason", None)
    return True


def responses(value: Object) -> bool:
    """The terminal event of a stream is its reason."""
    value.pop("status", None)
    return value.get("type") not in ("response.completed", "response.incomplete")


def messages(value: Object) -> bool:
    for part in (value, value.get("delta")):
        if isinstance(part, dict):
            part.pop("stop_reason", None)
    return True


def gemini(value: Object) -> bool:
    value.pop("promptFeedback", None)
    for candidate in value.get("candidates") or ():
        candidate.pop("finishReason", None)
    return True


CHANGES: dict[str, Change] = {
    CHAT: chat, RESPONSES: responses, MESSAGES: messages, GEMINI: gemini,
}  # fmt: skip


def unfinished(row: Row) -> bytes:
    """The recorded answer without its reason."""
    change = CHANGES[row.dialect]
    if not row.stream:
        value = json.loads(row.body)
        for one in value if isinstance(value, list) else [value]:
            change(one)
        return json.dumps(value).encode("utf-8", "surrogatepass")
    out = []
    for frame in sse.split_frames(row.body):
        payload = sse.read_data(frame)
        if not payload or payload.startswith(b"[DONE]"):
            out.append(frame)
            continue
        value = json.loads(payload)
        if change(value):
            name = next((it for it in frame.split(b"\n") if it.startswith(b"event:")), b"")
            body = b"data: " + json.dumps(value).encode("utf-8", "surrogatepass") + b"\n\n"
            out.append(name + b"\n" + body if name else body)
    return b"".join(out)


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return [row for row in read(corpus) if row.status == 200 and not row.raised]


@pytest.mark.parametrize("client", DIALECTS)
def test_an_answer_without_a_reason_for_its_end_is_never_told_whole(
    rows: list[Row], client: str, say: Say
) -> None:
    """Native and translated, whole and streamed."""
    told = Counter[str]()
    for row in rows:
        data = unfinished(row)
        body, request = asks.client(row, DIALECTS[client])
        ours, door = DIALECTS[client], DIALECTS[row.dialect]
        voice = ours if client == row.dialect else Translation(ours, door, request, TELLING)
        if row.stream:
            watch = voice.inspect_stream(body)
            out = watch.feed(data) + watch.end()
            assert not watch.complete, row.id
            told["failed" if watch.problem or not watch.committed else "incomplete"] += 1
            speech = ours.translation
            assert speech is not None
            decoder = speech.make_decoder()
            events = [*decoder.feed(out), *decoder.end()]
            assert not any(isinstance(it, End | Finish) for it in events), row.id
        else:
            glance = voice.summarize(data)
            assert not glance.complete, row.id
            told["failed" if glance.problem else "incomplete"] += 1
            if glance.body is not None:
                assert not whole(client, glance.body), row.id
    say(f"{client}: {dict(told)}")
    assert told["incomplete"] > 1000


def whole(dialect: str, body: bytes) -> bool:
    """True if a translated answer says that it ended well."""
    speech = DIALECTS[dialect].translation
    assert speech is not None
    reasons = {it.reason for it in speech.decode_response(body) if isinstance(it, Finish)}
    return not reasons <= {"cut", "length"}
