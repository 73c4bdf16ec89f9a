"""Recorded answers of real providers, natively and translated. The recordings stay where they are."""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES
from tests.e2e.upstream import Answer
from tests.twin.configuration import DIALECTS, SHORT
from tests.twin.exchanges.client_requests import ClientRequest, write
from tests.twin.exchanges.exchange import Json, TwinExchange, http_request

_DIALECTS = {
    "chat_completions": CHAT, "responses": RESPONSES, "messages": MESSAGES,
    "gemini_generate_content": GEMINI, "gemini_stream_generate_content": GEMINI,
}  # fmt: skip
_PATHS = {
    CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages",
    "embeddings": "/v1/embeddings", "messages_count_tokens": "/v1/messages/count_tokens",
}  # fmt: skip
_CONNECTION_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "te", "trailer", "upgrade", "set-cookie", "alt-svc"}
)  # fmt: skip
"""Headers that belonged to the recorded connection."""
_LARGEST_TRANSLATED = 300_000
"""Bytes of the largest answer that is translated: the few above it would take most of the time."""


@dataclass(frozen=True)
class Recording:
    """One recorded exchange."""

    id: str
    endpoint: str
    stream: bool
    answer: Answer
    request: Json | None

    @property
    def failed(self) -> bool:
        """True if the provider answered with an error."""
        return self.answer.status != 200

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return sum(len(piece or b"") for piece in self.answer.pieces)


def exchanges(corpus: Path) -> Iterator[TwinExchange]:
    """Yield each recording natively, and translated into every other dialect.

    Errors come last. An error that refuses the credential closes the account for a while, and the
    moment at which the next good answer opens it again is not the same twice.
    """
    numbered = enumerate(_read(corpus))
    for number, recording in sorted(numbered, key=lambda pair: pair[1].failed):
        dialect = _DIALECTS.get(recording.endpoint)
        if dialect is None:
            yield _other(recording)
            continue
        for target in DIALECTS:
            if target == dialect or recording.size <= _LARGEST_TRANSLATED:
                lenient = (number + DIALECTS.index(target)) % 3 == 0
                yield _exchange(recording, dialect, target, "lenient-" * lenient)


def _read(corpus: Path) -> Iterator[Recording]:
    """Read every recorded exchange, in the order of the files."""
    for path in sorted((corpus / "recorded").glob("*.jsonl.gz")):
        endpoint = path.name.partition("__")[2].removesuffix(".jsonl.gz")
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass") as lines:
            for line in lines:
                yield _recording(json.loads(line), endpoint)


def _recording(row: Json, endpoint: str) -> Recording:
    response, request = row["response"], row["request"]["body"]
    text = response["body"] or ""
    is_base64 = response["body_kind"] == "base64"
    data = base64.b64decode(text) if is_base64 else text.encode("utf-8", "surrogatepass")
    stream = response["body_kind"] in ("sse", "ndjson")
    headers = [pair for pair in response["headers"].items() if _is_replayed(*pair)]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", "text/event-stream" if stream else "application/json"))
    sizes = (response.get("wire") or {}).get("chunk_lens") or ()
    ends = [0, *accumulate(sizes)] if sum(sizes) == len(data) else [0, len(data)]
    answer = Answer(
        pieces=tuple(data[start:end] for start, end in pairwise(ends)),
        status=response["status"],
        headers=tuple(headers),
        length=None if stream else len(data),
    )
    return Recording(
        row["id"], endpoint, stream, answer, request if isinstance(request, dict) else None
    )


def _is_replayed(name: str, value: str) -> bool:
    """True if the scripted provider sends a recorded header again."""
    is_plain = value.isascii() and "\n" not in value and value != "REDACTED"
    return is_plain and name.lower() not in _CONNECTION_HEADERS


def _exchange(recording: Recording, dialect: str, target: str, prefix: str) -> TwinExchange:
    """Give the answer of a recording to a client of the target dialect.

    Each exchange names a model of its own: what a gateway learns of one says nothing of another.
    """
    model = f"{prefix}{SHORT[dialect]}-{recording.id}-{SHORT[target]}"
    is_native = target == dialect
    if is_native and recording.request is not None:
        data = _recorded_request(recording, recording.request, dialect, model)
    else:
        data = _plain_request(recording, target, model)
    section = "recorded, native" if is_native else "recorded, translated"
    name = f"{recording.id} {SHORT[dialect]} for {SHORT[target]}"
    return TwinExchange(section, name, data, (recording.answer,))


def _other(recording: Recording) -> TwinExchange:
    """Replay embeddings and counts; give answers that no endpoint has to a chat client."""
    path = _PATHS.get(recording.endpoint)
    name = f"{recording.id} {recording.endpoint}"
    if path is not None and recording.request is not None:
        prefix = "chat" if recording.endpoint == "embeddings" else "messages"
        body = {**recording.request, "model": f"{prefix}-{recording.id}"}
        data = http_request("POST", path, body)
    else:
        request = ClientRequest((("user", "Hi."),), stream=recording.stream)
        data = write(CHAT, request, f"chat-{recording.id}-other", key="")
        name += " as chat"
    return TwinExchange("recorded, others", name, data, (recording.answer,))


def _recorded_request(recording: Recording, request: Json, dialect: str, model: str) -> bytes:
    """Write the recorded request with another model, streamed as its answer is."""
    body: dict[str, Any] = dict(request)
    headers = _retry_headers(recording)
    if dialect == GEMINI:
        body.pop("model", None)
        method = "streamGenerateContent?alt=sse" if recording.stream else "generateContent"
        return http_request("POST", f"/v1beta/models/{model}:{method}", body, headers=headers)
    body["model"] = model
    if recording.stream or "stream" in body:
        body["stream"] = recording.stream
    if dialect == MESSAGES:
        headers["anthropic-version"] = "2023-06-01"
    return http_request("POST", _PATHS[dialect], body, headers=headers)


def _plain_request(recording: Recording, dialect: str, model: str) -> bytes:
    """Write a plain request of a dialect, with a tool if the recorded one has tools."""
    question = f"What is the weather in Rome, {recording.id}?"
    tools = 1 if (recording.request or {}).get("tools") else 0
    request = ClientRequest((("user", question),), tools=tools, stream=recording.stream)
    return write(dialect, request, model, _retry_headers(recording), key="")


def _retry_headers(recording: Recording) -> dict[str, str]:
    """Mark calls that fail as retries of an SDK: the gateway then does not wait and retry itself."""
    return {"x-stainless-retry-count": "1"} if recording.answer.status >= 429 else {}
