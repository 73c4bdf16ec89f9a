"""Sixteen faults of the preferred target, with a healthy second one: which answers, and how.

The table in docs/failure.md states the outcomes that are asserted here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from gateway.cli.init import detect, templates
from gateway.cli.init.templates import InitPlan
from gateway.core import jsonio, sse
from gateway.settings import yaml
from gateway.settings.environment import find_shipped_config
from tests.docs import pages
from tests.e2e.upstream import (
    DONE,
    DROPPED,
    ROLE,
    SILENT,
    SSE,
    WORDS,
    Answer,
    Upstream,
    chunk,
    failing,
    stream,
    whole,
)
from tests.e2e.world import Change, Config, Make, chat, spared

TEXT = "".join(WORDS)
HEL = chunk({"content": WORDS[0]})
ERROR = b'data: {"error":{"message":"It broke.","type":"server_error","code":"oops"}}\n\n'
STALLED = Answer(pieces=(b'{"choices":[',), length=99, end="stall")


def short_timeouts(value: Config) -> None:
    value["providers"]["acme"]["timeouts"] = {"headers": 0.2, "first_content": 0.2, "idle": 0.2}


def unreachable(value: Config) -> None:
    value["providers"]["acme"]["base_url"] = "http://127.0.0.1:1"


@dataclass(frozen=True)
class TargetFault:
    """A fault of the preferred target, for a whole answer and for a stream."""

    whole: Answer | None
    """None: there is no such fault of a whole answer."""
    streamed: Answer | None = None
    """None: the same as for a whole answer."""
    once: bool = False
    """True if the fault happens once; after it the target is well."""
    change: Change = lambda _: None


def cut(answer: Answer) -> Answer:
    return replace(answer, end="cut")


FAULTS: dict[str, TargetFault] = {
    "429 with a `retry-after` of 2 s, once": TargetFault(failing(429, retry_after="2"), once=True),
    "429 with a `retry-after` of 60 s": TargetFault(failing(429, retry_after="60")),
    "500, once": TargetFault(failing(500), once=True),
    "502": TargetFault(failing(502)),
    "503 with a `retry-after` of 30 s": TargetFault(failing(503, retry_after="30")),
    "529": TargetFault(failing(529)),
    "the connection is refused": TargetFault(whole(), change=unreachable),
    "the connection breaks before the head": TargetFault(DROPPED),
    "the connection breaks after the head": TargetFault(
        cut(Answer(length=99)), cut(Answer(headers=SSE))
    ),
    "no head in time": TargetFault(SILENT, change=short_timeouts),
    "no content in time": TargetFault(STALLED, stream(ROLE, end="stall"), change=short_timeouts),
    "the answer is cut in its middle": TargetFault(
        cut(replace(STALLED, length=200)), stream(ROLE, HEL, end="cut")
    ),
    "an error in the middle of a stream": TargetFault(None, stream(ROLE, HEL, ERROR)),
    "an error in a 200": TargetFault(failing(200), stream(ERROR)),
    "an empty answer": TargetFault(Answer(length=0), stream(ROLE)),
    "broken JSON": TargetFault(
        Answer(pieces=(b'{"choices":[',), length=12),
        stream(ROLE, HEL, b'data: {"choices":[\n\n', DONE),
    ),
}  # fmt: skip


@cache
def written_by_init() -> Config:
    """Return the routing that `tiergate init` writes."""
    wish = InitPlan(("openai",), "127.0.0.1", 8484, "open", {}, None, None)
    text = templates.format_config(
        wish, detect.load_shipped_labs(find_shipped_config().parent / "labs"), {}
    )
    value: Any = yaml.read(text, "gateway.yaml").value
    routing: Config = value["routing"]
    return routing


def as_init(value: Config) -> None:
    value["routing"] |= written_by_init()


MODES: Mapping[str, Change] = {"as shipped": lambda _: None, "as `init` writes it": as_init}


def outcome(
    make: Make, upstream: Upstream, fault: TargetFault, mode: Change, *, streamed: bool
) -> str:
    """Return the target that answered, or an error; a partial answer fails the test."""
    script = fault.streamed if streamed and fault.streamed is not None else fault.whole
    assert script is not None
    good = stream() if streamed else whole()
    upstream.on("/acme", script, *([good] if fault.once else []))
    upstream.on("/spare", good)
    world = make(spared, fault.change, mode)
    reply = world.ask(chat(stream=streamed))
    assert reply.status_code == 200
    if streamed and not reply.content.endswith(DONE):
        assert b'"error"' in reply.content
        return "an error in the stream"
    assert text_of(reply.content, streamed=streamed) == TEXT
    name = reply.headers["x-tiergate-provider"]
    return {"acme": "the preferred target", "spare": "the second"}[name]


def text_of(data: bytes, *, streamed: bool) -> str:
    if not streamed:
        return str(jsonio.loads(data)["choices"][0]["message"]["content"])
    chunks: list[Any] = [
        jsonio.loads(sse.read_data(frame)) for frame in sse.split_frames(data.removesuffix(DONE))
    ]
    assert b'"error"' not in data
    return "".join(
        choice["delta"].get("content") or "" for piece in chunks for choice in piece["choices"]
    )


ROWS = {row[0]: row[1:] for row in pages.table("fault", "failure.md").rows}


def test_the_documented_table_has_each_fault() -> None:
    assert len(FAULTS) == 16
    assert list(ROWS) == list(FAULTS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_ends_as_the_documented_table_says(
    make: Make, upstream: Upstream, fault: str, mode: str
) -> None:
    """An answer is clean if no text is missing or repeated, and it has no error."""
    case, expected = FAULTS[fault], ROWS[fault][list(MODES).index(mode)]
    if case.whole is None:
        whole_outcome = expected
    else:
        whole_outcome = outcome(make, upstream, case, MODES[mode], streamed=False)
    streamed = outcome(make, upstream, case, MODES[mode], streamed=True)
    assert expected == (
        whole_outcome if whole_outcome == streamed else f"{whole_outcome}; {streamed}"
    )


def test_the_sums_under_the_documented_table_are_right() -> None:
    """The page counts the faults that every client survives."""
    clean = [sum("error" not in row[at] for row in ROWS.values()) for at in range(2)]
    page = (pages.ROOT / "docs/failure.md").read_text("utf-8")
    assert f"As shipped {clean[0]} of the 16 end in a clean answer" in page
    assert f"with what `tiergate init` writes {clean[1]}" in page
    assert clean == [13, 16]
