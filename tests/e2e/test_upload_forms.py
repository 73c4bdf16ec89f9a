"""Forms over real sockets: what the gateway decides by in them, and what it refuses."""

import http.client
import json
from contextlib import suppress

import pytest

from gateway.core.ledger_rows import FinalRow
from tests.e2e.test_passthrough import KEYS, SECRETS, answer, begin_upload, google
from tests.e2e.upstream import Request, Upstream
from tests.e2e.world import Config, Make, World

TYPE = "multipart/form-data; boundary=B"
LARGE = b"y" * 900_000
IMAGE = b'{"created":1,"data":[]}'
ALICE, BOB = ({"authorization": f"Bearer {secret}"} for secret in SECRETS)


def forms(value: Config) -> None:
    value["server"] = {"max_body": "400KB", "max_upload": "1MB"}
    value["providers"]["acme"]["endpoints"] = {
        "openai-images": "", "openai-files": "", "openai-containers": "", "openai-batches": "",
    }  # fmt: skip
    value["providers"]["acme"]["names"] = ["draw-*"]


@pytest.fixture
def world(make: Make, upstream: Upstream) -> World:
    upstream.on("/acme/images/edits", lambda _: answer(IMAGE))
    return make(forms, TIERGATE_KEYS=KEYS)


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def send(world: World, path: str, *parts: bytes) -> tuple[int, bytes]:
    """Send a form in one piece; read its answer also if the gateway closes before its end."""
    connection = http.client.HTTPConnection("127.0.0.1", int(world.url.rpartition(":")[2]), 9)
    body = b"".join(parts) + b"--B--\r\n"
    try:
        connection.putrequest("POST", path)
        for name, value in {
            **ALICE,
            "content-type": TYPE,
            "content-length": str(len(body)),
        }.items():
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(ConnectionError):
            connection.send(body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def last_row(world: World) -> FinalRow:
    return world.entries()[-1]


@pytest.mark.parametrize("size", [10, len(LARGE)], ids=["whole", "upload"])
def test_the_model_of_a_form_is_read_and_named_for_the_provider(
    world: World, upstream: Upstream, size: int
) -> None:
    """All other bytes stay, whether the form is read whole or passes while it arrives."""
    parts = [part("model", b"acme/draw-1"), part("n", b"2"), part("image", LARGE[:size], "a.png")]
    assert send(world, "/v1/images/edits", *parts) == (200, IMAGE)
    (request,) = upstream.requests
    assert request.body == b"".join([part("model", b"draw-1"), *parts[1:], b"--B--\r\n"])
    assert request.header("content-length") == str(len(request.body))
    assert (last_row(world).model, last_row(world).operation) == ("draw-1", "images.edit")


def test_a_field_behind_a_small_file_is_read_too(world: World, upstream: Upstream) -> None:
    parts = [part("image", b"x", "a.png"), part("model", b"draw-1")]
    assert send(world, "/v1/images/edits", *parts)[0] == 200
    assert last_row(world).model == "draw-1"
    assert upstream.requests[0].body == b"".join([*parts, b"--B--\r\n"])


def test_a_field_behind_a_large_file_ends_the_upload(world: World, upstream: Upstream) -> None:
    """It could make the call dearer than what the gateway has decided by."""
    status, body = send(
        world,
        "/v1/images/edits",
        part("model", b"draw-1"),
        part("image", LARGE, "a.png"),
        part("n", b"10"),
    )
    assert (status, json.loads(body)["error"]["message"]) == (
        400,
        "Send the field `n` of the form before its files.",
    )
    assert not upstream.requests  # none that was whole
    row = last_row(world)
    assert (row.problem, row.attempts) == ("invalid_request", 1)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([part("model", b"draw-1"), part("model", b"draw-2")], "must be the name of a model"),
        ([part("model", b"draw-1", "a")], "The part `model` of the form must be a short text"),
        (
            [part("model", b"draw-1").replace(b"\r\n\r\n", b"\n\n")],
            "it ends before its last boundary",
        ),
        ([b"x", part("model", b"draw-1")], "a boundary does not begin a line"),
    ],
)
def test_a_form_with_two_meanings_is_refused_before_anything_is_sent(
    world: World, upstream: Upstream, parts: list[bytes], reason: str
) -> None:
    status, body = send(world, "/v1/images/edits", *parts)
    assert (status, reason in json.loads(body)["error"]["message"]) == (400, True), body
    assert not upstream.requests


@pytest.mark.parametrize("size", [10, len(LARGE)], ids=["whole", "upload"])
def test_a_form_cannot_name_the_file_of_another_key(
    world: World, upstream: Upstream, size: int
) -> None:
    def serve(request: Request) -> bytes:
        return b"file-1" if request.path.endswith("/files") else b"cntr_1"

    upstream.on("/acme", lambda request: answer(b'{"id": "%b"}' % serve(request)))
    world.client.post("/v1/files", files={"file": b"1"}, headers=BOB)
    reply = world.client.post("/v1/containers", json={"name": "x"}, headers=ALICE)
    assert reply.status_code == 200
    count = len(upstream.requests)
    for name in ("file_id", "file_id[]"):
        parts = [part(name, b"file-1"), part("other", LARGE[:size], "a")]
        assert send(world, "/v1/containers/cntr_1/files", *parts)[0] == 404
    late = [part("other", LARGE, "a"), part("file_id", b"file-1")]
    assert send(world, "/v1/containers/cntr_1/files", *late)[0] == 400
    assert len(upstream.requests) == count


def line(*ids: str) -> bytes:
    """Return a request of a batch that names files."""
    parts = [{"type": "file", "file": {"file_id": id}} for id in ids]
    body = {"model": "able-1", "messages": [{"role": "user", "content": parts}]}
    return json.dumps({"custom_id": "1", "url": "/v1/chat/completions", "body": body}).encode()


def make_batch(
    world: World, upstream: Upstream, data: bytes, purpose: str = "batch"
) -> tuple[int, str]:
    """Upload a batch file and make a batch of it; return the status and the message."""
    upstream.on("/acme/files", answer(b'{"id": "file-9"}'))
    files = {"file": ("a.jsonl", data)}
    reply = world.client.post("/v1/files", data={"purpose": purpose}, files=files, headers=ALICE)
    assert reply.status_code == 200
    upstream.on("/acme/batches", answer(b'{"id": "batch_1"}'))
    body = {"input_file_id": "file-9", "endpoint": "/v1/chat/completions"}
    reply = world.client.post("/v1/batches", json=body, headers=ALICE)
    return reply.status_code, "" if reply.is_success else reply.json()["error"]["message"]


def upload_file(world: World, upstream: Upstream, id: str, headers: dict[str, str]) -> None:
    upstream.on("/acme/files", answer(b'{"id": "%b"}' % id.encode()))
    world.client.post("/v1/files", files={"file": b"1"}, headers=headers)


@pytest.mark.parametrize("count", [1, 6000], ids=["whole", "upload"])
def test_the_requests_of_a_batch_name_only_files_of_their_key(
    world: World, upstream: Upstream, count: int
) -> None:
    """The provider would read the files of other keys: they are in the same account."""
    upload_file(world, upstream, "file-1", ALICE)
    upload_file(world, upstream, "file-2", BOB)
    filler = b"\n" + b"\n".join([line()] * (count - 1))
    assert make_batch(world, upstream, line("file-1") + filler) == (200, "")
    status, message = make_batch(world, upstream, line("file-1", "file-2") + filler)
    assert (status, "file-2" in message) == (404, True)
    assert [item.path for item in upstream.requests].count("/acme/batches") == 1


def test_a_batch_at_mistral_names_only_files_of_its_key(make: Make, upstream: Upstream) -> None:
    def batches(value: Config) -> None:
        forms(value)
        value["providers"]["acme"]["endpoints"]["mistral-batches"] = ""

    world = make(batches, TIERGATE_KEYS=KEYS)
    upload_file(world, upstream, "file-2", BOB)
    upstream.on("/acme/batch/jobs", lambda _: answer(b'{"id": "batch_1"}'))
    for ids, named, status in (
        ((), "file-9", 200),
        (("file-2",), "file-9", 404),
        ((), "file-2", 404),
    ):
        make_batch(world, upstream, line(*ids))
        body = {"input_files": [named], "model": "able-1", "endpoint": "/v1/chat/completions"}
        reply = world.client.post("/v1/batch/jobs", json=body, headers=ALICE)
        assert reply.status_code == status


@pytest.mark.parametrize(
    ("data", "purpose", "reason"),
    [
        (b"no JSON", "batch", "Line 1 of the file is no request of a batch."),
        (line(), "user_data", "The gateway has not read it as one."),
    ],
)
def test_no_batch_is_made_of_a_file_that_the_gateway_has_not_read(
    world: World, upstream: Upstream, data: bytes, purpose: str, reason: str
) -> None:
    status, message = make_batch(world, upstream, data, purpose)
    assert (status, reason in message) == (400, True), message
    assert not [item for item in upstream.requests if item.path == "/acme/batches"]


def test_a_batch_reserves_what_its_file_may_cost(make: Make, upstream: Upstream) -> None:
    """Its row has no cost yet, so the budget stays charged with what the batch reserved."""

    def capped(value: Config) -> None:
        forms(value)
        value["budgets"] = [{"name": "all", "usd": "0.05", "every": "day"}]

    world = make(capped, TIERGATE_KEYS=KEYS)
    body = {"model": "able-1", "max_tokens": 5000, "messages": []}
    request = json.dumps({"custom_id": "1", "url": "/v1/chat/completions", "body": body}).encode()
    assert make_batch(world, upstream, request) == (200, "")
    # It reserved 0.022 USD, and two requests may cost 0.044.
    assert make_batch(world, upstream, request + b"\n" + request)[0] == 429
    uncapped = request.replace(b'"max_tokens": 5000, ', b"")
    status, message = make_batch(world, upstream, uncapped)
    assert (status, "each request has a cap on its answer" in message) == (400, True), message
    rows = [row for row in world.entries() if row.operation == "batches.create"]
    assert rows[0].cost is None
    assert [row.problem for row in rows] == [None, "budget_busy", "budget_unbounded"]


@pytest.mark.parametrize(
    ("ids", "headers", "status"),
    [
        (["files/a"], {"x-goog-upload-command": "upload, finalize"}, 200),
        (["files/b"], {"x-goog-upload-command": "upload, finalize"}, 404),
        (["files/a"], {"x-goog-upload-command": "finalize", "x-goog-upload-offset": "9"}, 400),
    ],
    ids=["own", "foreign", "in pieces"],
)
def test_a_batch_at_gemini_names_only_files_of_its_key(
    make: Make, upstream: Upstream, ids: list[str], headers: dict[str, str], status: int
) -> None:
    def batches(value: Config) -> None:
        google(value)
        endpoints = value["providers"]["google"]["endpoints"]
        endpoints["gemini-batches"] = "/google/v1beta"

    world = make(batches, TIERGATE_KEYS=KEYS)

    def upload(name: str, data: bytes, more: dict[str, str]) -> None:
        url = begin_upload(
            world, upstream, f"{upstream.url}/upload/v1beta/files?upload_id=U{name[-1]}"
        ).headers["x-goog-upload-url"]
        upstream.on("/upload", answer(b'{"file": {"name": "%b"}}' % name.encode()))
        sent = {"x-goog-upload-offset": "0", "x-goog-upload-command": "upload, finalize", **more}
        assert world.client.post(url, content=data, headers=sent).status_code == 200

    upload("files/a", b"1", {})
    parts = [{"fileData": {"fileUri": id}} for id in ids]
    upload(
        "files/c",
        json.dumps({"key": "1", "request": {"contents": [{"parts": parts}]}}).encode(),
        headers,
    )
    upstream.on("/google", lambda _: answer(b'{"name": "batches/1"}'))
    reply = world.client.post(
        "/v1beta/models/gem-1:batchGenerateContent",
        json={"batch": {"inputConfig": {"fileName": "files/c"}}},
        headers={"x-goog-api-key": SECRETS[0]},
    )
    assert reply.status_code == status, reply.content
