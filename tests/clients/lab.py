"""Four labs, one for each dialect, that follow a script and refuse other dialects' requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from gateway.core import jsonio
from tests.clients.model_turns import Turn, state, write_turn
from tests.clients.shape import Wrong
from tests.clients.strict import STRICT
from tests.e2e.four_labs import CHAT, DIALECTS, ENDPOINTS, GEMINI, MESSAGES, RESPONSES, four
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Config

TAKEN_OVER = "gpt-6.1-sol"
"""A model that Codex knows; here it is an alias for the model of any lab that a request names."""

type Json = Any
type Scripts = Mapping[str, tuple[Turn, ...]]
"""Turns by a word of the prompt; without turns the lab answers with an error."""

ODD = "No cats."
ASIDE = Turn(text="A title.")
"""The answer to a request without tools if the script has calls: agents name sessions this way."""
SLOTS = {
    CHAT: "reasoning_content", RESPONSES: "encrypted_content", MESSAGES: "signature", GEMINI: "thoughtSignature",
}  # fmt: skip
"""The member in which a lab wants its reasoning state back."""


@dataclass(frozen=True)
class LabRequest:
    """One request."""

    dialect: str
    body: Json
    rounds: int
    """Number of sets of calls in the request."""
    kept: int
    """Number of those sets that came back with their reasoning state."""
    aside: bool


class Lab:
    """All four labs. `heard` keeps their requests, and `wrong` says why they refused some."""

    def __init__(self, upstream: Upstream) -> None:
        self.heard: list[LabRequest] = []
        self.wrong: list[str] = []
        self.scripts: Scripts = {}
        for dialect, door in ENDPOINTS.items():
            upstream.on(door, partial(self._answer, dialect))

    def begin(self, scripts: Scripts) -> None:
        """Play these scripts from now on."""
        self.scripts = scripts
        self.heard, self.wrong = [], []

    def _answer(self, dialect: str, request: Request) -> Answer:
        try:
            return self._play(dialect, request)
        except Exception as wrong:  # noqa: BLE001 - a mistake here must not cut the connection
            self.wrong.append(f"{dialect}: {wrong!r}: {request.body.decode()[:3000]}")
            return failing(400, _problem(dialect, f"strict: {wrong}"))

    def _play(self, dialect: str, request: Request) -> Answer:
        body = jsonio.loads(request.body)
        STRICT[dialect](body, "")
        turns = next((it for key, it in self.scripts.items() if key.encode() in request.body), None)
        if turns is None:
            raise Wrong("a prompt of no script")
        stream = bool(body.get("stream")) or ":stream" in request.path
        rounds, said_here = _rounds(dialect, body), request.body.decode()
        kept = sum(
            f'"{SLOTS[dialect]}":"{state(dialect, at)}"' in said_here for at in range(rounds)
        )
        aside = "tools" not in body and any(turn.calls for turn in turns)
        self.heard.append(LabRequest(dialect, body, rounds, kept, aside))
        if not turns:
            return failing(400, _problem(dialect, ODD))
        turn = ASIDE if aside else turns[rounds]
        return write_turn(dialect, turn, 9000 if aside else rounds, stream=stream)


def _rounds(dialect: str, body: Json) -> int:
    """Count the sets of calls that the model made and got results for."""
    if dialect == CHAT:
        return sum("tool_calls" in it for it in body["messages"])
    if dialect == MESSAGES:
        return sum(_has(it["content"], "type", "tool_use") for it in body["messages"])
    if dialect == GEMINI:
        return sum(any("functionCall" in part for part in it["parts"]) for it in body["contents"])
    kinds = [str(it.get("type")) for it in body["input"]] if isinstance(body["input"], list) else []
    return sum(
        it.endswith("_output") and not before.endswith("_output") for before, it in pairwise(kinds)
    )


def _has(content: Json, member: str, value: str) -> bool:
    return isinstance(content, list) and any(it.get(member) == value for it in content)


def _problem(dialect: str, message: str) -> bytes:
    if dialect == MESSAGES:
        return jsonio.dumps(
            {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        )
    if dialect == GEMINI:
        return jsonio.dumps(
            {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
        )
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return jsonio.dumps({"error": error})


def labs(value: Config) -> None:
    """Add four labs of current models: they think, use tools and take an effort."""
    four(value)
    styles = {
        CHAT: "reasoning_effort", RESPONSES: "reasoning_effort", MESSAGES: "anthropic", GEMINI: "gemini-level",
    }  # fmt: skip
    accepts = ["none", "low", "medium", "high"]
    value["aliases"] = {TAKEN_OVER: "smart"}
    for dialect in DIALECTS:
        value["models"][f"m-{dialect}"] |= {
            "context": 400_000, "max_output": 64_000, "tools": True, "forced_tools": True, "vision": True,
            "files": True, "json_schema": True, "sampling": "always" if dialect == CHAT else "never",
            "effort": {"style": styles[dialect], "accepts": accepts, "default": "low"},
        }  # fmt: skip
