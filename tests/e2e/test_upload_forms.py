"""Forms over real sockets: what the gateway decides by in them, and what it refuses."""

import http.client
import json
from contextlib import suppress

import pytest

from gateway.core.ledger_rows import FinalRow
from tests.e2e.test_passthrough import KEYS, SECRETS, answer
from tests.e2e.upstream import Request, Upstream
from tests.e2e.world import Config, Make, World

TYPE = "multipart/form-data; boundary=B"
LARGE = b"y" * 900_000
IMAGE = b'{"created":1,"data":[]}'
ALICE, BOB = ({"authorization": f"Bearer {secret}"} for secret in SECRETS)


def forms(value: Config) -> None:
    value["server"] = {"max_body": "400KB", "max_upload": "1MB"}
    value["providers"]["acme"]["endpoints"] = {
        "openai-images": "", "openai-files": "", "openai-containers": "",
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


def test_a_form_needs_its_content_type(world: World, upstream: Upstream) -> None:
    headers = {**ALICE, "content-type": "application/octet-stream"}
    reply = world.client.post("/v1/files", content=b"x", headers=headers)
    assert reply.status_code == 400
    assert "its content type is not multipart/form-data" in reply.json()["error"]["message"]
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


def test_the_gateway_keeps_what_it_must_know_of_a_batch_file(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/acme/files", answer(b'{"id": "file-1"}'))
    line = (
        b'{"custom_id": "1", "body": {"model": "able-1", "max_tokens": 9, "file_id": "file-9"}}\n'
    )
    reply = world.client.post(
        "/v1/files",
        data={"purpose": "batch"},
        files={"file": ("a.jsonl", line * 5000)},
        headers=ALICE,
    )
    assert reply.status_code == 200
    owners = world.gateway.passthrough.owners
    key = world.gateway.keys.find(SECRETS[0])
    (owned,) = world.loop.run(owners.find(key, ["file-1"]))
    batch = owned.facts["batch"]
    assert (batch["size"], batch["object_ids"]) == (5000 * len(line), ["file-9"])
    assert batch["models"]["able-1"]["requests"] == 5000
