"""Relay every recorded exchange through a real gateway: same bytes, and the right account."""

import json
from collections import Counter
from collections.abc import Callable, Iterable

from tests.corpus.conftest import Say
from tests.corpus.exchanges import FIVE, five, payload, shown
from tests.corpus.gateway_relay import RelayedAnswer

NO_ANSWER = {
    "8382d44533840ebd": "200 with an error object after blank lines: told as the 400 that it names",
    "237fcc7662e76bd0": "200 with an error object: told as the failure that it is",
    "a22dbfdc053b922f": "200 with an error in its choice, and half a text: told as the failure that it is",
}
"""Whole recordings that hold no answer, although the SDK returns them."""

NO_REASON = dict.fromkeys(
    [
        "599bc505026de57f", "2ab77808198c5e8e", "ce4b5342dfa80891", "05ed4de2d1ada24e",
        "80f3e23af3e86472", "734e5c7fe6479b15",
    ],
    "gives no reason for its end: it passes as it came, and its row says `aborted`",
)  # fmt: skip
"""Whole recordings of hosts that never give a reason, or give it in a member of their own."""

ENDS_BADLY = {
    "9935bc9acbec91c3": "an error and nothing else",
    "73bfa5fc761b6aea": "an error and nothing else",
    "c34f9bbb7dd05572": "an error event and nothing else",
    "ab0d0ab825f06a93": "comments and an error",
    "5e8705c708128f64": "comments and an error",
    "9fe6d3b38627e4c6": "an error event after content",
}
"""Streams that a provider ended with an error."""

AFTER_CONTENT = {"9fe6d3b38627e4c6"}
"""Streams among them that had begun: the gateway passes the error on unchanged."""

TOO_MANY_CACHED = "tells more cached tokens than the prompt had: a part is no more than the whole"
OUT_OF_SIGHT = "tells usage in x_groq alone, where the SDK does not look"
UNLIKE_THE_SDK = {
    **dict.fromkeys(
        [
            "504a367aa169b3aa", "7af58f1dcb3e57c0", "a6abe72a9864919f", "3dfa130e6dc41371", "5f0443f39aded350",
            "b37faf0a8ab3eae6", "fbd35a0cd761b36f",
        ],
        OUT_OF_SIGHT,
    ),
    **dict.fromkeys(
        [
            "33aa77e713fdbfd4", "3e3dda2817bcb496", "28def21a6521253a", "12c0a224a1891a22", "08a22880a50473ee",
            "8f72b94f727733a4", "af2872655172898d",
        ],
        TOO_MANY_CACHED,
    ),
}  # fmt: skip
"""Usage that the gateway reads otherwise than the SDK, on purpose."""


def count_options(results: Iterable[RelayedAnswer]) -> Counter[str]:
    return Counter(answer.request.options or "as recorded" for answer in results)


def find_differing(
    results: Iterable[RelayedAnswer], same: Callable[[RelayedAnswer], bool]
) -> dict[str, RelayedAnswer]:
    return {answer.exchange.id: answer for answer in results if not same(answer)}


def test_every_whole_answer_passes_unchanged(relayed: list[RelayedAnswer], say: Say) -> None:
    results = [
        answer for answer in relayed if not answer.exchange.stream and answer.exchange.status == 200
    ]
    unlike = find_differing(
        results, lambda answer: (answer.status, answer.body) == (200, answer.exchange.body)
    )
    say(
        f"{len(results)} whole answers, {len(results) - len(unlike)} equal: {dict(count_options(results))}"
    )
    assert set(unlike) == set(NO_ANSWER)
    assert {answer.status for answer in unlike.values()} == {400, 502}
    for answer in unlike.values():
        assert json.loads(answer.body)["error"]
        assert answer.entry.state == "failed"
    truncated = {
        answer.exchange.id for answer in results if answer.entry.problem == "upstream_truncated"
    }
    assert truncated == set(NO_REASON)


def test_every_stream_passes_unchanged(relayed: list[RelayedAnswer], say: Say) -> None:
    """Only the separate usage chunk is left out, if the client did not ask; no cut loses a byte."""
    results = [answer for answer in relayed if answer.exchange.stream]
    unlike = find_differing(results, passes_unchanged)
    say(f"{len(results)} streams, {len(unlike)} recordings unlike: {dict(count_options(results))}")
    assert set(unlike) == set(ENDS_BADLY) - AFTER_CONTENT


def passes_unchanged(answer: RelayedAnswer) -> bool:
    """True if a stream passes unchanged; without a reason for its end, with an error after it."""
    expected = shown(answer.exchange, asks_usage=answer.request.asks_usage)
    if not answer.exchange.cut:
        return (answer.status, answer.body) == (200, expected)
    return answer.body.startswith(expected) and find_end(answer.body) == "error"


def find_end(body: bytes) -> str:
    """Return the kind of end of a stream: clean, error, or open."""
    frames = [frame for frame in body.replace(b"\r\n", b"\n").split(b"\n\n") if frame.strip()]
    last = payload(frames[-1])
    return "clean" if last is None else "error" if last.get("error") else "open"


def test_an_error_of_the_provider_reaches_the_client_as_an_error(
    relayed: list[RelayedAnswer], say: Say
) -> None:
    """Before content it is an HTTP error; after content it is in the stream, without [DONE]."""
    results = [answer for answer in relayed if answer.exchange.id in ENDS_BADLY]
    for answer in results:
        assert answer.entry.state in ("failed", "aborted"), answer.exchange.id
        assert answer.exchange.oracle["outcome"] == "error"
        if answer.status == 200:
            assert find_end(answer.body) == "error"
            assert b"[DONE]" not in answer.body
        else:
            assert json.loads(answer.body)["error"]["message"]
            assert answer.status >= 400
    say(f"{len(results)} streams of {len(ENDS_BADLY)} recordings that hold an error, all told")
    errors = {
        answer.exchange.id
        for answer in relayed
        if answer.exchange.status == 200 and answer.exchange.oracle["outcome"] == "error"
    }
    assert errors == set(ENDS_BADLY)


def test_every_other_answer_is_settled(relayed: list[RelayedAnswer]) -> None:
    """Each call has one entry: settled with the provider's usage, estimated without it."""
    for answer in relayed:
        exchange, entry = answer.exchange, answer.entry
        if exchange.status == 200 and exchange.id not in {**ENDS_BADLY, **NO_ANSWER}:
            has_usage = exchange.usage_counts is not None or exchange.id in UNLIKE_THE_SDK
            expected_state = "settled" if has_usage else "estimated"
            assert entry.state == ("aborted" if exchange.cut else expected_state), exchange.id
            assert entry.problem == ("upstream_truncated" if exchange.cut else None)
            assert (entry.status, entry.attempts, entry.stream) == (200, 1, exchange.stream)
            assert entry.dropped == ()


def test_the_ledgers_usage_matches_the_sdk(relayed: list[RelayedAnswer], say: Say) -> None:
    """Usage agrees in the five classes of the ledger, and their sums are the provider's."""
    equal: set[str] = set()
    unlike: dict[str, object] = {}
    for answer in relayed:
        exchange = answer.exchange
        if exchange.status != 200 or exchange.id in {**ENDS_BADLY, **NO_ANSWER}:
            continue
        counts = tuple(getattr(answer.entry, name) for name in FIVE)
        if exchange.usage_counts:
            assert sum(part or 0 for part in counts[:3]) == exchange.usage_counts["prompt_tokens"]
        if answer.entry.usage == "estimate":  # an estimate: the provider sent no usage
            assert None not in (answer.entry.input, answer.entry.output)
            counts = (None,) * 5
        expected = five(exchange.usage_counts) if exchange.usage_counts else (None,) * 5
        if counts == expected:
            equal.add(exchange.id)
        else:
            unlike[exchange.id] = (exchange.provider, counts, expected)
    say(f"usage of {len(equal) + len(unlike)} exchanges, {len(equal)} equal")
    assert {id: why for id, why in unlike.items() if id not in UNLIKE_THE_SDK} == {}
    assert set(unlike) == set(UNLIKE_THE_SDK)
    assert not equal & set(unlike)


def test_the_ledger_has_the_model_that_served(relayed: list[RelayedAnswer]) -> None:
    """The ledger has the model that the SDK returns to its caller."""
    unlike = {
        answer.exchange.id: (answer.entry.served, answer.exchange.oracle["model"])
        for answer in relayed
        if answer.exchange.oracle.get("model") and answer.exchange.id not in NO_ANSWER
        and answer.entry.served != answer.exchange.oracle["model"]
    }  # fmt: skip
    assert unlike == {}


def test_every_refusal_is_the_clients_or_the_gateways_error(
    relayed: list[RelayedAnswer], say: Say
) -> None:
    """A fault of the request keeps the provider's bytes; others become the gateway's own errors.

    That is so for a fault of credentials and for a fault of the provider.
    """
    results = [answer for answer in relayed if answer.exchange.status != 200]
    own = 0
    unlike: dict[str, object] = {}
    for answer in results:
        status, body = answer.exchange.status, answer.exchange.body
        if status in (400, 404, 422):
            expected = (status, body)
            own += 1
        else:
            status_shown = {401: 502, 402: 502, 403: 502, 429: 429, 500: 502}[status]
            error = json.loads(answer.body)["error"]
            expected = (status_shown, answer.body if error["message"] and error["code"] else b"")
            assert body not in answer.body or not body
        if (answer.status, answer.body) != expected:
            unlike[answer.exchange.id] = (
                answer.exchange.provider,
                status,
                body,
                answer.status,
                answer.body,
            )
        assert answer.entry.state == "failed"
    say(f"{len(results)} refusals, {own} in the provider's bytes, {len(unlike)} unlike")
    assert unlike == {}


def test_every_request_reaches_the_provider_unchanged(
    relayed: list[RelayedAnswer], say: Say
) -> None:
    """Law 1 with real requests: byte for byte, but the gateway asks for usage in streams."""
    bytes_equal = 0
    for answer in relayed:
        assert len(answer.sent) >= answer.entry.attempts
        for sent in answer.sent:
            if answer.exchange.stream and not answer.request.asks_usage:
                value = json.loads(sent)
                assert value.pop("stream_options") == {"include_usage": True}
                assert value == json.loads(answer.request.body)
            else:
                assert sent == answer.request.body, answer.exchange.id
                bytes_equal += 1
    say(f"{bytes_equal} requests arrived byte for byte")
