"""Commands as bytes."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.state.redis.commands import begin_command, encode_command, finish_command

WORDS = st.lists(st.binary(max_size=300), min_size=1, max_size=14)


def test_a_command_has_each_word_after_its_length() -> None:
    assert encode_command(b"GET", b"", b"a\r\n") == b"*3\r\n$3\r\nGET\r\n$0\r\n\r\n$3\r\na\r\n\r\n"


@given(WORDS, st.binary(max_size=300))
def test_a_begun_command_with_its_last_word_is_the_whole_command(
    words: list[bytes], last: bytes
) -> None:
    assert finish_command(begin_command(*words), last) == encode_command(*words, last)
