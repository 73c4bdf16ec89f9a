"""What answers show of objects: those that were made, and the pages of lists."""

from typing import Any

import pytest

from gateway.core.object_answers import (
    MadeObject,
    find_made_objects,
    find_result_objects,
    read_page,
)


@pytest.mark.parametrize(
    ("kind", "answer", "objects"),
    [
        (
            "file",
            {"id": "file-1", "bytes": 120, "purpose": "batch", "expires_at": 9, "filename": "a"},
            [
                MadeObject(
                    id="file-1", kind="file", expires_at=9.0,
                    facts={"bytes": 120},
                )
            ],
        ),
        (
            "batch",
            {"id": "batch_1", "expires_at": 9},
            [MadeObject(id="batch_1", kind="batch")],
        ),
        (
            "fine_tuning_job",
            {"id": "ftjob-1", "model": "gpt", "status": ""},
            [MadeObject(id="ftjob-1", kind="fine_tuning_job")],
        ),
        (
            "upload",
            {"id": "upload_1", "file": {"id": "file-1", "bytes": 7}},
            [
                MadeObject(id="upload_1", kind="upload"),
                MadeObject(id="file-1", kind="file", facts={"bytes": 7}),
            ],
        ),
        (
            "file",
            {"file": {"name": "files/a", "sizeBytes": "12", "state": "ACTIVE", "expires_at": "x"}},
            [MadeObject(id="files/a", kind="file")],
        ),
        ("cached_content", {"name": "cachedContents/1"},
         [MadeObject(id="cachedContents/1", kind="cached_content")]),
        ("file", {"id": 3, "file": "x"}, []),
    ],
)  # fmt: skip
def test_an_answer_shows_what_was_made(kind: str, answer: Any, objects: list[MadeObject]) -> None:
    assert find_made_objects(kind, answer) == objects


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        ({"output_file_id": "file-2", "error_file_id": None}, ["file-2"]),
        ({"result_files": ["file-3", "", 4]}, ["file-3"]),
        ({"response": {"responsesFile": "files/b"}}, ["files/b"]),
        ({"response": "done"}, []),
        ([], []),
    ],
)
def test_an_answer_names_files_that_the_provider_has_made(answer: Any, ids: list[str]) -> None:
    makes = dict.fromkeys(
        ("output_file_id", "error_file_id", "result_files", "response.responsesFile"), "file"
    )
    assert find_result_objects(makes, answer) == [MadeObject(id=id, kind="file") for id in ids]


def keep(body: bytes, *ids: str, member: str = "data") -> bytes:
    page = read_page(body, member)
    assert page is not None
    return page.keep(ids)


def test_a_page_keeps_the_objects_of_a_key_byte_for_byte() -> None:
    body = (
        b'{"object": "list", "data": [{"id":"f1", "n": 1.0}, {"id": "f2"},\n {"id":"f3","u":"\\u00e9"}],'
        b'"first_id":"f1","last_id":"f3", "has_more":true, "extra": [ 1 ]}'
    )
    page = read_page(body, "data")
    assert page is not None
    assert (page.ids, page.has_more, page.next_cursor) == (["f1", "f2", "f3"], True, "f3")
    assert page.keep({"f1", "f2", "f3"}) == (
        b'{"object":"list","data":[{"id":"f1", "n": 1.0}, {"id": "f2"},\n {"id":"f3","u":"\\u00e9"}],'
        b'"first_id":"f1","last_id":"f3","has_more":true,"extra":[ 1 ]}'
    )
    assert page.keep({"f3", "f2"}) == (
        b'{"object":"list","data":[{"id": "f2"},{"id":"f3","u":"\\u00e9"}],'
        b'"first_id":"f2","last_id":"f3","has_more":true,"extra":[ 1 ]}'
    )
    assert page.keep(()) == (
        b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false,"extra":[ 1 ]}'
    )


def test_a_page_of_gemini_has_names_and_a_token() -> None:
    body = b'{"files":[{"name":"files/a"},{"name":"files/b"}],"nextPageToken":"t"}'
    assert (
        keep(body, "files/b", member="files")
        == b'{"files":[{"name":"files/b"}],"nextPageToken":"t"}'
    )
    page = read_page(body, "files")
    assert page is not None
    assert page.has_more
    assert (
        keep(b'{"cachedContents":[{"name":"a"}]}', member="cachedContents")
        == b'{"cachedContents":[]}'
    )


def test_an_item_that_shows_no_id_is_nobodys() -> None:
    assert keep(b'{"data":[{"x":1},"f1",{"id":7},{"id":"f1"}]}', "f1") == b'{"data":[{"id":"f1"}]}'
    page = read_page(b'{"data":[{"x":1}]}', "data")
    assert page is not None
    assert (page.ids, page.has_more) == ([], False)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"data":{}}', b'{"objects":[]}'])
def test_what_is_no_page_is_none(body: bytes) -> None:
    assert read_page(body, "data") is None


@pytest.mark.parametrize("item", [b"[]", b"1", b'{"id":"a"}'])
def test_a_page_with_too_many_values_is_no_page(item: bytes) -> None:
    """A list of 16 MB has room for millions of values, each a Python object."""
    assert read_page(b'{"data":[' + b",".join([item] * 400_001) + b"]}", "data") is None
