"""Test forms: what is read of them however they are cut, and what is refused as ambiguous."""

import email
import email.message
import email.policy

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ProblemError
from gateway.core.multipart import (
    MAX_KEPT_BYTES,
    MAX_PARTS,
    FormPart,
    MultipartReader,
    read_boundary,
    replace_field,
)

TYPE = "multipart/form-data; boundary=B"
PURPOSE = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch'
FILE = (
    b'\r\n--B\r\nContent-Disposition: form-data; name="file"; filename="a\\b.jsonl"\r\n'
    b"Content-Type: application/jsonl\r\n\r\n{}\r\n--A\r\n\r\n"
)
FORM = PURPOSE + FILE + b"\r\n--B--\r\n"


def read_form(body: bytes, *cuts: int) -> MultipartReader:
    reader = MultipartReader(TYPE)
    last = 0
    for cut in sorted(cuts):
        reader.feed(body[last:cut])
        last = cut
    reader.feed(body[last:])
    reader.finish()
    return reader


def part(head: bytes, content: bytes = b"x") -> bytes:
    return b"--B\r\n" + head + b"\r\n\r\n" + content + b"\r\n--B--\r\n"


def field(name: bytes, content: bytes = b"x") -> bytes:
    return (
        b'--B\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + content + b"\r\n"
    )


def refuse(body: bytes, content_type: str = TYPE) -> str:
    """Return why a form is refused: whole, and byte by byte."""
    reasons = set()
    for size in (1, len(body) or 1):
        with pytest.raises(ProblemError) as caught:  # noqa: PT012 - one of three may raise
            reader = MultipartReader(content_type)
            for at in range(0, len(body), size):
                reader.feed(body[at : at + size])
            reader.finish()
        assert caught.value.problem.kind == "invalid_request"
        reasons.add(caught.value.problem.message)
    (message,) = reasons
    return message.removeprefix("The body is no form that every server reads alike: ")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 1000])
def test_a_form_is_read_in_pieces_of_any_size(size: int) -> None:
    reader = read_form(FORM, *range(0, len(FORM), size))
    purpose, file = reader.parts
    assert purpose == FormPart(
        name="purpose", filename=None, content_type="", start=55, size=5, value=b"batch"
    )
    assert (file.name, file.filename, file.content_type, file.size, file.value) == (
        "file", "a\\b.jsonl", "application/jsonl", 11, None,
    )  # fmt: skip
    assert FORM[file.start : file.start + file.size] == b"{}\r\n--A\r\n\r\n"
    assert reader.find_field("purpose") is purpose
    assert reader.find_field("model") is None


@given(
    fields=st.dictionaries(st.sampled_from(["model", "purpose", "a b", "é[]"]), st.binary()),
    files=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\x1b\x7f")), st.binary()
        ),
        max_size=3,
    ),
    cuts=st.lists(st.integers(0, 2000), max_size=9),
)
def test_a_form_of_httpx_is_read_whole(
    fields: dict[str, bytes], files: list[tuple[str, bytes]], cuts: list[int]
) -> None:
    """The official SDKs for Python make their forms with httpx."""
    request = httpx.Request(
        "POST",
        "http://a",
        data=fields,
        files=[("file", item) for item in files] or [("file", b"x")],
    )
    body = request.read()
    reader = MultipartReader(request.headers["content-type"])

    last = 0
    for cut in [*sorted(cuts), len(body)]:
        reader.feed(body[last:cut])
        last = max(last, cut)
    reader.finish()
    contents = [body[item.start : item.start + item.size] for item in reader.parts]
    assert contents == [*fields.values(), *([data for _, data in files] or [b"x"])]
    assert [item.value for item in reader.parts][: len(fields)] == list(fields.values())
    assert [item.name for item in reader.parts][: len(fields)] == list(fields)


def test_a_sink_takes_the_content_of_its_part() -> None:
    taken: list[bytes] = []
    reader = MultipartReader(TYPE, lambda item: taken.append if item.name == "file" else None)
    for at in range(0, len(FORM), 5):
        reader.feed(FORM[at : at + 5])
    assert b"".join(taken) == b"{}\r\n--A\r\n\r\n"


def test_a_part_ends_with_its_boundary() -> None:
    reader = MultipartReader(TYPE)
    states = []
    for data in (b"", PURPOSE, FILE[:7], FILE[7:], b"\r\n--B--"):
        reader.feed(data)
        states.append(reader.is_in_part)
    assert states == [False, True, False, True, False]


def test_a_value_that_is_large_is_not_kept_and_others_are() -> None:
    large = b"y" * (MAX_KEPT_BYTES - 1)
    body = field(b"prompt", large + b"zz") + field(b"a", large) + field(b"b", b"zz") + field(b"c")
    for step in (1000, 10**6):
        reader = read_form(body + b"--B--", *range(0, len(body), step))
        assert [item.size for item in reader.parts] == [len(large) + 2, len(large), 2, 1]
        assert [item.value for item in reader.parts] == [None, large, None, b"x"]


def test_an_empty_form_is_valid() -> None:
    assert read_form(b"--B--").parts == []


def test_a_large_file_is_not_kept() -> None:
    reader = MultipartReader(TYPE)
    reader.feed(PURPOSE + FILE)
    for _ in range(10):
        reader.feed(b"-" * 100_000)
    assert len(reader._buffer) < 10
    reader.feed(b"\r\n--B--")
    reader.finish()
    assert reader.parts[1].size == 1_000_011


@pytest.mark.parametrize(
    ("head", "name", "filename"),
    [
        (b"content-disposition:form-data;name=a", "a", None),
        (b'CONTENT-DISPOSITION: Form-Data ; filename=""; NAME="a" ', "a", ""),
        (b'content-disposition: form-data; name="a"; filename=b', "a", "b"),
        (b"content-disposition: form-data; name=\"\xc3\xa9 [x]\"; filename*=utf-8''b", "é [x]", "utf-8''b"),
        (b'content-disposition: form-data; name="a"\r\ncontent-type: text/plain; charset="UTF-8"', "a", None),
        (b'content-disposition: form-data; name="a"\r\ncontent-transfer-encoding: Binary\r\nx:', "a", None),
    ],
)  # fmt: skip
def test_the_name_of_a_part_is_read(head: bytes, name: str, filename: str | None) -> None:
    (only,) = read_form(part(head)).parts
    assert (only.name, only.filename, only.value) == (
        name,
        filename,
        b"x" if filename is None else None,
    )


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "a part has a header that is not valid"),
        (b"content-type: text/plain", "a part has no content-disposition: form-data"),
        (b'content-disposition: file; name="a"', "a part has no content-disposition: form-data"),
        (b"content-disposition: form-data", "a part has no valid name"),
        (b'content-disposition: form-data; name=""', "a part has no valid name"),
        (b'content-disposition: form-data; name=" model"', "a part has no valid name"),
        (b'content-disposition: form-data; name="mo\\del"', "a part has no valid name"),
        (b"content-disposition: form-data; name=a; name*=utf-8''b", "a part has no valid name"),
        (b'content-disposition: form-data; name="mo%0adel"', "a part has no valid name"),
        (b'content-disposition: form-data;\tname="model"', "a header has parameters that are not valid"),
        (b'content-disposition: form-data; name="a"; name="b"', "a header has two parameters name"),
        (b'content-disposition: form-data; filename="a\\"; name="b"',
         "a header has parameters that are not valid"),
        (b'content-disposition: form-data; name="a" b', "a header has parameters that are not valid"),
        (b'content-disposition: form-data; name="a"\r\ncontent-disposition: form-data; name="b"',
         "a part has two headers content-disposition"),
        (b'content-disposition: form-data; name="a"\nx: b', "a part has a header that is not valid"),
        (b'content-disposition: form-data;\r\n name="a"', "a part has a header that is not valid"),
        (b'content-disposition : form-data; name="a"', "a part has a header that is not valid"),
        (b'content-disposition: form-data; name="a\0"', "a part has a header that is not valid"),
        (b'content-disposition: form-data; name="a"\r\ncontent-transfer-encoding: base64',
         "a part has a content-transfer-encoding"),
        (b'content-disposition: form-data; name="a"\r\ncontent-type: text/plain; charset=utf-16',
         "a field has another charset than utf-8"),
    ],
)  # fmt: skip
def test_a_part_that_two_servers_could_read_in_two_ways_is_refused(head: bytes, why: str) -> None:
    assert refuse(part(head)) == f"{why}."


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it ends before its last boundary"),
        (b"{}" * 9, "it does not begin with its boundary"),
        (b"\r\n" + FORM, "it does not begin with its boundary"),
        (PURPOSE, "it ends before its last boundary"),
        (PURPOSE + b"\r\n--B", "it ends before its last boundary"),
        (PURPOSE + b"\r\n--B-", "it ends before its last boundary"),
        (FORM[:-1], "it ends before its last boundary"),
        (FORM + b"x", "it has bytes behind its last boundary"),
        (FORM + FORM, "it has bytes behind its last boundary"),
        (PURPOSE + b"\n--B--", "a boundary does not begin a line"),
        (PURPOSE + b"--B--", "a boundary does not begin a line"),
        (PURPOSE + b"\r\n--B \r\n", "a boundary does not end its line"),
        (PURPOSE + b"\r\n--BB\r\n", "a boundary does not end its line"),
        (b"--B\nx", "a boundary does not end its line"),
        (b"--B\r\nx: " + b"y" * 9000, "the headers of a part have more than 8192 bytes"),
        (b"--B\r\nx: " + b"y" * 9000 + b"\r\n\r\n", "the headers of a part have more than 8192 bytes"),
        (field(b"a") * (MAX_PARTS + 1), "it has more than 1000 parts"),
        (field(b"a" * 8000) * 33, "the headers of its parts have more than 262144 bytes"),
    ],
)  # fmt: skip
def test_a_form_that_two_servers_could_read_in_two_ways_is_refused(body: bytes, why: str) -> None:
    assert refuse(body) == f"{why}."


def test_a_field_must_be_there_once_and_be_no_file() -> None:
    with pytest.raises(ProblemError, match="several parts with the name model"):
        read_form(field(b"model") + field(b"model") + b"--B--").find_field("model")
    with pytest.raises(ProblemError, match="its part file is a file"):
        read_form(FORM).find_field("file")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; BOUNDARY="a b?"', b"a b?"),
        ("multipart/form-data; boundary=" + "-" * 70, b"-" * 70),
    ],
)
def test_the_boundary_is_read(content_type: str, boundary: bytes) -> None:
    assert read_boundary(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "why"),
    [
        ("application/json", "content type is not multipart/form-data"),
        ("multipart/form-data", "has no valid boundary"),
        ('multipart/form-data; boundary=""', "has no valid boundary"),
        ('multipart/form-data; boundary="a "', "has no valid boundary"),
        ("multipart/form-data; boundary=" + "-" * 71, "has no valid boundary"),
        ("multipart/form-data; boundary=é", "has no valid boundary"),
        ("multipart/form-data; boundary=a; boundary=b", "two parameters boundary"),
        ("multipart/form-data; boundary", "parameters that are not valid"),
    ],
)
def test_a_wrong_content_type_is_refused(content_type: str, why: str) -> None:
    with pytest.raises(ProblemError, match=why):
        MultipartReader(content_type)


def test_a_field_is_replaced_and_all_other_bytes_stay() -> None:
    body = field(b"model", b"fast") + FORM
    changed = replace_field(body, TYPE, "model", b"gpt-x")
    assert changed == field(b"model", b"gpt-x") + FORM
    assert replace_field(field(b"model", b"") + b"--B--", TYPE, "model", b"m") == (
        field(b"model", b"m") + b"--B--"
    )


def test_a_field_that_is_missing_cannot_be_replaced() -> None:
    with pytest.raises(ProblemError, match="it has no part with the name model"):
        replace_field(FORM, TYPE, "model", b"x")
    with pytest.raises(ProblemError, match="it ends before its last boundary"):
        replace_field(PURPOSE, TYPE, "purpose", b"x")


_BITS = (
    b"\r\n", b"\n", b"\r", b"--B", b"--B\r\n", b"--", b'"', b"\\", b";", b" ", b"\t", b'name="x"',
    b'; filename="z"', b"filename*=utf-8''q", b"=", b":", b"%22", b"'", b",", b"(c)",
    b"Content-Transfer-Encoding: base64\r\n", b"\r\n\r\n", b"\x0b",
)  # fmt: skip
"""What makes parsers differ, at the right place."""


@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(FORM)), st.integers(0, 3), st.sampled_from(_BITS)),
        min_size=1,
        max_size=3,
    )
)
def test_a_form_that_is_accepted_means_the_same_to_the_parser_of_mail(
    cuts: list[tuple[int, int, bytes]],
) -> None:
    body = FORM
    for at, removed, added in cuts:
        body = body[:at] + added + body[at + removed :]
    reader = MultipartReader(TYPE)
    try:
        reader.feed(body)
        reader.finish()
    except ProblemError:
        return
    message = email.message_from_bytes(
        f"Content-Type: {TYPE}\r\n\r\n".encode() + body, policy=email.policy.HTTP
    )
    items = [item for item in message.get_payload() if isinstance(item, email.message.Message)]
    assert [
        (item.get_param("name", header="content-disposition"), item.get_payload()) for item in items
    ] == [(item.name, body[item.start : item.start + item.size].decode()) for item in reader.parts]
