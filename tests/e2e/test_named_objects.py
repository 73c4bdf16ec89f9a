"""Text calls that name objects at a provider, such as files: whose they are, and where they go."""

import hashlib
from typing import Any

import pytest

from gateway.core.owned_object import OwnedObject
from tests.e2e.four_labs import CHAT, ENDPOINTS, GEMINI, MESSAGES, RESPONSES, answer, four
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Change, Config, Make, World

SECRETS = {name: f"tg-{name}-0123456789abcdef0123456789" for name in ("alice", "bob")}
KEYS = ",".join(
    f"{name}={hashlib.sha256(secret.encode()).hexdigest()}" for name, secret in SECRETS.items()
)
FILE = "https://generativelanguage.googleapis.com/v1beta/files/mine"


def objects(foreign: str | None = None) -> Change:
    """Configure four labs, each with two accounts, and what happens to unknown ids."""

    def change(value: Config) -> None:
        four(value)
        for provider in value["providers"].values():
            provider["accounts"] = {"main": "key-1", "spare": "key-2"}
        if foreign is not None:
            value["passthrough"] = {"foreign": foreign}

    return change


BODIES: dict[str, tuple[str, dict[str, Any], str]] = {
    CHAT: (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "Sum it up."}, {"type": "file", "file": {"file_id": "ID"}},
        ]}]},
        "file_id",
    ),
    RESPONSES: (
        "/v1/responses",
        {"input": "Sum it up.", "tools": [{"type": "file_search", "vector_store_ids": ["ID"]}]},
        "vector_store_ids",
    ),
    MESSAGES: (
        "/v1/messages",
        {"max_tokens": 9, "messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "file", "file_id": "ID"}},
        ]}]},
        "file_id",
    ),
    GEMINI: (
        "/v1beta/models/m-gemini:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Sum it up."}]}], "cachedContent": "ID"},
        "cachedContent",
    ),
}  # fmt: skip
"""A path for each dialect, a body that names an object, and the member that names it."""


def put_id(value: Any, id: str) -> Any:
    if isinstance(value, dict):
        return {name: put_id(item, id) for name, item in value.items()}
    if isinstance(value, list):
        return [put_id(item, id) for item in value]
    return id if value == "ID" else value


def ask(world: World, lab: str, id: str, key: str = "alice", **more: Any) -> Any:
    path, body, _ = BODIES[lab]
    headers = {"x-goog-api-key" if lab == GEMINI else "authorization": SECRETS[key]}
    if lab != GEMINI:
        headers["authorization"] = f"Bearer {SECRETS[key]}"
        body = {"model": f"m-{lab}", **body}
    return world.client.post(path, json={**put_id(body, id), **more}, headers=headers)


def own(world: World, id: str, provider: str, key: str = "alice", account: str = "spare") -> None:
    world.loop.run(
        world.gateway.passthrough.owners.add([
            OwnedObject(
                id=id, kind="file", tenant="default", key=key, provider=provider,
                account=account, created_at=1.0,
            )
        ])
    )  # fmt: skip


def used_secrets(upstream: Upstream) -> list[str]:
    names = ("authorization", "x-api-key", "x-goog-api-key")
    return [
        next(filter(None, (request.header(name) for name in names))).removeprefix("Bearer ")
        for request in upstream.requests
    ]


@pytest.mark.parametrize("lab", BODIES)
def test_a_key_names_its_own_objects_at_the_account_that_has_them(
    make: Make, upstream: Upstream, lab: str
) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[lab], answer(lab))
    own(world, "mine", lab)
    assert ask(world, lab, "mine").status_code == 200
    assert used_secrets(upstream) == ["key-2"]
    assert b'"mine"' in upstream.requests[0].body
    assert world.entry().account == "spare"


@pytest.mark.parametrize("foreign", ["refuse", "pass"])
@pytest.mark.parametrize("lab", BODIES)
def test_an_object_of_another_key_is_refused(
    make: Make, upstream: Upstream, lab: str, foreign: str
) -> None:
    world = make(objects(foreign), TIERGATE_KEYS=KEYS)
    own(world, "hers", lab, key="alice")
    reply = ask(world, lab, "hers", key="bob")
    assert reply.status_code == 404
    assert "This key has made no object 'hers' through the gateway. Create it" in reply.text
    assert "passthrough" not in reply.text
    assert not upstream.requests
    row = world.entry()
    assert (row.state, row.problem) == ("refused", "not_found")


@pytest.mark.parametrize(("foreign", "status"), [(None, 404), ("refuse", 404), ("pass", 200)])
@pytest.mark.parametrize("lab", BODIES)
def test_an_id_that_no_key_has_made_is_refused_unless_the_operator_passes_it(
    make: Make, upstream: Upstream, lab: str, foreign: str | None, status: int
) -> None:
    world = make(objects(foreign), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[lab], answer(lab))
    reply = ask(world, lab, "unknown")
    assert reply.status_code == status
    assert len(upstream.requests) == (status == 200)


def test_an_openai_client_learns_which_member_is_wrong(make: Make, upstream: Upstream) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    error = ask(world, RESPONSES, "unknown").json()["error"]
    assert error["param"] == "vector_store_ids"


def test_no_other_account_and_no_other_lab_takes_over(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        objects()(value)
        value["labs"][CHAT]["fallback"] = [RESPONSES]

    world = make(change, TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[CHAT], *[failing(500)] * 9)
    own(world, "mine", CHAT)
    assert ask(world, CHAT, "mine", model=f"{CHAT}/smart").status_code == 502
    assert set(used_secrets(upstream)) == {"key-2"}
    assert {request.path for request in upstream.requests} == {"/chat"}


def test_a_call_without_a_model_goes_to_the_lab_that_has_its_objects(
    make: Make, upstream: Upstream
) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    own(world, "mine", RESPONSES)
    assert ask(world, RESPONSES, "mine", model="auto").status_code == 200
    assert used_secrets(upstream) == ["key-2"]


def test_a_model_of_another_provider_cannot_read_the_objects(
    make: Make, upstream: Upstream
) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    own(world, "mine", RESPONSES)
    reply = ask(world, CHAT, "mine")
    assert reply.status_code == 400
    assert (
        "does not have the objects that the request names, which are at openai-responses"
        in (reply.json()["error"]["message"])
    )
    assert not upstream.requests


def test_a_file_of_gemini_is_known_by_its_uri_and_media_on_the_web_is_nobodys(
    make: Make, upstream: Upstream
) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[GEMINI], answer(GEMINI), answer(GEMINI))
    own(world, "files/mine", GEMINI)
    headers = {"x-goog-api-key": SECRETS["alice"]}

    def name(uri: str) -> int:
        part = {"fileData": {"fileUri": uri, "mimeType": "video/mp4"}}
        body = {"contents": [{"role": "user", "parts": [{"text": "What?"}, part]}]}
        return world.client.post(BODIES[GEMINI][0], json=body, headers=headers).status_code

    assert name(FILE) == 200
    assert name("https://www.youtube.com/watch?v=9hE5-98ZeCg") == 200
    assert name(FILE.replace("mine", "theirs")) == 404
    assert used_secrets(upstream) == ["key-2", "key-1"]


def test_an_earlier_turn_keeps_a_conversation_at_its_objects(
    make: Make, upstream: Upstream
) -> None:
    """The gateway sends the earlier turn again, with the file that it named."""
    world = make(objects(), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES), answer(RESPONSES))
    own(world, "file-1", RESPONSES)
    file = {"type": "input_file", "file_id": "file-1"}
    first: dict[str, Any] = {"input": [{"role": "user", "content": [file]}], "tools": []}
    assert ask(world, RESPONSES, "", **first).status_code == 200
    second: dict[str, Any] = {"input": "And now?", "tools": [], "previous_response_id": "resp_1"}
    assert ask(world, RESPONSES, "", **second).status_code == 200
    assert used_secrets(upstream) == ["key-2", "key-2"]
    assert b"file-1" in upstream.requests[1].body
    assert ask(world, RESPONSES, "", key="bob", **first).status_code == 404


CODE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    RESPONSES: (
        "/v1/responses",
        {"model": f"m-{RESPONSES}", "input": "Run it."},
        {"tools": [{"type": "code_interpreter", "container": "ID"}]},
    ),
    MESSAGES: (
        "/v1/messages",
        {"model": f"m-{MESSAGES}", "max_tokens": 9, "messages": [{"role": "user", "content": "Go"}],
         "tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        {"container": "ID"},
    ),
}  # fmt: skip
"""A path, a body, and what a later body adds that goes on in the container of the answer."""


def run_code(lab: str, *, stream: bool) -> Answer:
    """Build an answer that shows the container where the provider ran code."""
    made = answer(lab, stream=stream)
    extra = {
        RESPONSES: b'"output":[{"type":"code_interpreter_call","id":"ci_1","code":"1",'
        b'"status":"completed","outputs":null,"container_id":"box"},{',
        MESSAGES: b'"container":{"id":"box","expires_at":"2026-12-01T00:00:00Z"},"role":',
    }[lab]
    before = {RESPONSES: b'"output":[{', MESSAGES: b'"role":'}[lab]
    pieces = tuple((piece or b"").replace(before, extra, 1) for piece in made.pieces)
    assert any(b'"box"' in piece for piece in pieces)
    return Answer(pieces=pieces, headers=made.headers, bill=made.bill)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lab", CODE)
def test_a_key_goes_on_in_the_container_of_its_own_answer(
    make: Make, upstream: Upstream, lab: str, stream: bool
) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[lab], failing(429), run_code(lab, stream=stream), answer(lab))
    path, body, later = CODE[lab]
    if lab == RESPONSES:
        body = {**body, "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}

    def send(key: str, **more: Any) -> int:
        headers = {"authorization": f"Bearer {SECRETS[key]}"}
        return world.client.post(path, json={**body, **more}, headers=headers).status_code

    assert send("alice", **({"stream": True} if stream else {})) == 200
    assert send("bob", **put_id(later, "box")) == 404
    assert send("alice", **put_id(later, "box")) == 200
    assert used_secrets(upstream) == ["key-1", "key-2", "key-2"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_thread_belongs_to_its_key(make: Make, upstream: Upstream, stream: bool) -> None:
    world = make(objects(), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[MESSAGES], answer(MESSAGES, stream=stream), answer(MESSAGES))
    path, body, _ = CODE[MESSAGES]

    def send(key: str, thread: dict[str, str], **more: Any) -> Any:
        headers = {"authorization": f"Bearer {SECRETS[key]}"}
        return world.client.post(path, json={**body, "thread": thread, **more}, headers=headers)

    assert send("alice", {"type": "create"}, stream=stream).status_code == 200
    going_on = {"type": "continue", "previous_message_id": "msg_1"}
    refusal = send("bob", going_on)
    assert refusal.status_code == 404
    assert refusal.json()["error"]["details"] == {"error_code": "thread_not_found"}
    assert send("alice", going_on).status_code == 200
