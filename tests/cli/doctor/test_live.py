"""`tiergate doctor --live`: probes of each dialect, what differs, the budget and the recording."""

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.cli.app import EXIT_INTERRUPTED
from tests.cli.doctor.live_provider import SECRETS, Asked, Change, LiveProvider, edit, refuse
from tests.cli.run import config, run
from tests.clients.model_turns import CHAT, CONVERSE, GEMINI, MESSAGES, RESPONSES, Turn, write_turn
from tests.corpus.__main__ import main as judge_recording
from tests.dialects.bedrock_converse import frames as converse
from tests.e2e.upstream import Answer, Upstream
from tests.e2e.world import Loop

DIALECTS = (CHAT, RESPONSES, MESSAGES, GEMINI)
PROBES = ["whole", "stream", "tools", "result", "cut", "leave"]
PATHS = {CHAT: "/chat/completions", RESPONSES: "/responses", MESSAGES: "/messages", GEMINI: "/v1beta", CONVERSE: '""'}  # fmt: skip
AUTH = {MESSAGES: "x-api-key", GEMINI: "x-goog-api-key"}


class LiveRun(NamedTuple):
    """One run of the command."""

    status: int
    findings: list[dict[str, str]]
    lines: list[dict[str, Any]]
    """The recording."""
    text: str
    """The recording as it is in its file."""
    provider: LiveProvider

    def find(self, *words: str) -> list[dict[str, str]]:
        """Return the findings of the check that have all these words."""
        return [
            finding
            for finding in self.findings
            if finding["what"] == "live" and all(word in finding["message"] for word in words)
        ]

    def find_probe(self, dialect: str, probe: str) -> list[dict[str, str]]:
        """Return the findings about a probe."""
        start = f"{dialect}/m-{dialect} {dialect} "
        return [
            finding
            for finding in self.find(start)
            if probe in finding["message"].removeprefix(start).partition(":")[0].split(", ")
        ]


class Place:
    """A folder with a configuration, and a provider in front of it."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.file = folder / "recording.jsonl"

    def write(self, *dialects: str, price: str = "{input: 1, output: 2}") -> Path:
        """Write a configuration with a lab for each dialect."""
        text = f"version: 1\ndefault: {{lab: {dialects[0]}}}\nproviders:\n"
        for name in dialects:
            text += f"""\
  {name}:
    base_url: {self.upstream.url}
    dialects: {{{name}: {PATHS[name]}}}
    auth: {AUTH.get(name, "bearer")}
    accounts: {{main: {SECRETS["key"]}}}
    headers: {{x-organisation: {SECRETS["organisation"]}}}
"""
        text += "labs:\n"
        text += "".join(f"  {name}: {{fast: [{{model: m-{name}}}]}}\n" for name in dialects)
        text += "models:\n"
        text += "".join(f"  m-{name}: {{price: {price}}}\n" for name in dialects if price)
        return config(self.folder, text)

    def run(self, *changes: Change, dialects: tuple[str, ...] = DIALECTS, budget: str = "0.10",
            words: tuple[str, ...] = (), price: str = "{input: 1, output: 2}") -> LiveRun:  # fmt: skip
        """Run the command against a provider with these faults."""
        provider = LiveProvider([*changes])
        self.upstream.renew()
        self.upstream.on("/", provider)
        self.file.unlink(missing_ok=True)
        result = run(
            "--config", self.write(*dialects, price=price), "doctor", "--live", "--budget", budget,
            "--record", self.file, "--json", *words,
            environ={"TIERGATE_DATA": str(self.folder / "data")},
        )  # fmt: skip
        assert result.stdout, result.output
        findings = json.loads(result.stdout)["findings"]
        text = self.file.read_text() if self.file.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return LiveRun(result.exit_code, findings, lines, text, provider)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    yield Place(tmp_path, upstream)
    loop.run(upstream.stop())
    loop.close()


def judge(file: Path) -> tuple[int, str]:
    """Judge a recording as `make law3` does."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = judge_recording([str(file)])
    return status, out.getvalue()


def test_each_dialect_is_probed_and_the_recording_can_be_judged(place: Place) -> None:
    """An honest provider: nothing differs, and law 3 holds for all that it answered."""
    done = place.run()
    assert [finding for finding in done.find() if finding["level"] != "ok"] == []
    assert done.status == 0
    for dialect in DIALECTS:
        asked = [item.name for item in done.provider.asked if item.dialect == dialect]
        assert asked == PROBES
        assert done.find(f"{dialect}/m-{dialect} {dialect} {', '.join(PROBES)}: as expected; 55")
    assert done.find("24 probes sent, 0 differ, 0 failed, 0 not sent; cost: 0.000420 USD, and with")
    assert len(done.lines) == 24
    status, text = judge(place.file)
    assert (status, text.splitlines()[-1]) == (0, "0 failed"), text
    assert "Answers: 24 exchanges" in text


def drop_frames(*parts: bytes) -> Change:
    """Leave out each frame of a stream that has one of these parts."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if not asked.stream:
            return answer
        return edit(answer, lambda piece: b"" if any(it in piece for it in parts) else piece)

    return change


def replace_text(before: bytes, after: bytes, *names: str) -> Change:
    """Replace a text in all answers, or in those of some probes."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if names and asked.name not in names:
            return answer
        return edit(answer, lambda piece: piece.replace(before, after))

    return change


def add_frame(frame: bytes) -> Change:
    """Add a frame after the first one of each stream."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if not asked.stream:
            return answer
        first, *rest = answer.pieces
        return Answer(pieces=(first, frame, *rest), headers=answer.headers, end=answer.end)

    return change


def rename_usage(_: Asked, answer: Answer) -> Answer:
    """Report usage under a name that no gateway knows."""
    return edit(
        answer,
        lambda piece: piece.replace(b'"usage":', b'"uses":').replace(b'"usageMetadata"', b'"uses"'),
    )


def drop_usage_of_start(asked: Asked, answer: Answer) -> Answer:
    """Report the output alone."""
    return edit(answer, lambda piece: piece.replace(b'"input_tokens":11,', b""))


def set_type(kind: str) -> Change:
    """Name another type of content."""

    def change(_: Asked, answer: Answer) -> Answer:
        return Answer(pieces=answer.pieces, headers=(("content-type", kind),), length=answer.length, end=answer.end)  # fmt: skip

    return change


def test_a_target_that_speaks_converse_is_probed_by_a_client_of_chat_completions(
    place: Place,
) -> None:
    """The recording has the event streams in base64, and no name of the user's own."""
    done = place.run(dialects=(CONVERSE,))
    assert [finding for finding in done.find() if finding["level"] != "ok"] == []
    assert [item.name for item in done.provider.asked] == PROBES
    assert done.find(f"{CONVERSE}/m-{CONVERSE} {CONVERSE} {', '.join(PROBES)}: as expected; 55")
    first, second, *_ = done.lines
    assert (first["endpoint"], first["response"]["body_kind"]) == ("bedrock_converse", "json")
    assert first["request"]["path"] == f"/model/m-{CONVERSE}/converse"
    assert second["request"]["path"] == f"/model/m-{CONVERSE}/converse-stream"
    assert second["response"]["body_kind"] == "base64"
    stream = base64.b64decode(second["response"]["body"])
    pieces = write_turn(CONVERSE, Turn(text="OK."), 2, stream=True).pieces
    assert stream[:12] == b"".join(piece or b"" for piece in pieces)[:12]
    assert b"messageStop" in stream


def give_whole_answer(asked: Asked, answer: Answer) -> Answer:
    """Answer a stream as a whole, as models do that stream no tools."""
    turn = (
        Turn(calls=(("get_weather", {"city": "Paris"}),))
        if asked.name == "tools"
        else Turn(text="OK.")
    )
    return write_turn(CONVERSE, turn, 9, stream=False) if asked.stream else answer


def add_event(name: str) -> Change:
    """Add an event after the first one of each stream."""
    return add_frame(converse.write_event(name, {"mood": "glad"}))


def add_member(asked: Asked, answer: Answer) -> Answer:
    """Add a member that no list has to whole answers."""
    return (
        answer
        if asked.stream
        else edit(answer, lambda body: body.replace(b'"output"', b'"mood":1,"output"', 1))
    )


@pytest.mark.parametrize(
    ("probe", "change", "text"),
    [
        ("stream", give_whole_answer, ""),
        ("stream", add_event("moodChange"), "unknown to the gateway: moodChange"),
        ("stream", add_event("contentBlockStop"), "unknown to the gateway: mood"),
        ("whole", add_member, "unknown to the gateway: mood"),
        ("stream", set_type("text/event-stream"), "the content type is text/event-stream, not application/vnd.amazon.eventstream"),
        ("stream", lambda asked, answer: replace(answer, pieces=answer.pieces[:-1]), "The provider ended the answer before it was complete."),
        ("stream", lambda asked, answer: edit(answer, lambda piece: piece.replace(b"OK", b"KO")), "checksum"),
    ],
)  # fmt: skip
def test_what_differs_in_converse_is_told(
    place: Place, probe: str, change: Change, text: str
) -> None:
    done = place.run(change, dialects=(CONVERSE,), budget="2")
    line = done.find_probe(CONVERSE, probe)[0]
    assert text in line["message"]
    assert (line["level"] == "ok") is not bool(text)


UNKNOWN_EVENT = b'event: response.mood\ndata: {"type":"response.mood","mood":"glad","sequence_number":99}\n\n'  # fmt: skip
NEW_BLOCK = b'event: mood\ndata: {"type":"mood","value":1}\n\n'


@pytest.mark.parametrize(
    ("dialect", "probe", "change", "text"),
    [
        (CHAT, "stream", drop_frames(b'"choices":[]'), "the stream has no usage: its cost is unknown"),
        (GEMINI, "stream", rename_usage, "the stream has no usage"),
        (GEMINI, "whole", rename_usage, "unknown to the gateway: uses"),
        (RESPONSES, "whole", rename_usage, "the answer has no usage"),
        (MESSAGES, "stream", rename_usage, "the stream has no usage"),
        (MESSAGES, "stream", drop_usage_of_start, "no number of its input or output tokens"),
        (RESPONSES, "stream", add_frame(UNKNOWN_EVENT), "unknown to the gateway: response.mood"),
        (MESSAGES, "stream", add_frame(NEW_BLOCK), "unknown to the gateway: mood"),
        (CHAT, "whole", replace_text(b'"role"', b'"mood":1,"role"'), "unknown to the gateway: choices.message.mood"),
        (CHAT, "cut", replace_text(b'"length"', b'"stop"'), "ends with the word 'stop', read as stop, not length"),
        (MESSAGES, "cut", replace_text(b'"max_tokens"', b'"end_turn"'), "read as stop, not length"),
        (GEMINI, "cut", replace_text(b'"MAX_TOKENS"', b'"NEW_WORD"'), "the word 'NEW_WORD', which the gateway takes for length"),
        (CHAT, "stream", drop_frames(b"[DONE]"), "the stream does not end with data: [DONE]"),
        (CHAT, "whole", replace_text(b'"prompt_tokens":', b'"cost":0.5,"prompt_tokens":'), "the provider bills 0.500000 USD; the price list gives 0.000021"),
        (CHAT, "tools", replace_text(b"Paris", b"Par"), ""),
        (CHAT, "tools", replace_text(b'\\":\\"Paris\\"}', b"", "tools"), "the arguments of the tool are no JSON"),
        (CHAT, "tools", replace_text(b"city", b"town", "tools"), "the arguments of the tool lack city"),
        (RESPONSES, "tools", replace_text(b'"name":"get_weather"', b'"name":"get_time"', "tools"), "calls the tool 'get_time', not get_weather"),
        (CHAT, "whole", set_type("text/plain"), "the content type is text/plain, not application/json"),
        (CHAT, "whole", replace_text(b'"OK."', b'""'), "the answer has no text"),
        (CHAT, "whole", replace_text(b'"m-openai-chat"', b'"other-9"'), "the answer is of other-9, not of m-openai-chat"),
        (CHAT, "whole", replace_text(b'"completion_tokens":5', b'"completion_tokens":500'), "500 output tokens, above the 64 that were allowed"),
        (CHAT, "whole", replace_text(b'"prompt_tokens":11', b'"prompt_tokens":9000'), "9,000 input tokens, above the"),
    ],
)  # fmt: skip
def test_what_differs_is_told(
    place: Place, dialect: str, probe: str, change: Change, text: str
) -> None:
    """The line of the probe names it, the recording has it, and the target still counts as usable."""
    done = place.run(change, dialects=(dialect,), budget="2")
    (line,) = [item for item in done.find_probe(dialect, probe) if text in item["message"]]
    assert line["level"] == ("warning" if text else "ok")
    recorded = next(line for line in done.lines if line["doctor"]["probe"] == probe)
    assert bool(recorded["doctor"]["deviations"]) is bool(text)


@pytest.mark.parametrize(
    ("dialect", "change"),
    [
        (MESSAGES, drop_frames(b'"message_stop"')),
        (RESPONSES, drop_frames(b'"response.completed"')),
        (GEMINI, replace_text(b'"finishReason":"STOP"', b'"tokenCount":1')),
        (CHAT, drop_frames(b'"finish_reason":"')),
    ],
)
def test_an_answer_without_its_end_is_an_error(place: Place, dialect: str, change: Change) -> None:
    done = place.run(change, dialects=(dialect,))
    text = "The provider ended the answer before it was complete."
    (line,) = [item for item in done.find_probe(dialect, "stream") if text in item["message"]]
    assert line["level"] == "error"
    assert done.status == 1


@pytest.mark.parametrize(
    ("change", "text", "level", "asked"),
    [
        (refuse(401, "Incorrect API key."), "the provider refuses the key (401)", "error", 1),
        (refuse(404, "The model `m` does not exist."), "the provider does not know the model (404)", "error", 1),
        (refuse(429, "Slow down.", retry_after="77"), "the provider limits the rate of this account (429)", "warning", 6),
        (refuse(400, "Unsupported parameter: max_tokens."), "the provider refuses the request that the gateway makes (400)", "error", 6),
        (refuse(500, "Oops."), "no answer (500)", "error", 6),
    ],
)  # fmt: skip
def test_a_refusal_is_told_and_costs_nothing(
    place: Place, change: Change, text: str, level: str, asked: int
) -> None:
    """After a refused key, or a model that is not there, the other probes are not sent."""
    done = place.run(change, dialects=(CHAT,))
    (line,) = done.find_probe(CHAT, "whole")
    assert text in line["message"]
    assert line["level"] == level
    assert len(done.provider.asked) == asked
    assert done.find(f"{6 - asked} not sent; cost: 0.000000 USD, of 0.100000 USD allowed")
    if asked == 1:
        assert done.find("stream, tools, result, cut, leave: not sent, as an earlier probe has")
    if level == "warning":
        assert "It may be asked again in 77 s." in line["message"]
    assert judge(place.file)[0] == 0


def test_a_provider_that_asks_to_wait_a_little_is_asked_again(place: Place) -> None:
    """The report and the recording have both answers."""
    refused: list[str] = []

    def refuse_once(asked: Asked, answer: Answer) -> Answer:
        if asked.name != "stream" or refused:
            return answer
        refused.append(asked.name)
        return refuse(429, "Slow down.", retry_after="1")(asked, answer)

    done = place.run(refuse_once, dialects=(CHAT,))
    limited, as_expected = done.find_probe(CHAT, "stream")
    assert "It may be asked again in 1 s." in limited["message"]
    assert "whole, stream, tools" in as_expected["message"]
    assert [line["response"]["status"] for line in done.lines] == [
        200,
        429,
        200,
        200,
        200,
        200,
        200,
    ]
    assert done.status == 0


HOSTILE = {
    "HTML": (b"<html>maintenance</html>", "text/html"),
    "cut JSON": (b'{"id": "x", "choices": [{', "application/json"),
    "nothing": (b"", "application/json"),
    "no UTF-8": (b'{"id": "\xff\xfe", "choices": 7}', "application/json"),
    "other JSON": (b'[[{"choices": {"message": [1e999]}}]]', "application/json"),
    "frames of rubbish": (b"data: {\n\ndata: 7\n\nevent: x\n\n", "text/event-stream"),
    "zipped": (b"\x1f\x8b\x08\x00\x00", "application/json"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_answer_ends_the_check(place: Place, name: str) -> None:
    """Whatever a provider sends, each probe has a line, and the recording can be read."""
    body, kind = HOSTILE[name]

    def spoil(_: Asked, answer: Answer) -> Answer:
        return Answer(pieces=(body,), headers=(("content-type", kind),), length=len(body))

    done = place.run(spoil, budget="2")
    for dialect in DIALECTS:
        assert done.find_probe(dialect, "stream")[0]["level"] == "error"
    assert len(done.lines) == 24
    judge(place.file)


def test_a_connection_that_breaks_is_told(place: Place) -> None:
    done = place.run(lambda _, __: Answer(status=0, end="cut"), dialects=(CHAT,))
    assert done.find_probe(CHAT, "whole")[0]["level"] == "error"
    assert {line["endpoint"] for line in done.lines} == {"unanswered"}


def test_the_effort_of_a_tier_is_probed_apart(place: Place) -> None:
    """All other probes get the lowest effort that the model accepts; parameters go nowhere."""
    file = place.write(CHAT)
    text = file.read_text()
    text = text.replace("fast: [{model: m-openai-chat}]", "fast: [{model: m-openai-chat, effort: high, params: {plugins: [web]}}]")  # fmt: skip
    text = text.replace("m-openai-chat: {price", "m-openai-chat: {effort: {style: reasoning_effort, accepts: [low, high]}, price")  # fmt: skip
    file.write_text(text)
    provider = LiveProvider()
    place.upstream.on("/", provider)
    result = run("--config", file, "doctor", "--live", "--record", place.file)
    assert "openai-chat effort high: as expected" in result.stdout
    efforts = [item.body["reasoning_effort"] for item in provider.asked]
    assert sorted(efforts) == ["high", *["low"] * 6]
    assert [
        item.body["reasoning_effort"] for item in provider.asked if "plugins" in item.body
    ] == []
    assert judge(place.file)[0] == 0


@pytest.mark.parametrize("dialect", [CHAT, GEMINI])
def test_models_of_embeddings_are_probed_too(place: Place, dialect: str) -> None:
    file = place.write(dialect)
    text = file.read_text().replace("]}\nmodels:", "], embeddings: [{model: e-1}]}\nmodels:")
    file.write_text(text.replace("\nmodels:\n", "\nmodels:\n  e-1: {price: {input: 1}}\n"))
    empty = replace_text(b"0.5,-0.25,0.125", b"")
    for change, text in (None, "as expected; 3 tokens in, 0 out, 0.000003 USD"), (empty, "no vector"):  # fmt: skip
        place.upstream.renew()
        place.upstream.on("/", LiveProvider([change] if change else []))
        place.file.unlink(missing_ok=True)
        result = run("--config", file, "doctor", "--live", "--record", place.file)
        line = next(line for line in result.stdout.splitlines() if f"{dialect} embed: " in line)
        assert text in line
    endpoints = {CHAT: "embeddings", GEMINI: "gemini_embed"}
    assert f'"endpoint":"{endpoints[dialect]}"' in place.file.read_text()


def test_a_model_that_no_lab_lists_is_probed_by_its_name(place: Place) -> None:
    """A listed name is probed where labs list it; a name that nobody serves is told."""
    file = place.write(CHAT)
    text = file.read_text().replace("    auth: bearer", '    auth: bearer\n    names: ["gpt-*"]')
    file.write_text(text)
    provider = LiveProvider()
    place.upstream.on("/", provider)
    words = ("--config", file, "doctor", "--live", "--unpriced", "--record", place.file)
    run(*words, "--model", "gpt-4o-1999-01-01")
    assert {item.body["model"] for item in provider.asked} == {"gpt-4o-1999-01-01"}
    assert len(provider.asked) == 6
    place.file.unlink()
    run(*words, "--model", f"{CHAT}/m-{CHAT}")
    assert [item.body["model"] for item in provider.asked[6:]] == [f"m-{CHAT}"] * 6
    result = run(*words, "--model", "llama-9")
    assert result.exit_code == 2
    assert "No provider that is on serves 'llama-9': `tiergate models llama-9`" in result.stderr


LEAKS = [
    f"Incorrect API key provided: {SECRETS['key']}.",
    f"Rate limit reached for m in organization {SECRETS['organisation']} ({SECRETS['address']}).",
    f"Consumer {SECRETS['project']} of {SECRETS['account']}; bob@planted.example; cookie {SECRETS['cookie']}",
    "Key sk-live-****************96af; request 123e4567-e89b-12d3-a456-426614174000.",
]  # fmt: skip
NEVER = [
    *SECRETS.values(),
    "Planted",
    "sk-live-",
    "96af",
    "426614174000",
    "123454321",
    "481516234299",
]


@pytest.mark.parametrize("status", [200, 400, 401])
def test_a_recording_has_no_secret(place: Place, status: int) -> None:
    """Nor has the report: a provider quotes the key and the account in errors and in answers."""

    def leak(asked: Asked, answer: Answer) -> Answer:
        message = " ".join(LEAKS).replace(f" cookie {SECRETS['cookie']}", "")
        if status == 200:
            secret = f"{SECRETS['key']} {SECRETS['organisation']} {SECRETS['project']}".encode()
            known = f'"organization_id":"{SECRETS["account"]}","id":"'.encode()
            return edit(answer, lambda it: it.replace(b"OK.", secret).replace(b'"id":"', known, 1))
        return refuse(status, message)(asked, answer)

    done = place.run(leak)
    assert len(done.lines) == (24 if status != 401 else 4)
    assert "***" in done.text
    report = json.dumps(done.findings)
    assert [secret for secret in NEVER if secret in done.text] == []
    assert [secret for secret in NEVER if secret in report] == []
    for line in done.lines:
        assert line["response"]["headers"].keys() <= {
            "content-type", "transfer-encoding", "x-ratelimit-remaining-tokens",
        }  # fmt: skip
        assert line["request"]["headers"].keys() <= {
            "content-type", "accept-encoding", "user-agent", "anthropic-version",
        }  # fmt: skip
    assert judge(place.file)[0] == 0


@pytest.mark.parametrize("dialect", [CHAT, GEMINI])
def test_a_recording_does_not_name_the_place_of_a_provider_or_the_owner_of_a_model(
    place: Place, dialect: str
) -> None:
    config_file = place.write(dialect)
    text = config_file.read_text().replace(f"m-{dialect}", "ft:gpt-9:planted-owner::x1")
    path = PATHS[dialect]
    text = text.replace(f": {path}}}", f': "/planted-resource{path}?code=planted"}}')
    config_file.write_text(text)
    change = replace_text(f"m-{dialect}".encode(), b"ft:gpt-9:planted-owner::x1")
    place.upstream.on("/", LiveProvider([change]))
    run("--config", config_file, "doctor", "--live", "--record", place.file, "--json")
    recording = place.file.read_text()
    assert "planted" not in recording
    assert "127.0.0.1" not in recording
    assert '"model":"ft:gpt-9:***"' in recording
    assert judge(place.file)[0] == 0


def test_the_budget_is_never_exceeded(place: Place) -> None:
    """Each probe is reserved at its greatest cost; a budget of no probe sends none."""
    price = "{input: 100, output: 200}"
    counts = []
    for budget in ("0", "0.20", "0.25", "0.5", "1"):
        done = place.run(budget=budget, price=price)
        spent = 0.0021 * sum(item.name != "leave" for item in done.provider.asked)
        assert spent <= float(budget)
        assert len(done.provider.asked) + len(skipped_names(done)) == 24
        counts.append(len(done.provider.asked))
        assert place.file.exists() is bool(done.provider.asked)
    assert counts[:2] == [0, 0]
    assert 0 < counts[2] <= counts[3] <= counts[4] == 24
    first = place.run(budget="0.25", price=price)
    assert [item.name for item in first.provider.asked][:4] == ["whole"] * 4
    assert "the budget has less left than they may cost" in first.find(": not sent")[0]["message"]


def skipped_names(done: LiveRun) -> list[str]:
    """List the probes that were not sent."""
    return [
        name
        for finding in done.find(": not sent")
        for name in finding["message"].partition(": not sent")[0].split(" ", 2)[2].split(", ")
    ]


def test_a_model_without_a_price_is_probed_only_if_the_caller_says_so(place: Place) -> None:
    done = place.run(dialects=(CHAT,), price="")
    assert done.provider.asked == []
    assert "its price is unknown" in done.find(": not sent")[0]["message"]
    done = place.run(dialects=(CHAT,), price="", words=("--unpriced",))
    assert len(done.provider.asked) == 6
    assert done.find("the cost is unknown: no price")
    assert done.find("6 more have no price, and nothing bounds their cost")


def test_a_stream_that_was_left_is_charged_with_the_searches_of_a_host(place: Place) -> None:
    """Such a host bills a search for each request, beside the tokens."""
    price = "{input: 1, output: 2, tools: {search_low: 0.5}}"
    done = place.run(dialects=(CHAT,), price=price, budget="9")
    assert [item.name for item in done.provider.asked][-1] == "leave"
    assert done.find("at most 0.5")


def test_options_choose_labs_and_tiers(place: Place) -> None:
    done = place.run(words=("--lab", GEMINI, "--lab", CHAT))
    assert {item.dialect for item in done.provider.asked} == {GEMINI, CHAT}
    done = place.run(words=("--tier", "smart"))
    assert done.find("no target is on that the options choose")
    result = run("--config", place.write(CHAT), "doctor", "--live", "--lab", "openai-cat")
    assert result.exit_code == 2
    assert "No lab is called 'openai-cat'" in result.stderr


def test_the_list_with_its_greatest_cost_comes_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the command asks before it sends anything."""
    provider = LiveProvider()
    place.upstream.on("/", provider)
    words = ("--config", place.write(CHAT), "doctor", "--live")
    place_of_data = {"TIERGATE_DATA": str(place.folder / "data")}
    result = run(*words, environ=place_of_data)
    assert "whole stream tools result cut leave" in result.stdout
    assert "Send these probes?" not in result.stdout
    assert result.stdout.index("at most USD") < result.stdout.index("tokens in, 25 out")
    assert len(provider.asked) == 6
    monkeypatch.setattr("gateway.cli.doctor.live.start.is_terminal", lambda: True)
    assert run(*words, stdin="n\n", environ=place_of_data).exit_code == EXIT_INTERRUPTED
    assert len(provider.asked) == 6
    assert (
        "Send these probes?"
        in run(*words, "--record", place.file, stdin="y\n", environ=place_of_data).stdout
    )
    assert len(provider.asked) == 12
    again = run(*words, "--record", place.file, "--yes", environ=place_of_data)
    assert "recording.jsonl: file exists." in again.stderr  # before anything is sent
    assert len(provider.asked) == 12
    place.file.unlink()
    again = run(*words, "--record", place.file, "--yes", environ=place_of_data)
    assert "Send these probes?" not in again.stdout
    assert len(provider.asked) == 18
    assert place.file.stat().st_mode & 0o777 == 0o600
    (recording,) = (place.folder / "data/recordings").iterdir()
    assert len(recording.read_text().splitlines()) == 6
