"""Pass-through calls over real sockets: bytes, rows, objects of keys, and what no table lists."""

import hashlib
import threading
import time
from decimal import Decimal

import httpx
import pytest

from gateway.core import jsonio
from gateway.pipeline.passthrough import engine
from gateway.pipeline.passthrough.request import PassThroughFacts, PassThroughRequest, read_facts
from tests.e2e.upstream import SSE, Answer, Request, Upstream, failing
from tests.e2e.world import Config, Make, World

SECRETS = ("tg-alice-0123456789abcdef0123456789", "tg-bob-0123456789abcdef0123456789")
KEYS = ",".join(
    f"{name}={hashlib.sha256(secret.encode()).hexdigest()}"
    for name, secret in zip(("alice", "bob"), SECRETS, strict=True)
)
IMAGE = b'{"created": 1,  "data": [{"b64_json": "aGk="}], "usage": {"input_tokens": 5, "output_tokens": 40}}'


def media(value: Config) -> None:
    value["providers"]["acme"]["endpoints"] = {
        "openai-images": "", "openai-moderations": "", "openai-files": "",
    }  # fmt: skip
    value["providers"]["acme"]["names"] = ["draw-*", "watch-*", "whole-*"]
    value["models"] |= {
        "draw-1": {"price": {"input": 5, "output": 40, "as_of": "2026-11-24"}},
    }


@pytest.fixture
def world(make: Make) -> World:
    return make(media)


def serve_file(request: Request) -> Answer:
    """Answer as a provider that has one file."""
    if request.path.endswith("/content"):
        return Answer(pieces=(b"one\n", b"two\n"), headers=(), length=8)
    return answer(b'{"id": "file-1", "object": "file"}')


def answer(body: bytes) -> Answer:
    return Answer(pieces=(body,), length=len(body))


def test_an_image_goes_through_byte_for_byte_and_has_its_row(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/acme/images/generations", answer(IMAGE))
    body = b'{"model": "draw-1",  "prompt": "a cat", "x_unknown": 1.50}'
    reply = world.client.post("/v1/images/generations", content=body)
    assert reply.content == IMAGE
    (request,) = upstream.requests
    assert (request.method, request.path) == ("POST", "/acme/images/generations")
    assert request.body == body
    assert request.header("authorization") == "Bearer sk-acme-0123456789-never-shown"
    row = world.entries()[-1]
    assert (row.operation, row.model, row.state) == ("images.generate", "draw-1", "settled")
    assert (row.input, row.output) == (5, 40)
    assert row.cost == Decimal("0.001625")
    assert reply.headers["x-tiergate-cost"] == "0.001625"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_an_answer_may_name_the_model_that_its_request_left_out(
    world: World, upstream: Upstream
) -> None:
    body = IMAGE.replace(b'{"created"', b'{"model": "draw-1", "created"')
    upstream.on("/acme/images/generations", answer(body))
    world.client.post("/v1/images/generations", json={"prompt": "a cat"})
    row = world.entry()
    assert (row.asked, row.model, row.cost) == (None, "draw-1", Decimal("0.001625"))


def test_what_is_free_has_no_usage(world: World, upstream: Upstream) -> None:
    upstream.on(
        "/acme/files", answer(b'{"id": "file-1", "usage": {"input_tokens": 5, "output_tokens": 1}}')
    )
    world.client.post("/v1/files", files={"file": b"1"})
    row = world.entry()
    assert (row.input, row.output, row.cost, row.model) == (None, None, Decimal(0), None)


def test_what_no_table_lists_does_not_exist(world: World, upstream: Upstream) -> None:
    for path in (
        "/v1/organization/admin_api_keys", "/v1/images/other", "/v1/files/a%2f..%2forganization",
        "/v1/files/%2e%2e/organization/users",
    ):  # fmt: skip
        reply = world.client.get(path)
        assert reply.status_code == 404, path
    assert not upstream.requests


def test_a_method_that_the_endpoint_has_not_is_refused(world: World) -> None:
    reply = world.client.put("/v1/files")
    assert reply.status_code == 405
    assert reply.headers["allow"] == "GET, POST"


def test_a_file_goes_through_as_it_comes_and_belongs_to_its_key(
    make: Make, upstream: Upstream
) -> None:
    world = make(media, TIERGATE_KEYS=KEYS)
    upstream.on("/acme/files", serve_file)
    alice, bob = ({"authorization": f"Bearer {secret}"} for secret in SECRETS)
    data = b"x" * 500_000
    reply = world.client.post(
        "/v1/files", files={"file": ("a.jsonl", data)}, data={"purpose": "batch"}, headers=alice
    )
    assert reply.json()["id"] == "file-1"
    (request,) = upstream.requests
    assert data in request.body
    assert (request.header("content-type") or "").startswith("multipart/form-data; boundary=")
    assert world.client.get("/v1/files/file-1", headers=alice).status_code == 200
    content = world.client.get("/v1/files/file-1/content", headers=alice)
    assert content.content == b"one\ntwo\n"
    assert content.headers["content-length"] == "8"
    count = len(upstream.requests)
    for path in ("/v1/files/file-1", "/v1/files/file-1/content"):
        refusal = world.client.get(path, headers=bob)
        assert refusal.status_code == 404
        assert "file-1" in refusal.json()["error"]["message"]
    assert world.client.delete("/v1/files/file-1", headers=bob).status_code == 404
    assert len(upstream.requests) == count
    rows = world.entries()
    assert [row.operation for row in rows][:3] == [
        "files.create",
        "files.retrieve",
        "files.content",
    ]
    assert {row.cost for row in rows if row.state != "refused"} == {Decimal(0)}


def test_a_list_shows_the_objects_of_its_key_alone(make: Make, upstream: Upstream) -> None:
    world = make(media, TIERGATE_KEYS=KEYS)
    alice, bob = ({"authorization": f"Bearer {secret}"} for secret in SECRETS)
    ids = iter(("file-1", "file-2"))

    def serve(request: Request) -> Answer:
        if request.method == "POST":
            return answer(b'{"id": "%s"}' % next(ids).encode())
        return answer(
            b'{"data":[{"id":"file-1"},{"id":"file-2"},{"id":"file-3"}],"has_more":false}'
        )

    upstream.on("/acme/files", serve)
    for headers in (alice, bob):
        world.client.post("/v1/files", files={"file": b"1"}, headers=headers)
    listing = world.client.get("/v1/files", headers=alice).content
    assert listing == b'{"data":[{"id":"file-1"}],"has_more":false}'


def test_deleted_objects_are_forgotten(make: Make, upstream: Upstream) -> None:
    world = make(media)
    upstream.on("/acme/files", lambda _: answer(b'{"id": "file-1", "deleted": true}'))
    world.client.post("/v1/files", files={"file": b"1"})
    assert world.client.delete("/v1/files/file-1").status_code == 200
    assert world.client.delete("/v1/files/file-1").status_code == 404


def google(value: Config) -> None:
    base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
    value["providers"]["google"] = {
        "base_url": base,
        "dialects": {"gemini": "/google/v1beta"},
        "endpoints": {"gemini-uploads": "/upload/v1beta", "gemini-files": "/google/v1beta"},
        "auth": "x-goog-api-key",
        "accounts": {"main": "google-secret-of-32-characters-x"},
    }
    value["labs"]["google"] = {"fast": [{"model": "gem-1"}]}


def begin_upload(
    world: World, upstream: Upstream, url: str, secret: str = SECRETS[0]
) -> httpx.Response:
    upstream.on(
        "/upload",
        Answer(headers=(("x-goog-upload-url", url), ("x-goog-upload-status", "active")), length=0),
        answer(b'{"file": {"name": "files/a", "uri": "https://x/files/a"}}'),
    )
    return world.client.post(
        "/upload/v1beta/files",
        json={"file": {}},
        headers={
            "x-goog-api-key": secret,
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
        },
    )


def test_an_upload_url_leads_to_the_gateway_and_holds_for_one_upload(
    make: Make, upstream: Upstream
) -> None:
    world = make(media, google, TIERGATE_KEYS=KEYS)
    reply = begin_upload(
        world,
        upstream,
        f"{upstream.url}/upload/v1beta/files?upload_id=U1&upload_protocol=resumable",
    )
    url = reply.headers["x-goog-upload-url"]
    assert url.startswith(f"{world.url}/upload/v1beta/files?upload_id=U1&")
    sent = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
    for wrong in (url.replace("U1", "U2"), url.split("&tiergate")[0], url[:-3] + "xxx"):
        assert world.client.post(wrong, content=b"data", headers=sent).status_code == 401
    another = {"x-goog-upload-command": "start"}
    assert world.client.post(url, content=b"{}", headers=another).status_code == 401
    done = world.client.post(url, content=b"data", headers=sent)
    assert done.json()["file"]["name"] == "files/a"
    last = upstream.requests[-1]
    assert last.path == "/upload/v1beta/files?upload_id=U1&upload_protocol=resumable"
    assert (last.body, last.header("x-goog-upload-offset")) == (b"data", "0")
    assert last.header("x-goog-api-key") == "google-secret-of-32-characters-x"
    upstream.on("/google", lambda _: answer(b'{"name": "files/a"}'))
    for secret, status in zip(SECRETS, (200, 404), strict=True):
        found = world.client.get("/v1beta/files/a", headers={"x-goog-api-key": secret})
        assert found.status_code == status


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/upload/v1beta/files?upload_id=U1",
        "{own}/other/v1beta/files?upload_id=U1",
        "{own}/upload/v1beta/organization?upload_id=U1",
        "{own}/upload/v1beta/files",
        "http://[",
    ],
)
def test_an_upload_url_that_leads_elsewhere_reaches_no_client(
    make: Make, upstream: Upstream, url: str
) -> None:
    world = make(media, google, TIERGATE_KEYS=KEYS)
    reply = begin_upload(world, upstream, url.format(own=upstream.url))
    assert reply.status_code == 502
    assert "x-goog-upload-url" not in reply.headers


def test_the_gateway_reads_on_until_a_page_has_an_object_of_the_key(
    make: Make, upstream: Upstream
) -> None:
    world = make(media)

    def serve(request: Request) -> Answer:
        if request.method == "POST":
            return answer(b'{"id": "file-9"}')
        if "after=file-2" in request.path:
            return answer(b'{"data":[{"id":"file-9"}],"has_more":false}')
        return answer(b'{"data":[{"id":"file-1"},{"id":"file-2"}],"has_more":true}')

    upstream.on("/acme/files", serve)
    world.client.post("/v1/files", files={"file": b"1"})
    listing = world.client.get("/v1/files?limit=2")
    assert listing.content == b'{"data":[{"id":"file-9"}],"has_more":false}'
    assert upstream.requests[-1].path == "/acme/files?limit=2&after=file-2"


def test_a_stream_passes_and_its_last_event_has_the_usage(world: World, upstream: Upstream) -> None:
    frames = (
        b'event: image_generation.partial_image\ndata: {"b64_json": "aGk="}\n\n',
        b'event: image_generation.completed\ndata: {"usage": {"input_tokens": 5, "output_tokens": 40}}\n\n',
    )
    upstream.on("/acme/images/generations", Answer(pieces=frames, headers=SSE))
    body = {"model": "draw-1", "prompt": "a cat", "stream": True}
    reply = world.client.post("/v1/images/generations", json=body)
    assert reply.content == b"".join(frames)
    row = world.entry()
    assert (row.stream, row.state, row.cost) == (True, "settled", Decimal("0.001625"))


def test_an_error_of_the_provider_goes_to_the_client_in_its_words(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/acme/images/generations", failing(400))
    reply = world.client.post("/v1/images/generations", json={"model": "draw-1", "prompt": "x"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "made_up")
    row = world.entry()
    assert (row.state, row.problem, row.cost) == ("failed", "upstream_rejected", Decimal(0))


def test_a_hard_budget_refuses_what_nothing_bounds(make: Make, upstream: Upstream) -> None:
    def capped(value: Config) -> None:
        media(value)
        value["budgets"] = [{"name": "all", "usd": 1, "every": "day"}]

    world = make(capped)
    upstream.on("/acme/moderations", answer(b"{}"))
    reply = world.client.post("/v1/moderations", json={"model": "watch-2", "input": "x"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "budget_unbounded")
    assert not upstream.requests
    upstream.on("/acme/files", answer(b'{"id": "file-1"}'))
    assert world.client.post("/v1/files", files={"file": b"1"}).status_code == 200


def test_a_download_may_take_longer_than_a_call(make: Make, upstream: Upstream) -> None:
    def hasty(value: Config) -> None:
        media(value)
        value["providers"]["acme"]["timeouts"] = {"total": "0.2s"}

    def serve(request: Request) -> Answer:
        if request.path.endswith("/content"):
            return Answer(pieces=(b"one\n", None, b"two\n"), headers=(), length=8)
        return answer(b'{"id": "file-1", "object": "file"}')

    upstream.on("/acme/files", serve)
    world = make(hasty)
    world.client.post("/v1/files", files={"file": ("a.txt", b"x")}, data={"purpose": "user_data"})
    with world.client.stream("GET", "/v1/files/file-1/content") as reply:
        pieces = reply.iter_bytes()
        assert next(pieces) == b"one\n"
        time.sleep(0.4)  # longer than `total` allows a call
        world.release()
        assert b"".join(pieces) == b"two\n"


def test_a_list_with_results_of_others_shows_the_own_ones(make: Make, upstream: Upstream) -> None:
    def batches(value: Config) -> None:
        value["providers"]["acme"]["endpoints"] = {"anthropic-batches": ""}

    def serve(request: Request) -> Answer:
        own = {"id": "msgbatch_1", "results_url": results.format("msgbatch_1")}
        if request.method == "POST":
            return answer(b'{"id": "msgbatch_1", "results_url": null}')
        other = {"id": "msgbatch_2", "results_url": results.format("msgbatch_2")}
        return answer(jsonio.dumps({"data": [other, own], "has_more": False}))

    results = upstream.url + "/acme/messages/batches/{}/results"
    upstream.on("/acme/messages/batches", serve)
    world = make(batches)
    assert world.client.post("/v1/messages/batches", json={"requests": []}).status_code == 200
    (shown,) = world.client.get("/v1/messages/batches").json()["data"]
    assert shown["results_url"] == f"{world.url}/v1/messages/batches/msgbatch_1/results"


def test_a_large_body_is_read_beside_other_calls(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.on("/acme/images/generations", lambda _: answer(IMAGE))
    threads: list[str] = []

    def note(request: PassThroughRequest) -> PassThroughFacts:
        threads.append(threading.current_thread().name)
        return read_facts(request)

    monkeypatch.setattr(engine, "read_facts", note)
    for prompt in ("a cat", "a cat" * 250_000):
        body = {"model": "draw-1", "prompt": prompt}
        assert world.client.post("/v1/images/generations", json=body).status_code == 200
    assert threads[0] == "loop"
    assert threads[1] != "loop"
