"""The recording of a live check: a file of JSON lines, one for each exchange, that law 3 can judge.

A line has the members of a corpus of recorded exchanges (`id`, `provider`, `endpoint`, `request`,
`response`, ...), and in `doctor` what the gateway made of the answer.
"""

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from gateway.cli.doctor.live.answer import DecodedAnswer
from gateway.cli.doctor.live.checks import Deviation, compute_probe_cost
from gateway.cli.doctor.live.probes import EMBEDDINGS, name_gemini_method
from gateway.cli.doctor.live.redaction import RecordingRedactor, mask_model
from gateway.cli.doctor.live.send import ProbeOutcome
from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects import BEDROCK_CONVERSE

_ENDPOINTS: Mapping[tuple[str, str], str] = {
    ("openai-chat", "generate"): "chat_completions",
    ("openai-responses", "generate"): "responses",
    ("anthropic-messages", "generate"): "messages",
    ("gemini", "generate"): "gemini_generate_content",
    ("bedrock-converse", "generate"): "bedrock_converse",
    ("openai-chat", EMBEDDINGS): "embeddings",
    ("gemini", EMBEDDINGS): "gemini_embed",
}
"""The names of endpoints in a corpus, by dialect and operation."""
_EVENT_STREAM_TYPE = "application/vnd.amazon.eventstream"
_UNANSWERED = "unanswered"
"""The endpoint of a request to which no answer came: there is nothing to judge."""


class JudgedProbe(msgspec.Struct, frozen=True):
    """A sent probe, what the gateway made of its answer, and what is not as expected."""

    outcome: ProbeOutcome
    answer: DecodedAnswer
    deviations: list[Deviation]


def create_recording(file: Path) -> None:
    """Create an empty recording that only its owner can read. Raises OSError if there is one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600, exist_ok=False)


def write_recording(file: Path, judged: Iterable[JudgedProbe], redactor: RecordingRedactor) -> None:
    """Write the recording. Raises OSError."""
    lines = [
        jsonio.dumps(make_line(item, redactor, number)) for number, item in enumerate(judged, 1)
    ]
    file.write_bytes(b"".join(line + b"\n" for line in lines))


def make_line(judged: JudgedProbe, redactor: RecordingRedactor, number: int) -> dict[str, Json]:
    """Return the line of one exchange."""
    outcome, answer = judged.outcome, judged.answer
    exchange, series, probe = outcome.exchange, outcome.series, outcome.probe
    dialect_name, target = series.dialect.name, series.candidate.target
    redactor.note_credential(exchange.request_headers)
    sent_at = datetime.fromtimestamp(outcome.sent_at, UTC)
    is_answered = exchange.status != 0
    mask = redactor.mask if exchange.status == 200 else redactor.mask_error
    body = mask(exchange.body)
    is_unchanged = body == exchange.body
    cost = compute_probe_cost(outcome)
    return {
        "id": f"doctor-{sent_at:%Y%m%dT%H%M%S}-{number:03}",
        "source_repo": "tiergate doctor --live",
        "source_commit": version("tiergate"),
        "provider": target.provider.name,
        "endpoint": _ENDPOINTS[dialect_name, probe.operation] if is_answered else _UNANSWERED,
        "model": mask_model(target.model),
        "recorded": f"{sent_at:%Y-%m-%d}",
        "fidelity": "raw+chunks" if is_unchanged else "raw(redacted)",
        "authenticity": "recorded",
        "request": {
            "method": "POST",
            "path": _make_path(outcome),
            "headers": redactor.select_headers(exchange.request_headers, is_request=True),
            "body": jsonio.loads(redactor.mask(exchange.request_body or b"null")),
        },
        "response": {
            "status": exchange.status,
            "headers": redactor.select_headers(exchange.response_headers, is_request=False),
            "body_kind": _name_kind(exchange.get_header("content-type"), body),
            "body": _write_body(exchange.get_header("content-type"), body),
            "wire": {
                "chunk_lens": [len(chunk) for chunk in exchange.chunks] if is_unchanged else []
            },
        },
        "features": [probe.name],
        "doctor": {
            "probe": probe.name,
            "lab": series.lab,
            "tier": series.tier,
            "dialect": dialect_name,
            "effort": target.effort,
            "left": probe.is_left,
            "seconds": round(outcome.seconds, 3),
            "text": redactor.mask_text(answer.text),
            "reasoning_chars": answer.reasoning_chars,
            "tool_calls": [
                [redactor.mask_text(call.name), redactor.mask_text(call.arguments)]
                for call in answer.tool_calls
            ],
            "finish": answer.finish,
            "word": answer.word,
            "vector_size": answer.vector_size,
            "usage": None if outcome.usage is None else msgspec.to_builtins(outcome.usage),
            "usd": None if cost.computed is None else str(cost.computed),
            "billed": None if cost.billed is None else str(cost.billed),
            "problem": None if outcome.problem is None else outcome.problem.kind,
            "deviations": [
                {"level": item.level, "text": redactor.mask_error(item.text.encode()).decode()}
                for item in judged.deviations
            ],
        },
    }


def _make_path(outcome: ProbeOutcome) -> str:
    """Return the path of a request as its dialect has it: the user's own may name the user."""
    dialect, is_stream = outcome.series.dialect, outcome.probe.is_stream
    model = mask_model(outcome.series.candidate.target.model)
    if dialect is BEDROCK_CONVERSE:
        return f"/model/{model}/converse{'-stream' if is_stream else ''}"
    if dialect.name != "gemini":
        return outcome.series.client_dialect.path
    method = f"{name_gemini_method(outcome.probe)}{'?alt=sse' if is_stream else ''}"
    return f"/v1beta/models/{model}:{method}"


def _write_body(content_type: str, body: bytes) -> str:
    """Return a body as text: Amazon's event streams are no text, and stand in base64."""
    if content_type.startswith(_EVENT_STREAM_TYPE):
        return base64.b64encode(body).decode()
    return body.decode("utf-8", "replace")


def _name_kind(content_type: str, body: bytes) -> str:
    """Return the kind of a body, as a corpus names it."""
    if not body:
        return "empty"
    if content_type.startswith("text/event-stream"):
        return "sse"
    if content_type.startswith(_EVENT_STREAM_TYPE):
        return "base64"
    return "json" if body.lstrip()[:1] in (b"{", b"[") else "text"
