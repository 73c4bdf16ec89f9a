"""When jobs have ended, and what they used: by their own word, or by the lines of their results."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.usage import Usage
from gateway.dialects import job_results
from gateway.dialects.job_results import (
    ResultReader,
    has_ended,
    may_have_worked,
    read_job_usage,
)


@pytest.mark.parametrize(
    ("job", "ended"),
    [
        ({"status": "in_progress"}, False),
        ({"status": "completed"}, True),
        ({"status": "SUCCESS"}, True),
        ({"status": 5}, False),
        ({"processing_status": "canceling"}, False),
        ({"processing_status": "ended"}, True),
        ({"metadata": {"state": "BATCH_STATE_RUNNING"}}, False),
        ({"metadata": {"state": "BATCH_STATE_SUCCEEDED"}}, True),
        ({"done": True}, True),
        ({"done": False, "metadata": None}, False),
    ],
)
def test_each_provider_has_words_for_the_end(job: Any, ended: bool) -> None:
    assert has_ended(job) is ended


USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
INLINED = {"response": {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}}
COUNTS = Usage(input=3, output=4)


@pytest.mark.parametrize(
    ("job", "usage"),
    [
        ({"usage": USAGE, "model": "m-1"}, {"m-1": COUNTS}),
        ({"usage": USAGE}, {"asked": COUNTS}),
        ({"usage": {"input_tokens": 3}}, None),
        ({"usage": None}, None),
        ({"trained_tokens": 50, "model": "m"},
         {"m": Usage(units={"trained_token": Decimal(50)})}),
        ({"response": {"inlinedResponses": {"inlinedResponses": [INLINED, INLINED]}}},
         {"asked": Usage(input=6, output=8)}),
        ({"metadata": {"output": {"inlinedResponses": [INLINED, {"error": {}}]}}},
         {"asked": COUNTS}),
        ({"response": {"responsesFile": "files/x"}}, None),
    ],
)  # fmt: skip
def test_a_job_may_say_what_it_used(job: Any, usage: Any) -> None:
    assert read_job_usage(job, "asked") == usage


def read(*lines: Any, size: int = 7) -> Any:
    reader = ResultReader("asked")
    data = b"\n".join(line if isinstance(line, bytes) else jsonio.dumps(line) for line in lines)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    return reader.finish()


def chat(model: str | None, **usage: int) -> dict[str, Any]:
    return {"response": {"status_code": 200, "body": {"model": model, "usage": usage}}}


@pytest.mark.parametrize(
    ("lines", "usage"),
    [
        ((), {}),
        ((b"", b"  "), {}),
        (
            (chat("a", prompt_tokens=3, completion_tokens=4), chat("b", input_tokens=1, output_tokens=2),
             chat("a", prompt_tokens=3, completion_tokens=4)),
            {"a": Usage(input=6, output=8), "b": Usage(input=1, output=2)},
        ),
        ((chat(None, prompt_tokens=9),), {"asked": Usage(input=9, output=0)}),  # embeddings
        (({"response": {"status_code": 400, "body": {"error": {}}}}, {"response": None}), {}),
        (
            ({"result": {"type": "succeeded", "message": {"type": "message", "model": "c", "usage": {
                "input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 6}}}},
             {"result": {"type": "errored", "error": {}}}),
            {"c": Usage(input=3, output=4, cache_read=5, cache_write={"": 6})},
        ),
        ((INLINED,), {"asked": COUNTS}),
        (({"response": {"body": {"model": "a"}}},), None),  # an answer without usage
        ((chat("a", completion_tokens=4),), None),
        ((b"{", chat("a", prompt_tokens=1, completion_tokens=1)), None),
    ],
)  # fmt: skip
def test_results_are_added_up_by_model(lines: Any, usage: Any) -> None:
    assert read(*lines) == usage


def test_sums_have_every_class_of_tokens() -> None:
    bill = {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.5}
    line = {"response": {"status_code": 200, "body": {"model": "a", "usage": bill}}}
    assert read(line, line) == {"a": Usage(input=6, output=8, billed=Decimal("1.0"))}
    thought = chat("a", input_tokens=3, output_tokens=4)
    thought["response"]["body"]["usage"] |= {"output_tokens_details": {"reasoning_tokens": 1}}
    assert read(thought, line)["a"].billed is None
    assert read(thought, thought)["a"].reasoning == 2


def test_a_line_that_is_too_long_makes_the_usage_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_results, "MAX_LINE_BYTES", 100)
    assert read(chat("a" * 200, prompt_tokens=1, completion_tokens=1)) is None


@pytest.mark.parametrize(
    ("kind", "job", "expected"),
    [
        ("batch", {"status": "completed"}, False),
        ("batch", {"request_counts": {"total": 2, "completed": 0, "failed": 2}}, False),
        ("batch", {"request_counts": {"completed": 1}}, True),
        ("batch", {"request_counts": {"succeeded": 1}}, True),
        ("batch", {"succeeded_requests": 1}, True),
        ("batch", {"metadata": {"batchStats": {"successfulRequestCount": "1"}}}, True),
        ("fine_tuning_job", {"status": "failed"}, False),
        ("fine_tuning_job", {"status": "succeeded"}, True),
    ],
)
def test_a_job_without_a_usage_may_have_cost_something(
    kind: str, job: dict[str, Any], expected: bool
) -> None:
    assert may_have_worked(kind, job) is expected
