"""The end and the usage of jobs at providers: batches, and fine-tuning.

Sources: `Batch.usage` and the lines of output files at OpenAI, `MessageBatchIndividualResponse` at
Anthropic, the operations of Gemini's batches, `BatchJob` at Mistral, `FineTuningJob` at OpenAI.
"""

from collections.abc import Mapping
from decimal import Decimal

from gateway.core import jsonio, log_probs
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, parse_count
from gateway.dialects.anthropic_messages import usage as anthropic_usage
from gateway.dialects.gemini import usage as gemini_usage
from gateway.dialects.openai_chat import usage as chat_usage
from gateway.dialects.openai_responses import usage as responses_usage

type Object = Mapping[str, Json]
type UsageByModel = dict[str, Usage]
"""The usage of a job, by the model that answered."""

MAX_LINE_BYTES = 16_000_000
"""Bytes of the longest line of a result file that the gateway reads."""
_END_WORDS = frozenset(
    {
        "completed", "failed", "expired", "cancelled", "succeeded", "ended", "success",
        "timeout_exceeded", "batch_state_succeeded", "batch_state_failed",
        "batch_state_cancelled", "batch_state_expired", "job_state_succeeded",
        "job_state_failed", "job_state_cancelled", "job_state_expired",
    }
)  # fmt: skip
TRAINED_TOKEN = "trained_token"  # noqa: S105 - a unit
"""The unit of fine-tuning."""


def has_ended(job: Object) -> bool:
    """Return True if an answer shows a job that does nothing more."""
    if job.get("done") is True:
        return True
    words = (
        job.get("processing_status"),  # Anthropic
        job.get("status"),
        _as_object(job.get("metadata")).get("state"),  # Gemini
    )
    return any(isinstance(word, str) and word.lower() in _END_WORDS for word in words)


def may_have_worked(kind: str, job: Object) -> bool:
    """Return True if a job without a usage may have cost something: it answered, or trained.

    `kind` is that of its object.
    """
    if kind != "batch":
        return job.get("status") != "failed"
    counts = _as_object(job.get("request_counts"))
    stats = _as_object(_as_object(job.get("metadata")).get("batchStats"))
    answered = (
        counts.get("completed"),
        counts.get("succeeded"),
        job.get("succeeded_requests"),  # Mistral
        stats.get("successfulRequestCount"),  # Gemini, as text
    )
    return any(count not in (None, 0, "0") for count in answered)


def read_job_usage(job: Object, model: str) -> UsageByModel | None:
    """Return what a job used by its own word; None if it does not say.

    `model` is the one that the job names, where the answer names none.
    """
    trained = parse_count(job.get("trained_tokens"))
    name = job.get("model")
    name = name if isinstance(name, str) and name else model
    if trained is not None:
        return {name: Usage(units={TRAINED_TOKEN: Decimal(trained)})}
    inlined = _list_inlined(job)
    if inlined is not None:
        reader = ResultReader(model)
        for item in inlined:
            reader.add(_as_object(item))
        return reader.finish()
    usage = job.get("usage")
    counts = responses_usage.read(usage) if isinstance(usage, dict) else None
    return {name: counts} if counts is not None and counts.has_input_and_output else None


def _list_inlined(job: Object) -> list[Json] | None:
    """Return the answers in Gemini's operation; None if a file has them."""
    output = _as_object(job.get("response")) or _as_object(
        _as_object(job.get("metadata")).get("output")
    )
    inlined = output.get("inlinedResponses")
    if isinstance(inlined, dict):
        inlined = inlined.get("inlinedResponses")
    return inlined if isinstance(inlined, list) else None


class ResultReader:
    """Adds up the usage in a file of results, one JSON object a line, as its bytes pass."""

    def __init__(self, model: str) -> None:
        """`model` counts for answers that name none."""
        self._model = model
        self._pieces: list[bytes] = []
        self._size = 0
        self._usage: UsageByModel = {}
        self._is_unknown = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Never raises."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._pieces.append(end)
            self._read_line(b"".join(self._pieces))
            self._pieces, self._size = [], 0
        self._size += len(rest)
        if self._size > MAX_LINE_BYTES:
            self._is_unknown = True
            self._pieces = []
        elif rest:
            self._pieces.append(rest)

    def finish(self) -> UsageByModel | None:
        """Take the end, and return the usage by model; None if a part of it is unknown."""
        self._read_line(b"".join(self._pieces))
        return None if self._is_unknown else self._usage

    def add(self, line: Object) -> None:
        """Add one result: an answer with its usage, or an error, which nobody bills."""
        answer = _find_answer(line)
        if answer is None:
            return
        usage = _read_answer(answer)
        if usage is None or not usage.has_input_and_output:
            self._is_unknown = True
            return
        name = answer.get("model") or answer.get("modelVersion")
        name = name if isinstance(name, str) and name else self._model
        earlier = self._usage.get(name)
        self._usage[name] = usage if earlier is None else _add_usage(earlier, usage)

    def _read_line(self, line: bytes) -> None:
        if self._is_unknown or not line.strip():
            return
        try:
            value = log_probs.loads_answer(line)
        except jsonio.JsonError:
            self._is_unknown = True
            return
        self.add(_as_object(value))


def _find_answer(line: Object) -> Object | None:
    """Return the answer in a result; None if the request gave none."""
    result = _as_object(line.get("result"))
    if result:  # Anthropic
        return _as_object(result.get("message")) or None
    response = _as_object(line.get("response"))
    if "body" in response:  # OpenAI, Mistral
        status = response.get("status_code")
        is_error = isinstance(status, int) and status >= 400
        return None if is_error else _as_object(response.get("body")) or None
    return response or None  # Gemini


def _read_answer(answer: Object) -> Usage | None:
    metadata = answer.get("usageMetadata")
    if isinstance(metadata, dict):
        return gemini_usage.read(metadata, ended=True)
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    if answer.get("type") == "message":
        return anthropic_usage.read(usage)
    if "input_tokens" in usage:
        return responses_usage.read(usage)
    counts = chat_usage.find({"usage": usage})
    if counts is not None and counts.output is None and "completion_tokens" not in usage:
        return Usage(input=counts.input, output=0)  # embeddings
    return counts


def _add_usage(first: Usage, second: Usage) -> Usage:
    """Return the sum of two usages whose input and output are known."""
    return Usage(
        input=_add(first.input, second.input),
        cache_read=_add(first.cache_read, second.cache_read),
        cache_write=_merge(first.cache_write, second.cache_write),
        output=_add(first.output, second.output),
        reasoning=_add(first.reasoning, second.reasoning),
        tools=_merge(first.tools, second.tools),
        media=_merge(first.media, second.media),
        service=first.service or second.service,
        billed=None
        if first.billed is None or second.billed is None
        else first.billed + second.billed,
    )


def _add(first: int | None, second: int | None) -> int | None:
    return None if first is None and second is None else (first or 0) + (second or 0)


def _merge(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in (*first, *second)}


def _as_object(value: Json) -> Object:
    return value if isinstance(value, dict) else {}
