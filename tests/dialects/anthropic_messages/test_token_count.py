"""Token counts: a request without max_tokens, an answer that is a number, and no cost."""

import msgspec
import pytest

from gateway.core.errors import ProblemError
from gateway.core.target import Provider, Target
from gateway.core.usage import Usage
from gateway.dialects.anthropic_messages import COUNT_TOKENS

BODY = b'{"model":"claude-x", "messages":[{"role":"user","content":"Hi"}], "x": 1.50}'


def target(model: str) -> Target:
    return Target(provider=Provider(name="p", urls={}), model=model)


def test_a_count_without_changes_keeps_the_clients_bytes() -> None:
    body = COUNT_TOKENS.read(BODY)
    assert COUNT_TOKENS.write(body, target("claude-x")).body is BODY
    assert body.prompt.user == "Hi"


def test_another_model_changes_only_that_member() -> None:
    written = COUNT_TOKENS.write(COUNT_TOKENS.read(BODY), target("claude-y")).body
    assert b'"model":"claude-y"' in written
    assert b'"x":1.50' in written
    assert b"max_tokens" not in written


def test_a_count_with_an_invalid_cap_is_refused() -> None:
    with pytest.raises(ProblemError, match="max_tokens"):
        COUNT_TOKENS.read(b'{"model":"m","messages":[],"max_tokens":"x"}')


def test_a_token_count_costs_nothing() -> None:
    assert COUNT_TOKENS.summarize(b'{"input_tokens": 12}').usage == Usage(input=0, output=0)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"type":"error","error":{"type":"api_error"}}', b'{"content":[]}']
)
def test_an_answer_without_a_number_fails(body: bytes) -> None:
    problem = COUNT_TOKENS.summarize(body).problem
    assert problem is not None
    assert msgspec.to_builtins(problem)["kind"].startswith("upstream_")
