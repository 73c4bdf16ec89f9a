"""Claude Code on the gateway: the unmodified program, and the bytes on both sides of it."""

import gzip
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.journal import decode_row
from gateway.local_model.model import MissingPackage, find_weights
from tests.docs import pages
from tests.docs.stage import ANSWER, stage
from tests.e2e.claude_answers import (
    Block,
    error,
    event,
    frames,
    reply,
    stream,
    text,
    thinking,
    tool,
)
from tests.e2e.claude_code import PATIENCE, QUIET, ClaudeProgram, program
from tests.e2e.recording_proxy import Exchange, Tap
from tests.e2e.upstream import SSE, Answer, Request, Upstream, failing
from tests.e2e.world import Config, Loop, Make, World

KEY = "tg-key-of-a-person"
KEYS = {"TIERGATE_KEYS": f"person={hashlib.sha256(KEY.encode()).hexdigest()}"}
HELLO = "Say hello to me please."
EFFORTS = ["low", "medium", "high"]
JSON = ("--output-format", "json")
COST = Decimal("0.015036")
"""12 x 3 + 40,000 x 0.3 + 100 x 3.75 + 200 x 6.375 + 90 x 15 USD per million tokens."""


def lab(value: Config) -> None:
    """Configure a lab of three Claudes as they are now, and one whose model is older."""
    styles = {
        "claude-haiku-9": ("anthropic", ["none", *EFFORTS]),
        "claude-sonnet-9": ("anthropic-between-tools", ["none", *EFFORTS]),
        "claude-opus-9": ("anthropic-always", EFFORTS),
        "claude-old-9": ("anthropic-budget", ["none", *EFFORTS]),
    }
    value["providers"]["claude"] = {
        "base_url": value["providers"]["acme"]["base_url"].replace("acme", "claude"),
        "dialects": {"anthropic-messages": "/v1/messages"},
        "auth": "x-api-key",
        "accounts": {"main": "sk-ant-never-shown"},
    }
    value["labs"]["claude"] = {
        "fast": [{"model": "claude-haiku-9", "effort": "none"}],
        "smart": [{"model": "claude-sonnet-9", "effort": "low"}],
        "reasoning": [{"model": "claude-opus-9", "effort": "high"}],
    }
    older = {"model": "claude-old-9", "provider": "claude", "effort": "low"}
    value["labs"]["older"] = {"smart": [older]}
    written = {"cache_write": 3.75, "cache_write_by": {"5m": 3.75, "1h": 6.375}}
    price = {"input": 3, "cache_read": 0.3, **written, "output": 15}
    value["models"] |= {
        model: {"price": price, "tools": True, "effort": {"style": style, "accepts": accepts}}
        for model, (style, accepts) in styles.items()
    }
    value["default"] = {"lab": "claude", "tier": "smart"}


def local(value: Config) -> None:
    """Configure only the real local model, at its own endpoint of this dialect."""
    value["providers"] = {
        "local": {
            "dialects": {"anthropic-messages": "/v1/messages"},
            "auth": "none",
            "command": ["{python}", "-m", "gateway.local_model", "--port", "0", "--threads", "1"],
        }
    }
    value["labs"] = {"local": {"smart": [{"model": "smollm2-135m"}]}}
    value["models"] = {"smollm2-135m": {"context": 4096, "price": {"input": 0, "output": 0}}}
    value["default"] = {"lab": "local", "tier": "smart"}
    del value["aliases"]


@pytest.fixture(autouse=True)
def installed() -> None:
    program()


@pytest.fixture
def change() -> Any:
    return lab


@pytest.fixture
def world(make: Make, change: Any) -> World:
    return make(change, **KEYS)


@pytest.fixture
def tap(loop: Loop, world: World) -> Iterator[Tap]:
    tap = Tap(loop, world.port)
    yield tap
    tap.close()


@pytest.fixture
def claude(tap: Tap, tmp_path: Path) -> ClaudeProgram:
    return ClaudeProgram(tmp_path / "claude", tap.url, KEY)


def check_exchanges(tap: Tap, upstream: Upstream) -> list[Exchange]:
    """Return all exchanges of Claude Code; upstream calls differ from them only in the model.

    If the tier's settings must change more, the test checks that itself.
    """
    exchanges = tap.exchanges()
    assert {
        (exchange.request.method, exchange.request.path, exchange.status) for exchange in exchanges
    } == {("POST", "/v1/messages?beta=true", 200)}
    assert len(exchanges) == len(upstream.requests)
    for mine, theirs in zip(exchanges, upstream.requests, strict=True):
        names = (mine.request.json["model"], theirs.json["model"])
        was, now = (f'{{"model":"{name}",'.encode() for name in names)
        assert mine.request.body.startswith(was)
        assert theirs.body == now + mine.request.body[len(was) :]
        assert theirs.path == "/claude/v1/messages?beta=true"
    return exchanges


def settled_rows(world: World, calls: int) -> list[FinalRow]:
    """Return the final rows, one a call, with usage to the last token."""
    entries = world.entries()
    assert len(entries) == calls
    for entry in entries:
        used = (entry.input, entry.cache_read, entry.cache_write, entry.output, entry.reasoning)
        assert used == (12, 40_000, 300, 70, 20)
        assert (entry.state, entry.cost, entry.key) == ("settled", COST, "person")
    return entries


@pytest.mark.parametrize("form", ["text", "json", "stream-json"])
@pytest.mark.parametrize(
    ("requested_model", "model"),
    [
        ("claude-auto", "claude-haiku-9"),
        ("claude-opus-9", "claude-opus-9"),
        ("smart", "claude-sonnet-9"),
        ("opus", "claude-opus-9"),
    ],
)
def test_claude_code_gets_an_answer_and_only_the_model_changes(
    claude: ClaudeProgram,
    tap: Tap,
    world: World,
    upstream: Upstream,
    requested_model: str,
    model: str,
    form: str,
) -> None:
    """A tier, a name, and an alias that Claude Code itself knows: only the model changes."""
    upstream.on("/claude", reply(thinking("A greeting.", "c2lnbg+/=="), text("Hello, you there.")))
    verbose = ("--verbose",) if form == "stream-json" else ()
    run = claude.ask(HELLO, "--output-format", form, *verbose, ANTHROPIC_MODEL=requested_model)
    assert run.code == 0, run.err
    if form == "text":
        assert run.out == "Hello, you there.\n"
    else:
        assert (run.result["result"], run.result["is_error"]) == ("Hello, you there.", False)
    (exchange,) = check_exchanges(tap, upstream)
    assert exchange.body == b"".join(frames(*_hello()))
    (entry,) = settled_rows(world, 1)
    assert entry.model == model


def _hello() -> tuple[Block, ...]:
    return thinking("A greeting.", "c2lnbg+/=="), text("Hello, you there.")


def test_the_provider_gets_the_headers_of_claude_code_without_the_client_key(
    claude: ClaudeProgram, tap: Tap, upstream: Upstream
) -> None:
    """Betas, version and session go on; the person's key does not."""
    upstream.on("/claude", reply(text("Hello.")))
    claude.ask(HELLO, ANTHROPIC_MODEL="smart")
    mine, theirs = tap.exchanges()[0].request, upstream.requests[0]
    assert mine.header("authorization") == f"Bearer {KEY}"
    assert theirs.header("authorization") is None
    assert theirs.header("x-api-key") == "sk-ant-never-shown"
    assert KEY not in repr(theirs.headers)
    for name in ("anthropic-beta", "anthropic-version", "x-claude-code-session-id"):
        assert theirs.header(name) == mine.header(name) != ""
    assert "claude-code-" in (theirs.header("anthropic-beta") or "")


def script(claude: ClaudeProgram) -> list[Any]:
    """Script a turn that writes a file, reads it, counts its bytes, and ends."""
    file = str(claude.work / "note.txt")
    return [
        reply(thinking("First I write.", "YQ+/=="), tool("toolu_1", "Write", file_path=file, content="forty-two é\n")),
        reply(thinking("Then I read.", "Yg=="), tool("toolu_2", "Read", file_path=file)),
        reply(tool("toolu_3", "Bash", command="wc -c <note.txt >size.txt; cat size.txt", description="Count")),
        reply(text("All is done.")),
    ]  # fmt: skip


def test_claude_code_runs_a_tool_loop(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream
) -> None:
    """Tools run for real; thinking comes back with its signature; the model stays the same."""
    upstream.on("/claude", *script(claude))
    allowed = ("--allowedTools", "Write,Read,Bash")
    run = claude.ask("Keep a note.", *JSON, *allowed, ANTHROPIC_MODEL="claude-auto")
    assert (run.result["result"], run.result["num_turns"]) == ("All is done.", 4)
    assert (claude.work / "note.txt").read_text() == "forty-two é\n"
    assert (claude.work / "size.txt").read_text() == "13\n"
    check_exchanges(tap, upstream)
    last = upstream.requests[-1].body
    assert b'"signature":"YQ+/=="' in last
    assert b'"signature":"Yg=="' in last
    results = [block for message in jsonio.loads(last)["messages"] for block in _results(message)]
    assert [block["tool_use_id"] for block in results] == ["toolu_1", "toolu_2", "toolu_3"]
    assert "13" in str(results[2]["content"])
    assert len({entry.model for entry in settled_rows(world, 4)}) == 1


def _results(message: dict[str, Any]) -> list[Block]:
    content = message["content"] if isinstance(message["content"], list) else []
    return [block for block in content if block["type"] == "tool_result"]


def test_claude_code_runs_a_tool_loop_on_an_older_model(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream
) -> None:
    """An effort becomes a budget; if the model cannot think, no member asks to clear thoughts."""
    upstream.on("/claude", *script(claude))
    allowed = ("--allowedTools", "Write,Read,Bash")
    run = claude.ask("Keep a note.", *JSON, *allowed, ANTHROPIC_MODEL="older/smart")
    assert run.result["result"] == "All is done."
    bodies = [request.json for request in upstream.requests]
    budget = {"type": "enabled", "budget_tokens": 16_384, "display": "omitted"}
    assert [body.get("thinking") for body in bodies] == [budget, budget, budget, None]
    assert ["context_management" in body for body in bodies] == [True, True, True, False]
    changed = {"model", "thinking", "output_config", "context_management"}
    for mine, theirs in zip(tap.exchanges(), bodies, strict=True):
        assert _without(mine.request.json, changed) == _without(theirs, changed)
        assert "output_config" not in theirs
    assert {entry.model for entry in settled_rows(world, 4)} == {"claude-old-9"}


def _without(body: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


def test_claude_code_runs_a_subagent(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream
) -> None:
    """A subagent has its own id, also at the provider; hints for gateways are accepted."""

    def answer(request: Request) -> Answer:
        if request.header("x-claude-code-agent-id"):
            script = reply(text("The agent says hi."))
        elif any(map(_results, request.json["messages"])):
            script = reply(text("All is done."))
        else:
            task = {"prompt": "Say hi.", "subagent_type": "general-purpose"}
            call = tool("toolu_1", "Agent", description="Say hi", run_in_background=False, **task)
            script = reply(call)
        assert callable(script)
        return script(request)

    upstream.on("/claude", answer)
    hints = {"CLAUDE_CODE_GATEWAY_HINT_HEADERS": "1", "ANTHROPIC_MODEL": "claude-auto"}
    run = claude.ask("Use an agent.", *JSON, "--allowedTools", "Agent", **hints)
    assert run.result["result"] == "All is done."
    exchanges = check_exchanges(tap, upstream)
    agents = [item.request.header("x-claude-code-agent-id") for item in exchanges]
    assert [agent is not None for agent in agents] == [False, True, False]
    assert [item.header("x-claude-code-agent-id") for item in upstream.requests] == agents
    kinds = [item.request.header("x-claude-code-request-class") for item in exchanges]
    assert kinds == ["main", "subagent", "main"]
    settled_rows(world, 3)


def test_claude_code_counts_the_tokens_of_its_context(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream
) -> None:
    """`/context` counts the parts of a prompt, which costs nothing."""
    upstream.on("/claude/v1/messages/count_tokens", Answer(pieces=(b'{"input_tokens":1234}',), length=21))  # fmt: skip
    run = claude.ask("/context", ANTHROPIC_MODEL="claude-auto")
    assert "1.2k" in run.out
    exchanges = tap.exchanges()
    assert {(exchange.request.path, exchange.status) for exchange in exchanges} == {
        ("/v1/messages/count_tokens?beta=true", 200)
    }
    entries = world.entries()
    assert len(entries) == len(exchanges) > 1
    assert {(entry.state, entry.cost) for entry in entries} == {("settled", Decimal(0))}


def test_claude_code_discovers_the_models_of_the_gateway(
    claude: ClaudeProgram, tap: Tap, upstream: Upstream
) -> None:
    """With its own traffic on, it checks that the gateway is there and which models it serves."""
    upstream.on("/claude", reply(text("Hello.")))
    discover = {"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""}  # fmt: skip
    claude.ask(HELLO, ANTHROPIC_MODEL="claude-auto", **discover)
    assert {
        (exchange.request.method, exchange.request.path, exchange.status)
        for exchange in tap.exchanges()
    } == {
        ("HEAD", "/api/hello", 200),
        ("GET", "/v1/models?limit=1000", 200),
        ("POST", "/v1/messages?beta=true", 200),
    }
    cached_models = jsonio.loads((claude.home / ".claude/cache/gateway-models.json").read_bytes())
    names = [model["id"] for model in cached_models["models"]]
    assert names[0] == "claude-auto"
    assert {"claude-haiku-9", "claude-sonnet-9", "claude-opus-9", "claude-old-9"} <= set(names)


def recorded_streams(corpus: Path) -> list[tuple[bytes, str]]:
    """Return real streams that end a turn, and the text that Anthropic's SDK reads in each.

    Claude Code shows the text of the last block only, and no tools that run at the provider, also
    without a gateway. So streams with several texts or with such tools are left out.
    """
    with gzip.open(corpus / "oracle" / "oracle.jsonl.gz") as lines:
        decoded = {decoded_line["id"]: decoded_line for decoded_line in map(jsonio.loads, lines)}
    streams = []
    with gzip.open(corpus / "recorded" / "anthropic__messages.jsonl.gz") as lines:
        for row in map(jsonio.loads, lines):
            answer, decoded_row = row["response"], decoded.get(row["id"], {})
            kinds = {block["type"] for block in decoded_row.get("content") or []}
            texts = [
                block["text"]
                for block in decoded_row.get("content") or []
                if block["type"] == "text"
            ]
            if (
                answer["body_kind"] == "sse" and answer["status"] == 200 and row["fidelity"] == "raw"
                and decoded_row.get("finish") == "end_turn" and len(texts) == 1 and texts[0].strip()
                and kinds <= {"text", "thinking", "redacted_thinking"}
            ):  # fmt: skip
                streams.append((answer["body"].encode(), texts[0]))
    return streams


def test_claude_code_reads_recorded_streams_byte_for_byte(
    claude: ClaudeProgram, tap: Tap, upstream: Upstream, corpus: Path
) -> None:
    """Recorded streams of the real service pass byte for byte, and Claude Code reads their text."""
    streams = recorded_streams(corpus)
    assert len(streams) > 10
    for body, text_of_stream in streams:
        upstream.on("/claude", Answer(pieces=(body,), headers=SSE))
        run = claude.ask(HELLO, *JSON, "--no-session-persistence", ANTHROPIC_MODEL="claude-auto")
        assert str(run.result["result"]).strip() == text_of_stream.strip()
    assert [exchange.body for exchange in check_exchanges(tap, upstream)] == [
        body for body, _ in streams
    ]


ODD = "messages.1: something is odd"
LONG = "prompt is too long: 210000 tokens > 200000 maximum"


@pytest.mark.parametrize(
    ("script", "expected", "says", "times"),
    [
        (failing(529), (529, "overloaded_error"), "overloaded", (2, 4)),
        (failing(429), (429, "rate_limit_error"), "limiting", (2, 4)),
        (failing(500), (502, "api_error"), "failed with HTTP 500", (2, 4)),
        (failing(401, error("authentication_error", "no")), (502, "api_error"), "credential", (1, 1)),
        (failing(400, error("invalid_request_error", LONG)), (400, "invalid_request_error"), "Prompt is too long", (1, 1)),
    ],
    ids=["529", "429", "500", "401", "too long"],
)  # fmt: skip
def test_claude_code_shows_a_providers_error_and_retries_it(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream,
    script: Answer, expected: tuple[int, str], says: str, times: tuple[int, int],
) -> None:  # fmt: skip
    """Claude Code learns what went wrong, and retries as at the provider itself: here once.

    `times` are its calls, and the requests that the provider gets.
    """
    calls, requests = times
    upstream.on("/claude", script)
    run = claude.ask(HELLO, *JSON, ANTHROPIC_MODEL="smart", CLAUDE_CODE_MAX_RETRIES="1")
    result = run.result
    assert (run.code, result["is_error"]) == (1, True)
    assert (result["api_error_status"], result["api_error_type"]) == expected
    assert says in str(result["result"])
    assert [exchange.status for exchange in tap.exchanges()] == [expected[0]] * calls
    assert len(upstream.requests) == requests
    rows = world.entries()
    assert [(row.state, row.status) for row in rows] == [("failed", expected[0])] * calls
    assert sum(row.attempts for row in rows) == requests


@pytest.mark.parametrize(
    ("status", "kind", "message", "says"),
    [
        (400, "invalid_request_error", ODD, f"API Error: 400 {ODD}"),
        (404, "not_found_error", "model: claude-gone", "There's an issue with the selected model"),
    ],
)
def test_claude_code_gets_a_rejection_byte_for_byte(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream,
    status: int, kind: str, message: str, says: str,
) -> None:  # fmt: skip
    """Claude Code recovers by the wording: it sends other forms of its request, one call each."""
    own = error(kind, message)
    upstream.on("/claude", failing(status, own))
    run = claude.ask(HELLO, *JSON, ANTHROPIC_MODEL="smart")
    assert str(run.result["result"]).startswith(says)
    exchanges = tap.exchanges()
    assert {(exchange.status, exchange.body) for exchange in exchanges} == {(status, own)}
    entries = world.entries()
    assert len(entries) == len(exchanges) == len(upstream.requests)
    assert {(entry.state, entry.attempts) for entry in entries} == {("failed", 1)}


def test_claude_code_does_not_see_a_short_overload(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream
) -> None:
    upstream.on("/claude", failing(529), reply(*_hello()))
    assert claude.ask(HELLO, ANTHROPIC_MODEL="smart").out == "Hello, you there.\n"
    assert [exchange.status for exchange in tap.exchanges()] == [200]
    assert [entry.attempts for entry in settled_rows(world, 1)] == [2]


def test_claude_code_reports_an_unknown_client_key(
    claude: ClaudeProgram, tap: Tap, upstream: Upstream
) -> None:
    run = claude.ask(HELLO, *JSON, ANTHROPIC_MODEL="smart", ANTHROPIC_AUTH_TOKEN="wrong")
    assert run.code == 1
    assert str(run.result["result"]).startswith(
        "Failed to authenticate. API Error: 401 The gateway does not know this key"
    )
    assert {exchange.status for exchange in tap.exchanges()} == {401}
    assert not upstream.requests


OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
THOUGHT = frames(*_hello())[:5]
SPOKEN = frames(text("Hello, you there."))[:5]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (stream(*THOUGHT, end="cut"), "upstream_truncated"),
        (stream(*SPOKEN, end="cut"), "upstream_truncated"),
        (stream(*SPOKEN), "upstream_truncated"),
        (stream(*SPOKEN, OVERLOADED), "upstream_overloaded"),
    ],
    ids=["cut while thinking", "cut", "ended early", "overloaded"],
)
def test_claude_code_retries_a_stream_that_breaks_off(
    claude: ClaudeProgram, tap: Tap, world: World, upstream: Upstream, script: Answer, problem: str
) -> None:
    """Claude Code sees an error, not an end, and then retries; each call has its row."""
    upstream.on("/claude", script, reply(*_hello()))
    run = claude.ask(HELLO, *JSON, ANTHROPIC_MODEL="smart")
    assert (run.code, run.result["is_error"]) == (0, False)
    assert str(run.result["result"]).endswith("Hello, you there.")
    first, second = check_exchanges(tap, upstream)
    assert b"event: error\n" in first.body
    assert b"message_stop" not in first.body
    assert b"event: error\n" not in second.body
    broken, whole = world.entries()
    assert (broken.state, broken.problem, broken.usage) == ("aborted", problem, "partial")
    assert broken.cost is not None
    assert broken.estimate is not None
    assert 0 <= broken.estimate < broken.cost  # its input was reported as it began
    assert (whole.state, whole.cost) == ("settled", COST)


@pytest.fixture
def model() -> None:
    try:
        find_weights()
    except MissingPackage as absent:
        pytest.skip(f"{absent} not installed: `make test` installs it")


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("change", [local], ids=["local"])
@pytest.mark.parametrize("requested_model", ["claude-auto", "smart", "claude-sonnet-9"])
def test_claude_code_gets_a_sentence_from_the_local_model(
    claude: ClaudeProgram, tap: Tap, world: World, requested_model: str
) -> None:
    """Without provider and key, the small local model says a sentence of its own."""
    small = ("--system-prompt", "Answer briefly.", "--tools", "", "--disable-slash-commands")
    sentence = {"temperature": 0, "stop_sequences": [".", "\n"]}
    caps = {
        "ANTHROPIC_MODEL": requested_model,
        "CLAUDE_CODE_EXTRA_BODY": jsonio.dumps(sentence).decode(),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "200",
    }
    run = claude.ask("What is the capital of France?", *JSON, *small, "--max-turns", "1", **caps)
    assert (run.code, run.result["is_error"]) == (0, False), run.out
    assert re.search(r"[a-z]{3}", str(run.result["result"]))
    (exchange,) = tap.exchanges()
    assert (exchange.status, exchange.headers["x-tiergate-lab"]) == (200, "local")
    entry = world.entry()
    assert (entry.model, entry.state, entry.cost) == ("smollm2-135m", "settled", Decimal(0))
    assert 100 < (entry.input or 0) + (entry.cache_read or 0) < 4096
    assert 0 < (entry.output or 0) <= 200


def lines(data: Path) -> list[bytes]:
    """Return the lines of all journals of a data folder."""
    return [line for file in data.glob("ledger/*.jsonl") for line in file.read_bytes().splitlines()]


def test_the_documented_set_up_of_claude_code_works(loop: Loop, tmp_path: Path) -> None:
    """The page's variables and header lead to an answer of shipped labs, and a tagged row."""
    script = next(snippet.text for snippet in pages.clients("sh") if "claude-code" in snippet.page)
    with stage(loop, tmp_path, strict=False) as place:
        environ = {"HOME": str(tmp_path), "PATH": f"{Path(program()).parent}:{os.environ['PATH']}"}
        ran = subprocess.run(
            ["sh", "-eu", "-c", place.here(script)],
            env=environ | QUIET, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stdout.strip()) == (0, ANSWER), ran.stderr
        rows = [row for row in map(decode_row, lines(place.data)) if isinstance(row, FinalRow)]
    assert {(row.asked, row.tags, row.lab) for row in rows} == {
        ("claude-auto", ("coding",), "openai")
    }
