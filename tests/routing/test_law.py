"""Law 7: one decision engine behind many interfaces.

The same body, configuration and key give the same decision, plan and trace everywhere: through the
engine, `POST /v1/route`, `tiergate explain`, a served call and its row.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.cli.explain import command
from gateway.cli.session import CommandSession
from gateway.core import jsonio
from gateway.core.call import Call, RequestOptions
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FinalRow, Row
from gateway.core.loss import Loss
from gateway.dialects import DIALECTS, OPENAI_CHAT, ResponseContext, translation
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.ledger import journal
from gateway.routing import explain
from gateway.routing.replay_decision import decide_again
from gateway.runtime.composition import Gateway
from gateway.server.app import App
from tests.config import shipped
from tests.evaluation.replay.traffic import logged

type Json = dict[str, Any]

ENVIRON = {**shipped.ALL_SET, "TIERGATE_ALIASES": "{gpt-4o: auto, gpt-4o-mini: google/fast}"}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


DIALECTS_BY_PATH_END = {
    "/chat/completions": "openai-chat",
    "/responses": "openai-responses",
    "/messages": "anthropic-messages",
    ":generateContent": "gemini",
    ":streamGenerateContent": "gemini",
}
"""The end of a request's path, by dialect."""


def answer(request: httpx.Request) -> httpx.Response:
    """Answer with one word as a provider does, in the request's dialect, whole or as a stream."""
    path = request.url.path
    dialect = DIALECTS[
        next(name for end, name in DIALECTS_BY_PATH_END.items() if path.endswith(end))
    ]
    body = jsonio.loads(request.content)
    message = {"role": "assistant", "content": "Yes."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    fields = {"id": "c", "created": 1, "model": body.get("model", "m"), "usage": USAGE}
    chat = jsonio.dumps({**fields, "object": "chat.completion", "choices": [choice]})
    events = translation.get_translation(OPENAI_CHAT).decode_response(chat)
    whole = translation.get_translation(dialect).encode_response(
        events, ResponseContext(id="c", created_at=1, model=fields["model"])
    )
    if not body.get("stream") and not path.endswith(":streamGenerateContent"):
        return httpx.Response(200, content=whole)
    return httpx.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=dialect.unfold(whole, True),
    )


class Interfaces:
    """One configuration behind every interface."""

    def __init__(self, folder: Path) -> None:
        environ = {**ENVIRON, "TIERGATE_DATA": str(folder)}
        self.session = CommandSession(str(shipped.MAIN))
        self.session.environ = environ
        self.gateway = Gateway(
            self.session.built_config,
            environ,
            lambda event, **fields: None,
            transports=lambda provider: httpx.MockTransport(answer),
        )
        self.rows: list[Row] = []
        self.gateway.ledger_runtime.writer.adopt("serve", [self.rows.append])
        self.runner = asyncio.Runner()
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(App(self.gateway)), base_url="http://localhost"
        )

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self.gateway.stop())
        self.runner.close()

    def engine(self, body: bytes, steer: RequestOptions) -> Json:
        call = Call(
            id="c", dialect=OPENAI_CHAT.name, operation="generate", body=body, options=steer,
            received_at=time.time(), started_at=0,
        )  # fmt: skip
        try:
            explained = self.runner.run(self.gateway.engine.explain(call))
            return without_times(explain.describe(*explained, call.received_at))
        except ProblemError as error:
            problem: Json = jsonio.loads(OPENAI_CHAT.write_problem(error.problem))
            return problem

    def post(self, path: str, body: bytes, steer: RequestOptions) -> httpx.Response:
        options = {
            "lab": steer.lab,
            "tier": steer.tier,
            "tags": ", ".join(steer.tags),
            "cache": "off",
        }
        headers = {f"x-tiergate-{name}": value for name, value in options.items() if value}
        return self.runner.run(self.client.post(path, content=body, headers=headers))

    def row(self, entry: FinalRow) -> Json:
        """Decide again for a row, as it comes out of the journal."""
        row = journal.decode_row(journal.encode_row(entry))
        assert isinstance(row, FinalRow)
        walk = LedgerReplay(self.gateway.engine.router)
        walk.replay_row(logged(row))
        assert (walk.totals.total.changed, walk.totals.total.undecided) == (0, 0)
        try:
            decision, plan = decide_again(self.gateway.engine.router, row)
        except ProblemError as error:
            problem: Json = jsonio.loads(OPENAI_CHAT.write_problem(error.problem))
            return problem
        lost: list[tuple[Loss, ...]] = [()] * len(plan.targets)
        return without_times(without_losses(explain.describe(decision, plan, lost, entry.at)))

    def command(self, body: bytes, steer: RequestOptions) -> Json:
        words = ["-", "--json"]
        words += ["--lab", steer.lab] if steer.lab else []
        words += ["--tier", steer.tier] if steer.tier else []
        words += [word for tag in steer.tags for word in ("--tag", tag)]
        result = CliRunner().invoke(command, words, input=body, obj=self.session)
        output: Json = jsonio.loads(result.stdout_bytes)
        assert result.exit_code == (1 if "error" in output else 0)
        return without_times(without_command_fields(output))


def without_times(explanation: Json) -> Json:
    for step in explanation.get("trace", []):
        assert step.pop("ms") >= 0
    return explanation


def without_command_fields(explanation: Json) -> Json:
    """Remove the fields that only the command prints: callers need not know the rules."""
    return {
        name: explanation[name] for name in explanation if name not in ("signals", "near_misses")
    }


def without_losses(explanation: Json) -> Json:
    """Remove what each target would lose in translation: a row does not record it."""
    if "plan" in explanation:
        explanation = {
            **explanation,
            "plan": [{**target, "losses": None} for target in explanation["plan"]],
        }
    return explanation


@pytest.fixture(scope="module")
def interfaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interfaces]:
    opened = Interfaces(tmp_path_factory.mktemp("data"))
    yield opened
    opened.close()


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}

TEXTS = st.sampled_from(
    [
        "hi",
        "",
        "Prove that there are infinitely many primes.",
        "证明根号二是无理数",
        "Write a Python function that merges two sorted lists.",
        "-----BEGIN PRIVATE KEY-----",
        "Where is the deadlock?\n```python\ndef f(a):\n    with a.lock:\n        return a\n```",
        "word " * 400,
    ]
) | st.text(max_size=60)
MODELS = st.sampled_from(
    [
        "auto", "fast", "smart", "reasoning", "google/auto", "openai/reasoning", "deepseek/fast",
        "local/fast", "gpt-6-luna", "gpt-6.2-sol", "gemini/gemini-4-argon", "gpt-4o", "gpt-4o-mini",
        "gpt-4", "claude-opus-4-8", "claude-haiku-4-5-20251001", "no-such-model", "llama/smart",
    ]
)  # fmt: skip
BODIES = st.fixed_dictionaries(
    {"model": MODELS, "text": TEXTS},
    optional={
        "stream": st.booleans(),
        "tools": st.just([TOOL]),
        "image": st.just(IMAGE),
        "response_format": st.just(SCHEMA),
        "reasoning_effort": st.sampled_from(["none", "low", "high"]),
        "n": st.just(2),
        "logprobs": st.just(True),
        "stop": st.just(["x"]),
    },
)
STEERS = st.builds(
    RequestOptions,
    lab=st.sampled_from([None, None, None, "openai", "mistral", "local", "nowhere"]),
    tier=st.sampled_from([None, None, None, "fast", "reasoning", "huge"]),
    tags=st.sampled_from([(), (), ("support",), ("support", "other")]),
)


def body_of(parts: Json) -> bytes:
    parts = dict(parts)
    text, image = parts.pop("text"), parts.pop("image", None)
    content = [{"type": "text", "text": text}, image] if image else text
    return jsonio.dumps({**parts, "messages": [{"role": "user", "content": content}]})


@settings(max_examples=60)
@given(parts=BODIES, steer=STEERS)
@example(parts={"model": "auto", "text": "Prove it.", "tools": [TOOL]}, steer=RequestOptions())
@example(
    parts={"model": "gpt-4o", "text": "hi", "stream": True}, steer=RequestOptions(tags=("support",))
)
@example(parts={"model": "gpt-6.2-sol", "text": "hi", "tools": [TOOL]}, steer=RequestOptions())
@example(parts={"model": "auto", "text": "hi"}, steer=RequestOptions(lab="local"))
@example(parts={"model": "claude-opus-4-8", "text": "hi"}, steer=RequestOptions())
@example(parts={"model": "claude-haiku-4-5-20251001", "text": "hi"}, steer=RequestOptions())
@example(parts={"model": "claude-opus-4-8", "text": "hi"}, steer=RequestOptions(lab="openai"))
def test_every_interface_gives_the_same_decision(
    interfaces: Interfaces, parts: Json, steer: RequestOptions
) -> None:
    body = body_of(parts)
    expected = interfaces.engine(body, steer)
    assert interfaces.engine(body, steer) == expected
    route = interfaces.post("/v1/route", body, steer)
    assert without_times(route.json()) == expected
    assert interfaces.command(body, steer) == expected

    row_count = len(interfaces.rows)
    served = interfaces.post("/v1/chat/completions", body, steer)
    entry = interfaces.rows[-1]
    assert isinstance(entry, FinalRow)
    assert entry.config == interfaces.gateway.built_config.built_catalogue.catalogue.version
    assert (entry.asked, entry.status) == (parts["model"], served.status_code)
    assert interfaces.row(entry) == without_losses(expected)
    if "error" in expected:
        assert len(interfaces.rows) == row_count + 1
        assert served.status_code == route.status_code >= 400
        assert served.json() == expected
        assert (entry.state, entry.lab, entry.attempts) == ("refused", None, 0)
        return
    assert served.status_code == 200, served.text
    assert (entry.state, entry.attempts) == ("settled", 1)
    names = ("lab", "tier", "source", "rule", "confidence")
    assert {name: getattr(entry, name) for name in names} == {
        name: expected[name] for name in names
    }
    assert sorted(entry.tags) == expected["tags"]
    first = expected["plan"][0]
    assert (entry.provider, entry.model) == (first["provider"], first["model"])
    assert entry.price == (first["price"] and first["price"]["version"])
    headers = {
        name: served.headers.get(f"x-tiergate-{name}")
        for name in ("lab", "tier", "model", "provider")
    }
    assert headers == {
        "lab": expected["lab"],
        "tier": expected["tier"],
        "model": first["model"],
        "provider": first["provider"],
    }
    assert served.headers["x-tiergate-decision"] == f"{expected['source']}; {entry.id}"


def test_the_command_reads_a_text_as_a_request_with_that_text(interfaces: Interfaces) -> None:
    body = body_of({"model": "auto", "text": "Prove it."})
    result = CliRunner().invoke(command, ["Prove it.", "--json"], obj=interfaces.session)
    assert without_times(
        without_command_fields(jsonio.loads(result.stdout_bytes))
    ) == interfaces.engine(body, RequestOptions())
