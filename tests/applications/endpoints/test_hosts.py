"""Endpoints of hosts that no official SDK has: rerank, OCR, decisions in TypeSafe's form."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from tests.applications.endpoints.openai_api import SOUND, OpenAiApi
from tests.applications.endpoints.process import HOSTS, KEY, EndpointGateway
from tests.applications.endpoints.scripted import CREATED_AT, Form, ScriptedApi, write_json
from tests.e2e.upstream import Answer, Request, Upstream

type Json = Any

RESULTS: Json = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
DOCUMENTS: Json = {"query": "fox", "documents": ["A cow.", "A fox."]}


@dataclass(frozen=True)
class HostCall:
    """One request, the host that gets it, its answer, and the row that it leaves."""

    host: str
    """The path of the host at the scripted provider."""
    path: str
    body: Json
    answer: Json
    operation: str
    provider: str
    own_path: str = "/v1"
    model: str = ""
    """The model that the host gets, if that is not the one of the request."""
    units: Json = None
    tokens: tuple[int, int] | None = None
    lab: str = ""


CALLS = {
    "rerank by a model that names its host": HostCall(
        "/together/v1", "/rerank", {"model": "together/Salesforce/Llama-Rank-V1", **DOCUMENTS},
        {"results": RESULTS, "usage": {"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12}},
        "rerank.create", "together", model="Salesforce/Llama-Rank-V1", tokens=(12, 0),
    ),
    "rerank at the only host with its path": HostCall(
        "/cohere/v2", "/rerank", {"model": "rerank-v3.5", **DOCUMENTS},
        {"id": "1", "results": RESULTS, "meta": {"billed_units": {"search_units": 1}}},
        "rerank.create", "cohere", own_path="/v2", units={"search": 1},
    ),
    "decisions in TypeSafe's form": HostCall(
        "/openrouter/api/v1", "/systemone",
        {"model": "typesafe/jev", "input": "2 + 2?", "questions": [{"id": "q", "options": ["a", "b"]}]},
        {"answers": [{"id": "q", "choice": "a"}], "usage": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}},
        "systemone.create", "openrouter", tokens=(9, 0),
    ),
    "pages of a document": HostCall(
        "/mistral/v1", "/ocr",
        {"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": "https://a.example/b.pdf"}},
        {"pages": [], "model": "mistral-ocr-latest", "usage_info": {"pages_processed": 3}},
        "ocr.create", "mistral", units={"page": 3},
    ),
    "code in the middle": HostCall(
        "/mistral/v1", "/fim/completions", {"model": "codestral-latest", "prompt": "def f(", "suffix": "return 1"},
        {"id": "1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}},
        "fim.create", "mistral", tokens=(7, 3),
    ),
    "a model that two hosts have, at the host of a header": HostCall(
        "/groq/openai/v1", "/audio/speech", {"model": "playai-tts", "voice": "Fritz", "input": "Hello."},
        {"spoken": True}, "audio.speech", "groq", units={"character": 6}, lab="groq",
    ),
}  # fmt: skip


def make_answerer(value: Json) -> Callable[[Request], Answer]:
    return lambda _: write_json(value)


@pytest.mark.parametrize("name", CALLS)
def test_a_host_gets_the_request_as_it_is(
    gateway: EndpointGateway, upstream: Upstream, name: str
) -> None:
    call = CALLS[name]
    upstream.on(call.host, make_answerer(call.answer))
    before = len(upstream.requests)
    headers = {"authorization": f"Bearer {KEY}"} | ({"x-tiergate-lab": call.lab} if call.lab else {})  # fmt: skip
    answer = httpx.post(gateway.url + call.own_path + call.path, json=call.body, headers=headers, trust_env=False)  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.json() == call.answer
    (request,) = upstream.requests[before:]
    assert request.path == call.host + call.path
    assert request.json == (call.body | {"model": call.model} if call.model else call.body)
    assert request.header("authorization") in {f"Bearer {key}" for key in HOSTS.values()}
    (row,) = gateway.take_rows([False])
    assert (row["operation"], row["provider"]) == (call.operation, call.provider)
    assert {unit: Decimal(count) for unit, count in row["units"].items()} == (call.units or {})
    assert (row["input"], row["output"]) == (call.tokens or (None, None))


def test_a_model_that_several_hosts_may_have_is_refused_with_their_names(
    gateway: EndpointGateway,
) -> None:
    body = {"model": "sonic-speech", "voice": "Fritz", "input": "Hello."}
    answer = httpx.post(f"{gateway.url}/v1/audio/speech", json=body, headers={"authorization": f"Bearer {KEY}"}, trust_env=False)  # fmt: skip
    assert answer.status_code == 404
    message = answer.json()["error"]["message"]
    assert "together/sonic-speech" in message
    assert "groq/sonic-speech" in message
    gateway.take_rows([False])


def test_a_client_for_azure_needs_no_change(gateway: EndpointGateway, upstream: Upstream) -> None:
    """Its paths contain the deployment, and its queries a version, which no other provider knows."""
    upstream.on("/openai", OpenAiApi("/openai/v1").answer)
    client = openai.AzureOpenAI(
        azure_endpoint=gateway.url, api_key=KEY, api_version="2024-10-21", max_retries=0
    )
    before = len(upstream.requests)
    assert client.images.generate(model="dall-e-3", prompt="A fox").data
    sound = ("hello.mp3", SOUND, "audio/mpeg")
    assert client.audio.transcriptions.create(model="whisper-1", file=sound).text == "Hello."
    assert client.files.list().data == []
    assert [request.path for request in upstream.requests[before:]] == [
        "/openai/v1/images/generations",
        "/openai/v1/audio/transcriptions",
        "/openai/v1/files",
    ]
    gateway.take_rows([False, False, True])


def test_batches_of_mistral_have_owners(gateway: EndpointGateway, upstream: Upstream) -> None:
    """A batch takes a file of the key; its result is the key's file, too."""
    api = ScriptedApi("/mistral/v1")
    line = (
        b'{"custom_id":"1","body":{"max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}}\n'
    )
    job: Json = {"id": "job-1", "object": "batch", "status": "SUCCESS", "output_file": "file-2"}
    file = {"id": "file-1", "object": "file", "bytes": len(line), "created_at": CREATED_AT, "purpose": "batch"}  # fmt: skip

    def begin(form: Form) -> Json:
        assert form.json["input_files"] == ["file-1"]
        return {**job, "status": "QUEUED", "output_file": None}

    api.on("POST", "/files", lambda form: file)
    api.on("POST", "/batch/jobs", begin)
    api.on("GET", "/batch/jobs", lambda form: {"object": "list", "data": [job, {**job, "id": "other"}], "total": 2})  # fmt: skip
    api.on("GET", "/batch/jobs/{}", lambda form, id: job)
    api.on("POST", "/batch/jobs/{}/cancel", lambda form, id: job)
    api.on("GET", "/files/{}/content", lambda form, id: write_json({"result": id}))
    upstream.on("/mistral/v1", api.answer)
    headers = {"authorization": f"Bearer {KEY}", "x-tiergate-lab": "mistral"}
    with httpx.Client(base_url=f"{gateway.url}/v1", headers=headers, trust_env=False) as client:
        form: Json = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", line)}}
        assert client.post("/files", **form).json()["id"] == "file-1"
        body = {"input_files": ["file-1"], "model": "mistral-small-2603", "endpoint": "/v1/chat/completions"}  # fmt: skip
        assert client.post("/batch/jobs", json=body).status_code == 200
        assert client.get("/files/file-2/content").status_code == 404  # no answer has shown it yet
        assert [item["id"] for item in client.get("/batch/jobs").json()["data"]] == ["job-1"]
        assert client.get("/batch/jobs/job-1").json()["status"] == "SUCCESS"
        assert client.get("/files/file-2/content").json() == {"result": "file-2"}
        assert client.post("/batch/jobs/job-1/cancel").status_code == 200
        assert client.get("/batch/jobs/other").status_code == 404
