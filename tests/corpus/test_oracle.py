"""Every recorded stream folds to what the official SDK added up from its chunks."""

import json
from itertools import pairwise

from gateway.core import sse
from gateway.dialects import OPENAI_CHAT
from tests.corpus.conftest import Say
from tests.corpus.exchanges import Exchange, Object
from tests.dialects.cases import ask

UNLIKE_THE_SDK = {
    "bf6ff51306299835": "two calls under one index, told apart by id: the SDK runs them together",
    "0a4588d90fc603cf": "a call whose name comes in every piece: the SDK writes it several times",
    "a2c6be78cc0e2b52": "a call with null as its id: the recorded oracle writes an empty one",
}
"""Streams that fold to other calls than the SDK's, on purpose."""


def read_choice(choice: Object) -> Object:
    """Return a choice of a whole answer in the shape of the oracle."""
    message = choice["message"]
    content = message["content"]
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part["type"] == "text")
    calls = [
        [call.get("id"), call["function"].get("name"), call["function"].get("arguments")]
        for call in message.get("tool_calls") or ()
    ]
    return {
        "text": content or "",
        "reasoning": message.get("reasoning_content") or message.get("reasoning") or "",
        "refusal": message.get("refusal") or "",
        "tools": calls,
        "finish": choice["finish_reason"],
    }


def read_sdk_choice(choice: Object) -> Object:
    """Return a choice as the SDK decoded it."""
    texts = {name: choice[name] or "" for name in ("text", "reasoning", "refusal")}
    tools = [list(call) for call in choice["tools"]]
    return {**texts, "tools": tools, "finish": choice["finish"]}


def streams(exchanges: list[Exchange]) -> list[Exchange]:
    return [
        exchange for exchange in exchanges if exchange.stream and exchange.oracle["outcome"] == "ok"
    ]


def test_every_stream_folds_to_what_the_sdk_decoded(exchanges: list[Exchange], say: Say) -> None:
    """Law 2 with real streams: text, reasoning, refusal, tool calls and finish of every choice."""
    unlike = set()
    count = 0
    for exchange in streams(exchanges):
        whole = json.loads(OPENAI_CHAT.fold(exchange.body))
        choices = {choice["index"]: read_choice(choice) for choice in whole["choices"]}
        expected = {
            choice["index"]: read_sdk_choice(choice) for choice in exchange.oracle["choices"]
        }
        count += len(expected)
        if choices != expected:
            unlike.add(exchange.id)
            for index, choice in expected.items():
                assert {**choices[index], "tools": []} == {**choice, "tools": []}, exchange.id
    say(f"{count} choices of {len(streams(exchanges))} streams folded, {len(unlike)} unlike")
    assert unlike == set(UNLIKE_THE_SDK)


def test_a_stream_and_its_fold_have_the_same_usage(exchanges: list[Exchange]) -> None:
    """Both forms have one account, and a second streaming changes nothing."""
    for exchange in streams(exchanges):
        inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, n=exchange.choices))
        inspector.feed(exchange.body)
        inspector.end()
        whole = OPENAI_CHAT.fold(exchange.body)
        summary = OPENAI_CHAT.summarize(whole)
        assert (inspector.usage, summary.problem) == (summary.usage, None), exchange.id
        folded_again = OPENAI_CHAT.fold(OPENAI_CHAT.unfold(whole, True))
        assert json.loads(folded_again) == json.loads(whole), exchange.id


def test_a_stream_that_stops_before_its_finish_is_never_complete(
    exchanges: list[Exchange], say: Say
) -> None:
    """Law 10 at every frame of every stream, and in the middle of each frame."""
    cuts = 0
    for exchange in streams(exchanges):
        frames = sse.split_frames(exchange.body)
        inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, n=exchange.choices))
        ended = [index for index, frame in enumerate(frames) if has_finish(frame)]
        last = ended[: exchange.choices][-1]
        for frame in frames[:last]:
            inspector.feed(frame)
            assert not inspector.complete, exchange.id
            cuts += 1
        half = frames[last][: len(frames[last]) // 2]
        inspector.feed(half)
        inspector.end()
        assert not inspector.complete, exchange.id
    say(f"{cuts} places where a stream could be cut, none of them an end")


def has_finish(frame: bytes) -> bool:
    """True if a frame has a finish, or is `[DONE]`."""
    payload = sse.read_data(frame)
    if payload.startswith(b"[DONE]"):
        return True
    choices = json.loads(payload).get("choices") if payload else None
    return any(choice.get("finish_reason") for choice in choices or ())


def test_the_client_gets_no_byte_of_a_stream_before_content(exchanges: list[Exchange]) -> None:
    """Buffered frames go out in order with the first content: no byte is lost or early."""
    for exchange in streams(exchanges):
        inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, usage=True, n=exchange.choices))
        fed = shown = b""
        states = [inspector.committed]
        for frame in sse.split_frames(exchange.body):
            shown += inspector.feed(frame)
            if exchange.cut and frame.startswith(b"data: [DONE]"):
                continue  # the gateway keeps it back
            fed += frame
            states.append(inspector.committed)
            assert shown == (fed if inspector.committed and fed.endswith(b"\n\n") else shown)
            assert inspector.committed or not shown
        shown += inspector.end()
        assert shown == fed, exchange.id
        assert inspector.complete != exchange.cut, exchange.id
        assert all(after or not before for before, after in pairwise(states))
