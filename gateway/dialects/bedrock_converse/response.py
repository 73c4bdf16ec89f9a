"""Whole answers of Converse as events."""

from gateway.core import jsonio
from gateway.core.events import Event, Failed
from gateway.core.jsonio import Json
from gateway.dialects.bedrock_converse import errors
from gateway.dialects.bedrock_converse.answer_decoder import AnswerDecoder
from gateway.dialects.json_values import read_text
from gateway.dialects.stream_frames import make_broken_problem, make_empty_problem


def decode_response(body: bytes) -> list[Event]:
    """Return a whole answer as events. A 200 with an error, HTML or nothing in it is a Failed."""
    try:
        answer = jsonio.loads(body)
    except jsonio.JsonError:
        return [Failed(make_broken_problem("an answer that is not JSON"))]
    if not isinstance(answer, dict):
        return [Failed(make_broken_problem("an answer that is not a JSON object"))]
    content = _find_content(answer)
    if content is None:
        if "message" in answer or "__type" in answer:
            return [Failed(errors.read_exception(read_text(answer.get("__type")), body))]
        return [Failed(make_broken_problem("an answer without content"))]
    if not content and not read_text(answer.get("stopReason")):
        return [Failed(make_empty_problem())]
    out: list[Event] = []
    AnswerDecoder().take_whole(answer, content, out)
    return out


def _find_content(answer: dict[str, Json]) -> list[Json] | None:
    """Return the blocks of an answer; None if it is no answer."""
    output = answer.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else None
