"""Whole Chat Completions answers: a glance for accounting, the bytes untouched."""

from gateway.core import jsonio
from gateway.dialects.base import ResponseSummary, parse_response_id
from gateway.dialects.openai_chat import amount, ending, usage
from gateway.dialects.stream_commit import make_broken_problem


def glance(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    problem, reasons = ending.judge(value, body)
    if not isinstance(value, dict):
        return ResponseSummary(problem=problem)
    served = value.get("model")
    told = usage.find(value)
    return ResponseSummary(
        usage=told,
        content_bytes=0 if told is not None and told.has_input_and_output else amount.whole(body),
        served_model=served if isinstance(served, str) else None,
        response_id=parse_response_id(value.get("id")),
        finish=reasons[0] if reasons else None,
        complete=problem is None and all(reasons),
        problem=problem,
    )
