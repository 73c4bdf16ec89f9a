"""Rules for recordings from which a client gets something else than the oracle says.

A rule has a reason. It excuses one kind of difference, in all recordings with one property. The
tests judge all other differences.
"""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.core import sse
from tests.corpus.oracle import CHAT, MESSAGES, RESPONSES, Object, Row


class Rule(NamedTuple):
    """One reason why a client may get something else than the oracle says."""

    kinds: frozenset[str]
    """Kinds of differences; see verdict.Difference."""
    applies: Callable[[Row], bool]
    """True if a recording has the property."""
    reason: str
    clients: frozenset[str] = frozenset()
    """Dialects of clients; empty for all."""


def find_rule(row: Row, client: str, kind: str) -> Rule | None:
    """Find the rule that excuses a difference; None if there is none."""
    for rule in RULES:
        if kind in rule.kinds and (not rule.clients or client in rule.clients) and rule.applies(row):  # fmt: skip
            return rule
    return None


def list_values(row: Row) -> list[Object]:
    """List the JSON objects of an answer, in a stream one for each event; leave out other data."""
    texts = [row.body] if not row.stream else map(sse.read_data, sse.split_frames(row.body))
    values: list[Object] = []
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        values += [it for it in (value if isinstance(value, list) else [value]) if isinstance(it, dict)]  # fmt: skip
    return values


def list_choices(row: Row) -> Iterator[Object]:
    """List the choices of all chunks of a Chat Completions answer."""
    for value in list_values(row):
        choices = value.get("choices")
        yield from (it for it in choices or () if isinstance(it, dict))


def list_usages(row: Row) -> Iterator[Object]:
    """List all usage objects of an answer, in their order."""
    for value in list_values(row):
        holders = (value, value.get("response"), value.get("message"), value.get("x_groq"), *(value.get("choices") or ()))  # fmt: skip
        for holder in holders:
            if isinstance(holder, dict):
                usage = holder.get("usage") or holder.get("usageMetadata")
                if isinstance(usage, dict):
                    yield usage


def _has_done_frame(row: Row) -> bool:
    return row.dialect == MESSAGES and row.stream and b"data: [DONE]" in row.body[-100:]


def _has_error(row: Row) -> bool:
    if row.dialect != CHAT or row.stream or row.status != 200:
        return False
    values = [*list_values(row), *list_choices(row)]
    return any(value.get("error") for value in values)


def _has_streamed_thinking_parts(row: Row) -> bool:
    return row.dialect == CHAT and row.stream and any(
        isinstance((choice.get("delta") or {}).get("content"), list) for choice in list_choices(row)
    )  # fmt: skip


def _has_calls_under_one_index(row: Row) -> bool:
    ids: dict[tuple[int, int], set[str]] = {}
    for choice in list_choices(row) if row.dialect == CHAT and row.stream else ():
        for call in (choice.get("delta") or {}).get("tool_calls") or ():
            if call.get("id"):
                place = (choice.get("index", 0), call.get("index", 0))
                ids.setdefault(place, set()).add(call["id"])
    return any(len(id_owners) > 1 for id_owners in ids.values())


def _has_several_streams(row: Row) -> bool:
    if row.dialect != RESPONSES or not row.stream:
        return False
    created = [value for value in list_values(row) if value.get("type") == "response.created"]
    return len(created) > 1


def _has_negative_count(row: Row) -> bool:
    counts: list[object] = [count for usage in list_usages(row) for count in usage.values()]
    return any(isinstance(count, int) and count < 0 for count in counts)


def _has_usage_elsewhere(row: Row) -> bool:
    values = list_values(row) if row.dialect == CHAT else ()
    return any(bool((value.get("x_groq") or {}).get("usage")) for value in values) and not any(
        value.get("usage") for value in values
    )


def _has_event_without_index(row: Row) -> bool:
    return row.dialect == RESPONSES and row.stream and any(
        value.get("type") == "response.output_item.done" and "output_index" not in value
        for value in list_values(row)
    )  # fmt: skip


def _counts_no_input(row: Row) -> bool:
    return any(usage.get("prompt_tokens") == 0 for usage in list_usages(row))


RULES = (
    Rule(
        frozenset({"clean", "bytes"}),
        _has_done_frame,
        "a [DONE] at the end of a stream of messages, at which the SDK raises; the gateway leaves it out",
    ),
    Rule(
        frozenset({"problem"}),
        _has_error,
        "200 with an error: the gateway answers with an error, the SDK makes an answer of the rest",
    ),
    Rule(
        frozenset({"reasoning"}),
        _has_streamed_thinking_parts,
        "reasoning in content parts of a stream, where a recorded oracle does not look",
    ),
    Rule(
        frozenset({"calls"}),
        _has_calls_under_one_index,
        "several calls under one index, told apart by id: the SDK runs them together",
    ),
    Rule(
        frozenset(
            {"text", "reasoning", "declined", "calls", "finish", "usage", "media", "billed"}
        ),
        _has_several_streams,
        "several streams recorded as one: the gateway reads the first, the SDK takes the last",
    ),
    Rule(
        frozenset({"usage"}),
        _has_negative_count,
        "a negative count of tokens, which the gateway takes for unknown",
    ),
    Rule(
        frozenset({"usage"}),
        _has_usage_elsewhere,
        "usage in x_groq alone, where the SDK does not look",
    ),
    Rule(
        frozenset({"usage"}),
        _has_event_without_index,
        "events without output_index, at which the SDK stops before it reads usage",
    ),
    Rule(
        frozenset({"usage"}),
        _counts_no_input,
        "0 tokens of input, which take back no estimate that a message began with",
        frozenset({MESSAGES}),
    ),
)  # fmt: skip
