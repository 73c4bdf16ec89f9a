"""Compare the outcome of a probe with what the gateway expects of a provider, in plain words."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from gateway.cli.doctor.live.answer import DecodedAnswer
from gateway.cli.doctor.live.probes import EMBEDDINGS, TOOL_ARGUMENT, TOOL_NAME, build_request
from gateway.cli.doctor.live.send import ProbeOutcome
from gateway.cli.terminal import format_usd
from gateway.core import jsonio, sse
from gateway.core.errors import Problem, ProblemKind
from gateway.core.price import Price, compute_bill_difference, compute_cost, explain_unknown_cost
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.target import base_name
from gateway.dialects import BEDROCK_CONVERSE
from gateway.dialects.bedrock_converse import stream_decoder as converse_stream
from gateway.dialects.member_list import find_unknown_members
from gateway.dialects.translation import get_target_translation

_EVENT_STREAM, _JSON = "text/event-stream", "application/json"
_STREAM_TYPES: Mapping[str, str] = {
    BEDROCK_CONVERSE.name: "application/vnd.amazon.eventstream",
}
"""The content types of streams that are no server-sent events, by dialect."""
_LAST_EVENTS: Mapping[str, tuple[bytes, ...]] = {
    "openai-chat": (b"[DONE]",),
    "openai-responses": (b'"response.completed"', b'"response.incomplete"'),
    "anthropic-messages": (b'"message_stop"',),
}
"""Texts of which the last frame of a stream has one, by dialect; Gemini has no such frame."""
_LAST_EVENT_NAMES: Mapping[str, str] = {
    "openai-chat": "data: [DONE]",
    "openai-responses": "the event response.completed or response.incomplete",
    "anthropic-messages": "the event message_stop",
}
_USUAL_WORDS: Mapping[str, frozenset[str]] = {
    "stop": frozenset({"stop", "end_turn", "completed", "eos", "stop_sequence"}),
    "length": frozenset({"length", "max_tokens", "max_output_tokens", "model_length"}),
    "tools": frozenset({"tool_calls", "tool_use", "function_call", "completed", "stop"}),
}
"""Providers' words for the reason of an end, in lower case."""
_FRAME = re.compile(r"^(?:[a-z]+\.)+(?=[a-z])|:(?:\d+|[a-z-]+)$")
"""Matches what hosts put around a name: `us.anthropic.` before it, `:0` or `:groq` behind it."""
_WORD_GAP = re.compile("[-.@]")
_SNAPSHOT_WORD = re.compile(r"\d{4,}|v\d|latest|preview|gguf")
"""Matches a part of a name that tells the version of one model."""
_MAX_NAMES = 8
"""The most unknown members that a line of the report names."""
_REFUSALS: Mapping[ProblemKind, str] = {
    "upstream_auth": "the provider refuses the key",
    "upstream_model": "the provider does not know the model",
    "upstream_rate_limited": "the provider limits the rate of this account",
    "upstream_rejected": "the provider refuses the request that the gateway makes",
    "upstream_context": "the provider finds the request too long",
}


class Deviation(msgspec.Struct, frozen=True):
    """One thing that is not as the gateway expects."""

    level: Literal["warning", "error"]
    """`error` if the gateway cannot use the target; `warning` if it can, with this difference."""
    text: str
    is_problem: bool = False
    """True if it is the problem of the whole probe."""


class ProbeCost(msgspec.Struct, frozen=True):
    """The cost of an answer in USD; None if it is unknown."""

    computed: Decimal | None
    """The cost by the price list."""
    billed: Decimal | None
    """The cost by the provider's word."""

    @property
    def usd(self) -> Decimal | None:
        """The cost that the gateway writes to its ledger."""
        return self.computed if self.billed is None else self.billed


def find_price(outcome: ProbeOutcome) -> Price | None:
    """Return the price in force when a probe was sent."""
    price = outcome.series.candidate.target.price
    return None if price is None else price.find_in_force(outcome.sent_at)


def compute_probe_cost(outcome: ProbeOutcome) -> ProbeCost:
    """Return what an answer cost."""
    usage = outcome.usage
    billed = None if usage is None else usage.billed
    return ProbeCost(compute_cost(usage, find_price(outcome)), billed)


def find_deviations(outcome: ProbeOutcome, answer: DecodedAnswer) -> Iterator[Deviation]:
    """Find all that is not as expected. `answer` is what the gateway's decoder makes of it."""
    if outcome.problem is not None:
        yield _describe_problem(outcome, outcome.problem)
    if outcome.exchange.status != 200:
        return
    yield from _check_form(outcome)
    if outcome.probe.is_left:
        return
    if outcome.problem is None:
        yield from _check_content(outcome, answer)
        yield from _check_finish(outcome, answer)
    yield from _check_usage(outcome)
    yield from _check_money(outcome)


def _describe_problem(outcome: ProbeOutcome, problem: Problem) -> Deviation:
    status = problem.upstream_status or outcome.exchange.status
    reason = _REFUSALS.get(problem.kind, "no answer")
    status_note = f" ({status})" if status and status != 200 else ""
    retry_note = (
        f" It may be asked again in {problem.retry_after:,.0f} s."
        if problem.retry_after is not None
        else ""
    )
    level: Literal["warning", "error"] = (
        "warning" if problem.kind == "upstream_rate_limited" else "error"
    )
    return Deviation(
        level, f"{reason}{status_note}: {problem.message}{retry_note}", is_problem=True
    )


def _check_form(outcome: ProbeOutcome) -> Iterator[Deviation]:
    """Check the type of the content, the end of a stream, and members that no list has."""
    exchange, probe, dialect = outcome.exchange, outcome.probe, outcome.series.dialect
    content_type = exchange.get_header("content-type").partition(";")[0].strip().lower()
    is_streamed = _is_streamed(outcome)
    expected_type = _STREAM_TYPES.get(dialect.name, _EVENT_STREAM) if is_streamed else _JSON
    if content_type != expected_type:
        yield Deviation(
            "warning", f"the content type is {content_type or 'missing'}, not {expected_type}"
        )
    frames = _list_frames(outcome) if is_streamed else [("answer", exchange.body)]
    if is_streamed and not probe.is_left:
        last_events = _LAST_EVENTS.get(dialect.name)
        last_frame = frames[-1][1] if frames else b""
        if last_events is not None and not any(text in last_frame for text in last_events):
            yield Deviation(
                "warning", f"the stream does not end with {_LAST_EVENT_NAMES[dialect.name]}"
            )
    names = _find_unknown_names(outcome, frames)
    if names:
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        yield Deviation("warning", f"unknown to the gateway: {', '.join(names[:_MAX_NAMES])}{more}")


def _is_streamed(outcome: ProbeOutcome) -> bool:
    """True if the answer is a stream: some models of Converse give a whole one in its place."""
    is_whole = outcome.series.dialect is BEDROCK_CONVERSE and outcome.exchange.body[:1] == b"{"
    return outcome.probe.is_stream and not is_whole


def _list_frames(outcome: ProbeOutcome) -> list[tuple[str, bytes]]:
    """List the payloads of a stream, each with the name of its object in the member list."""
    if outcome.series.dialect is BEDROCK_CONVERSE:
        return [
            (f"event:{kind}", payload)
            for kind, payload in converse_stream.list_events(outcome.exchange.body)
        ]
    payloads = [sse.read_data(frame) for frame in sse.split_frames(outcome.exchange.body)]
    return [("event", payload) for payload in payloads if payload]


def _find_unknown_names(outcome: ProbeOutcome, frames: list[tuple[str, bytes]]) -> list[str]:
    members = get_target_translation(outcome.series.dialect).answer_members
    names: dict[str, None] = {}
    for object_name, frame in frames if members else ():
        try:
            value = jsonio.loads(frame)
        except jsonio.JsonError:
            continue
        names.update(dict.fromkeys(find_unknown_members(value, members, object_name)))
    return [name for name in names if name.rpartition(".")[2] != "error"]  # a problem already


def _check_content(outcome: ProbeOutcome, answer: DecodedAnswer) -> Iterator[Deviation]:
    """Check the text, or the call of a tool."""
    probe = outcome.probe
    if answer.error is not None:
        yield Deviation("warning", f"the gateway cannot translate the answer: {answer.error}")
        return
    if probe.operation == EMBEDDINGS:
        if not answer.vector_size:
            yield Deviation("warning", "the answer has no vector")
        return
    if probe.finish != "tools":
        if probe.finish == "stop" and answer.finish != "length" and not answer.text:
            yield Deviation("warning", "the answer has no text")
        return
    if not answer.tool_calls:
        yield Deviation("warning", "the model does not call the tool that it is asked to call")
    for call in answer.tool_calls:
        if call.name != TOOL_NAME:
            yield Deviation("warning", f"the model calls the tool {call.name!r}, not {TOOL_NAME}")
        try:
            arguments = jsonio.loads(call.arguments.encode())
        except jsonio.JsonError:
            yield Deviation("warning", "the arguments of the tool are no JSON")
            continue
        if not isinstance(arguments, dict) or TOOL_ARGUMENT not in arguments:
            yield Deviation("warning", f"the arguments of the tool lack {TOOL_ARGUMENT}")


def _check_finish(outcome: ProbeOutcome, answer: DecodedAnswer) -> Iterator[Deviation]:
    """Check the reason for the end, and the model that answers."""
    expected, word = outcome.probe.finish, answer.word
    calls_nothing = expected == "tools" and not answer.tool_calls
    if answer.error is None and not calls_nothing:
        quoted_word = f"the word {word!r}" if word else "no word"
        if outcome.probe.keeps_effort and answer.finish == "length":
            pass  # at a high effort a model may reason longer than it may here
        elif answer.finish != expected:
            text = f"the answer ends with {quoted_word}, read as {answer.finish}, not {expected}"
            yield Deviation("warning", text)
        elif word and word.lower() not in _USUAL_WORDS[expected]:
            text = f"the answer ends with {quoted_word}, which the gateway takes for {expected}"
            yield Deviation("warning", text)
    requested, served = outcome.series.candidate.target.model, outcome.served_model
    if served is not None and not is_same_model(requested, served):
        yield Deviation("warning", f"the answer is of {served}, not of {requested}")


def is_same_model(requested: str, served: str) -> bool:
    """Return True if two names mean one model: only a date, a version or the maker differs."""
    words = [
        frozenset(_WORD_GAP.split(base_name(_FRAME.sub("", name.rpartition("/")[2].lower()))))
        for name in (requested, served)
    ]
    return all(_SNAPSHOT_WORD.fullmatch(word) for word in words[0] ^ words[1])


def _check_usage(outcome: ProbeOutcome) -> Iterator[Deviation]:
    """Check that usage is there, and within what the gateway reserves for a call."""
    usage, probe = outcome.usage, outcome.probe
    if usage is None or not usage.has_input_and_output:
        form = "stream" if probe.is_stream else "answer"
        lacking = "no usage" if usage is None else "no number of its input or output tokens"
        yield Deviation("warning", f"the {form} has {lacking}: its cost is unknown")
        return
    target = outcome.series.candidate.target
    max_output = target.compute_max_output(probe.find_max_output(target), 1)
    if max_output is not None and (usage.completion or 0) > max_output:
        text = f"{usage.completion:,} output tokens, above the {max_output:,} that were allowed"
        yield Deviation("warning", text)
    body = build_request(probe, outcome.series.client_dialect, target)
    prompt_bound = bound_prompt_tokens(body.prompt, len(body.raw))
    if prompt_bound is not None and (usage.prompt or 0) > prompt_bound:
        text = (
            f"{usage.prompt:,} input tokens, above the {prompt_bound:,} that the gateway reserves"
        )
        yield Deviation("warning", text)


def _check_money(outcome: ProbeOutcome) -> Iterator[Deviation]:
    """Check that the price is known, and that a bill that the provider states agrees with it."""
    cost, usage = compute_probe_cost(outcome), outcome.usage
    gap = explain_unknown_cost(usage, find_price(outcome))
    if gap is not None:
        yield Deviation("warning", f"the cost is unknown: {gap}")
    if cost.billed is None or cost.computed is None:
        return
    if compute_bill_difference(cost.billed, cost.computed):
        bill, computed = format_usd(cost.billed), format_usd(cost.computed)
        yield Deviation(
            "warning", f"the provider bills {bill} USD; the price list gives {computed}"
        )
