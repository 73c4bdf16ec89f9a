"""Test response headers: pairs and wire lines are equal, and no header makes two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.response import HeaderLines, Response, _format_common_lines, encode_response

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(
    lambda text: text.strip().encode()
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.binary(max_size=20))
def test_header_pairs_and_header_lines_encode_the_same_response(
    headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    lines = HeaderLines(b"".join(b"%b: %b\r\n" % pair for pair in headers).decode())
    assert [*lines] == headers
    as_pairs, as_lines = (
        Response(status=200, headers=header_form, body=body) for header_form in (headers, lines)
    )
    data = encode_response(as_pairs)
    assert data is not None
    assert data == encode_response(as_lines)
    as_lines.add_connection_close()
    assert as_lines.headers == [*headers, (b"connection", b"close")]


@pytest.mark.parametrize("name", ["a\r\nb: c", "a\nb", "a\0", "\r"])
def test_sec_hdr_a_configured_name_with_a_line_break_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="more than a line"):
        _format_common_lines(name, None, None, "", "off", 1)
    with pytest.raises(ValueError, match="more than a line"):
        _format_common_lines("lab", "fast", "model", name, "off", 1)


def test_unknown_values_have_no_header() -> None:
    assert _format_common_lines(None, None, None, "", "off", 0) == ""
    lines = _format_common_lines("lab", None, None, "", "miss", 2)
    assert [*HeaderLines(lines)] == [
        (b"x-tiergate-lab", b"lab"), (b"x-tiergate-cache", b"miss"), (b"x-tiergate-attempts", b"2"),
    ]  # fmt: skip
    assert lines == "x-tiergate-lab: lab\r\nx-tiergate-cache: miss\r\nx-tiergate-attempts: 2\r\n"
