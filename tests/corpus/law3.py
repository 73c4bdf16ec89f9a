"""Law 3 over the corpus: whoever asks, and whoever answers, a client gets what the provider said.

Every recorded answer goes to a client of each dialect, relayed at home and translated abroad,
whole and streamed, as it was read and in awkward pieces; the official SDK and the gateway's own
decoder read what came out, and both must find what the recorded oracle says. Every recorded request
is said in each other dialect, and what it loses is named.

    python -m tests.corpus.law3         needs TIERGATE_CORPUS; prints the counts; 1 where any failed
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from gateway.dialects import DIALECTS, Dialect, RequestBody, ResponseContext, Translation
from gateway.dialects.base import StreamInspector
from tests.corpus import asks, exceptions, groups
from tests.corpus.heard import KNOWS_GEMINI, Clients, Heard, own, shown
from tests.corpus.oracle import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Meaning,
    Row,
    Usage,
    gemini_itself,
    meant,
    plain,
    read,
    used,
)

NAMES = {CHAT: "chat", RESPONSES: "responses", MESSAGES: "messages", GEMINI: "gemini"}
AWKWARD = (1, 2, 3, 5, 8, 13, 21, 34)
"""Sizes of reads, in turn."""
MOST = 0.02
"""Of the exchanges of a pair, those that may be exceptions."""
ANY = "any"
"""Stands for arguments that cannot be compared."""
ONE = (RESPONSES, MESSAGES)
"""Dialects whose answers have one choice."""


@dataclass
class Count:
    """What became of the exchanges of one pair."""

    agree: int = 0
    beyond: list[str] = field(default_factory=list)
    """The SDK could not decode the recording; what the client gets says what is in it."""
    exceptions: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """By id: what was wrong."""

    @property
    def all(self) -> int:
        return self.agree + len(self.beyond) + len(self.exceptions) + len(self.failed)


class Wrong(Exception):
    """A client got something else than the provider said."""


def awkward(data: bytes) -> list[bytes]:
    ends = [0]
    while ends[-1] < len(data):
        ends.append(min(len(data), ends[-1] + AWKWARD[len(ends) % len(AWKWARD)]))
    return [data[a:b] for a, b in pairwise(ends)]


def answers(rows: Iterable[Row]) -> dict[tuple[str, str], Count]:
    """What clients of each dialect get of each recorded answer, by provider's and client's."""
    clients, counts = Clients(), dict[tuple[str, str], Count]()
    for row in rows:
        for name, client in DIALECTS.items():
            count = counts.setdefault((row.dialect, name), Count())
            known = exceptions.of(row, name)
            try:
                beyond = _answer(row, client, clients)
            except Exception as wrong:  # noqa: BLE001 - every failure is one to show
                if known is None:
                    count.failed[row.id] = f"{type(wrong).__name__}: {wrong}"
                else:
                    count.exceptions.append(row.id)
                continue
            if known is not None:
                count.failed[row.id] = f"is no exception any more: {known}"
            elif beyond:
                count.beyond.append(row.id)
            else:
                count.agree += 1
    return counts


def _answer(row: Row, client: Dialect, clients: Clients) -> bool:
    """Check one answer for one client; tell whether it is one that the SDK could not decode."""
    door = DIALECTS[row.dialect]
    home = client is door
    body, request = asks.client(row, client)
    telling = ResponseContext(
        id="01law3", created_at=7, model="m", prompt_tokens=9, state_label="law3"
    )
    voice = client if home else Translation(client, door, request, telling)
    if row.status != 200:
        problem = voice.read_problem(row.status, row.body, None)
        if problem.http_status < 400:
            raise Wrong(f"a refusal became {problem.http_status}")
        said = client.write_problem(problem)
        json.loads(said)
        if (client.name != GEMINI or KNOWS_GEMINI) and not clients.raises(client.name, said, client.find_status(problem)):  # fmt: skip
            raise Wrong("the SDK takes a refusal for an answer")
        return False
    if home:
        return _relayed(row, client, body)
    try:
        streams, wholes = _outputs(row, door, voice, body)
    except _Told:
        if row.raised or row.cut or meant(row)[0].finish == "error":
            return False
        raise Wrong("a problem in place of an answer") from None
    beyond = row.raised
    if beyond and row.dialect != GEMINI:
        raise Wrong("a clean answer where the SDK raised")
    expected = gemini_itself(row) if beyond else meant(row)
    usage = None if beyond else used(row)
    for out, stream in [*((it, True) for it in streams), *((it, False) for it in wholes)]:
        for what, heard in _ways(clients, client.name, out, stream=stream):
            _compare(what, expected, usage, heard, client.name, beyond=beyond)
    return beyond


class _Told(Exception):
    """A problem came out."""


def _relayed(row: Row, client: Dialect, body: RequestBody) -> bool:
    """At home the client's SDK gets the recorded bytes: what it decodes is the oracle itself."""
    if not row.stream:
        glance = client.summarize(row.body)
        if glance.problem is not None:
            if row.raised:
                return False
            raise Wrong(f"a problem: {glance.problem.message}")
        if glance.body not in (None, row.body):
            raise Wrong("other bytes than the provider's")
        if glance.complete == row.cut:
            raise Wrong("complete without a reason for its end, or incomplete with one")
        return False
    for pieces in (row.pieces, awkward(row.body)):
        watch = client.inspect_stream(body)
        out = b"".join([*map(watch.feed, pieces), watch.end()])
        if watch.problem is not None or not watch.complete:
            if row.raised or row.cut:
                return False
            raise Wrong("a stream that ended well did not end, or failed")
        if row.cut:
            raise Wrong("complete without a reason for its end")
        if out != row.body:
            raise Wrong("other bytes than the provider's")
    return False


def _outputs(
    row: Row, door: Dialect, voice: Translation | Dialect, body: RequestBody
) -> tuple[list[bytes], list[bytes]]:
    """What the client gets, streamed and whole, of the recording and of its other form."""
    if row.stream:
        found = []
        for pieces in (row.pieces, awkward(row.body)):
            watch: StreamInspector = voice.inspect_stream(body)
            found.append(b"".join([*map(watch.feed, pieces), watch.end()]))
            if watch.problem is not None or not watch.complete:
                raise _Told
        if len(set(found)) != 1:
            raise Wrong("other bytes where it was read in other pieces")
        glance = voice.summarize(door.fold(row.body))
    else:
        glance = voice.summarize(row.body)
        found = []
    if glance.problem is not None or glance.body is None:
        raise _Told
    if not row.stream and not isinstance(json.loads(row.body), list):
        watch = voice.inspect_stream(body)
        out = watch.feed(door.unfold(row.body, True)) + watch.end()
        if watch.problem is not None or watch.complete != glance.complete:
            raise Wrong("whole it is an answer, streamed it is none")
        found = [out] if watch.complete else []
    return found[:1], [glance.body]


def _ways(clients: Clients, name: str, out: bytes, *, stream: bool) -> Iterable[tuple[str, Heard]]:
    form = "stream" if stream else "whole"
    try:
        yield f"own {form}", own(name, out, stream=stream)
        heard = clients.hear(name, out, stream=stream)
    except Exception as error:
        raise Wrong(f"{form}: {type(error).__name__} {str(error)[:200]}") from error
    if heard is not None:
        yield f"SDK {form}", heard


def _compare(
    what: str,
    expected: dict[int, Meaning],
    usage: Usage | None,
    heard: Heard,
    client: str,
    *,
    beyond: bool,
) -> None:
    found, told = heard
    indexes = [0] if client in ONE else sorted(expected)
    if sorted(found) != indexes:
        raise Wrong(f"{what}: choices {sorted(found)}, not {indexes}")
    for at in indexes:
        want, got = _wanted(expected[at], client, what), _fit(found[at], client)
        for name in ("text", "reasoning", "declined", "finish"):
            if getattr(want, name) != getattr(got, name):
                raise Wrong(f"{what}: {name} is {shown(getattr(got, name))}, not {shown(getattr(want, name))}")  # fmt: skip
        if len(want.calls) != len(got.calls) or not all(
            mine[0] == its[0] and mine[1] in (its[1], ANY)
            for mine, its in zip(want.calls, got.calls, strict=True)
        ):
            raise Wrong(f"{what}: calls are {shown(got.calls)}, not {shown(want.calls)}")
    if beyond or (usage is None and client == MESSAGES):
        return  # whose types demand numbers: an estimate stands there
    wanted, given = _counts(usage, client), _counts(told, client)
    if wanted != given:
        raise Wrong(f"{what}: usage is {given}, not {wanted}")


def _wanted(meaning: Meaning, client: str, what: str) -> Meaning:
    """What a client of a dialect should get."""
    if what.endswith("whole") and meaning.whole is not None:
        meaning = replace(meaning, text=meaning.whole)
    if client in (MESSAGES, GEMINI):
        calls = [
            (name, _object(meaning, name, given, client, what)) for name, given in meaning.calls
        ]
        meaning = replace(meaning, calls=tuple(calls))
    return _fit(meaning, client)


def _object(meaning: Meaning, name: str, given: str, client: str, what: str) -> str:
    """A call's arguments in a dialect where they are an object.

    What is no object, as it was cut by the cap, stands in `_raw`, in a stream of Messages as it is:
    the SDK makes what it can of that.
    """
    if name in meaning.custom:
        return plain({"input": given})
    try:
        value = json.loads(given)
    except ValueError:
        value = given
    if value is None or isinstance(value, dict):
        return plain(value or {})
    if client == GEMINI or what.endswith("whole"):
        return plain({"_raw": given})
    return ANY if what.startswith("SDK") else given


def _fit(meaning: Meaning, client: str) -> Meaning:
    """What a dialect can tell: blank lines part thoughts; some have no words for a refusal or a pause."""
    finish = meaning.finish
    if finish == "cut":
        finish = "length"
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
    """Five classes as a dialect tells them: nothing and unknown are one to most of them."""
    if usage is None:
        return None
    fresh, cached, written, out, thought = usage
    if client == GEMINI and fresh is not None:
        fresh, written = fresh + (written or 0), 0
    return fresh, cached or 0, written or 0, out, thought or 0


def table(counts: dict[tuple[str, str], Count]) -> list[str]:
    """The counts as lines, a pair each."""
    found = [f"{'provider':10} {'client':10} {'all':>5} {'agree':>6} {'beyond':>7} {'exception':>10} {'failed':>7}"]  # fmt: skip
    for (door, client), it in counts.items():
        cells = f"{it.all:5} {it.agree:6} {len(it.beyond):7} {len(it.exceptions):10} {len(it.failed):7}"  # fmt: skip
        found.append(f"{NAMES[door]:10} {NAMES[client]:10} {cells}")
    return found


def main() -> int:
    """Everything; 1 where anything failed."""
    corpus = Path(os.environ.get("TIERGATE_CORPUS", ""))
    if not (corpus / "oracle").is_dir():
        print("set TIERGATE_CORPUS to a folder of recorded exchanges")
        return 1
    rows = read(corpus)
    heard = (
        "the official SDKs" if KNOWS_GEMINI else "the openai and anthropic SDKs (no google-genai)"
    )
    print(f"Answers: {len(rows)} exchanges, read by {heard} and by our own decoders\n")
    counts = answers(rows)
    print("\n".join(table(counts)))
    said = asks.every(rows)
    print(f"\nRequests: {sum(it.request is not None for it in rows)} recorded\n")
    print("\n".join(asks.table(said)))
    shapes = groups.every(corpus, rows)
    print("\nShapes of the same task in several dialects, against the sibling's recording\n")
    print("\n".join(groups.table(shapes)))
    print("\nExceptions\n")
    for id, why in sorted(exceptions.EVERY.items()):
        print(f"  {id}  {why}")
    bad = 0
    for name, failed in (
        ("answer", {(*pair, id): why for pair, it in counts.items() for id, why in it.failed.items()}),
        ("request", {(*pair, id): why for pair, it in said.items() for id, why in it.failed.items()}),
        ("shape", {(*pair, id): why for pair, it in shapes.items() for id, why in it.failed.items()}),
    ):  # fmt: skip
        for where, why in failed.items():
            print(f"FAILED {name} {' '.join(where)}: {why}")
        bad += len(failed)
    for pair, it in counts.items():
        if len(it.exceptions) > MOST * it.all:
            print(f"FAILED {' '.join(pair)}: {len(it.exceptions)} exceptions of {it.all}")
            bad += 1
    print(f"\n{bad} failed, of {sum(it.all for it in counts.values())} answers to clients")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
