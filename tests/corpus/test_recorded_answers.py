"""Every recorded exchange of each dialect: bytes, facts, events, and where an answer ends."""

import json
from collections.abc import Iterable, Iterator

import pytest

from gateway.core import events as e
from gateway.core import sse
from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, OPENAI_CHAT, Dialect, ResponseContext
from gateway.dialects.base import RequestBody, StreamInspector
from gateway.dialects.translation import Translation, get_translation
from tests.corpus import exceptions, law3, translated_requests
from tests.corpus.conftest import Say
from tests.corpus.decoded_answers import collect_meanings
from tests.corpus.oracle import (
    CHAT,
    GEMINI,
    Object,
    Row,
    awkward,
    read_meanings,
    read_raw_gemini,
    read_usage,
)
from tests.dialects.cases import target
from tests.dialects.full_reads import read_all_frames_in_full

CONTEXT = ResponseContext(id="call-1", created_at=1, model="m", state_label="ab12")
COMMITS = (
    b'"tool_calls"', b'"finish_reason":"', b'"reasoning_details"', b"response.output_item",
    b'"fallback"', b'"redacted_', b"signature_delta", b"citations_delta",
)  # fmt: skip
"""Words of frames with content or an end that gives no event yet."""
LONG = 4_000
"""Bytes of a stream above which the tests do not read it byte by byte."""
UNLIKE_THE_SDK = {
    "0a4588d90fc603cf": "a call whose name comes in every piece: the SDK writes it several times",
    **dict.fromkeys(
        ("71c81450017b55b7", "cb84b07bd801c5a7", "ee2323f51339cd8e"),
        "speech: its words become text only for clients of other dialects",
    ),
    "65e7162a6e5e20f4": "its frames have no blank lines between them, and the SDK raises",
}
"""Answers that the gateway reads otherwise than the SDK, on purpose."""
UNLIKE_THEIR_WHOLE_ANSWER = {
    "c6cdb572f42bfefb": "items are interleaved, which a whole answer has one after the other",
    "3f270f2f91236f15": "the recorded pieces are fewer than the text at the end",
    "77312109f9f55a12": "two streams recorded as one",
    "b73b82f26c4be732": "the recorded pieces are fewer than the text at the end",
}
"""Streams whose content differs from that of their whole answer."""


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.fixture
def rows(dialect: Dialect, recordings: list[Row]) -> list[Row]:
    """Return the exchanges of one dialect."""
    return [row for row in recordings if row.dialect == dialect.name]


@pytest.fixture
def answers(rows: list[Row]) -> list[Row]:
    """Return the exchanges of a dialect from which its SDK made an answer that has an end."""
    return [row for row in rows if row.status == 200 and not row.raised and not row.cut]


@pytest.fixture
def streams(answers: list[Row]) -> list[Row]:
    return [row for row in answers if row.stream]


def read_request(row: Row) -> RequestBody:
    return translated_requests.make_client_request(row, DIALECTS[row.dialect])[0]


def inspect(row: Row, parts: Iterable[bytes]) -> tuple[bytes, StreamInspector]:
    inspector = DIALECTS[row.dialect].inspect_stream(read_request(row))
    out = b"".join(map(inspector.feed, parts))
    return out + inspector.end(), inspector


def decode(row: Row, body: bytes | None = None, *, stream: bool | None = None) -> list[e.Event]:
    """Return the events of an answer, by default of the recorded one."""
    body = row.body if body is None else body
    if row.stream if stream is None else stream:
        return decode_parts(row, [body])
    return get_translation(DIALECTS[row.dialect]).decode_response(body)


def decode_parts(row: Row, parts: Iterable[bytes]) -> list[e.Event]:
    decoder = get_translation(DIALECTS[row.dialect]).make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return [*events, *decoder.end()]


def list_pieces(body: bytes) -> Iterator[list[bytes]]:
    """Yield a stream as reads may cut it: in awkward pieces, and byte by byte if it is short."""
    yield awkward(body)
    if len(body) < LONG:
        yield [body[at : at + 1] for at in range(len(body))]


def make_whole(row: Row) -> bytes:
    return DIALECTS[row.dialect].fold(row.body) if row.stream else row.body


def list_facts(inspector: StreamInspector) -> list[object]:
    """List all that accounting needs of a stream."""
    kind = inspector.problem.kind if inspector.problem is not None else None
    ended = (inspector.finish, inspector.complete, kind)
    return [inspector.usage, inspector.served_model, inspector.response_id, *ended]


def test_decoded_events_match_the_sdk(rows: list[Row], dialect: Dialect, say: Say) -> None:
    """Law 3: text, reasoning, refusals, calls, finish and usage, streamed and whole.

    An answer at which the SDK raises is a failure; but Google's SDK cannot read lists of chunks.
    """
    wrong: dict[str, str] = {}

    def check(row: Row, kind: str, text: str) -> None:
        if exceptions.find_rule(row, dialect.name, kind) is None:
            wrong[row.id] = text

    answers = [
        row for row in rows if row.status == 200 and not row.cut and row.id not in UNLIKE_THE_SDK
    ]
    for row in answers:
        events = decode(row)
        failures = [event for event in events if isinstance(event, e.Failed)]
        beyond = row.raised and dialect.name == GEMINI and not failures
        if row.raised and not beyond:
            if failures != events[-1:]:
                check(row, "clean", "the error is not the last event")
            continue
        expected = read_raw_gemini(row) if beyond else read_meanings(row)
        if failures:
            if "error" not in {meaning.finish for meaning in expected.values()}:
                check(row, "problem", str(failures))
            continue
        what = f"own {'stream' if row.stream else 'whole'}"
        usage = None if beyond else read_usage(row)
        heard = collect_meanings(events)
        for kind, text in law3.compare(what, expected, usage, heard, dialect.name, beyond=beyond):
            check(row, kind, text)
    say(f"{dialect.name}: {len(answers)} answers")
    assert wrong == {}
    assert len(answers) > 100


def test_every_stream_reads_the_same_wherever_reads_end(streams: list[Row], say: Say) -> None:
    """Laws 1 and 2: the client gets the same bytes, and the gateway the same events and facts."""
    for row in streams:
        events, (out, inspector) = decode(row), inspect(row, [row.body])
        facts = list_facts(inspector)
        assert isinstance(events[-1], e.End | e.Failed), row.id
        for parts in list_pieces(row.body):
            assert decode_parts(row, parts) == events, row.id
            again, inspector = inspect(row, parts)
            assert (again, list_facts(inspector)) == (out, facts), row.id
        if b"\r\n" not in row.body:
            assert decode(row, row.body.replace(b"\n", b"\r\n")) == events, row.id
        if exceptions.find_rule(row, row.dialect, "bytes") is None:
            assert out == row.body, row.id
    say(f"{len(streams)} streams")
    assert streams


def test_whole_and_streamed_answers_give_the_same_facts_and_content(
    answers: list[Row], dialect: Dialect, say: Say
) -> None:
    """Law 2: a stream and its fold agree, and so do a whole answer and its stream."""
    unlike = set()
    for row in answers:
        whole = make_whole(row)
        if isinstance(json.loads(whole), list) or exceptions.find_rule(row, "", "text"):
            continue
        streamed = row.body if row.stream else dialect.unfold(whole, True)
        summary, (_, inspector) = dialect.summarize(whole), inspect(row, [streamed])
        assert inspector.usage == summary.usage, row.id
        assert inspector.finish == summary.finish, row.id
        assert inspector.served_model == summary.served_model, row.id
        events = decode(row, streamed, stream=True)
        again = decode(row, whole, stream=False)
        if isinstance(events[-1], e.Failed):
            assert isinstance(again[-1], e.Failed), row.id
        elif collect_meanings(events) != collect_meanings(again):
            unlike.add(row.id)
        usages = [event.usage for event in again if isinstance(event, e.UsageUpdate)]
        assert (usages[-1] if usages else None) == summary.usage, row.id
        if row.stream or dialect.name != CHAT:  # a whole answer may lack members that it gets here
            again_whole = dialect.fold(dialect.unfold(whole, True))
            assert json.loads(again_whole) == json.loads(whole), row.id
    say(f"{dialect.name}: {len(answers)} answers")
    assert unlike <= set(UNLIKE_THEIR_WHOLE_ANSWER)


def find_end(row: Row, frames: list[bytes]) -> int:
    """Return the number of the first frame at which a stream may end, by names alone."""
    finished: set[int] = set()
    last = 0
    for number, frame in enumerate(frames):
        data = sse.read_data(frame)
        if data.startswith(b"[DONE]"):
            return number
        value = json.loads(data) if data else {}
        if value.get("type") in ("message_stop", "response.completed", "response.incomplete"):
            return number
        if row.dialect == CHAT:
            choices = [
                choice for choice in value.get("choices") or () if choice.get("finish_reason")
            ]
            finished |= {choice["index"] for choice in choices}
            if len(finished) == ((row.request or {}).get("n") or 1):
                return number
        if b'"finishReason"' in data:
            last = number
    return last


def test_a_stream_that_stops_before_its_end_is_never_complete(streams: list[Row], say: Say) -> None:
    """Law 10 at every frame of every stream, natively and as events, and in the last frame."""
    cuts = 0
    for row in streams:
        frames = sse.split_frames(row.body)
        end = find_end(row, frames)
        inspector = DIALECTS[row.dialect].inspect_stream(read_request(row))
        decoder = get_translation(DIALECTS[row.dialect]).make_decoder()
        for frame in frames[:end]:
            inspector.feed(frame)
            events = decoder.feed(frame)
            if row.dialect == GEMINI and b'"finishReason"' in frame:
                continue  # it says that it ends here, and more comes
            assert not inspector.complete, row.id
            assert not any(isinstance(event, e.End) for event in events), row.id
            cuts += 1
        half = frames[end][: len(frames[end]) // 2]
        inspector.feed(half)
        inspector.end()
        assert not inspector.complete, row.id
        events = [*decoder.feed(half), *decoder.end()]
        assert not any(isinstance(event, e.End) for event in events), row.id
    say(f"{cuts} places where a stream could be cut, none of them an end")
    assert cuts


def test_the_client_gets_no_byte_of_a_stream_before_content(streams: list[Row]) -> None:
    """The first bytes come with content or the end, and hold all that was kept back."""
    for row in streams:
        inspector = DIALECTS[row.dialect].inspect_stream(read_request(row))
        decoder = get_translation(DIALECTS[row.dialect]).make_decoder()
        fed, kinds = b"", set[type[e.Event]]()
        for frame in sse.split_frames(row.body):
            fed += frame
            shown = inspector.feed(frame)
            kinds |= {type(event) for event in decoder.feed(frame)}
            if inspector.committed:
                assert shown == fed, row.id
                is_content = kinds - {e.Start, e.UsageUpdate, e.AnswerMetadata}
                assert is_content or any(word in frame for word in COMMITS), row.id
                break
            assert not shown, row.id


def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    streams: list[Row], dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = [list_facts(inspect(row, sse.split_frames(row.body))[1]) for row in streams]
    read_all_frames_in_full(monkeypatch, dialect.inspect_stream(read_request(streams[0])))
    full = [list_facts(inspect(row, sse.split_frames(row.body))[1]) for row in streams]
    for row, mine, expected in zip(streams, quick, full, strict=True):
        assert mine == expected, row.id


def test_a_translated_answer_has_the_facts_of_the_native_one(
    answers: list[Row], dialect: Dialect
) -> None:
    """Accounting does not depend on the dialect of the client."""
    client = OPENAI_CHAT if dialect is ANTHROPIC_MESSAGES else ANTHROPIC_MESSAGES
    for row in answers:
        if isinstance(decode(row)[-1], e.Failed) or exceptions.find_rule(row, client.name, "usage"):
            continue
        body, request = translated_requests.make_client_request(row, client)
        adapter = Translation(client, dialect, request, CONTEXT)
        if row.stream:
            inspector = adapter.inspect_stream(body)
            inspector.feed(row.body)
            inspector.end()
            assert list_facts(inspector) == list_facts(inspect(row, [row.body])[1]), row.id
        else:
            native, translated = dialect.summarize(row.body), adapter.summarize(row.body)
            for name in ("usage", "served_model", "response_id", "finish", "complete"):
                assert getattr(translated, name) == getattr(native, name), (row.id, name)


def test_every_answer_survives_encoding_and_decoding(
    answers: list[Row], dialect: Dialect, say: Say
) -> None:
    """What the dialect writes, streamed and whole, decodes to the same content and usage."""
    functions = get_translation(dialect)
    for row in answers:
        events = decode(row)
        if isinstance(events[-1], e.Failed):
            continue
        expected, usage = collect_meanings(events)
        encoder = functions.make_encoder(CONTEXT)
        stream = b"".join(map(encoder.write, events))
        for body, is_stream in (
            (stream, True),
            (functions.encode_response(events, CONTEXT), False),
        ):
            heard = collect_meanings(decode(row, body, stream=is_stream))
            if usage is not None and usage[3] is None:
                usage = heard[1]  # the dialect writes no usage without its output
            differences = law3.compare("own", expected, usage, heard, dialect.name, beyond=False)
            assert [*differences] == [], row.id
    say(f"{dialect.name}: {len(answers)} answers there and back")


def test_every_refusal_keeps_its_bytes_or_is_the_gateways_fault(
    rows: list[Row], dialect: Dialect, say: Say
) -> None:
    """A fault of the request keeps the provider's bytes; one of credentials is the gateway's."""
    refused = [row for row in rows if row.status != 200]
    for row in refused:
        problem = dialect.read_problem(row.status, row.body, None)
        if problem.kind == "upstream_auth":
            assert row.status in (401, 402, 403) or b"API key" in row.body, row.id
            assert problem.http_status == 502, row.id
        elif row.status == 429:
            assert problem.kind == "upstream_rate_limited", row.id
        elif row.status < 500:
            assert problem.http_status == row.status, row.id
            assert dialect.write_problem(problem) == row.body, row.id
        assert isinstance(decode(row, stream=False)[-1], e.Failed), row.id
    say(f"{dialect.name}: {len(refused)} refusals")
    assert refused


def test_every_request_is_read_and_keeps_its_bytes(
    rows: list[Row], dialect: Dialect, say: Say
) -> None:
    """Law 1 with real requests: spaces and spelling stay where nothing must change."""
    count = 0
    for row in rows:
        if row.request is None:
            continue
        value: Object = {name: item for name, item in row.request.items() if name != "model"}
        if dialect.name != GEMINI:
            value["model"] = "m"
        if dialect.name == CHAT and value.get("stream"):
            value["stream_options"] = {"include_usage": True}  # else the gateway asks for it
        raw = json.dumps(value, ensure_ascii=False, separators=(", ", " : ")).encode()
        body = (
            dialect.read(raw)
            if dialect.read_with_path is None
            else dialect.read_with_path(raw, row.path)
        )
        assert dialect.write(body, target(body.prompt.model)).body is raw, row.id
        assert body.prompt.user_turns + body.prompt.chars > 0 or row.status != 200, row.id
        count += 1
    say(f"{dialect.name}: {count} requests")
    assert count > 100
