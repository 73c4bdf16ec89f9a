"""Whole Gemini answers: a glance for accounting, the bytes untouched."""

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, merge_usage
from gateway.dialects.base import ResponseSummary, parse_response_id
from gateway.dialects.gemini import amount, usage
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import errors as problems
from gateway.dialects.gemini.content import Object
from gateway.dialects.stream_commit import make_broken_problem, make_empty_problem

_NUMBERS = ("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION")
"""Reasons that some clients' proxies write as the numbers of Google's enum."""


def glance(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    chunks, problem = read(body)
    told: Usage | None = None
    finish, served, id = None, None, None
    used = {use for candidate in candidates(chunks) for use in usage.used(candidate)}
    for chunk in chunks:
        more = usage.read(chunk.get("usageMetadata"), ended=True, used=used)
        told = told if more is None else merge_usage(told, more)
        served = wire.text(chunk.get("modelVersion")) or served
        id = id or parse_response_id(chunk.get("responseId"))
        finish = ending(chunk) or finish
    heard = 0 if told is not None and told.has_input_and_output else amount.whole(body)
    return ResponseSummary(
        usage=told,
        served_model=served or None,
        response_id=id,
        finish=finish,
        content_bytes=heard,
        complete=problem is None and ended(chunks),
        problem=problem,
    )


def read(body: bytes) -> tuple[list[Object], Problem | None]:
    """The parts of a whole answer: itself, or the chunks of a stream that was sent as a list."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return [], make_broken_problem("an answer that is not JSON")
    chunks = value if isinstance(value, list) else [value]
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        return [], make_broken_problem("an answer that is not a JSON object")
    for chunk in chunks:
        if wrong := error(chunk):
            return chunks, problems.found(wrong, body)
    if not any(wire.rows(it.get("candidates")) or blocked(it) is not None for it in chunks):
        return chunks, make_broken_problem("an answer without candidates")
    if not any(map(ending, chunks)) and not any(map(speaks, candidates(chunks))):
        return chunks, make_empty_problem()
    return chunks, None


def error(chunk: Object) -> Json:
    """Find the error of a chunk, or of one of its candidates; None if there is none."""
    found = [chunk, *wire.rows(chunk.get("candidates"))]
    return next((wrong for it in found if (wrong := it.get("error"))), None)


def ended(chunks: list[Object]) -> bool:
    """True if each candidate has a reason why it ended, or the prompt was refused."""
    if any(blocked(chunk) is not None for chunk in chunks):
        return True
    last: dict[int, str | None] = {}
    for candidate in candidates(chunks):
        at, reason = wire.whole(candidate.get("index")) or 0, finish(candidate.get("finishReason"))
        if reason is not None or at not in last or speaks(candidate):
            last[at] = reason  # a reason that more content follows was none
    return all(last.values())


def candidates(chunks: list[Object]) -> list[Object]:
    """List the candidates of all chunks, in their order."""
    return [row for chunk in chunks for row in wire.rows(chunk.get("candidates"))]


def speaks(candidate: Object) -> bool:
    """True if a candidate says anything."""
    return any(map(says, wire.rows(wire.group(candidate, "content").get("parts"))))


def says(part: Object) -> bool:
    """True if a part says anything: an empty text, even of a thought, does not."""
    return any(item for name, item in part.items() if name != "thought")


def ending(chunk: Object) -> str | None:
    """Why the first candidate that ended did, or why the prompt was refused."""
    for candidate in wire.rows(chunk.get("candidates")):
        reason = finish(candidate.get("finishReason"))
        if reason is not None:
            return reason
    return blocked(chunk)


def finish(reason: Json) -> str | None:
    """A reason as a word."""
    if isinstance(reason, int) and not isinstance(reason, bool):
        return _NUMBERS[reason] if 0 < reason < len(_NUMBERS) else str(reason)
    return reason if isinstance(reason, str) and reason else None


def blocked(chunk: Object) -> str | None:
    """Why the prompt was refused; None where it was not."""
    return finish(wire.group(chunk, "promptFeedback").get("blockReason"))
