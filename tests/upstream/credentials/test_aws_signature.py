"""Signature Version 4: AWS's own vectors, and a server that checks by an implementation of its own."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.credentials.aws.signature_v4 import (
    SigningScope,
    build_authorization,
    build_canonical_request,
    build_string_to_sign,
    derive_signing_key,
    format_timestamp,
)
from tests.upstream.credentials.aws_signature_check import Key, check_signature

SUITE = json.loads(
    Path(__file__).with_name("aws_signature_vectors.json").read_text(encoding="utf-8")
)
NOW = 1_700_000_000.0
KEYS = {"AKIA1": Key("secret/key+1", None, float("inf"))}


def read_request(text: str) -> tuple[str, bytes, list[tuple[str, str]], bytes]:
    """Read a request of the suite; some have a space or UTF-8 in their target."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    method, target = first.removesuffix(" HTTP/1.1").split(" ", 1)
    headers: list[tuple[str, str]] = []
    for line in filter(None, lines):
        if line[0] == " ":  # a folded line of the header before it
            name, value = headers[-1]
            headers[-1] = name, f"{value}\n{line}"
        else:
            name, _, value = line.partition(":")
            headers.append((name, value))
    return method, target.encode(), headers, body.encode()


@pytest.mark.parametrize("vector", SUITE["vectors"], ids=lambda vector: vector["name"])
def test_each_vector_of_aws_has_its_canonical_request_text_and_signature(
    vector: dict[str, Any],
) -> None:
    method, target, headers, body = read_request(vector["request"])
    for line in vector["canonical_request"].split("\n"):
        name, _, value = line.partition(":")
        if name == "x-amz-security-token" and name not in {n.lower() for n, _ in headers}:
            headers.append((name, value))  # the suite's signers add it
    canonical_request = build_canonical_request(
        method, target, headers, hashlib.sha256(body).hexdigest()
    )
    scope = SigningScope(
        timestamp=SUITE["timestamp"], region=SUITE["region"], service=SUITE["service"]
    )
    key = derive_signing_key(SUITE["secret_access_key"], scope)
    assert canonical_request.text == vector["canonical_request"]
    assert build_string_to_sign(scope, canonical_request) == vector["string_to_sign"]
    assert (
        build_authorization(SUITE["access_key_id"], key, scope, canonical_request)
        == vector["authorization"]
    )


def test_the_suite_is_whole() -> None:
    assert len(SUITE["vectors"]) == 34


def sign(method: str, url: httpx.URL, body: bytes) -> tuple[str, str, list[tuple[str, str]], bytes]:
    scope = SigningScope(timestamp=format_timestamp(NOW), region="eu-central-1", service="bedrock")
    headers = [("host", url.netloc.decode()), ("x-amz-date", scope.timestamp)]
    canonical_request = build_canonical_request(
        method, url.raw_path, headers, hashlib.sha256(body).hexdigest()
    )
    key = derive_signing_key(KEYS["AKIA1"].secret, scope)
    authorization = build_authorization("AKIA1", key, scope, canonical_request)
    return (
        method,
        url.raw_path.decode("latin-1"),
        [*headers, ("authorization", authorization)],
        body,
    )


def check(request: tuple[str, str, list[tuple[str, str]], bytes]) -> str | None:
    return check_signature(request, KEYS, region="eu-central-1", service="bedrock", now=NOW)


SEGMENT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
PATH_SEGMENT = st.one_of(
    SEGMENT.map(lambda text: quote(text, safe=":@!$&'()*+,;=")),
    SEGMENT.map(quote),
    st.sampled_from([".", "..", "", "anthropic.claude-v1:0", "a%20b", "%2e"]),
)
QUERY = st.lists(st.tuples(SEGMENT, SEGMENT), max_size=5)


def build_url(segments: list[str], query: list[tuple[str, str]]) -> httpx.URL:
    url = httpx.URL("https://bedrock-runtime.eu-central-1.amazonaws.com").copy_with(
        path="/" + "/".join(segments)
    )
    return url.copy_with(params=query) if query else url


@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.lists(PATH_SEGMENT, max_size=6),
    QUERY,
    st.binary(max_size=100),
)
def test_a_server_takes_the_signature_of_any_request(
    method: str, segments: list[str], query: list[tuple[str, str]], body: bytes
) -> None:
    assert check(sign(method, build_url(segments, query), body)) is None


@given(QUERY, st.binary(max_size=20), st.binary(max_size=20))
def test_a_server_refuses_another_body_path_or_host(
    query: list[tuple[str, str]], body: bytes, other: bytes
) -> None:
    method, target, headers, _ = sign("POST", build_url(["model", "a:0"], query), body)
    if other != body:
        assert check((method, target, headers, other)) == "InvalidSignatureException"
    assert check((method, f"/x{target}", headers, body)) == "InvalidSignatureException"
    assert check((method, target, [("host", "other"), *headers[1:]], body)) is not None


def test_a_colon_of_a_model_id_is_encoded_once_more_than_it_is_sent() -> None:
    def path_of(target: bytes) -> str:
        return build_canonical_request("POST", target, [("host", "h")], "").text.split("\n")[1]

    assert path_of(b"/model/a.b-v1%3A0/invoke") == "/model/a.b-v1%253A0/invoke"
    assert path_of(b"/model/a.b-v1:0/invoke") == "/model/a.b-v1%3A0/invoke"
    assert path_of(b"/openai/v1/chat/completions") == "/openai/v1/chat/completions"


def test_a_query_is_spelled_in_one_way_and_sorted() -> None:
    canonical_request = build_canonical_request(
        "GET", b"/?b=%7e&a=2&a=1&&c&d=x:y&e=+", [("host", "h")], ""
    )
    assert canonical_request.text.split("\n")[2] == "a=1&a=2&b=~&c=&d=x%3Ay&e=%2B"
