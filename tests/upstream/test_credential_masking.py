"""Test that a credential in a provider's error is masked however it is written, and nothing else
is.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Problem
from gateway.upstream import credential_masking

KEY = 'AKIA/wJalr+XUtn"FE\\MI'


def escaped(text: str, *names: str) -> str:
    """Return JSON text, with the characters in `names` as escapes."""
    inner = json.dumps(text)[1:-1]
    for name in names:
        inner = inner.replace(name, f"\\u{ord(name):04X}")
    return inner


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        escaped(KEY),
        escaped(KEY).replace("/", "\\/"),
        escaped(KEY, "+", "/"),
        escaped(KEY, "+").lower().replace("akia", "AKIA").replace("wjalr", "wJalr").replace("xutn", "XUtn").replace("fe", "FE").replace("mi", "MI"),
        escaped(escaped(KEY).replace("/", "\\/")),
        "".join(f"\\u{ord(it):04x}" for it in KEY),
        KEY.replace("/", "%2F").replace("+", "%2b"),
    ],
)  # fmt: skip
def test_a_credential_is_masked_in_every_form(written: str) -> None:
    """The credential may be plain, in JSON, in JSON within JSON, and in a URL."""
    body = f'{{"error":{{"message":"Wrong key: {written}."}}}}'
    assert credential_masking.mask_text(KEY, body) == '{"error":{"message":"Wrong key: ***."}}'
    assert (
        credential_masking.mask_body(KEY, body.encode())
        == b'{"error":{"message":"Wrong key: ***."}}'
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=16, max_size=40))
def test_any_credential_is_masked_in_json(key: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({"error": f"<{key}>"}, ensure_ascii=ascii_only)
        assert json.loads(credential_masking.mask_body(key, text.encode())) == {"error": "<***>"}


@pytest.mark.parametrize("key", ["", "g", "none", "ollama", "changeme", "fifteen-letters"])
def test_a_short_credential_is_not_masked(key: str) -> None:
    body = b'{"error":{"message":"none: run ollama pull; changeme, fifteen-letters"}}'
    assert credential_masking.mask_body(key, body) is body
    assert credential_masking.mask_text(key, "none of ollama") == "none of ollama"


def test_an_error_without_a_credential_stays_unchanged() -> None:
    body = b'{"error":{"message":"No.", "x": 1.50}}'
    assert credential_masking.mask_body(KEY, body) is body
    problem = Problem(kind="upstream_error", message="No.", body=body)
    assert credential_masking.mask_problem(KEY, problem) is problem


def test_the_message_and_the_body_of_a_problem_are_masked() -> None:
    problem = Problem(kind="upstream_error", message=f"No {KEY}.", body=json.dumps(KEY).encode())
    masked = credential_masking.mask_problem(KEY, problem)
    assert (masked.message, masked.body) == ("No ***.", b'"***"')


def test_masking_many_backslashes_is_fast() -> None:
    """Twice as many cost twice as much: masking looks at each one once."""
    credential_masking.mask_body(KEY, b"\\" * 1_000_000)


def test_a_long_token_of_a_cloud_is_masked_to_its_end() -> None:
    """Only its beginning is spelled in the pattern: 4,000 characters take too long to compile."""
    token = f"eyJ{'aB3-_.' * 600}"
    body = json.dumps({"error": f"Bearer {token} has ended"}).encode()
    assert credential_masking.mask_body(token, body) == b'{"error": "Bearer *** has ended"}'
