"""Test key guessing: every endpoint that takes a key slows guesses down; a right key always opens."""

import secrets as chance

import httpx
import pytest

from gateway.limits.key_guessing import WrongKeyCounter
from gateway.runtime.build import find_cautions
from tests.e2e.world import Make, World, chat
from tests.server.gate import contents, messages, response
from tests.server.test_scopes import FILE, use_scoped_keys

ADMIN = "admin-key-0123456789-never-shown"
HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
CALLS = [
    ("POST", "/v1/chat/completions"), ("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"), ("POST", "/v1/responses"),
    ("POST", "/v1beta/models/auto:generateContent"), ("GET", "/v1/models"), ("GET", "/v1/usage"), ("GET", "/v1/models/auto"), ("POST", "/v1/route"),
    ("POST", "/v1/feedback"), ("GET", "/v1/responses/resp_1"), ("GET", "/"),
]  # fmt: skip
ADMINS = [("GET", "/admin/costs"), ("POST", "/admin/reload"), ("GET", "/metrics"), ("POST", "/dashboard/session")]  # fmt: skip


@pytest.fixture
def keyed(make: Make) -> World:
    """A gateway that others can reach, with keys of every kind."""

    def set_scopes(value: dict[str, object]) -> None:
        use_scoped_keys(value)
        value["server"] = {"host": "0.0.0.0"}

    running: World = make(set_scopes, files={"keys.yaml": FILE}, TIERGATE_ADMIN_KEY=ADMIN)
    running.gateway.keys.wrong_key_counter = WrongKeyCounter(lambda: 0.0)
    return running


def guess(world: World, method: str, path: str, secret: str, header: str) -> httpx.Response:
    """Send a key in one header, or in the form that signs a person in."""
    if path == "/dashboard/session":
        return world.client.post(path, json={"key": secret})
    value = f"Bearer {secret}" if header == "authorization" else secret
    body = {"/v1/messages": messages(), "/v1/responses": response()}.get(path)
    if body is None and method == "POST":
        body = (
            contents()
            if "v1beta" in path
            else httpx.Request("POST", "http://x", json=chat()).content
        )
    return world.client.request(method, path, content=body, headers={header: value})


@pytest.mark.parametrize(
    ("method", "path", "alike"),
    [*((*each, True) for each in (*CALLS, *ADMINS)), *((*each, False) for each in CALLS[:2])],
)
def test_guesses_are_slowed_down(keyed: World, method: str, path: str, alike: bool) -> None:
    """The gateway counts guesses by the key's first characters and in total; addresses do not
    matter.
    """
    statuses = []
    for number in range(80):
        secret = f"wrong-key-{number}" if alike else chance.token_hex(32)
        statuses.append(guess(keyed, method, path, secret, HEADERS[number % 4]).status_code)
    max_answered = 5 if alike else 50
    wrong = 200 if path == "/" else 401  # the start page shows strangers less
    assert statuses[:5] == [wrong] * 5
    assert statuses[60:] == [429] * 20
    assert statuses.count(wrong) <= max_answered
    right = "boss" if (method, path) in ADMINS and path != "/dashboard/session" else "free"
    right = ADMIN if path == "/dashboard/session" else right
    for header in HEADERS:
        assert guess(keyed, method, path, right, header).status_code not in (401, 403, 429)


@pytest.mark.parametrize("beginning", [31, 8, 4])
def test_guesses_with_the_same_beginning_do_not_lock_out_a_key(
    keyed: World, beginning: int
) -> None:
    for number in range(60):
        guess(keyed, "GET", "/admin/costs", f"{ADMIN[:beginning]}-{number}", "x-api-key")
    assert guess(keyed, "GET", "/admin/costs", ADMIN[:beginning], "x-api-key").status_code == 429
    assert guess(keyed, "GET", "/admin/costs", ADMIN, "x-api-key").status_code == 200
    assert guess(keyed, "POST", "/dashboard/session", ADMIN, "").status_code == 200


def test_a_key_guess_in_the_url_counts_too(keyed: World) -> None:
    """Google's clients may put a key there."""
    path = "/v1beta/models/auto:generateContent?key=wrong-key"
    statuses = [keyed.client.post(path, content=contents()).status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    path = path.replace("wrong-key", "free")
    assert keyed.client.post(path, content=contents()).status_code not in (401, 429)


def test_a_request_without_a_key_is_no_guess(keyed: World) -> None:
    """The gateway answers a client that forgot its key each time, and counts no guess."""
    assert {keyed.client.get("/v1/models").status_code for _ in range(80)} == {401}
    assert guess(keyed, "GET", "/v1/models", "wrong-key", "x-api-key").status_code == 401


def test_metrics_count_wrong_keys(keyed: World) -> None:
    """Metrics count wrong keys of calls and of admin requests alike."""
    for path in ("/v1/chat/completions", "/admin/costs", "/v1/models"):
        guess(keyed, "POST" if "chat" in path else "GET", path, "wrong-key", "x-api-key")
    text = guess(keyed, "GET", "/metrics", "boss", "x-api-key").text
    assert 'tiergate_refused_total{kind="invalid_api_key"} 3' in text


def test_a_client_may_try_again_after_some_seconds(keyed: World) -> None:
    now = [0.0]
    keyed.gateway.keys.wrong_key_counter = WrongKeyCounter(lambda: now[0])
    statuses = [
        guess(keyed, "GET", "/v1/models", "wrong-key", "api-key").status_code for _ in range(6)
    ]
    assert statuses == [401] * 5 + [429]
    now[0] += 5.0
    assert guess(keyed, "GET", "/v1/models", "wrong-key", "api-key").status_code == 401


@pytest.mark.parametrize(("key", "warned"), [("hunter2", True), ("x" * 15, True), ("x" * 16, False), ("", False), (" ", False)])  # fmt: skip
def test_the_gateway_warns_of_keys_that_are_easy_to_guess(
    make: Make, key: str, warned: bool
) -> None:
    """No limit protects a short key: tries come back over time."""
    world = make(lambda value: value.update(metrics={"key": key.strip()}))
    cautions = find_cautions(
        world.gateway.built_config, world.gateway.keys, {"TIERGATE_ADMIN_KEY": key}
    )
    assert [caution.path or caution.file for caution in cautions] == [
        "TIERGATE_ADMIN_KEY",
        "metrics.key",
    ] * warned
    assert not [caution for caution in cautions if key in str(caution).replace("characters", "")]
