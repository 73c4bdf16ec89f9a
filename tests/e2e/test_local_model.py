"""The program as people start it: the shipped configuration, no key, and the real local model."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.core.ledger_rows import FinalRow
from gateway.ledger import journal
from gateway.local_model.model import MissingPackage, find_weights

try:
    find_weights()
except MissingPackage as absent:
    pytest.skip(f"{absent} not installed: `make test` installs it", allow_module_level=True)

ROOT = Path(__file__).parents[2]
CONFIG, README = ROOT / "config" / "gateway.yaml", ROOT / "README.md"
ENGINE = '["{python}", "-m", "gateway.local_model", "--port", "0", "--threads", "1"]'
PATIENCE = 60.0
"""Seconds after which a wait has failed."""
FRESH = {"x-tiergate-cache": "off"}
CACHED = {"x-tiergate-cache": "on"}
ITALY: Any = [{"role": "user", "content": "What is the capital of Italy? Answer in one sentence."}]
"""The model's answer ends by itself: an answer cut at its cap is not cached."""
HELLO: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
PROOF: list[Any] = [{"role": "user", "content": "Prove that there are infinitely many primes."}]


class ServedProgram:
    """`python -m gateway serve`, from its start-up lines on."""

    def __init__(self, data: Path) -> None:
        self.data = data
        data.mkdir(exist_ok=True)
        environ = os.environ | {
            "TIERGATE_DATA": str(data / "data"),
            "TIERGATE_PROVIDERS__LOCAL__COMMAND": ENGINE,
        }
        command = [sys.executable, "-m", "gateway", "--config", str(CONFIG), "serve", "--port", "0"]
        with (data / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=data, env=environ, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("  curl "):
                break
        match = re.search(r"on (http://\S+)", self.lines[0] if self.lines else "")
        assert match, (data / "stderr").read_text()
        self.url = match[1]

    def engine(self) -> int:
        """Return the pid of the process that runs the model."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        (pid,) = [int(word) for path in tasks for word in path.read_text().split()]
        return pid

    @contextmanager
    def sdk(self) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key="any", timeout=PATIENCE) as client:
            yield client

    def end(self, how: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(how)
            self.process.communicate(timeout=PATIENCE)

    def entries(self) -> list[FinalRow]:
        folder = self.data / "data" / "ledger"
        rows = [row for path in journal.list_segments(folder) for row, _ in journal.read_rows(path)]
        return [row for row in rows if isinstance(row, FinalRow)]


@contextmanager
def wait_for_end(pid: int) -> Iterator[None]:
    """Wait at the end until a process that is no child of this one has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield
        ended, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ended, f"process {pid} outlived what it belongs to"
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProgram]:
    program = ServedProgram(tmp_path_factory.mktemp("program"))
    yield program
    program.end(signal.SIGTERM)


def test_the_start_up_lines_say_what_the_gateway_serves(program: ServedProgram) -> None:
    lines = "\n".join(program.lines)
    assert re.search(
        r"^  on  \* local +fast smollm2-135m, smart smollm2-135m, reasoning", lines, re.MULTILINE
    )
    assert re.search(r"^  off   openai +set OPENAI_API_KEY", lines, re.MULTILINE)
    assert "none needed (keys: open)" in lines


def test_the_model_list_has_the_local_model(program: ServedProgram) -> None:
    with program.sdk() as sdk:
        names = [model.id for model in sdk.models.list()]
    assert names == [
        "auto", "fast", "smart", "reasoning",
        "claude-auto",
        "local/auto", "local/fast", "local/smart", "local/reasoning", "smollm2-135m",
    ]  # fmt: skip


REQUESTS = [
    ("fast", "fast", HELLO, 12),
    ("local/smart", "smart", HELLO, 12),
    ("reasoning", "reasoning", HELLO, 48),
    ("auto", "reasoning", PROOF, 48),
    ("smollm2-135m", "fast", HELLO, 12),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("requested_model", "tier", "messages", "cap"), REQUESTS, ids=[row[0] for row in REQUESTS]
)
def test_the_local_model_answers_in_every_tier(
    program: ServedProgram,
    requested_model: str,
    tier: str,
    messages: list[Any],
    cap: int,
    streamed: bool,
) -> None:
    with program.sdk() as sdk:
        create = sdk.chat.completions.with_raw_response.create
        more: Any = {"max_tokens": cap, "extra_headers": FRESH}
        if streamed:
            raw: Any = create(model=requested_model, messages=messages, stream=True, **more)
            deltas = [piece.choices[0].delta for piece in raw.parse() if piece.choices]
            content = "".join(delta.content or "" for delta in deltas)
        else:
            raw = create(model=requested_model, messages=messages, **more)
            content = raw.parse().choices[0].message.content
    assert content.strip()
    head = raw.headers
    assert (head["x-tiergate-lab"], head["x-tiergate-tier"]) == ("local", tier)
    assert (head["x-tiergate-provider"], head["x-tiergate-model"]) == ("local", "smollm2-135m")
    assert head["x-tiergate-attempts"] == "1"
    assert streamed or head["x-tiergate-cost"] == "0"


def test_the_first_request_of_the_readme_is_answered_well(program: ServedProgram) -> None:
    """The start-up lines show the README's request word for word."""
    match = re.search(r"-d '(\{.+\})'", README.read_text())
    assert match
    question = json.loads(match[1])["messages"][0]["content"]
    assert question in program.lines[-1]
    for _ in range(2):
        reply = httpx.post(
            f"{program.url}/v1/chat/completions", content=match[1], headers=FRESH, timeout=PATIENCE
        )
        assert "Rome" in reply.json()["choices"][0]["message"]["content"]
        assert reply.headers["x-tiergate-model"] == "smollm2-135m"


def test_the_second_equal_call_is_a_cache_hit(program: ServedProgram) -> None:
    """The cached whole answer serves a stream; nothing is computed for it."""
    with program.sdk() as sdk:
        create = sdk.chat.completions.with_raw_response.create
        body: Any = {"model": "fast", "messages": ITALY}
        answer = create(**body, extra_headers=CACHED).parse().choices[0]
        again = create(**body, extra_headers=CACHED, stream=True)
        pieces = [piece.choices[0].delta.content or "" for piece in again.parse() if piece.choices]
    assert answer.finish_reason == "stop"
    assert "".join(pieces) == answer.message.content
    assert again.headers["x-tiergate-cache"] == "hit"
    assert again.headers["x-tiergate-attempts"] == "0"


def test_usage_comes_from_the_local_model(program: ServedProgram) -> None:
    with program.sdk() as sdk:
        create = sdk.chat.completions.create
        usage = create(model="smart", messages=HELLO, max_tokens=9).usage
        chunks = list(create(
            model="smart", messages=HELLO, max_tokens=9, stream=True,
            stream_options={"include_usage": True}, extra_headers=FRESH,
        ))  # fmt: skip
    assert usage is not None
    assert usage.prompt_tokens > 5
    assert 0 < usage.completion_tokens <= 9
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == usage.prompt_tokens


def test_the_gateway_starts_a_killed_engine_again(program: ServedProgram) -> None:
    """A call that comes meanwhile waits for it and is served."""
    before = program.engine()
    with wait_for_end(before):
        os.kill(before, signal.SIGKILL)
    with program.sdk() as sdk:
        answer = sdk.chat.completions.create(
            model="fast", messages=HELLO, max_tokens=8, extra_headers=FRESH
        )
    assert answer.choices[0].message.content
    assert program.engine() != before


def test_a_killed_gateway_leaves_no_engine_and_no_open_call(program: ServedProgram) -> None:
    """The engine ends with it, and the next start closes the call that was open."""
    with program.sdk() as sdk:
        chunks = sdk.chat.completions.create(
            model="reasoning", messages=PROOF, max_tokens=380, stream=True
        )
        next(iter(chunks))
        with wait_for_end(program.engine()):
            program.end(signal.SIGKILL)
    before = program.entries()
    assert len(before) > 10
    assert {(entry.state, entry.cost) for entry in before} <= {("settled", 0), ("cache_hit", 0)}
    again = ServedProgram(program.data)
    with wait_for_end(again.engine()):
        again.end(signal.SIGTERM)
    assert "  after a crash: the gateway closed 1 open calls" in again.lines
    (crashed,) = [entry for entry in program.entries() if entry.state == "unknown_crash"]
    assert (crashed.cost, crashed.model) == (None, "smollm2-135m")
    assert crashed.id not in {entry.id for entry in before}
