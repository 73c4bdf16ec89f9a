"""Whole Responses answers: a glance for accounting, the bytes untouched."""

from gateway.core import jsonio
from gateway.dialects.base import ResponseSummary, parse_response_id
from gateway.dialects.openai_responses import content as amount
from gateway.dialects.openai_responses import ending, usage
from gateway.dialects.stream_commit import make_broken_problem


def glance(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    if not isinstance(value, dict):
        return ResponseSummary(problem=ending.wrong(value))
    pending = ending.pending(value)
    problem = None if pending else ending.wrong(value)
    served, told = value.get("model"), usage.find(value)
    output = value.get("output")
    made = output if isinstance(output, list) else []
    return ResponseSummary(
        usage=told,
        content_bytes=0
        if told is not None and told.has_input_and_output
        else sum(map(amount.item, made)),
        served_model=served if isinstance(served, str) else None,
        response_id=parse_response_id(value.get("id")),
        finish=ending.finish(value),
        complete=problem is None and ending.complete(value),
        is_pending=pending,
        problem=problem,
    )
