"""The usage chunk in a recorded stream: its content, its position, and streams without one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.usage import Usage
from gateway.dialects.openai_chat import usage as dialect
from gateway.dialects.openai_chat.response import fill_usage
from gateway.dialects.openai_chat.stream import add_usage, remove_usage
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
def test_written_usage_reads_as_the_same_usage(usage: Usage) -> None:
    written = dialect.write_usage(usage)
    assert written is not None
    assert dialect.read(written) == usage


@pytest.mark.parametrize("usage", [None, Usage(), Usage(input=1), Usage(output=1, reasoning=2)])
def test_unknown_usage_is_not_added(usage: Usage | None) -> None:
    assert dialect.write_usage(usage) is None
    assert add_usage(TEXT + DONE, usage) == TEXT + DONE
    assert fill_usage(b'{"id":"a"}', usage) == b'{"id":"a"}'


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_usage_is_added_before_the_end_and_removed_again(body: bytes) -> None:
    extended = add_usage(body + DONE, USAGE)
    assert extended.startswith(body)
    assert extended.endswith(DONE)
    chunk = jsonio.loads(extended[len(body) : -len(DONE)].removeprefix(b"data: "))
    assert (chunk["id"], chunk["object"], chunk["choices"]) == (
        "chatcmpl-1",
        "chat.completion.chunk",
        [],
    )
    assert dialect.find(chunk) == USAGE
    assert remove_usage(extended) == body + DONE


def test_usage_is_added_before_the_end_if_a_comment_follows() -> None:
    """The comment names the losses of a translated answer."""
    comment = b": tiergate dropped: images\n\n"
    assert add_usage(TEXT + DONE + comment, USAGE) == add_usage(TEXT + DONE, USAGE) + comment


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_the_providers_own_usage_keeps_its_bytes(body: bytes) -> None:
    stream = body + USAGE_FRAME + DONE
    assert add_usage(stream, Usage(input=1, output=1)) == stream
    assert remove_usage(stream) == body + DONE


def test_usage_in_a_chunk_with_choices_is_never_removed() -> None:
    stream = frame(b'{"content":"a"}', b'"stop"', b',"usage":{"prompt_tokens":1}') + DONE
    assert remove_usage(stream) == stream
    assert add_usage(stream, USAGE) == stream


def test_a_stream_without_a_done_frame_gets_none() -> None:
    extended = add_usage(TEXT, USAGE)
    assert extended.startswith(TEXT)
    assert b"[DONE]" not in extended
    assert remove_usage(extended) == TEXT


def test_a_missing_last_blank_line_is_added() -> None:
    extended = add_usage(TEXT.removesuffix(b"\n\n"), USAGE)
    assert extended == add_usage(TEXT, USAGE)


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
def test_streams_of_other_dialects_pass_unchanged(stream: bytes) -> None:
    assert add_usage(stream, USAGE) == stream
    assert remove_usage(stream) == stream


def test_a_whole_answer_keeps_its_own_usage() -> None:
    whole = b'{"id":"a","usage":{"prompt_tokens":1}}'
    assert fill_usage(whole, USAGE) == whole
    completed = jsonio.loads(fill_usage(b'{"id":"a","choices":[]}', USAGE))
    assert dialect.find(completed) == USAGE
