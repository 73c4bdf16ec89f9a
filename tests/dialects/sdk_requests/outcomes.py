"""The outcome of a member in translation, for a generated request."""

import json
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from gateway.core.errors import ProblemError
from gateway.core.target import ModelFacts
from gateway.dialects import Dialect, compatibility, translation
from gateway.dialects.base import RequestBody
from tests.dialects.cases import target
from tests.dialects.request_strategies import Object
from tests.dialects.sdk_requests.defaults import DEFAULTS
from tests.dialects.sdk_requests.requests import MadeRequest

type Outcome = Literal["carried", "named", "refused", "ignored", "default", "lost"]
"""The outcome of a member at one target.

    carried   the target gets another request with it than without it
    named     a loss names it, or the part that it is in
    refused   the target is skipped, or the gateway refuses the request
    ignored   the member list gives a reason why no target needs it
    default   its value asks for what the target does anyway
    lost      the target does not get it, and nothing says so: a bug
"""
_TARGET_FACTS = ModelFacts(
    efforts=("low", "medium", "high"),
    effort_styles={
        "openai-chat": "reasoning_effort",
        "openai-responses": "reasoning",
        "anthropic-messages": "anthropic-mixed",
        "gemini": "gemini-level+budget",
    },
    default_effort="medium",
)
_PARTS = ("image", "file", "reasoning", "tool_result", "thinking", "redacted_thinking")
"""Ends of names of losses that stand for a part of a message: a target gets none, or its text."""


class Translated(NamedTuple):
    """A request as a target of another dialect gets it."""

    body: bytes = b""
    losses: frozenset[str] = frozenset()
    refusals: frozenset[str] = frozenset()


def read(client: Dialect, request: Object) -> RequestBody:
    """Read a request as a client sends it, with spaces inside of its members."""
    members = [f"{json.dumps(name)}:{json.dumps(item)}" for name, item in request.items()]
    raw = f"{{{','.join(members)}}}".encode()
    if client.read_with_path is not None:
        return client.read_with_path(raw, "models/auto:generateContent")
    return client.read(raw)


def translate(client: Dialect, request: Object, dialect: Dialect) -> Translated:
    """Translate a request to another dialect."""
    try:
        canonical = translation.decode_request(client, read(client, request))
        _, refusals = compatibility.check_request(canonical, dialect.name)
        if refusals:
            return Translated(refusals=frozenset(refusals))
        written = translation.write_request(
            canonical, dialect, target(dialect.name, facts=_TARGET_FACTS)
        )
    except ProblemError as error:
        return Translated(refusals=frozenset({error.problem.message}))
    return Translated(written.body, frozenset(loss.field for loss in written.losses))


def find_outcome(client: Dialect, request: MadeRequest, dialect: Dialect) -> Outcome:
    """Return what becomes of the member of a made request at a target."""
    with_it = translate(client, request.request, dialect)
    without = translate(client, request.without, dialect)
    if with_it.refusals:
        new = with_it.refusals - without.refusals
        return "refused" if not new or _is_named(request.path, new) else "lost"
    if with_it.losses - without.losses:
        return "named" if _is_named(request.path, with_it.losses - without.losses) else "lost"
    if with_it != without:
        return "carried"
    if any(loss.rpartition(".")[2] in _PARTS for loss in with_it.losses):
        return "named"
    if request.decision == "ignored":
        return "ignored"
    if request.decision == "named" and request.value == "False":
        return "default"
    return "default" if request.name in DEFAULTS[client.name] else "lost"


def _is_named(path: str, names: Iterable[str]) -> bool:
    """True if a loss or refusal names a member, or another of the same member of the request."""
    tops = {name.partition(":")[0].partition(".")[0] for name in names}
    return bool(tops & {path.partition(".")[0], *_find_common_names(path)})


def _find_common_names(path: str) -> Iterator[str]:
    """Yield the names that losses of a member may have whatever its path is."""
    words = path.split(".")
    if {"cache_control", "prompt_cache_breakpoint"} & {*words}:
        yield "cache_control"
    if "tools" in words or path == "input":  # an item of the input may offer tools
        yield "tools"
    if words[0] == "systemInstruction":
        yield "contents"
    if words[0] == "top_logprobs":
        yield "include"
