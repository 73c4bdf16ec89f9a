"""One key tries to reach the files and other objects that another key has at the same account."""

import hashlib
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.child import until
from tests.e2e.upstream import Answer, Upstream
from tests.e2e.world import Config, Make
from tests.security.shared_account import ALICE, BOB, SECRETS, Site, answer, make_site

type Json = dict[str, Any]

OBJECTS = (
    "/v1/files", "/v1/batches", "/v1/vector_stores", "/v1/conversations", "/v1/containers", "/v1/uploads",
    "/v1/videos", "/v1/skills", "/v1/fine_tuning/jobs",
)  # fmt: skip


@pytest.fixture
def file_id(site: Site) -> str:
    """A file of alice."""
    return site.make_object("/v1/files")


def check_refused(site: Site, method: str, path: str, **more: Any) -> None:
    """Check that bob gets the same 404 as for an id that nobody has, and nothing is sent."""
    count = len(site.sent)
    refusal = site.ask(method, path, BOB, **more)
    assert refusal.status_code in (400, 404), refusal.text
    assert "secret" not in refusal.text
    assert len(site.sent) == count


@pytest.mark.parametrize("suffix", ["", "/content"])
def test_an_id_in_a_path_opens_nothing_of_another_key(
    site: Site, file_id: str, suffix: str
) -> None:
    own = site.ask("GET", f"/v1/files/{file_id}{suffix}")
    assert own.status_code == 200
    check_refused(site, "GET", f"/v1/files/{file_id}{suffix}")
    refusals = [site.ask("GET", f"/v1/files/{id}{suffix}", BOB) for id in (file_id, "files-999")]
    texts = [refusal.text.replace(file_id, "ID").replace("files-999", "ID") for refusal in refusals]
    assert texts[0] == texts[1], "nobody learns that the id exists"


def test_no_key_deletes_or_changes_an_object_of_another(site: Site) -> None:
    store, file = site.make_object("/v1/vector_stores"), site.make_object("/v1/files")
    for method, path in (
        ("DELETE", f"/v1/files/{file}"), ("DELETE", f"/v1/vector_stores/{store}"),
        ("POST", f"/v1/vector_stores/{store}"), ("POST", f"/v1/vector_stores/{store}/files"),
        ("GET", f"/v1/vector_stores/{store}/files/{file}/content"),
    ):  # fmt: skip
        check_refused(
            site, method, path, **({"json": {"file_id": file}} if method == "POST" else {})
        )
    assert {store, file} <= site.account.objects.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/batches", {"input_file_id": "{id}", "endpoint": "/v1/responses"}),
        ("/v1/fine_tuning/jobs", {"model": "able-1", "training_file": "{id}"}),
        ("/v1/fine_tuning/jobs", {"model": "able-1", "training_file": "x", "validation_file": "{id}"}),
        ("/v1/vector_stores", {"file_ids": ["{id}"]}),
        ("/v1/containers", {"name": "c", "file_ids": ["{id}"]}),
        ("/v1/conversations", {"items": [{"role": "user", "content": [{"type": "input_file", "file_id": "{id}"}]}]}),
        ("/v1/responses/compact", {"model": "able-1", "input": [{"content": [{"type": "input_image", "file_id": "{id}"}]}]}),
        ("/v1/responses/compact", {"model": "able-1", "input": "x", "previous_response_id": "{id}"}),
        ("/v1/images/edits", {"model": "draw-1", "prompt": "x", "images": [{"file_id": "{id}"}]}),
        ("/v1/videos/edits", {"prompt": "x", "video": {"id": "{id}"}}),
        ("/v1/videos", {"model": "able-1", "prompt": "x", "characters": [{"id": "{id}"}]}),
    ],
)  # fmt: skip
def test_no_body_names_an_object_of_another_key(
    site: Site, file_id: str, path: str, body: Json
) -> None:
    text = jsonio.dumps(body).replace(b"{id}", file_id.encode())
    sent = {"content": text, "headers": {"content-type": "application/json"}}
    check_refused(site, "POST", path, **sent)
    escaped = text.replace(file_id.encode(), b"\\u0066" + file_id[1:].encode())
    check_refused(site, "POST", path, **(sent | {"content": escaped}))


@pytest.mark.parametrize(
    "body",
    [
        '{{"file_ids": ["{own}"], "file_ids": ["{id}"]}}',
        '{{"file_ids": ["{id}"], "file_ids": ["{own}"]}}',
        '{{"file_ids": ["{own}"], "file\\u005fids": ["{id}"]}}',
        '{{"file\\u005fids": ["{id}"]}}',
        '{{"file_ids": ["{own}", "{id}"]}}',
        '{{"metadata": {{"a": "\\"file_ids\\":"}}, "file_ids": ["{id}"]}}',
        '{{"expires_after": {{"file_id": "{id}", "file_id": "{own}"}}}}',
    ],
)
def test_no_way_to_write_a_body_hides_an_id(site: Site, file_id: str, body: str) -> None:
    """Two members of one name, escapes, and strings that look like members."""
    own = site.make_object("/v1/files", BOB)
    text = body.format(id=file_id, own=own)
    check_refused(
        site, "POST", "/v1/vector_stores", content=text.encode(), headers={"content-type": "application/json"}
    )  # fmt: skip


@pytest.mark.parametrize("item", [{"type": "item_reference"}, {"type": None}, {}])
@pytest.mark.parametrize("path", ["/v1/conversations", "/v1/conversations/{own}/items"])
def test_no_reference_brings_an_item_of_another_key(site: Site, path: str, item: Json) -> None:
    """The provider would put the other key's message into the conversation, which then shows it."""
    own = site.make_object("/v1/conversations", BOB)
    body = {"items": [{"role": "user", "content": "x"}, {**item, "id": "msg_of_alice"}]}
    check_refused(site, "POST", path.format(own=own), json=body)


@pytest.mark.parametrize("path", OBJECTS)
def test_a_list_shows_nothing_of_another_key(site: Site, path: str) -> None:
    kind = path.removeprefix("/v1/")
    own, other = "skill_one", "skill_two"  # a skill of another form is the provider's own, for all
    site.account.answers[kind] = answer({"id": own, "object": kind})
    site.make_object(path)
    listed = {
        "object": "list", "data": [{"id": own, "x": 1}, {"id": other, "name": "secret"}, {"x": "secret"}],
        "first_id": own, "last_id": other, "has_more": False,
    }  # fmt: skip
    site.account.answers[kind] = answer(listed)
    reply = site.ask("GET", path)
    if reply.status_code == 405:  # uploads have no list
        return
    assert reply.json()["data"] == [{"id": own, "x": 1}]
    assert (reply.json()["first_id"], reply.json()["last_id"]) == (own, own)
    assert "secret" not in reply.text
    bobs = site.ask("GET", path, BOB)
    assert bobs.json()["data"] == []
    assert "two" not in bobs.text
    assert "one" not in bobs.text


@pytest.mark.parametrize(
    "form",
    [
        Answer(pieces=(b'x({"data": [{"id": "secret"}]})',), headers=(("content-type", "text/javascript"),)),
        Answer(pieces=(b"\n\x06secret",), headers=(("content-type", "application/x-protobuf"),)),
        Answer(pieces=(b'data: {"id": "secret"}\n\n',), headers=(("content-type", "text/event-stream"),)),
        answer({"files": [{"id": "secret"}]}),
        answer([{"id": "secret"}]),
        answer({"data": {"id": "secret"}}),
    ],
)  # fmt: skip
def test_a_list_in_another_form_reaches_no_client(site: Site, form: Answer) -> None:
    """A script, a protobuf, a stream, another member: the gateway cannot tell whose objects it has."""
    site.account.answers["files"] = form
    reply = site.ask("GET", "/v1/files")
    assert (reply.status_code, "secret" in reply.text) == (502, False)


def test_an_idempotency_key_of_another_key_gets_no_answer_of_it(site: Site) -> None:
    """A provider would repeat alice's answer, and the gateway give bob her object."""
    for key in (ALICE, ALICE, BOB):
        headers = {"idempotency-key": "order-1"}
        site.ask("POST", "/v1/vector_stores", key, json={"name": "x"}, headers=headers)
        site.ask("POST", "/v1/chat/completions", key, json={"model": "able-1", "messages": [{"role": "user", "content": "x"}]}, headers=headers)  # fmt: skip
    stores = [request for request in site.sent if request.path.endswith("/vector_stores")]
    chats = [request for request in site.sent if request.path.endswith("/completions")]
    for requests in (stores, chats):
        first, again, other = (request.header("idempotency-key") for request in requests)
        assert first == again
        assert other not in (None, first)


def test_ids_of_a_former_key_open_nothing_and_a_rotated_key_keeps_its_own(
    make: Make, upstream: Upstream
) -> None:
    """A key that is rotated is the same key. One that is revoked leaves its objects to nobody."""

    def use_file(value: Config) -> None:
        value["keys"] = "keys.yaml"

    def digest(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    rows = {name: {"sha256": digest(secret)} for name, secret in SECRETS.items()}
    site = make_site(make, upstream, use_file, files={"keys.yaml": rows}, TIERGATE_KEYS="")
    file = site.make_object("/v1/files")
    path = site.world.folder / "keys.yaml"
    new = {"authorization": "Bearer a-new-secret-of-alice"}
    path.write_bytes(jsonio.dumps({**rows, "alice": {"sha256": digest("a-new-secret-of-alice")}}))
    until(lambda: site.ask("GET", f"/v1/files/{file}", new).status_code == 200, "rotated")
    assert site.ask("GET", f"/v1/files/{file}").status_code == 401
    carol = {"authorization": "Bearer the-secret-of-carol"}
    path.write_bytes(jsonio.dumps({"bob": rows["bob"], "carol": {"sha256": digest("the-secret-of-carol")}}))  # fmt: skip
    until(lambda: site.ask("GET", "/v1/files", carol).status_code == 200, "revoked")
    count = len(site.sent)
    for headers, statuses in ((new, (401, 429)), (carol, (404,)), (BOB, (404,))):
        assert site.ask("GET", f"/v1/files/{file}", headers).status_code in statuses
        assert site.ask("DELETE", f"/v1/files/{file}", headers).status_code in statuses
    assert len(site.sent) == count


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("video[id]", "{id}"), ("video", '{{"id": "{id}"}}'), ("video", ' \n{{"id": "{id}"}}'), ("video[]", '{{"id": "{id}"}}'),
        ("video[0][id]", "{id}"), ("characters[][id]", "{id}"), ("characters", '[{{"id": "{id}"}}]'), ("file_ids[]", "{id}"),
        ("file_ids", '["{id}"]'), ("file_id", '"{id}"'), ("file_id", " {id}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/videos/edits", "/v1/videos"])
def test_no_field_of_a_form_names_an_object_of_another_key(
    site: Site, file_id: str, path: str, name: str, value: str
) -> None:
    """In brackets, or as JSON in a field, which some parsers read."""
    form = {"prompt": (None, "x"), "model": (None, "able-1"), name: (None, value.format(id=file_id))}  # fmt: skip
    check_refused(site, "POST", path, files=form)
