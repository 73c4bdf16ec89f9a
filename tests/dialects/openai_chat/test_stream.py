"""The usage chunk of a recorded stream: what it says, where it stands, when it is not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.usage import Usage
from gateway.dialects.openai_chat import tail, tokens
from gateway.dialects.openai_chat import usage as dialect
from tests.cache.recorded import DONE, STREAMS, TEXT, USAGE, USAGE_FRAME, frame

counts = st.integers(0, 1_000_000_000)
usages = st.builds(
    Usage,
    input=counts,
    cache_read=st.none() | counts,
    cache_write=st.just({}) | st.builds(lambda written: {"": written + 1}, counts),
    output=counts,
    reasoning=st.none() | counts,
)


@given(usages)
def test_what_is_written_is_read_as_the_same_usage(usage: Usage) -> None:
    told = tokens.written(usage)
    assert told is not None
    assert dialect.read(told) == usage


@pytest.mark.parametrize("usage", [None, Usage(), Usage(input=1), Usage(output=1, reasoning=2)])
def test_what_is_not_known_is_not_said(usage: Usage | None) -> None:
    assert tokens.written(usage) is None
    assert tail.tell(TEXT + DONE, usage) == TEXT + DONE
    assert tail.complete(b'{"id":"a"}', usage) == b'{"id":"a"}'


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_it_is_put_before_the_end_and_taken_off_again(body: bytes) -> None:
    told = tail.tell(body + DONE, USAGE)
    assert told.startswith(body)
    assert told.endswith(DONE)
    chunk = jsonio.loads(told[len(body) : -len(DONE)].removeprefix(b"data: "))
    assert (chunk["id"], chunk["object"], chunk["choices"]) == (
        "chatcmpl-1",
        "chat.completion.chunk",
        [],
    )
    assert dialect.find(chunk) == USAGE
    assert tail.hide(told) == body + DONE


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_the_providers_own_stays_to_the_byte(body: bytes) -> None:
    stream = body + USAGE_FRAME + DONE
    assert tail.tell(stream, Usage(input=1, output=1)) == stream
    assert tail.hide(stream) == body + DONE


def test_usage_beside_choices_is_seen_by_everybody() -> None:
    stream = frame(b'{"content":"a"}', b'"stop"', b',"usage":{"prompt_tokens":1}') + DONE
    assert tail.hide(stream) == stream
    assert tail.tell(stream, USAGE) == stream


def test_a_host_that_sends_no_end_gets_none() -> None:
    told = tail.tell(TEXT, USAGE)
    assert told.startswith(TEXT)
    assert b"[DONE]" not in told
    assert tail.hide(told) == TEXT


def test_a_last_frame_without_its_blank_line_is_ended() -> None:
    told = tail.tell(TEXT.removesuffix(b"\n\n"), USAGE)
    assert told == tail.tell(TEXT, USAGE)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b": nothing\n\n" + DONE,
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":9}}\n\n',
        b'data: "text"\n\n',
    ],
)
def test_streams_of_other_objects_pass_untouched(stream: bytes) -> None:
    assert tail.tell(stream, USAGE) == stream
    assert tail.hide(stream) == stream


def test_a_whole_answer_keeps_its_own_usage() -> None:
    whole = b'{"id":"a","usage":{"prompt_tokens":1}}'
    assert tail.complete(whole, USAGE) == whole
    completed = jsonio.loads(tail.complete(b'{"id":"a","choices":[]}', USAGE))
    assert dialect.find(completed) == USAGE
