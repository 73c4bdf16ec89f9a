"""Law 3 over the corpus: whatever the dialects are, a client gets what the provider error_body.

Every recorded answer goes to a client of each dialect: native or translated, whole and streamed, in
the recorded pieces and in awkward ones. The official SDK and the gateway's own decoder read the
result, and both must find what the oracle says.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from gateway.dialects import DIALECTS, Dialect, RequestBody, ResponseContext, Translation
from gateway.dialects.base import StreamInspector
from tests.corpus import exceptions, translated_requests
from tests.corpus.account import judge_account
from tests.corpus.decoded_answers import Clients, DecodedAnswer, decode_own, shorten
from tests.corpus.oracle import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Meaning,
    Row,
    Usage,
    awkward,
    normalize_arguments,
    read_meanings,
    read_raw_gemini,
    read_usage,
)
from tests.corpus.other_content import judge_other_content
from tests.corpus.sdk_clients import KNOWS_GEMINI
from tests.corpus.verdict import Difference, Failure

NAMES = {CHAT: "chat", RESPONSES: "responses", MESSAGES: "messages", GEMINI: "gemini"}
ANY = "any"
"""Stands for arguments that cannot be compared."""
ONE = (RESPONSES, MESSAGES)
"""Dialects whose answers have one choice."""


@dataclass
class PairCount:
    """Results of the exchanges of one pair of dialects."""

    agree: int = 0
    beyond: list[str] = field(default_factory=list)
    """Ids of recordings that the SDK cannot decode; the client gets their content."""
    exceptions: dict[str, str] = field(default_factory=dict)
    """Reasons of the rules that excuse an answer, by id."""
    failed: dict[str, str] = field(default_factory=dict)
    """Mistakes of an answer, by id."""

    @property
    def all(self) -> int:
        return self.agree + len(self.beyond) + len(self.exceptions) + len(self.failed)


def judge_answers(
    rows: Iterable[Row], report: Callable[[Failure], None] | None = None
) -> dict[tuple[str, str], PairCount]:
    """Judge each recorded answer for clients of each dialect, by provider's and client's dialect.

    `report` gets each failure as soon as it is found.
    """
    clients, counts = Clients(), dict[tuple[str, str], PairCount]()
    for row in rows:
        for name, client in DIALECTS.items():
            count = counts.setdefault((row.dialect, name), PairCount())
            differences: list[Difference] = []
            try:
                beyond = _answer(row, client, clients, differences)
            except Exception as error:  # noqa: BLE001 - every failure is one to show
                beyond = False
                differences.append(Difference("crash", f"{type(error).__name__}: {error}"))
            sort_differences(row, name, differences, count, beyond=beyond)
            if report is not None and row.id in count.failed:
                report(Failure(row.file, row.id, name, count.failed[row.id]))
    return counts


def sort_differences(
    row: Row, client: str, differences: Iterable[Difference], count: PairCount, *, beyond: bool
) -> None:
    """Count an answer: as a failure if a difference has no rule that excuses it."""
    rules = {
        difference: exceptions.find_rule(row, client, difference.kind) for difference in differences
    }
    failed = [
        f"{difference.kind}: {difference.text}"
        for difference, rule in rules.items()
        if rule is None
    ]
    reasons = {rule.reason for rule in rules.values() if rule is not None}
    if failed:
        count.failed[row.id] = "; ".join(dict.fromkeys(failed))[:1000]
    elif reasons:
        count.exceptions[row.id] = "; ".join(sorted(reasons))
    elif beyond:
        count.beyond.append(row.id)
    else:
        count.agree += 1


def _answer(row: Row, client: Dialect, clients: Clients, differences: list[Difference]) -> bool:
    """Check one answer for one client; return True if the SDK cannot decode the recording."""
    provider_dialect = DIALECTS[row.dialect]
    is_native = client is provider_dialect
    body, request = translated_requests.make_client_request(row, client)
    context = ResponseContext(
        id="01law3", created_at=7, model="m", prompt_tokens=9, state_label="law3"
    )
    adapter = client if is_native else Translation(client, provider_dialect, request, context)
    if row.status != 200:
        problem = adapter.read_problem(row.status, row.body, None)
        if problem.http_status < 400:
            differences.append(Difference("problem", f"a refusal became {problem.http_status}"))
        error_body = client.write_problem(problem)
        json.loads(error_body)
        if (client.name != GEMINI or KNOWS_GEMINI) and not clients.raises(client.name, error_body, client.find_status(problem)):  # fmt: skip
            differences.append(Difference("clean", "the SDK takes a refusal for an answer"))
        return False
    if is_native:
        _relayed(row, client, body, differences)
        return False
    outputs = _outputs(row, provider_dialect, adapter, body, differences)
    if outputs is None:
        if not (row.raised or row.cut or _has_failed(row)):
            differences.append(Difference("problem", "a problem in place of an answer"))
        return False
    streams, wholes = outputs
    beyond = row.raised
    if beyond and row.dialect != GEMINI:
        error = str(row.oracle.get("error"))[:100]
        differences.append(Difference("clean", f"a clean answer where the SDK raised {error}"))
        return True
    expected = read_raw_gemini(row) if beyond else read_meanings(row)
    usage = None if beyond else read_usage(row)
    for out, stream in [
        *((stream, True) for stream in streams),
        *((whole, False) for whole in wholes),
    ]:
        for what, heard in _ways(clients, client.name, out, differences, stream=stream):
            differences += compare(what, expected, usage, heard, client.name, beyond=beyond)
    return beyond


def _has_failed(row: Row) -> bool:
    """True if the provider's reason for the end is a failure."""
    return any(meaning.finish == "error" for meaning in read_meanings(row).values())


def _relayed(row: Row, client: Dialect, body: RequestBody, differences: list[Difference]) -> None:
    """Check that a native client's SDK gets the recorded bytes: it decodes the oracle itself."""
    if not row.stream:
        summary = client.summarize(row.body)
        if summary.problem is not None:
            if not row.raised:
                differences.append(Difference("problem", summary.problem.message))
            return
        if summary.body not in (None, row.body):
            differences.append(Difference("bytes", "other bytes than the provider's"))
        if summary.complete == row.cut:
            what = "complete without a reason for its end" if row.cut else "incomplete with one"
            differences.append(Difference("complete", what))
        differences += judge_account(row, summary.usage)
        return
    for pieces in (row.pieces, awkward(row.body)):
        inspector = client.inspect_stream(body)
        out = b"".join([*map(inspector.feed, pieces), inspector.end()])
        if inspector.problem is not None or not inspector.complete:
            if not (row.raised or row.cut):
                what = "a stream that ended well did not end, or failed"
                differences.append(Difference("problem", what))
            return
        if row.cut:
            differences.append(Difference("complete", "complete without a reason for its end"))
        if out != row.body:
            differences.append(Difference("bytes", "other bytes than the provider's"))
        differences += judge_account(row, inspector.usage)


def _outputs(
    row: Row,
    provider_dialect: Dialect,
    adapter: Translation | Dialect,
    body: RequestBody,
    differences: list[Difference],
) -> tuple[list[bytes], list[bytes]] | None:
    """Return the client's bytes, streamed and whole, for the recording and its other form.

    None if the client gets a problem.
    """
    if row.stream:
        answers_read = []
        for pieces in (row.pieces, awkward(row.body)):
            inspector: StreamInspector = adapter.inspect_stream(body)
            answers_read.append(b"".join([*map(inspector.feed, pieces), inspector.end()]))
            if inspector.problem is not None or not inspector.complete:
                return None
            differences += judge_account(row, inspector.usage)
            differences += judge_other_content(row, answers_read[-1], _list_dropped(adapter))
        if len(set(answers_read)) != 1:
            differences.append(Difference("bytes", "other bytes where it was read in other pieces"))
        summary = adapter.summarize(provider_dialect.fold(row.body))
    else:
        summary = adapter.summarize(row.body)
        answers_read = []
    if summary.problem is not None or summary.body is None:
        return None
    differences += judge_account(row, summary.usage)
    differences += judge_other_content(row, summary.body, _list_dropped(adapter))
    if not row.stream and not isinstance(json.loads(row.body), list):
        inspector = adapter.inspect_stream(body)
        out = inspector.feed(provider_dialect.unfold(row.body, True)) + inspector.end()
        if inspector.problem is not None or inspector.complete != summary.complete:
            what = "whole it is an answer, streamed it is none"
            differences.append(Difference("complete", what))
        answers_read = [out] if inspector.complete else []
    return answers_read[:1], [summary.body]


def _list_dropped(adapter: Translation | Dialect) -> Collection[str] | None:
    """List the parts that the gateway names to the client as dropped;

    None without a translation.
    """
    return adapter.dropped_names if isinstance(adapter, Translation) else None


def _ways(
    clients: Clients, name: str, out: bytes, differences: list[Difference], *, stream: bool
) -> Iterator[tuple[str, DecodedAnswer]]:
    form = "stream" if stream else "whole"
    for reader in ("own", "SDK"):
        try:
            decoded = (decode_own if reader == "own" else clients.hear)(name, out, stream=stream)
        except Exception as error:  # noqa: BLE001 - each exception of a client is a failure
            text = f"{reader} {form}: {type(error).__name__} {str(error)[:200]}"
            differences.append(Difference("unreadable", text))
        else:
            if decoded is not None:
                yield f"{reader} {form}", decoded


def compare(
    what: str,
    expected: dict[int, Meaning],
    usage: Usage | None,
    decoded: DecodedAnswer,
    client: str,
    *,
    beyond: bool,
) -> Iterator[Difference]:
    meanings, reported = decoded
    indexes = [0] if client in ONE else sorted(expected)
    if sorted(meanings) != indexes:
        yield Difference("choices", f"{what}: {sorted(meanings)}, not {indexes}")
        return
    for at in indexes:
        expected_meaning, actual = _expect(expected[at], client, what), _fit(meanings[at], client)
        for name in ("text", "reasoning", "declined", "finish"):
            if getattr(expected_meaning, name) != getattr(actual, name):
                text = f"{what}: {shorten(getattr(actual, name))}, not {shorten(getattr(expected_meaning, name))}"
                yield Difference(name, text)
        if len(expected_meaning.calls) != len(actual.calls) or not all(
            mine[0] == its[0] and mine[1] in (its[1], ANY)
            for mine, its in zip(expected_meaning.calls, actual.calls, strict=True)
        ):
            text = f"{what}: {shorten(actual.calls)}, not {shorten(expected_meaning.calls)}"
            yield Difference("calls", text)
    if beyond or (usage is None and client == MESSAGES):
        return  # the SDK's types require numbers: the gateway sends an estimate
    expected_counts, counts = _counts(usage, client), _counts(reported, client)
    if expected_counts != counts:
        yield Difference("usage", f"{what}: {counts}, not {expected_counts}")


def _expect(meaning: Meaning, client: str, what: str) -> Meaning:
    """Return the meaning that a client of a dialect should get."""
    if what.endswith("whole") and meaning.whole is not None:
        meaning = replace(meaning, text=meaning.whole)
    if what.endswith("whole") and meaning.whole_reasoning is not None:
        meaning = replace(meaning, reasoning=meaning.whole_reasoning)
    if client in (MESSAGES, GEMINI):
        calls = [
            (name, _object(meaning, name, given, client, what)) for name, given in meaning.calls
        ]
        meaning = replace(meaning, calls=tuple(calls))
    return _fit(meaning, client)


def _object(meaning: Meaning, name: str, given: str, client: str, what: str) -> str:
    """Return a call's arguments in a dialect where they are an object.

    Arguments that the token limit cut are no object and stand in `_raw`. In a stream of Messages
    they stand as they are: the SDK parses as much as it can.
    """
    if name in meaning.custom:
        return normalize_arguments({"input": given})
    try:
        value = json.loads(given)
    except ValueError:
        value = given
    if value is None or isinstance(value, dict):
        return normalize_arguments(value or {})
    if client == GEMINI or what.endswith("whole"):
        return normalize_arguments({"_raw": given})
    return ANY if what.startswith("SDK") else given


def _fit(meaning: Meaning, client: str) -> Meaning:
    """Reduce a meaning to what a dialect can express.

    Blank lines separate thoughts, and some dialects have no words for a refusal or a pause.
    """
    finish = meaning.finish
    if finish == "pause" and client != MESSAGES:
        finish = "tools" if meaning.calls else "stop"
    if client == MESSAGES and meaning.declined and finish == "stop":
        finish = "filter"
    text, declined = meaning.text, meaning.declined
    if client in (MESSAGES, GEMINI):
        text, declined = text + declined, ""
    reasoning = meaning.reasoning.replace("\n\n", "")
    return replace(meaning, text=text, declined=declined, reasoning=reasoning, finish=finish)


def _counts(usage: Usage | None, client: str) -> Usage | None:
    """Return the five classes as a dialect writes them: most write zero and unknown alike."""
    if usage is None:
        return None
    fresh, cached, written, out, thought = usage
    if client == GEMINI and fresh is not None:
        fresh, written = fresh + (written or 0), 0
    return fresh, cached or 0, written or 0, out, thought or 0


def format_table(counts: dict[tuple[str, str], PairCount]) -> list[str]:
    """Return the counts as lines, one for each pair."""
    lines_ = [f"{'provider':10} {'client':10} {'all':>5} {'agree':>6} {'beyond':>7} {'exception':>10} {'failed':>7}"]  # fmt: skip
    for (provider, client), count in counts.items():
        cells = f"{count.all:5} {count.agree:6} {len(count.beyond):7} {len(count.exceptions):10} {len(count.failed):7}"  # fmt: skip
        lines_.append(f"{NAMES[provider]:10} {NAMES[client]:10} {cells}")
    return lines_
