"""The Messages API of Google Cloud: the path names the model, the body the version."""

import json

import pytest

from gateway.dialects.anthropic_messages import vertex
from gateway.dialects.base import WrittenBody

BODY = WrittenBody(b'{"model": "claude-haiku-5-5@20260901", "max_tokens": 8, "temperature": 1.50}')


@pytest.mark.parametrize(("stream", "method"), [(False, "rawPredict"), (True, "streamRawPredict")])
def test_the_path_names_the_model_and_the_method(stream: bool, method: str) -> None:
    written_body = vertex.rewrite(BODY, {}, "generate", stream=stream)
    assert written_body.url_suffix == f"/claude-haiku-5-5@20260901:{method}"
    assert written_body.body == (
        b'{"max_tokens":8,"temperature":1.50,"anthropic_version":"vertex-2023-10-16"}'
    )


def test_a_count_of_tokens_keeps_its_model_in_the_body() -> None:
    written_body = vertex.rewrite(BODY, {}, "count_tokens", stream=False)
    assert written_body.url_suffix == "/count-tokens:rawPredict"
    assert json.loads(written_body.body)["model"] == "claude-haiku-5-5@20260901"


@pytest.mark.parametrize(
    ("header", "version"),
    [("2023-06-01", "vertex-2023-10-16"), ("2026-10-21", "2026-10-21")],
)
def test_the_version_is_that_of_the_client(header: str, version: str) -> None:
    written_body = vertex.rewrite(BODY, {"anthropic-version": header}, "generate", stream=False)
    assert json.loads(written_body.body)["anthropic_version"] == version


def test_a_version_in_the_body_does_not_stand_twice() -> None:
    body = WrittenBody(b'{"model": "m", "anthropic_version": "x"}')
    written_body = vertex.rewrite(body, {}, "generate", stream=False)
    assert written_body.body == b'{"anthropic_version":"vertex-2023-10-16"}'


def test_a_model_name_cannot_leave_its_segment_of_the_path() -> None:
    body = WrittenBody(b'{"model": "../../x;y?z#/a"}')
    written_body = vertex.rewrite(body, {}, "generate", stream=False)
    assert written_body.url_suffix == "/..%2F..%2Fx%3By%3Fz%23%2Fa:rawPredict"
