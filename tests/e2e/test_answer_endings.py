"""Answers that did not end well, and their effect on client, row, cache and next target."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest

from gateway.core import jsonio, sse
from tests.e2e.four_labs import (
    CHAT,
    DIALECTS,
    ENDPOINTS,
    FINISH,
    GEMINI,
    MESSAGES,
    RESPONSES,
    TEXT,
    answer,
    four,
    make_request,
    set_finish,
    whole,
)
from tests.e2e.upstream import SSE, Answer, Upstream
from tests.e2e.world import Config, Make, World

type Json = dict[str, Any]
type Outcome = Literal["complete", "incomplete", "failed"]
"""The gateway's verdict on an answer; after `failed` it tries another target."""

SHOWN = TEXT[:4]
"""The text of a stream before an error comes in it."""
ERROR: Json = {"code": 502, "message": "Provider disconnected", "type": "server_error"}
WORD = "a_word_of_next_year"


@dataclass(frozen=True)
class BadEnding:
    """One way in which an answer of a dialect may end badly."""

    name: str
    change: Callable[[Json], None]
    """Makes the case from the provider's good answer."""
    outcome: Outcome


def empty(dialect: str) -> Callable[[Json], None]:
    """Leave no content, and no reason for the end."""

    def change(whole: Json) -> None:
        set_finish(dialect, None)(whole)
        if dialect == CHAT:
            whole["choices"][0]["message"]["content"] = ""
        elif dialect == RESPONSES:
            whole["output"] = []
        elif dialect == MESSAGES:
            whole["content"] = []
        else:
            whole["candidates"][0]["content"]["parts"] = []

    return change


def top_error(whole: Json) -> None:
    whole["error"] = ERROR


def choice_error(whole: Json) -> None:
    whole["choices"][0] |= {"error": ERROR, "finish_reason": None}


def item_error(whole: Json) -> None:
    whole["output"][0] |= {"error": ERROR, "status": "failed"}


def candidate_error(whole: Json) -> None:
    whole["candidates"][0]["error"] = ERROR


def failed_status(whole: Json) -> None:
    whole |= {"status": "failed", "error": ERROR}


def tool_error(whole: Json) -> None:
    """Add a failed tool of the provider, which is an outcome that the model has seen."""
    call = {"type": "mcp_call", "id": "mcp_1", "name": "n", "arguments": "{}", "server_label": "s"}
    whole["output"].insert(0, {**call, "status": "failed", "error": ERROR, "output": None})


def cases(dialect: str) -> list[BadEnding]:
    unknown: Outcome = "incomplete" if dialect == RESPONSES else "complete"
    cases_of_dialect = [
        BadEnding("finish missing", set_finish(dialect), "incomplete"),
        BadEnding("finish null", set_finish(dialect, None), "incomplete"),
        BadEnding("finish unknown", set_finish(dialect, WORD), unknown),
        BadEnding("empty", empty(dialect), "failed"),
        BadEnding("error at the top", top_error, "failed"),
    ]
    if dialect == CHAT:
        cases_of_dialect.append(BadEnding("error in a choice", choice_error, "failed"))
        cases_of_dialect.append(BadEnding("error as a finish", set_finish(CHAT, "error"), "failed"))
    if dialect == RESPONSES:
        cases_of_dialect.append(BadEnding("error in an item", item_error, "failed"))
        cases_of_dialect.append(BadEnding("status failed", failed_status, "failed"))
        cases_of_dialect.append(
            BadEnding("in progress", set_finish(RESPONSES, "in_progress"), "incomplete")
        )
        cases_of_dialect.append(BadEnding("error of a hosted tool", tool_error, "complete"))
    if dialect == GEMINI:
        cases_of_dialect.append(BadEnding("error in a candidate", candidate_error, "failed"))
    return cases_of_dialect


def good(dialect: str) -> Json:
    """Return the whole answer of a provider that ends well."""
    (body,) = answer(dialect).pieces
    assert body is not None
    value: Json = jsonio.loads(body)
    return value


# Streams: the frames of the good one, changed by a case.


def streamed(dialect: str, case: BadEnding) -> Answer:
    """Return the stream of the changed answer; an error comes in place of the end."""
    frames = [piece for piece in answer(dialect, stream=True).pieces if piece is not None]
    return Answer(pieces=tuple(STREAMS[dialect](frames, case)), headers=SSE, bill=(7, 3))


def chunk(**more: Any) -> bytes:
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "served-chat"}
    return sse.write_frame(jsonio.dumps({**head, **more}))


def chat_frames(frames: list[bytes], case: BadEnding) -> list[bytes]:
    *content, last, usage, done = frames
    tail = [usage, done]
    if case.name == "empty":
        return [content[0], *tail]
    if case.name == "error at the top":
        return [*content[:2], chunk(error=ERROR, choices=[]), *tail]
    value = jsonio.loads(sse.read_data(last))
    case.change(value)
    return [*content, sse.write_frame(jsonio.dumps(value)), *tail]


def event(value: Json) -> bytes:
    return f"event: {value['type']}\ndata: ".encode() + jsonio.dumps(value) + b"\n\n"


def response_frames(frames: list[bytes], case: BadEnding) -> list[bytes]:
    """Change the frames; the terminal event is the finish."""
    *content, done, last = frames
    value = jsonio.loads(sse.read_data(last))
    case.change(value["response"])
    if case.name in ("finish missing", "finish null", "in progress"):
        return [*content, done]
    if case.name == "empty":
        return content[:2]
    if case.name == "finish unknown":
        return [*content, done, event({**value, "type": f"response.{WORD}"})]
    if case.name == "error at the top":
        return [*content, event({"type": "error", "error": ERROR})]
    if case.name == "status failed":
        return [*content, event({**value, "type": "response.failed"})]
    if case.name == "error of a hosted tool":
        item = {"output_index": 1, "item": value["response"]["output"][0]}
        return [*content, event({"type": "response.output_item.done", **item}), done, event(value)]
    return [*content, event(value)]


def message_frames(frames: list[bytes], case: BadEnding) -> list[bytes]:
    start, *content, last, stop = frames
    if case.name == "empty":
        return [start, stop]
    if case.name == "error at the top":
        return [start, *content, event({"type": "error", "error": ERROR})]
    value = jsonio.loads(sse.read_data(last))
    case.change(value["delta"])
    return [start, *content, event(value), stop]


def gemini_frames(frames: list[bytes], case: BadEnding) -> list[bytes]:
    *content, last = frames
    value = jsonio.loads(sse.read_data(last))
    if case.name == "empty":
        value = jsonio.loads(sse.read_data(content[0]))
        content = []
    if case.name == "error at the top":
        value = {}
    case.change(value)
    return [*content, sse.write_frame(jsonio.dumps(value))]


STREAMS: dict[str, Callable[[list[bytes], BadEnding], list[bytes]]] = {
    CHAT: chat_frames, RESPONSES: response_frames, MESSAGES: message_frames, GEMINI: gemini_frames,
}  # fmt: skip


# Clients.


def ask(world: World, client: str, model: str, text: str, *, stream: bool) -> httpx.Response:
    path, body = make_request(client, model, text, stream=stream)
    return world.client.post(path, json=body)


def read_outcome(client: str, reply: httpx.Response, *, stream: bool) -> Outcome:
    """Read the outcome from the bytes of an answer alone."""
    if not stream:
        value = reply.json()
        if reply.status_code != 200 or value.get("error"):
            return "failed"
        inside = (value.get("choices") or value.get("candidates") or [value])[0]
        word = inside.get(FINISH[client])
        if client == RESPONSES:
            return "complete" if word == "completed" else "incomplete"
        return "incomplete" if word in (None, "length", "max_tokens", "MAX_TOKENS") else "complete"
    frames = [sse.read_data(frame) for frame in sse.split_frames(reply.content)]
    values = [jsonio.loads(item) for item in frames if item and item != b"[DONE]"]
    if reply.status_code != 200:
        return "failed"
    ends = {
        CHAT: b"[DONE]" in frames,
        RESPONSES: any(str(item.get("type")) in ("response.completed", "response.incomplete") for item in values),
        MESSAGES: any(item.get("type") == "message_stop" for item in values),
        GEMINI: any(c.get("finishReason") for item in values for c in item.get("candidates", ())),
    }[client]  # fmt: skip
    broke = any(item.get("error") or (item.get("response") or {}).get("error") for item in values)
    assert ends != broke, reply.text
    return "incomplete" if broke else "complete"


def ends_with_length(case: BadEnding, client: str, lab: str, *, stream: bool) -> bool:
    """True if a client of another dialect gets "length" for a word that the gateway does not know.

    A stream with that reason ends as it should.
    """
    return case.name == "finish unknown" and client != lab and not stream


def with_spare_targets(value: Config) -> None:
    """Give each lab a second target at another host, and cache answers."""
    four(value)
    value["cache"] = {"default": "on", "ttl": "1h"}
    for name in DIALECTS:
        first = value["providers"][name]
        endpoint = {"dialects": {name: f"/spare{ENDPOINTS[name]}"}}
        value["providers"][f"{name}-spare"] = {**first, **endpoint}
        value["labs"][name]["smart"].append({"model": f"m-{name}", "provider": f"{name}-spare"})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lab", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_an_answer_is_complete_only_if_its_provider_says_so(
    make: Make, upstream: Upstream, client: str, lab: str, stream: bool
) -> None:
    """A failed answer goes to another target, and so does a whole one without a reason for its end.

    A stream without a reason ends with an error. The gateway caches none of them.
    """
    world = make(with_spare_targets)
    expected: list[tuple[str, str, str, str | None, int]] = []
    for case in cases(lab):
        value = good(lab)
        case.change(value)
        bad = streamed(lab, case) if stream else whole(value)
        upstream.renew()
        upstream.on(ENDPOINTS[lab], bad)
        upstream.on(f"/spare{ENDPOINTS[lab]}", answer(lab, stream=stream))
        outcome = case.outcome
        if not stream and outcome == "incomplete":  # nobody has seen any of it
            outcome = "failed"
        late = stream and outcome == "failed" and case.name != "empty"
        if late:  # content is sent before the error comes: no other target can take over
            outcome = "incomplete"
        replies = [ask(world, client, f"{lab}/smart", case.name, stream=stream) for _ in "ab"]
        final_outcome = "complete" if outcome == "failed" else outcome
        for reply in replies:
            client_outcome = (
                "incomplete"
                if outcome != "failed" and ends_with_length(case, client, lab, stream=stream)
                else final_outcome
            )
            assert read_outcome(client, reply, stream=stream) == client_outcome, (
                case.name,
                reply.text,
            )
        again = replies[1].headers["x-tiergate-cache"]
        assert (again == "hit") == (final_outcome == "complete" and case.name == "error of a hosted tool"), case.name  # fmt: skip
        paths = [request.path for request in upstream.requests]
        tried = [
            len([path for path in paths if path.startswith(at)])
            for at in (ENDPOINTS[lab], "/spare")
        ]
        most = 1 if again == "hit" else 2
        assert tried == [most, most if outcome == "failed" else 0], case.name
        world.gateway.engine._upstream.health.forget([lab, f"{lab}-spare"])
        if outcome == "failed":
            expected += [(case.name, "settled", lab, None, 2)] * 2
        elif outcome == "incomplete":
            kind = "upstream_error" if late else "upstream_truncated"
            expected += [(case.name, "aborted", lab, kind, 1)] * 2
        else:
            expected.append((case.name, "settled", lab, None, 1))
            last = ("cache_hit", 0) if again == "hit" else ("settled", 1)
            expected.append((case.name, last[0], lab, None, last[1]))
    rows = world.entries()
    names = [name for name, *_ in expected]
    actual = [
        (name, row.state, row.lab, row.problem, row.attempts)
        for name, row in zip(names, rows, strict=True)
    ]
    assert actual == expected
    assert {row.status for row in rows} == {200}
    assert all((row.aborted_by == "upstream") == (row.state == "aborted") for row in rows)


UNFINISHED: dict[str, Json] = {
    CHAT: {"finish_reason": None},
    RESPONSES: {"status": "incomplete", "incomplete_details": None},
    MESSAGES: {"stop_reason": None, "stop_sequence": None},
    GEMINI: {"finishReason": None},
}
"""The members with which a translated answer tells that its end is unknown."""


def cache_only(value: Config) -> None:
    """Give each lab one target, and cache answers."""
    four(value)
    value["cache"] = {"default": "on", "ttl": "1h"}


@pytest.mark.parametrize("lab", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_a_whole_answer_without_a_reason_passes_where_no_other_target_is_left(
    make: Make, upstream: Upstream, client: str, lab: str
) -> None:
    """A client of its dialect gets its bytes; any other client gets no reason for its end.

    A header tells that, and the gateway does not cache the answer.
    """
    world = make(cache_only)
    unfinished = [case for case in cases(lab) if case.name in ("finish missing", "finish null")]
    for case in unfinished:
        value = good(lab)
        case.change(value)
        upstream.renew()
        upstream.on(ENDPOINTS[lab], whole(value))
        for _ in "ab":
            reply = ask(world, client, f"{lab}/smart", case.name, stream=False)
            assert reply.status_code == 200
            assert reply.headers["x-tiergate-finish"] == "unknown"
            assert reply.headers["x-tiergate-cache"] == "miss"
            if client == lab:
                assert reply.content == whole(value).pieces[0]
                continue
            shown = reply.json()
            inside = (shown.get("choices") or shown.get("candidates") or [shown])[0]
            assert {name: inside.get(name) for name in UNFINISHED[client]} == UNFINISHED[client]
            assert TEXT in reply.text
        assert len(upstream.requests) == 2
    rows = world.entries()
    assert len(rows) == 4
    assert {(row.state, row.problem, row.aborted_by, row.status, row.attempts) for row in rows} == {
        ("aborted", "upstream_truncated", "upstream", 200, 1)
    }
    assert {(row.input, row.output, row.usage) for row in rows} == {(7, 3, "provider")}


def optional_finish(value: Config) -> None:
    """Let each provider leave out why its answers ended."""
    with_spare_targets(value)
    for provider in value["providers"].values():
        provider["finish"] = "optional"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lab", [CHAT, MESSAGES])
@pytest.mark.parametrize("client", [CHAT, MESSAGES])
def test_a_provider_with_optional_finish_may_leave_it_out(
    make: Make, upstream: Upstream, client: str, lab: str, stream: bool
) -> None:
    """With `finish: optional` such an answer is whole and cached; an error or nothing is not."""
    world = make(optional_finish)
    states: list[str] = []
    for case in cases(lab):
        value = good(lab)
        case.change(value)
        upstream.renew()
        upstream.on(ENDPOINTS[lab], streamed(lab, case) if stream else whole(value))
        upstream.on(f"/spare{ENDPOINTS[lab]}", answer(lab, stream=stream))
        late = stream and case.name.startswith("error")
        replies = [ask(world, client, f"{lab}/smart", case.name, stream=stream) for _ in "ab"]
        hit = case.name in ("finish missing", "finish null")
        for reply in replies:
            client_outcome = "incomplete" if late else "complete"
            if ends_with_length(case, client, lab, stream=stream):
                client_outcome = "incomplete"
            unchanged = hit and client == lab and not stream
            assert unchanged or read_outcome(client, reply, stream=stream) == client_outcome, (
                case.name,
                reply.text,
            )
        assert (replies[1].headers["x-tiergate-cache"] == "hit") == hit, case.name
        if hit:
            states += ["settled", "cache_hit"]
        else:
            states += ["aborted" if late else "settled"] * 2
        world.gateway.engine._upstream.health.forget([lab, f"{lab}-spare"])
    assert [row.state for row in world.entries()] == states


@pytest.mark.parametrize("client", DIALECTS)
def test_an_answer_with_tool_calls_but_no_finish_ends_with_tool_use(
    make: Make, upstream: Upstream, client: str
) -> None:
    """The client must use the tools that the model called."""
    world = make(optional_finish)
    value = jsonio.loads(answer(CHAT, tools=True).pieces[0] or b"")
    set_finish(CHAT)(value)
    upstream.on(ENDPOINTS[CHAT], whole(value))
    reply = ask(world, client, f"{CHAT}/smart", "Hi.", stream=False)
    word = {MESSAGES: "tool_use", GEMINI: "STOP", RESPONSES: "completed"}.get(client)
    assert word is None or word in reply.text
    assert world.entry().state == "settled"


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_background_answer_is_passed_on(make: Make, upstream: Upstream, status: str) -> None:
    """The cost is unknown, and no other target is called."""
    world = make(with_spare_targets)
    value = {**good(RESPONSES), "status": status, "background": True, "output": [], "usage": None}
    upstream.on(ENDPOINTS[RESPONSES], whole(value))
    body = {
        "model": f"{RESPONSES}/smart",
        "input": "Hi.",
        "background": True,
        "max_output_tokens": 9,
    }
    for _ in "ab":
        reply = world.client.post("/v1/responses", json=body)
        assert (reply.status_code, reply.json()) == (200, value)
    rows = world.entries()
    assert {(row.state, row.problem, row.attempts, row.cache) for row in rows} == {
        ("estimated", None, 1, "off")
    }
    assert {(row.cost, row.output) for row in rows} == {(None, None)}
    assert all(row.reserved for row in rows)


def test_a_background_answer_that_failed_is_a_failure(make: Make, upstream: Upstream) -> None:
    world = make(with_spare_targets)
    value = {**good(RESPONSES), "status": "queued", "background": True, "error": ERROR}
    upstream.on(ENDPOINTS[RESPONSES], whole(value))
    upstream.on(f"/spare{ENDPOINTS[RESPONSES]}", answer(RESPONSES))
    body = {"model": f"{RESPONSES}/smart", "input": "Hi.", "background": True}
    assert world.client.post("/v1/responses", json=body).json()["status"] == "completed"
    assert (world.entry().state, world.entry().attempts) == ("settled", 2)
