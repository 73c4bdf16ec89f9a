"""Commands as bytes: the same as hiredis packs."""

from hiredis import pack_command
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.redis.commands import begin_command, encode_command, finish_command

WORDS = st.lists(st.binary(max_size=300), min_size=1, max_size=14)


@given(WORDS)
def test_a_command_is_what_hiredis_packs(words: list[bytes]) -> None:
    assert encode_command(*words) == pack_command(tuple(words))  # type: ignore[arg-type]


@given(WORDS, st.binary(max_size=300))
def test_a_begun_command_with_its_last_word_is_the_whole_command(
    words: list[bytes], last: bytes
) -> None:
    beginning = begin_command(len(words) + 1, words)
    assert finish_command(beginning, last) == encode_command(*words, last)
