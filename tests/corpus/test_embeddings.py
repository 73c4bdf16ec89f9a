"""Every recorded exchange of embeddings: the same request bytes, and the provider's usage."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects import OPERATIONS, Dialect, RequestBody, translation
from gateway.dialects.base import ResponseContext
from gateway.dialects.embeddings import OPERATION, EmbeddingsRequest, EmbeddingsResponse
from tests.corpus.conftest import Say
from tests.dialects.cases import target

type Object = dict[str, Any]

OTHERS = frozenset(
    {
        "/api/embed", "/api/embeddings", "/v1/embed", "/v2/embed",  # Ollama's and Cohere's own
        "/v1/organization/usage/embeddings",  # asks for usage figures
    }
)  # fmt: skip
"""Paths of requests that the gateway does not serve."""


def _rows(corpus: Path) -> Iterator[tuple[Dialect, Object, str]]:
    for path in sorted((corpus / "recorded").glob("*embed*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                at = (row["request"].get("path") or "").partition("?")[0]
                if at not in OTHERS:
                    name = "gemini" if "gemini_embed" in path.name else "openai-chat"
                    yield OPERATIONS[name, OPERATION], row, at


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[tuple[Dialect, Object, str]]:
    return list(_rows(corpus))


def _read(dialect: Dialect, row: Object, at: str) -> RequestBody | None:
    value = row["request"].get("body")
    if not isinstance(value, dict):
        return None
    raw = json.dumps(value, ensure_ascii=False, separators=(" , ", " : ")).encode()
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, at[at.index("models/") :])


def test_every_request_passes_unchanged_except_for_the_model(
    rows: list[tuple[Dialect, Object, str]], say: Say
) -> None:
    count: Counter[str] = Counter()
    for dialect, row, at in rows:
        body = _read(dialect, row, at)
        if body is None:
            continue
        count[row["provider"]] += 1
        assert dialect.write(body, target(body.prompt.model)).body is body.raw, row["id"]
        other = json.loads(dialect.write(body, target("other")).body)
        same = body.value
        if dialect.name == "openai-chat":
            assert other == {**same, "model": "other"}, row["id"]
        elif "requests" in same:
            asks = [{**ask, "model": "models/other"} for ask in same["requests"]]
            assert other == {**same, "requests": asks}, row["id"]
    say(f"requests: {dict(count)}")
    assert sum(count.values()) > 30


def test_the_gateway_reads_usage_and_vectors_of_every_answer(
    rows: list[tuple[Dialect, Object, str]], say: Say
) -> None:
    count: Counter[str] = Counter()
    for dialect, row, _ in rows:
        answer = row["response"]
        data = (answer["body"] or "").encode()
        if answer["status"] != 200:
            assert dialect.read_problem(answer["status"], data, None).kind.startswith("upstream_")
            count["refused"] += 1
            continue
        value = json.loads(data)
        summary = dialect.summarize(data)
        assert summary.problem is None, row["id"]
        usage = value.get("usage") or value.get("usageMetadata") or {}
        tokens = next(
            (usage[name] for name in ("prompt_tokens", "promptTokenCount", "total_tokens") if name in usage),
            None,
        )  # fmt: skip
        assert (summary.usage.input if summary.usage is not None else None) == tokens, row["id"]
        assert summary.served_model == value.get("model"), row["id"]
        rows_ = value.get("data") or value.get("embeddings")
        plain = [row_.get("embedding") or row_.get("values") for row_ in rows_]
        response = EmbeddingsResponse(
            translation.get_translation(dialect).decode_response(data), "m"
        )
        packed = any(isinstance(vector, str) for vector in plain)
        count["packed" if packed else "numbers"] += 1
        assert response.vectors == ([] if packed else plain), row["id"]
        if not packed:
            check_encoders(response, plain, data, dialect)
    say(f"answers: {dict(count)}")
    assert count["numbers"] > 20


def check_encoders(
    response: EmbeddingsResponse, plain: list[list[float]], data: bytes, dialect: Dialect
) -> None:
    """Each dialect writes the same vectors."""
    context = ResponseContext(id="c", created_at=1, model="m", request=EmbeddingsRequest(turns=()))
    events = translation.get_translation(dialect).decode_response(data)
    for name, inner in (("openai-chat", "embedding"), ("gemini", "values")):
        written = json.loads(
            translation.get_translation(OPERATIONS[name, OPERATION]).encode_response(
                events, context
            )
        )
        rows = written.get("data") or written["embeddings"]
        assert [row[inner] for row in rows] == plain == response.vectors
