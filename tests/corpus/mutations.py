"""Break recorded answers in ways that providers and networks do: no client may get a clean answer.

The finish is removed or replaced by an unknown word; an error is added at each level; a stream is
cut at random places.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gateway.core import sse
from gateway.core.events import End, Failed, Finish
from gateway.dialects import DIALECTS, Dialect, ResponseContext, Translation
from gateway.dialects.stream_frames import make_broken_problem
from gateway.dialects.translation import get_translation
from tests.corpus import translated_requests
from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Object, Row, read_meanings
from tests.corpus.verdict import Difference, Failure

type Change = Callable[[Object], bool]
"""Changes one JSON object of an answer; False if the whole object must go."""

UNKNOWN_WORD = "a_new_word"
ERROR: Object = {"code": 502, "message": "the provider broke", "type": "server_error"}
CUTS = 5
"""Cuts of each stream."""
_CONTEXT = ResponseContext(
    id="01law3", created_at=7, model="m", prompt_tokens=9, state_label="law3"
)
_TERMINAL = ("response.completed", "response.incomplete")


class Mutation(NamedTuple):
    """One broken form of an answer."""

    name: str
    body: bytes
    native_ends: bool = False
    """True if a native client may get it unchanged: that client sees the unknown word itself."""


def list_mutations(row: Row, seed: int = 0) -> Iterator[Mutation]:
    """List the broken forms of an answer that has an end."""
    yield Mutation("finish removed", remove_finish(row))
    yield Mutation(
        "unknown finish", change_answer(row, _REPLACE_FINISH[row.dialect]), native_ends=True
    )
    unchanged = change_answer(row, lambda _: True)
    for level, change in _ADD_ERROR[row.dialect].items():
        body = change_answer(row, change)
        if body != unchanged:  # an answer may lack this level
            yield Mutation(f"error in {level}", body)
    if row.stream:
        yield Mutation("error event", _add_error_event(row))
        yield from _cut(row, random.Random(f"{seed} {row.id}"))


def remove_finish(row: Row) -> bytes:
    """Return an answer without the reason for its end."""
    return change_answer(row, _REMOVE_FINISH[row.dialect])


def can_mutate(row: Row) -> bool:
    """True if an answer ends, so that breaking it makes a difference."""
    return (
        row.status == 200
        and not row.raised
        and not row.cut
        and all(meaning.finish != "error" for meaning in read_meanings(row).values())
    )


def judge(row: Row, mutation: Mutation, client_name: str) -> Iterator[Difference]:
    """Find out whether a client gets a broken answer as a clean one."""
    client, provider_dialect = DIALECTS[client_name], DIALECTS[row.dialect]
    native = client is provider_dialect
    body, request = translated_requests.make_client_request(row, client)
    adapter = client if native else Translation(client, provider_dialect, request, _CONTEXT)
    if native and mutation.native_ends:
        return
    if row.stream:
        stream = adapter.inspect_stream(body)
        out = stream.feed(mutation.body) + stream.end()
        clean = stream.complete and stream.problem is None
        if not clean:  # as the relay does
            out += client.write_problem_frame(stream.problem or make_broken_problem())
        ends = not native and has_clean_end(client, out, stream=True)
    else:
        summary = adapter.summarize(mutation.body)
        clean = summary.complete and summary.problem is None
        ends = bool(summary.body) and not native and has_clean_end(client, summary.body or b"", stream=False)  # fmt: skip
    if clean and not mutation.native_ends:
        yield Difference("mutation", f"{mutation.name}: the gateway counts it as complete")
    if ends:
        yield Difference("mutation", f"{mutation.name}: the client gets a clean end")


def find_clean(
    rows: Iterable[Row], report: Callable[[Failure], None] | None = None, *, seed: int = 0
) -> tuple[int, list[Failure]]:
    """Judge all broken forms of answers for clients of each dialect.

    Return their number, and the failures. `report` gets each failure as soon as it is found.
    """
    number, failures = 0, list[Failure]()
    for row in filter(can_mutate, rows):
        for mutation in list_mutations(row, seed):
            for client in DIALECTS:
                number += 1
                try:
                    differences = [*judge(row, mutation, client)]
                except Exception as error:  # noqa: BLE001 - every failure is one to show
                    text = f"{mutation.name}: {type(error).__name__}: {error}"
                    differences = [Difference("crash", text)]
                for difference in differences:
                    failures.append(
                        Failure(row.file, row.id, client, f"{difference.kind}: {difference.text}")
                    )
                    if report is not None:
                        report(failures[-1])
    return number, failures


def has_clean_end(dialect: Dialect, body: bytes, *, stream: bool) -> bool:
    """True if an answer says that it ended well."""
    functions = get_translation(dialect)
    if stream:
        decoder = functions.make_decoder()
        events = [*decoder.feed(body), *decoder.end()]
        if not any(isinstance(event, End) for event in events):
            return False
    else:
        events = [*functions.decode_response(body)]
    if any(isinstance(event, Failed) for event in events):
        return False
    reasons = {event.reason for event in events if isinstance(event, Finish)}
    return not reasons <= {"cut", "length", "error"}


def change_answer(row: Row, change: Change) -> bytes:
    """Return an answer with each of its JSON objects changed."""
    if not row.stream:
        value = json.loads(row.body)
        for item in value if isinstance(value, list) else [value]:
            change(item)
        return _dump(value)
    return b"".join(_change_frames(sse.split_frames(row.body), change))


def _change_frames(frames: Iterable[bytes], change: Change) -> Iterator[bytes]:
    for frame in frames:
        payload = sse.read_data(frame)
        if not payload or payload.startswith(b"[DONE]"):
            yield frame
            continue
        value = json.loads(payload)
        if change(value):
            name = next((line for line in frame.split(b"\n") if line.startswith(b"event:")), b"")
            yield (name + b"\n" if name else b"") + b"data: " + _dump(value) + b"\n\n"


def _dump(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _add_error_event(row: Row) -> bytes:
    """Add an error before the first frame with a finish, as a stream of the dialect writes one."""
    event = {"type": "error", "error": ERROR} if row.dialect == MESSAGES else {"error": ERROR}
    frame = b"data: " + _dump(event) + b"\n\n"
    if row.dialect == RESPONSES:
        frame = b"event: error\ndata: " + _dump({**ERROR, "type": "error"}) + b"\n\n"
    elif row.dialect == MESSAGES:
        frame = b"event: error\n" + frame
    frames = sse.split_frames(row.body)
    at = next(
        number for number, one_frame in enumerate(frames) if _has_finish(row.dialect, one_frame)
    )
    return b"".join([*frames[:at], frame, *frames[at:]])


def _cut(row: Row, chance: random.Random) -> Iterator[Mutation]:
    """Cut a stream before the end of the frame that completes it."""
    frames = sse.split_frames(row.body)
    finishes = [number for number, frame in enumerate(frames) if _has_finish(row.dialect, frame)]
    last = finishes[0] if row.dialect in (RESPONSES, CHAT, GEMINI) else finishes[-1]
    ends = sum(map(len, frames[:last])) + len(frames[last].rstrip()) - 1
    for _ in range(CUTS):
        at = chance.randrange(1, ends)
        yield Mutation(f"cut at byte {at}", row.body[:at])


def _has_finish(dialect: str, frame: bytes) -> bool:
    """True if a frame ends an answer, or a choice of it."""
    payload = sse.read_data(frame)
    if not payload or payload.startswith(b"[DONE]"):
        return False
    value = json.loads(payload)
    if dialect == CHAT:
        return any(choice.get("finish_reason") for choice in value.get("choices") or ())
    if dialect == GEMINI:
        blocked = (value.get("promptFeedback") or {}).get("blockReason")
        return bool(blocked) or any(
            candidate.get("finishReason") for candidate in value.get("candidates") or ()
        )
    return value.get("type") in (*_TERMINAL, "message_stop")


def _remove_chat_finish(value: Object) -> bool:
    for choice in value.get("choices") or ():
        choice.pop("finish_reason", None)
    return True


def _remove_responses_finish(value: Object) -> bool:
    """Remove the status and the terminal event of a stream, which is the reason for its end."""
    value.pop("status", None)
    return value.get("type") not in _TERMINAL


def _remove_messages_finish(value: Object) -> bool:
    for part in (value, value.get("delta")):
        if isinstance(part, dict):
            part.pop("stop_reason", None)
    return True


def _remove_gemini_finish(value: Object) -> bool:
    value.pop("promptFeedback", None)
    for candidate in value.get("candidates") or ():
        candidate.pop("finishReason", None)
    return True


def _replace_chat_finish(value: Object) -> bool:
    for choice in value.get("choices") or ():
        if choice.get("finish_reason"):
            choice["finish_reason"] = UNKNOWN_WORD
    return True


def _replace_responses_finish(value: Object) -> bool:
    response = value.get("response") if "type" in value else value
    if value.get("type") in _TERMINAL:
        value["type"] = f"response.{UNKNOWN_WORD}"
    if isinstance(response, dict) and response.get("status") in ("completed", "incomplete"):
        response["status"] = UNKNOWN_WORD
        response["incomplete_details"] = None
    return True


def _replace_messages_finish(value: Object) -> bool:
    for part in (value, value.get("delta")):
        if isinstance(part, dict) and part.get("stop_reason"):
            part["stop_reason"] = UNKNOWN_WORD
    return True


def _replace_gemini_finish(value: Object) -> bool:
    value.pop("promptFeedback", None)
    for candidate in value.get("candidates") or ():
        if candidate.get("finishReason"):
            candidate["finishReason"] = UNKNOWN_WORD
    return True


def _add_error_at_top(value: Object) -> bool:
    value["error"] = ERROR
    return True


def _add_error_to_choices(value: Object) -> bool:
    for choice in value.get("choices") or ():
        choice["error"] = ERROR
    return True


def _add_error_to_candidates(value: Object) -> bool:
    for candidate in value.get("candidates") or ():
        candidate["error"] = ERROR
    return True


def _add_error_to_response(value: Object) -> bool:
    response = value.get("response") if "type" in value else value
    if isinstance(response, dict):
        response["error"] = ERROR
    return True


def _add_error_to_items(value: Object) -> bool:
    """Add an error to what the model makes: a message, reasoning or a call."""
    response = value.get("response") if "type" in value else value
    items = [value.get("item"), *((response or {}).get("output") or ())]
    for item in items:
        if isinstance(item, dict) and item.get("type") in ("message", "reasoning", "function_call"):
            item["error"] = ERROR
            item["status"] = "failed"
    return True


_REMOVE_FINISH: dict[str, Change] = {
    CHAT: _remove_chat_finish,
    RESPONSES: _remove_responses_finish,
    MESSAGES: _remove_messages_finish,
    GEMINI: _remove_gemini_finish,
}
_REPLACE_FINISH: dict[str, Change] = {
    CHAT: _replace_chat_finish,
    RESPONSES: _replace_responses_finish,
    MESSAGES: _replace_messages_finish,
    GEMINI: _replace_gemini_finish,
}
_ADD_ERROR: dict[str, dict[str, Change]] = {
    CHAT: {"top": _add_error_at_top, "choice": _add_error_to_choices},
    RESPONSES: {"response": _add_error_to_response, "item": _add_error_to_items},
    MESSAGES: {"top": _add_error_at_top},
    GEMINI: {"top": _add_error_at_top, "candidate": _add_error_to_candidates},
}
