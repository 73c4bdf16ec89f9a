"""Uploads and their URLs: URLs that lead elsewhere, stolen URLs, forms that hide a member."""

import pytest

from gateway.core import jsonio
from gateway.pipeline.passthrough import responder
from tests.e2e.test_passthrough import begin_upload, google, media
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Make, World
from tests.security.shared_account import BOB, KEYS, SECRETS, Site, answer

_OWN = "{own}/upload/v1beta/files?upload_id=U1&upload_protocol=resumable"


@pytest.fixture
def world(make: Make) -> World:
    """A gateway before a provider with Google's uploads."""
    return make(media, google, TIERGATE_KEYS=KEYS)


def begin(world: World, upstream: Upstream, url: str = _OWN) -> str:
    """Begin an upload with alice's key, and return its URL for the data."""
    reply = begin_upload(world, upstream, url.format(own=upstream.url), SECRETS["alice"])
    return str(reply.headers.get("x-goog-upload-url", reply.status_code))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/upload/v1beta/files?upload_id=U1", "{own}.evil.example/upload/v1beta/files?upload_id=U1",
        "{own}@evil.example/upload/v1beta/files?upload_id=U1", "//evil.example/upload/v1beta/files?upload_id=U1",
        "http://169.254.169.254/latest/meta-data?upload_id=U1", "file:///etc/passwd?upload_id=U1",
        "javascript:alert(1)//?upload_id=U1", "{own}/upload/v1beta/../../admin?upload_id=U1",
        "{own}/upload/v1beta/files/%2e%2e/organization?upload_id=U1", "{own}\\@evil.example/files?upload_id=U1",
        "{own}/upload/v1beta/files?upload_id=U1&upload_id=U2", "",
    ],
)  # fmt: skip
def test_an_upload_url_of_the_provider_leads_nowhere_else(
    world: World, upstream: Upstream, url: str
) -> None:
    """Neither the client nor the gateway ever connects there."""
    assert begin(world, upstream, url) == "502"
    assert len(upstream.requests) == 1


def test_a_stolen_upload_url_opens_nothing_but_its_upload(world: World, upstream: Upstream) -> None:
    """A page that uploads, or a log, has the URL. It does not stand for the key elsewhere."""
    token = begin(world, upstream).partition("?")[2]
    count = len(upstream.requests)
    for method, path in (
        ("GET", "/v1/files"), ("GET", "/v1beta/files"), ("DELETE", "/v1beta/files/a"), ("POST", "/v1/images/generations"),
        ("GET", "/v1/models"), ("GET", "/v1/usage"), ("POST", "/v1/chat/completions"), ("GET", "/admin/keys"),
    ):  # fmt: skip
        reply = world.client.request(method, f"{path}?{token}")
        assert reply.status_code in (400, 401, 403), (path, reply.text)
    assert len(upstream.requests) == count


def test_an_upload_url_begins_no_further_upload(world: World, upstream: Upstream) -> None:
    """Else its holder could fill the account with files of the key."""
    url = begin(world, upstream)
    count = len(upstream.requests)
    for command in ("start", "START", "upload, start", "start, upload, finalize"):
        headers = {"x-goog-upload-command": command, "x-goog-upload-protocol": "resumable"}
        assert world.client.post(url, json={"file": {}}, headers=headers).status_code == 401
    assert len(upstream.requests) == count


def test_another_key_gets_nothing_from_an_upload_url(world: World, upstream: Upstream) -> None:
    """Without the token the upload is another key's; with it, the caller's own key does not count."""
    url = begin(world, upstream)
    bare = url.partition("&tiergate_upload=")[0]
    count = len(upstream.requests)
    for wrong in (bare, bare.replace("U1", "U2"), f"{bare}&upload_id=U2"):
        assert world.client.post(wrong, content=b"x", headers=BOB).status_code == 404
    assert len(upstream.requests) == count
    assert world.client.post(url, content=b"x", headers=BOB).status_code == 200
    assert {row.key for row in world.entries() if row.state == "settled"} == {"alice"}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/vnd.api+json", "text/json", "text/plain", "application/json-seq", "", "multipart/mixed; boundary=b",
        "application/x-www-form-urlencoded", "application/octet-stream",
    ],
)  # fmt: skip
def test_no_content_type_hides_a_body_from_the_gateway(site: Site, content_type: str) -> None:
    """The provider may read JSON or a form where the gateway has read bytes."""
    file = site.make_object("/v1/files")
    count = len(site.sent)
    body = jsonio.dumps({"model": "draw-1", "prompt": "x", "images": [{"file_id": file}], "n": 10})
    for path in ("/v1/images/edits", "/v1/videos"):
        headers = {"content-type": content_type} if content_type else {}
        reply = site.ask("POST", path, BOB, content=body, headers=headers)
        assert reply.status_code == 415
    assert len(site.sent) == count


def test_the_provider_reads_json_where_the_gateway_has_read_it(site: Site) -> None:
    """A body that is JSON and a form at once has no second meaning."""
    body = b'{"name": "a", "x": "&file_ids=files-1&"}'
    headers = {"content-type": "application/x-www-form-urlencoded"}
    site.ask("POST", "/v1/vector_stores", BOB, content=body, headers=headers)
    assert site.sent[-1].header("content-type") == "application/json"


def test_a_large_file_of_json_passes_without_being_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client could else fill the memory with its own files."""
    monkeypatch.setattr(responder, "_MAX_JSON_BYTES", 1000)
    file = site.make_object("/v1/files")
    data = b'{"a": [' + b"1," * 1_000_000 + b"1]}"
    site.account.answers[f"files/{file}/content"] = answer(data)
    reply = site.ask("GET", f"/v1/files/{file}/content")
    assert reply.content == data


def test_a_url_in_an_answer_leads_nowhere_else(make: Make, upstream: Upstream) -> None:
    """Anthropic's SDK opens `results_url` with the client's key."""

    def anthropic(value: Config) -> None:
        value["providers"]["acme"]["dialects"]["anthropic-messages"] = "/messages"
        value["providers"]["acme"]["endpoints"] = {"anthropic-batches": ""}

    world = make(anthropic)
    own = f"{upstream.url}/acme/messages/batches/b1/results"
    upstream.on("/acme", lambda _: answer({"id": "b1", "results_url": url}))
    url = own
    made = world.client.post("/v1/messages/batches", json={"requests": []})
    assert made.json()["results_url"] == f"{world.url}/v1/messages/batches/b1/results"
    for url in (
        "https://evil.example/acme/messages/batches/b1/results", f"{own}@evil.example/", "//evil.example/results",
        f"{upstream.url}/acme/organizations/users", f"{upstream.url}/other/messages/batches/b1/results", "javascript:x",
    ):  # fmt: skip
        reply = world.client.get("/v1/messages/batches/b1")
        assert (reply.status_code, "evil" in reply.text) == (502, False), url
