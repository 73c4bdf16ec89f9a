"""Test the form of an upload: its fields, what comes too late, and the batch in its file."""

import pytest

from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.core.multipart import MAX_KEPT_BYTES
from gateway.pipeline.passthrough.upload_form import UploadForm

TYPE = "multipart/form-data; boundary=B"
REQUEST = b'{"custom_id": "1", "body": {"model": "a", "max_tokens": 9}}\n'


def part(name: str, value: bytes = b"x", filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def make_form(*parts: bytes, guards_fields: bool = False, ends: bool = True) -> UploadForm:
    form = UploadForm(TYPE, "openai", guards_fields=guards_fields)
    form.feed(b"".join(parts) + (b"--B--" if ends else b""))
    if ends:
        form.finish()
    return form


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (["model"], {"model": "0"}),
        (["a", "a"], {"a": ["0", "1"]}),
        (["a[]"], {"a": ["0"]}),
        (["a[]", "a[]"], {"a": ["0", "1"]}),
        (["a[0]", "a[1]"], {"a": ["0", "1"]}),
        (["a", "a[]"], {"a": ["0", "1"]}),
        (["video[id]"], {"video": {"id": "0"}}),
        (["a[b]", "a[c]", "a[b]"], {"a": {"b": ["0", "2"], "c": "1"}}),
        (["a[][id]", "a[][id]"], {"a": [{"id": "0"}, {"id": "1"}]}),
        (["a[b]", "a"], {"a": [{"b": "0"}, "1"]}),
    ],
)
def test_fields_are_nested_as_their_names_say(names: list[str], fields: Json) -> None:
    form = make_form(*[part(name, b"%d" % number) for number, name in enumerate(names)])
    assert form.read_fields() == fields


@pytest.mark.parametrize("name", ["a[", "a]", "[a]", "a[b", "a[b]c", "a[[b]]", "a" + "[b]" * 9])
def test_names_whose_brackets_do_not_nest_are_refused(name: str) -> None:
    with pytest.raises(ProblemError, match="brackets in its name"):
        make_form(part(name)).read_fields()


def test_files_and_long_texts_are_no_fields() -> None:
    form = make_form(part("file", b"x", "a"), part("prompt", b"x" * (MAX_KEPT_BYTES + 1)))
    assert form.read_fields() == {}
    form = make_form(part("file_id", b"x" * (MAX_KEPT_BYTES + 1)))
    with pytest.raises(ProblemError, match="The part `file_id` of the form must be a short text"):
        form.read_fields()


@pytest.mark.parametrize("name", ["model", "purpose", "file_id", "file_ids[]"])
def test_a_file_is_no_value(name: str) -> None:
    """Some servers read the content of such a part as the field's value."""
    with pytest.raises(ProblemError, match="must be a short text"):
        make_form(part(name, b"x", "a"))
    assert make_form(part("video", b"x", "a")).read_fields() == {}


@pytest.mark.parametrize(
    ("late", "guards_fields", "reason"),
    [
        (part("file_id"), False, "Send the field `file_id` of the form before its files."),
        (part("video[id]"), False, "Send the field `video` of the form before its files."),
        (part("purpose"), False, ""),
        (part("n"), True, "Send the field `n` of the form before its files."),
        (part("image", b"x", "a"), True, ""),
    ],
)
def test_a_field_that_the_gateway_decides_by_comes_first(
    late: bytes, reason: str, *, guards_fields: bool
) -> None:
    form = make_form(part("file", b"x", "a"), guards_fields=guards_fields, ends=False)
    form.end_beginning()
    if not reason:
        form.feed(late)
        return
    with pytest.raises(ProblemError) as caught:
        form.feed(late)
    assert caught.value.problem.message == reason


def test_a_field_that_is_not_whole_cannot_be_decided_by() -> None:
    beginning = part("n", b"12")[:-2]
    with pytest.raises(ProblemError, match="Send the field `n`"):
        make_form(beginning, guards_fields=True, ends=False).end_beginning()
    make_form(beginning, ends=False).end_beginning()
    make_form(part("n"), b"--B\r\n", guards_fields=True, ends=False).end_beginning()


@pytest.mark.parametrize("purpose_first", [True, False])
def test_a_batch_file_is_read_as_it_passes(*, purpose_first: bool) -> None:
    parts = [part("purpose", b"batch"), part("file", REQUEST * 3, "a.jsonl")]
    form = make_form(*(parts if purpose_first else parts[::-1]))
    assert form.batch is not None
    assert form.batch.size == 3 * len(REQUEST)
    assert form.batch.models["a"].capped_tokens == 27


@pytest.mark.parametrize(
    "parts",
    [
        [part("purpose", b"user_data"), part("file", REQUEST, "a")],
        [part("file", REQUEST, "a")],
        [part("purpose", b"batch"), part("file", REQUEST)],
        [part("purpose", b"batch"), part("data", REQUEST, "a")],
    ],
)
def test_another_form_has_no_batch(parts: list[bytes]) -> None:
    assert make_form(*parts).batch is None


def test_two_files_are_no_batch() -> None:
    """The gateway reads the first; a provider may read the second."""
    parts = [part("purpose", b"batch"), part("file", REQUEST, "a"), part("file", REQUEST, "b")]
    with pytest.raises(ProblemError, match="several parts with the name file"):
        make_form(*parts)
