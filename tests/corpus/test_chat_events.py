"""Every recorded exchange of Chat Completions becomes events that match the SDK, and goes back."""

import json
from itertools import pairwise
from typing import Any

import msgspec
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.core import sse
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import (
    AnswerMetadata,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolDelta,
    ToolStart,
    UsageUpdate,
)  # fmt: skip
from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_chat import TRANSLATION
from gateway.dialects.tool_ids import make_plain_id
from tests.corpus.conftest import Say
from tests.corpus.exchanges import Exchange, Object, classes, five, payload
from tests.corpus.test_relay import UNLIKE_THE_SDK as USAGE_UNLIKE_THE_SDK
from tests.dialects.cases import target

UNLIKE_THE_SDK = {
    "bf6ff51306299835": "two calls under one index, told apart by id: the SDK runs them together",
    "0a4588d90fc603cf": "a call whose name comes in every piece: the SDK writes it several times",
    "a2c6be78cc0e2b52": "a call without an id: one is made",
    "37a4c53fd3a2f2bf": "reasoning in content parts of a stream, where the oracle does not look",
    "9e12c0455abc0a47": "reasoning in content parts of a stream, where the oracle does not look",
    "b9ae6d6fa02fd3b9": "reasoning in reasoning_details alone, where the oracle does not look",
    "42904abe91c37975": "function_call, which the oracle leaves out",
    "6e53eeecc082697e": "function_call, which the oracle leaves out",
    "e53eb67f484d08a8": "function_call, which the oracle leaves out",
    "4e151f9fbccb101f": "function_call, which the oracle leaves out",
}
"""Answers that the gateway reads otherwise than the SDK, on purpose."""
CHANGED_REQUESTS = {
    "c50c6732974195ec": "a picture in a tool's result follows in a message of the user's",
    "98f4b782d381a22f": "a picture in a tool's result follows in a message of the user's",
    "18edfd659b018e08": "a document of Mistral's without a name, which is given one",
    "0f47b68ac9f55a8d": "a document of Mistral's without a name, which is given one",
    "c0880ebf29e57fa6": "a sound of Mistral's without a format, which is taken for the usual one",
    "b06dc6f7ae663b7f": "a sound of Mistral's without a format, which is taken for the usual one",
    "cc1d7ee33989ddd8": "a file by its id at the provider, which is refused abroad",
    "1b11b9a5b6f21bdb": "a tool of the host's, which is refused abroad",
    "bec3a5c7425b283c": "a tool of the host's, which is refused abroad",
    "380c71d936159c01": "a tool of the host's, which is refused abroad",
    "f9916f30bff6d8ad": "a tool of the host's, which is refused abroad",
    "ec3ccd90093d5ae1": "a tool of the host's, which is refused abroad",
    "798994887b0abb13": "an assistant's message that says nothing, which is left out",
}
"""Requests that come back with other values, on purpose."""
ERRORS_WITH_200 = {
    "8382d44533840ebd", "237fcc7662e76bd0", "9935bc9acbec91c3", "73bfa5fc761b6aea", "c34f9bbb7dd05572",
    "ab0d0ab825f06a93", "5e8705c708128f64", "9fe6d3b38627e4c6", "a22dbfdc053b922f",
}  # fmt: skip
"""Recordings with status 200 that hold an error."""
CONTEXT = ResponseContext(id="01", created_at=7, model="asked")
READ_SIZES = (1, 2, 3, 5, 8, 13, 21, 34)
"""Sizes of reads, in turn."""


def list_answers(exchanges: list[Exchange]) -> list[Exchange]:
    return [
        exchange
        for exchange in exchanges
        if exchange.status == 200 and exchange.id not in ERRORS_WITH_200
    ]


def decode(*parts: bytes) -> list[Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return [*events, *decoder.end()]


def decode_exchange(exchange: Exchange) -> list[Event]:
    return decode(exchange.body) if exchange.stream else TRANSLATION.decode_response(exchange.body)


def encode(events: list[Event]) -> bytes:
    encoder = TRANSLATION.make_encoder(CONTEXT)
    return b"".join([encoder.write(event) for event in events])


def collect_choices(events: list[Event]) -> dict[int, Object]:
    """Return the content of events by choice, in the shape of the oracle."""
    choices: dict[int, Object] = {}
    for event in events:
        if isinstance(event, Start | AnswerMetadata | UsageUpdate | Failed | End):
            continue
        blank: Object = {"text": "", "reasoning": "", "refusal": "", "tools": {}, "finish": None}
        choice = choices.setdefault(event.choice, blank)
        match event:
            case TextDelta():
                choice["text"] += event.text
            case ReasoningDelta():
                choice["reasoning"] += event.text
            case Declined():
                choice["refusal"] += event.text
            case ToolStart():
                choice["tools"][event.index] = [event.id, event.name, ""]
            case ToolDelta():
                choice["tools"][event.index][2] += event.text
            case Finish():
                choice["finish"] = event.word
            case _:
                pass
    return {
        at: {**choice, "tools": list(choice["tools"].values())} for at, choice in choices.items()
    }


def list_finish_reasons(events: list[Event]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Finish)]


def find_usage(events: list[Event]) -> Usage | None:
    return next((event.usage for event in reversed(events) if isinstance(event, UsageUpdate)), None)


def expect_choice(choice: Object) -> Object:
    """Return a choice as the SDK decoded it; content that is no string becomes text."""
    text, thought = choice["text"] or "", choice["reasoning"] or ""
    if isinstance(text, dict):
        text = json.dumps(text, separators=(",", ":"))
    elif isinstance(text, list):
        thought = "".join(
            inner["text"] for part in text if part["type"] == "thinking" for inner in part["thinking"]
        )  # fmt: skip
        text = "".join(part["text"] for part in text if part["type"] == "text")
    tools = [list(call) for call in choice["tools"]]
    return {
        "text": text,
        "reasoning": thought,
        "refusal": choice["refusal"] or "",
        "tools": tools,
        "finish": choice["finish"] or None,
    }


def test_decoded_events_match_the_sdk(exchanges: list[Exchange], say: Say) -> None:
    """Law 3: text, reasoning, refusal, calls, finish and model of whole answers and of streams."""
    unlike = set()
    for exchange in list_answers(exchanges):
        events = decode_exchange(exchange)
        assert isinstance(events[-1], End), exchange.id
        assert not any(isinstance(event, Failed) for event in events)
        if collect_choices(events) != {
            choice["index"]: expect_choice(choice) for choice in exchange.oracle["choices"]
        }:
            unlike.add(exchange.id)
        [start] = [event for event in events if isinstance(event, Start)]
        assert start.model == (exchange.oracle["model"] or None), exchange.id
    say(f"{len(list_answers(exchanges))} answers, {len(unlike)} read otherwise")
    assert unlike == set(UNLIKE_THE_SDK)
    assert len(unlike) < 0.02 * len(list_answers(exchanges))


def test_an_error_with_status_200_is_the_last_event(exchanges: list[Exchange]) -> None:
    """No event follows the error, as in a native stream."""
    for exchange in exchanges:
        if exchange.id in ERRORS_WITH_200:
            events = decode_exchange(exchange)
            assert isinstance(events[-1], Failed)
            assert sum(isinstance(event, Failed) for event in events) == 1


def test_decoded_usage_matches_the_sdk(exchanges: list[Exchange], say: Say) -> None:
    """Usage agrees in the five classes; its exceptions are those of the ledger."""
    unlike = set()
    for exchange in list_answers(exchanges):
        usage = find_usage(decode_exchange(exchange))
        counts: tuple[int | None, ...] = (None,) * 5
        if usage is not None:
            written = sum(usage.cache_write.values()) or None
            counts = (usage.input, usage.cache_read, written, usage.output, usage.reasoning)
        if counts != (five(exchange.usage_counts) if exchange.usage_counts else (None,) * 5):
            unlike.add(exchange.id)
    say(f"usage of {len(list_answers(exchanges))} answers, {len(unlike)} read otherwise")
    assert unlike == set(USAGE_UNLIKE_THE_SDK)


def test_any_stream_decodes_to_the_same_events_wherever_reads_end(
    exchanges: list[Exchange], say: Say
) -> None:
    """Law 2: awkward reads of all streams, and single bytes of the short ones."""
    count = 0
    for exchange in exchanges:
        if not exchange.stream:
            continue
        body, events = exchange.body, decode(exchange.body)
        ends = [0]
        while ends[-1] < len(body):
            ends.append(min(len(body), ends[-1] + READ_SIZES[len(ends) % len(READ_SIZES)]))
        assert decode(*[body[a:b] for a, b in pairwise(ends)]) == events, exchange.id
        if len(body) < 2500:
            assert decode(*[body[at : at + 1] for at in range(len(body))]) == events, exchange.id
        count += 1
    say(f"{count} streams")


def test_a_stream_cut_before_its_finish_has_no_end(exchanges: list[Exchange], say: Say) -> None:
    """Law 10 holds at every frame."""
    cuts = 0
    for exchange in list_answers(exchanges):
        if not exchange.stream:
            continue
        decoder = TRANSLATION.make_decoder()
        finished: set[int] = set()
        for frame in sse.split_frames(exchange.body):
            if b"[DONE]" in frame:
                break
            chunk = payload(frame) or {}
            finished |= {
                choice["index"]
                for choice in chunk.get("choices") or ()
                if choice.get("finish_reason")
            }
            if len(finished) == exchange.choices:
                break
            assert not any(isinstance(event, End | Finish) for event in decoder.feed(frame))
            cuts += 1
        if len(finished) < exchange.choices == 1:
            assert not decoder.end(), exchange.id
    say(f"{cuts} cuts, none of them an end")


def test_a_stream_and_its_whole_answer_decode_to_the_same_events(exchanges: list[Exchange]) -> None:
    """Law 2: a stream that is folded, and a whole answer that is streamed, give the same events."""
    for exchange in list_answers(exchanges):
        events = decode_exchange(exchange)
        if exchange.stream:
            other = TRANSLATION.decode_response(OPENAI_CHAT.fold(exchange.body))
        else:
            other = decode(OPENAI_CHAT.unfold(exchange.body, True))
        assert (collect_choices(other), find_usage(other)) == (
            collect_choices(events),
            find_usage(events),
        ), exchange.id
        assert list_finish_reasons(other) == list_finish_reasons(events), exchange.id


def without_blanks(whole: Object) -> Object:
    for choice in whole["choices"]:
        choice["message"]["content"] = choice["message"]["content"] or None
    return whole


def without_log_probabilities(completion: Object) -> Object:
    """Return the encoder's own members: log probabilities are the host's, some without a number."""
    choices = [{**choice, "logprobs": None} for choice in completion["choices"]]
    return {**completion, "choices": choices}


def test_the_encoded_stream_folds_to_the_encoded_whole_answer(exchanges: list[Exchange]) -> None:
    """Law 2 of the encoder: its stream folds to its whole answer; the SDK's types accept both."""
    for exchange in list_answers(exchanges):
        events = decode_exchange(exchange)
        whole = json.loads(TRANSLATION.encode_response(events, CONTEXT))
        stream = encode(events)
        assert without_blanks(json.loads(OPENAI_CHAT.fold(stream))) == without_blanks(whole)
        ChatCompletion.model_validate(without_log_probabilities(whole))
        for frame in sse.split_frames(stream)[:-1]:
            ChatCompletionChunk.model_validate(without_log_probabilities(payload(frame)))


def test_an_answer_survives_encoding_and_decoding(exchanges: list[Exchange], say: Say) -> None:
    """Encoded events decode to the same events, but the finish gets the dialect's own word."""
    for exchange in list_answers(exchanges):
        events = decode_exchange(exchange)
        decoded_again = decode(encode(events))
        for decoded in (
            decoded_again,
            TRANSLATION.decode_response(TRANSLATION.encode_response(events, CONTEXT)),
        ):
            first, second = collect_choices(events), collect_choices(decoded)
            for choice in (*first.values(), *second.values()):
                choice.pop("finish")
                choice["tools"] = [[id, name, text or "{}"] for id, name, text in choice["tools"]]
            assert second == first, exchange.id
            expected_reasons = [
                "length" if word == "cut" else word for word in list_finish_reasons(events)
            ]
            assert list_finish_reasons(decoded) == expected_reasons, exchange.id
            before = find_usage(events)
            if before is not None and before.completion is not None:
                assert classes(find_usage(decoded)) == classes(before), exchange.id
    say(f"{len(list_answers(exchanges))} answers there and back")


def to_plain_values(value: Any) -> Any:
    """Return a request as plain values, without what it was read from."""
    if isinstance(value, msgspec.Struct):
        fields = {name: to_plain_values(getattr(value, name)) for name in value.__struct_fields__}
        for name in ("source", "names", "extra_members"):
            fields.pop(name, None)
        return {"is": type(value).__name__, **fields}
    return [to_plain_values(item) for item in value] if isinstance(value, tuple) else value


def normalize_request(request: CanonicalRequest) -> Any:
    """Return the meaning of a request to a host, in one of its several spellings."""
    value = to_plain_values(request)
    for turn in value["turns"]:
        turn["role"] = "system" if turn["role"] == "developer" else turn["role"]
        turn["parts"] = [part for part in turn["parts"] if part["is"] != "Thought"]
        parts = [
            *turn["parts"],
            *[inner for part in turn["parts"] for inner in part.get("parts", ())],
        ]
        for part in parts:
            part["cache"] = None
            if part["is"] in ("ToolUse", "ToolResult"):
                part["id"] = make_plain_id(part["id"])
        if parts and all(part["is"] == "Text" for part in parts):
            glue = "" if turn["role"] == "assistant" else "\n\n"
            turn["parts"] = [glue.join(part["text"] for part in parts)]
    if value["form"]:
        value["form"]["name"] = value["form"]["name"] or "answer"
    value["thoughts_shown"] = value["top_k"] = value["stream_usage"] = None
    return value


def test_a_request_survives_encoding_and_decoding(exchanges: list[Exchange], say: Say) -> None:
    """`decode` reads what `encode` writes: turns, tools and settings of every recorded request."""
    unlike: dict[str, Any] = {}
    count = 0
    for exchange in exchanges:
        if exchange.request is None or "messages" not in exchange.request:
            continue
        count += 1
        raw = json.dumps({"model": "m", **exchange.request}, ensure_ascii=False).encode(
            "utf-8", "replace"
        )
        first = TRANSLATION.decode_request(OPENAI_CHAT.read(raw))
        encoded_request = TRANSLATION.encode_request(first, target())
        body = json.dumps({**encoded_request.value, "model": "m"}).encode()
        second = TRANSLATION.decode_request(OPENAI_CHAT.read(body))
        assert set(encoded_request.client_names) == set(encoded_request.value)
        if normalize_request(second) != normalize_request(first):
            unlike[exchange.id] = (
                exchange.provider,
                normalize_request(first),
                normalize_request(second),
            )
    say(f"{count} requests there and back, {len(unlike)} said otherwise")
    assert {id: why for id, why in unlike.items() if id not in CHANGED_REQUESTS} == {}
    assert set(unlike) == set(CHANGED_REQUESTS)
