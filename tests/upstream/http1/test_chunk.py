"""Test that a chunk is known by its length, and that nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.http1.response import unwrap_chunk


def written(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@given(st.binary(min_size=1, max_size=300))
def test_unwrap_chunk_returns_the_data_of_a_chunk(data: bytes) -> None:
    assert unwrap_chunk(written(data)) == data


@pytest.mark.parametrize("size", [1, 15, 16, 17, 255, 256, 257, 4000])
def test_unwrap_chunk_reads_sizes_around_a_new_digit(size: int) -> None:
    data = b"a" * size
    assert unwrap_chunk(written(data)) == data


_ALIKE = st.lists(
    st.sampled_from([b"\r\n", b"0", b"1", b"2", b"5", b"a", b"A", b"f", b"10", b";x", b" ", b"\n"]),
    max_size=12,
).map(b"".join)


@given(_ALIKE)
def test_unwrap_chunk_never_takes_other_bytes_for_a_chunk(data: bytes) -> None:
    """Zeros before the size, capital letters, extensions, two chunks, the last one, half of one."""
    chunk = unwrap_chunk(data)
    assert chunk is None or (chunk and written(chunk) == data)


@pytest.mark.parametrize(
    "data",
    [b"", b"0\r\n\r\n", b"01\r\na\r\n", b"1;x\r\na\r\n", b"A\r\n0123456789\r\n", b"1\r\na\r\n1\r\nb\r\n", b"1\r\na", b"2\r\na\r\n", b"1\r\na\r\r"],
)  # fmt: skip
def test_unwrap_chunk_leaves_other_forms_to_the_parser(data: bytes) -> None:
    assert unwrap_chunk(data) is None


def test_unwrap_chunk_leaves_a_long_chunk_to_the_parser() -> None:
    assert unwrap_chunk(written(b"a" * 4089)) == b"a" * 4089
    assert unwrap_chunk(written(b"a" * 4090)) is None
